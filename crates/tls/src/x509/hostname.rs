//! Whether a certificate is for a host.

use std::net::IpAddr;

use super::{certificate::Certificate, fault::Fault};

/// Whether every byte of the name may be in a host name, and every label is there. A pattern may
/// begin with the label `*`; anything else may end with a dot.
fn is_valid(name: &str, is_pattern: bool) -> bool {
    let name = match name.strip_suffix('.') {
        Some(rest) if !is_pattern => rest,
        _ => name,
    };
    name != "*"
        && name.split('.').enumerate().all(|(at, label)| {
            is_pattern && at == 0 && label == "*"
                || !label.is_empty()
                    && !label.starts_with('-')
                    && label
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

/// `pattern` covers as many labels as `host` has.
fn covers(pattern: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    match pattern.strip_prefix("*.") {
        Some(parent) => host
            .split_once('.')
            .is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent)),
        None => host.eq_ignore_ascii_case(pattern),
    }
}

fn fits(name: &str, host: &str) -> bool {
    if is_valid(host, false) && is_valid(name, true) {
        return covers(name, host);
    }
    // What is no host name fits itself alone.
    !host.is_empty() && host != "." && name.eq_ignore_ascii_case(host)
}

impl Certificate {
    /// Checks that it is for `host`, a name or an address.
    ///
    /// # Errors
    /// [`Fault::Host`]
    pub(crate) fn check_host(&self, host: &str) -> Result<(), Fault> {
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            let ip = ip.to_canonical();
            let mut addresses = self.alt_names.ip_addresses();
            return if addresses.any(|known| known.to_canonical() == ip) {
                Ok(())
            } else {
                Err(self.other_address(bare))
            };
        }
        if self.alt_names.dns.iter().any(|name| fits(name, host)) {
            Ok(())
        } else {
            Err(self.other_name(host))
        }
    }

    fn other_address(&self, wanted: &str) -> Fault {
        let valid: Vec<String> = self
            .alt_names
            .ip_addresses()
            .map(|ip| ip.to_string())
            .collect();
        Fault::Host(if valid.is_empty() {
            format!(
                "cannot validate certificate for {wanted} because it doesn't contain any IP SANs"
            )
        } else {
            format!(
                "certificate is valid for {}, not {wanted}",
                valid.join(", ")
            )
        })
    }

    fn other_name(&self, wanted: &str) -> Fault {
        Fault::Host(if !self.has_alt_names && fits(&self.common_name, wanted) {
            "certificate relies on legacy Common Name field, use SANs instead".to_owned()
        } else if self.alt_names.dns.is_empty() {
            format!("certificate is not valid for any names, but wanted to match {wanted}")
        } else {
            let valid = self.alt_names.dns.join(", ");
            format!("certificate is valid for {valid}, not {wanted}")
        })
    }
}
