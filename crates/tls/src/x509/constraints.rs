//! Name constraints (RFC 5280, 4.2.1.10): what a CA may sign for.

use std::net::IpAddr;

use super::{
    alt_names::address,
    certificate::Certificate,
    domain::is_domain,
    fault::Fault,
    mailbox::Mailbox,
    subtrees::{Constraints, Network},
    uri::Uri,
};

/// Names compared with constraints in one verification, as in webpki; real chains compare dozens.
const COMPARISONS_MAX: usize = 250_000;

/// `name` is in the domain `tree`, or below it; only below it for `.tree`.
fn is_in_domain(tree: &str, name: &str) -> bool {
    let (tree, name) = (tree.as_bytes(), name.as_bytes());
    let Some(at) = name.len().checked_sub(tree.len()) else {
        return false;
    };
    tree.is_empty()
        || name[at..].eq_ignore_ascii_case(tree)
            && (at == 0 || tree[0] == b'.' || name[at - 1] == b'.')
}

/// From the first dot on.
fn parent(name: &str) -> Option<&str> {
    name.find('.').map(|at| &name[at..])
}

/// A wildcard covers an excluded name next to it, though it is not below that.
fn wildcard_covers(excluded: &str, name: &str) -> bool {
    name.starts_with('*')
        && matches!((parent(name), parent(excluded)), (Some(a), Some(b)) if a.eq_ignore_ascii_case(b))
}

fn is_mailbox_in(tree: &str, mailbox: &Mailbox) -> bool {
    if tree.contains('@') {
        Mailbox::parse(tree).as_ref() == Some(mailbox)
    } else {
        is_in_domain(tree, &mailbox.domain)
    }
}

/// Counts comparisons down.
struct Budget(usize);

impl Budget {
    /// Whether `name` is permitted and not excluded.
    fn check<T>(
        &mut self,
        kind: &str,
        name: &str,
        (permitted, excluded): (&[T], &[T]),
        is_permitted: impl Fn(&T) -> bool,
        is_excluded: impl Fn(&T) -> bool,
    ) -> Result<(), Fault> {
        self.0 = self
            .0
            .checked_sub(permitted.len() + excluded.len())
            .ok_or_else(|| Fault::Constraint("too many names to compare".to_owned()))?;
        if !permitted.is_empty() && !permitted.iter().any(is_permitted) {
            let text = format!("{kind} {name:?} is not permitted by any constraint");
            return Err(Fault::Constraint(text));
        }
        if excluded.iter().any(is_excluded) {
            let text = format!("{kind} {name:?} is excluded by a constraint");
            return Err(Fault::Constraint(text));
        }
        Ok(())
    }
}

/// The names of one certificate in the form in which they are compared.
struct Names<'a> {
    addresses: &'a [Vec<u8>],
    dns: &'a [String],
    uris: Vec<String>,
    mailboxes: Vec<(&'a str, Mailbox)>,
}

impl<'a> Names<'a> {
    fn of(certificate: &'a Certificate) -> Result<Names<'a>, Fault> {
        let all = &certificate.alt_names;
        let unusable = |what: &str, text: &str| {
            Fault::Constraint(format!(
                "{what} {text:?} cannot be matched against constraints"
            ))
        };
        let mailbox = |text: &'a String| {
            let parsed = Mailbox::parse(text).ok_or_else(|| unusable("rfc822Name", text))?;
            Ok((text.as_str(), parsed))
        };
        if let Some(bad) = all.dns.iter().find(|name| !is_domain(name, false)) {
            return Err(unusable("dnsName", bad));
        }
        Ok(Names {
            addresses: &all.addresses,
            dns: &all.dns,
            uris: all
                .uris
                .iter()
                .map(|uri| uri_domain(uri).ok_or_else(|| unusable("URI", &uri.host)))
                .collect::<Result<_, _>>()?,
            mailboxes: all.emails.iter().map(mailbox).collect::<Result<_, _>>()?,
        })
    }

    fn check(&self, by: &Constraints, budget: &mut Budget) -> Result<(), Fault> {
        let (yes, no) = (&by.permitted, &by.excluded);
        for ip in self.addresses {
            let lists = (yes.networks.as_slice(), no.networks.as_slice());
            // Constraints for the other family say nothing, though they are there: then it is not
            // permitted by any.
            let contains = |net: &Network| net.contains(ip);
            budget.check("IP address", &shown(ip), lists, contains, contains)?;
        }
        for name in self.dns {
            let excludes = |tree: &String| is_in_domain(tree, name) || wildcard_covers(tree, name);
            let lists = (yes.dns.as_slice(), no.dns.as_slice());
            budget.check(
                "DNS name",
                name,
                lists,
                |tree| is_in_domain(tree, name),
                excludes,
            )?;
        }
        for domain in &self.uris {
            let contains = |tree: &String| is_in_domain(tree, domain);
            let lists = (yes.uri_domains.as_slice(), no.uri_domains.as_slice());
            budget.check("URI", domain, lists, contains, contains)?;
        }
        for (text, mailbox) in &self.mailboxes {
            let contains = |tree: &String| is_mailbox_in(tree, mailbox);
            let lists = (yes.emails.as_slice(), no.emails.as_slice());
            budget.check("email address", text, lists, contains, contains)?;
        }
        Ok(())
    }
}

fn shown(ip: &[u8]) -> String {
    address(ip).map_or_else(String::new, |ip| ip.to_string())
}

/// The domain of a URI; one without a host, or with an address, has none.
fn uri_domain(uri: &Uri) -> Option<String> {
    let host = uri.host.to_ascii_lowercase();
    if host.is_empty() || host.starts_with('[') {
        return None;
    }
    let host = match host.split_once(':') {
        None => host.as_str(),
        Some((host, port)) if !port.contains(':') => host,
        Some(_) => return None,
    };
    (host.parse::<IpAddr>().is_err() && is_domain(host, false)).then(|| host.to_owned())
}

/// Checks the names of each certificate against the constraints of all above it.
///
/// # Errors
/// [`Fault::Constraint`]
pub(super) fn check(chain: &[&Certificate]) -> Result<(), Fault> {
    let mut budget = Budget(COMPARISONS_MAX);
    for (at, certificate) in chain.iter().enumerate() {
        let above = chain[at + 1..].iter();
        let above: Vec<&Constraints> = above
            .filter_map(|ca| ca.constraints.as_ref())
            .filter(|constraints| !constraints.is_empty())
            .collect();
        if above.is_empty() || !certificate.has_alt_names {
            continue;
        }
        let names = Names::of(certificate)?;
        for constraints in above {
            names.check(constraints, &mut budget)?;
        }
    }
    Ok(())
}
