//! Why a connection was refused, worded as Go words it: operators search their
//! logs for these texts.

use std::{error::Error as StdError, io};

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

use crate::{Leaf, verify::Shown};

/// A handshake that came to nothing.
#[derive(Debug)]
pub struct Refused {
    /// What was wrong.
    pub reason: String,
    /// The other side just went away: not worth a warning.
    pub eof: bool,
    /// The host the client asked for (SNI), if it got that far.
    pub server_name: String,
    /// The certificate the client showed, if it got that far.
    pub peer: Option<Leaf>,
}

impl Refused {
    fn plain(reason: impl Into<String>, eof: bool) -> Self {
        Refused {
            reason: reason.into(),
            eof,
            server_name: String::new(),
            peer: None,
        }
    }

    pub(crate) fn eof() -> Self {
        Refused::plain("EOF", true)
    }

    pub(crate) fn timeout() -> Self {
        Refused::plain("i/o timeout: the TLS handshake took too long", false)
    }

    pub(crate) fn not_tls() -> Self {
        Refused::plain(
            "tls: first record does not look like a TLS handshake",
            false,
        )
    }

    pub(crate) fn io(error: &io::Error) -> Self {
        Refused::plain(error.to_string(), false)
    }

    pub(crate) fn rule(reason: String, server_name: String, peer: Option<Leaf>) -> Self {
        Refused {
            reason,
            eof: false,
            server_name,
            peer,
        }
    }

    pub(crate) fn handshake(error: &io::Error, server_name: String, shown: Shown) -> Self {
        let eof = error.kind() == io::ErrorKind::UnexpectedEof;
        let reason = match shown.refusal {
            Some(reason) => reason,
            None if eof => "EOF".to_owned(),
            None => describe(error),
        };
        Refused {
            reason,
            eof,
            server_name,
            peer: shown.leaf,
        }
    }
}

/// An error of a TLS connection in Go's words, where it has them.
pub(crate) fn describe(error: &io::Error) -> String {
    let inner = error
        .get_ref()
        .map(|inner| inner as &(dyn StdError + 'static))
        .and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(error) => wording(error),
        None => error.to_string(),
    }
}

fn wording(error: &Error) -> String {
    match error {
        Error::AlertReceived(alert) => format!("remote error: tls: {}", alert_text(*alert)),
        Error::NoCertificatesPresented => "tls: client didn't provide a certificate".to_owned(),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "tls: first record does not look like a TLS handshake".to_owned()
        }
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic
            | PeerIncompatible::SupportedVersionsExtensionRequired,
        ) => "tls: client offered only unsupported versions".to_owned(),
        Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => {
            "tls: no cipher suite supported by both client and server".to_owned()
        }
        Error::NoApplicationProtocol => {
            "tls: client requested unsupported application protocols".to_owned()
        }
        Error::InvalidCertificate(error) => {
            format!(
                "tls: failed to verify certificate: {}",
                certificate_text(error)
            )
        }
        other => format!("tls: {other}"),
    }
}

fn certificate_text(error: &CertificateError) -> String {
    use CertificateError as E;
    match error {
        E::UnknownIssuer => "x509: certificate signed by unknown authority".to_owned(),
        E::Expired | E::NotValidYet => {
            "x509: certificate has expired or is not yet valid".to_owned()
        }
        E::ExpiredContext { time, not_after } => format!(
            "x509: certificate has expired or is not yet valid: current time {} is after {}",
            moment(time.as_secs()),
            moment(not_after.as_secs())
        ),
        E::NotValidYetContext { time, not_before } => format!(
            "x509: certificate has expired or is not yet valid: current time {} is before {}",
            moment(time.as_secs()),
            moment(not_before.as_secs())
        ),
        E::NotValidForNameContext {
            expected,
            presented,
        } => {
            let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            if names.is_empty() {
                format!(
                    "x509: cannot validate certificate for {0} because it doesn't contain any names, {0} neither",
                    expected.to_str()
                )
            } else {
                format!(
                    "x509: certificate is valid for {}, not {}",
                    names.join(", "),
                    expected.to_str()
                )
            }
        }
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            "x509: certificate specifies an incompatible key usage".to_owned()
        }
        // Of etcd's rule about allowed names; a wrong host name comes with its context.
        E::NotValidForName => "client certificate authentication failed".to_owned(),
        other => format!("x509: {other}"),
    }
}

/// `DnsName("a.b")` and `IpAddress(127.0.0.1)` as rustls lists them, without the wrapping.
fn bare(name: &str) -> &str {
    name.split_once('(')
        .map_or(name, |(_, rest)| rest.trim_end_matches(')'))
        .trim_matches('"')
}

fn moment(unix_secs: u64) -> String {
    i64::try_from(unix_secs)
        .ok()
        .and_then(|secs| time::OffsetDateTime::from_unix_timestamp(secs).ok())
        .and_then(|at| {
            at.format(&time::format_description::well_known::Rfc3339)
                .ok()
        })
        .unwrap_or_else(|| unix_secs.to_string())
}

/// Go's names of the alerts.
fn alert_text(alert: AlertDescription) -> String {
    use AlertDescription as A;
    match alert {
        A::CloseNotify => "close notify",
        A::UnexpectedMessage => "unexpected message",
        A::BadRecordMac => "bad record MAC",
        A::RecordOverflow => "record overflow",
        A::HandshakeFailure => "handshake failure",
        A::BadCertificate => "bad certificate",
        A::UnsupportedCertificate => "unsupported certificate",
        A::CertificateRevoked => "revoked certificate",
        A::CertificateExpired => "expired certificate",
        A::CertificateUnknown => "unknown certificate",
        A::IllegalParameter => "illegal parameter",
        A::UnknownCA => "unknown certificate authority",
        A::AccessDenied => "access denied",
        A::DecodeError => "error decoding message",
        A::DecryptError => "error decrypting message",
        A::ProtocolVersion => "protocol version not supported",
        A::InsufficientSecurity => "insufficient security level",
        A::InternalError => "internal error",
        A::InappropriateFallback => "inappropriate fallback",
        A::UserCanceled => "user canceled",
        A::NoRenegotiation => "no renegotiation",
        A::MissingExtension => "missing extension",
        A::UnsupportedExtension => "unsupported extension",
        A::UnrecognisedName => "unrecognized name",
        A::BadCertificateStatusResponse => "bad certificate status response",
        A::UnknownPSKIdentity => "unknown PSK identity",
        A::CertificateRequired => "certificate required",
        A::NoApplicationProtocol => "no application protocol",
        other => return format!("alert({})", u8::from(other)),
    }
    .to_owned()
}
