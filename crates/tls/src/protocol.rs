//! Versions and cipher suites by the names that etcd (Go) uses.

use std::sync::Arc;

use rustls::{
    CipherSuite, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
};

use crate::Error;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// `TLS1.2`
    Tls12,
    /// `TLS1.3`
    Tls13,
}

impl Version {
    /// Reads a value of `--tls-min-version` or `--tls-max-version`; empty is no
    /// wish.
    ///
    /// # Errors
    /// In etcd's words.
    pub fn parse(text: &str) -> Result<Option<Version>, String> {
        match text {
            "" => Ok(None),
            "TLS1.2" => Ok(Some(Version::Tls12)),
            "TLS1.3" => Ok(Some(Version::Tls13)),
            other => Err(format!(
                "unexpected TLS version {other:?} (must be one of: TLS1.2, TLS1.3)"
            )),
        }
    }
}

/// Versions and cipher suites of one side. The default is TLS 1.2 and 1.3 with
/// every suite that is considered safe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protocol {
    min: Option<Version>,
    max: Option<Version>,
    /// Suites of TLS 1.2; empty means all. Those of TLS 1.3 cannot be chosen,
    /// as in Go.
    suites: Vec<CipherSuite>,
}

/// The suites of TLS 1.2 that can be chosen, with etcd's second names.
const TLS12: &[(&str, CipherSuite)] = &[
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// Suites of TLS 1.3: accepted in the list, always on.
const TLS13: &[&str] = &[
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
];

/// What Go still has and this build has not: CBC, RC4, 3DES, and key exchange
/// without forward secrecy.
const OUTDATED: &[&str] = &[
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
];

impl Protocol {
    /// Checks etcd's `--tls-min-version`, `--tls-max-version` and
    /// `--cipher-suites` against each other.
    ///
    /// # Errors
    /// In etcd's words where it has them; a suite that Go has and this build has
    /// not is named with the reason.
    pub fn parse(min: &str, max: &str, suites: &[String]) -> Result<Protocol, String> {
        let protocol = Protocol {
            min: Version::parse(min)?,
            max: Version::parse(max)?,
            suites: Vec::new(),
        };
        if protocol.min.is_some() && protocol.max.is_some() && protocol.min > protocol.max {
            return Err(format!(
                "min version ({min}) is greater than max version ({max})"
            ));
        }
        if protocol.min == Some(Version::Tls13) && !suites.is_empty() {
            return Err(
                "cipher suites cannot be configured when only TLS1.3 is enabled".to_owned(),
            );
        }
        let mut chosen = Vec::new();
        for name in suites {
            if let Some((_, suite)) = TLS12.iter().find(|(known, _)| known == name) {
                chosen.push(*suite);
            } else if OUTDATED.contains(&name.as_str()) {
                return Err(format!(
                    "--cipher-suites: {name} is not built into Pintle: CBC, RC4, 3DES and RSA key exchange are broken or lack \
                     forward secrecy; take it out of the list (of TLS 1.2 there are the ECDHE suites with AES-GCM and \
                     ChaCha20-Poly1305, those of TLS 1.3 are always on)"
                ));
            } else if !TLS13.contains(&name.as_str()) {
                return Err(format!("unexpected TLS cipher suite {name:?}"));
            }
        }
        if !suites.is_empty() && chosen.is_empty() && protocol.max == Some(Version::Tls12) {
            return Err(
                "--cipher-suites names suites of TLS1.3 only, and --tls-max-version leaves TLS1.2 only"
                    .to_owned(),
            );
        }
        Ok(Protocol {
            // Only suites of TLS 1.3 were named: Go then has none for TLS 1.2.
            min: if !suites.is_empty() && chosen.is_empty() {
                Some(Version::Tls13)
            } else {
                protocol.min
            },
            suites: chosen,
            ..protocol
        })
    }

    pub(crate) fn provider(&self) -> Arc<CryptoProvider> {
        let mut provider = aws_lc_rs::default_provider();
        if !self.suites.is_empty() {
            provider
                .cipher_suites
                .retain(|suite| suite.tls13().is_some() || self.suites.contains(&suite.suite()));
        }
        Arc::new(provider)
    }

    pub(crate) fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        [
            (Version::Tls12, &rustls::version::TLS12),
            (Version::Tls13, &rustls::version::TLS13),
        ]
        .into_iter()
        .filter(|(version, _)| {
            self.min.is_none_or(|min| *version >= min) && self.max.is_none_or(|max| *version <= max)
        })
        .map(|(_, supported)| supported)
        .collect()
    }
}

/// An error of rustls while a configuration is put together.
pub(crate) fn unusable(error: &rustls::Error) -> Error {
    Error::Options(format!("the TLS settings cannot be used: {error}"))
}
