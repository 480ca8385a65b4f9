//! Errors of connections in Go's words, where it has them: operators search their logs for these
//! texts.

use std::{error::Error as StdError, io};

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

use crate::{
    unreached,
    x509::{self, Fault},
};

/// An error of a connection in Go's words, where it has them.
pub fn describe(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return "EOF".to_owned();
    }
    if error.raw_os_error().is_some() {
        return unreached::system(error);
    }
    let inner = error
        .get_ref()
        .map(|inner| inner as &(dyn StdError + 'static))
        .and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(error) => wording(error),
        None => error.to_string(),
    }
}

pub(crate) fn wording(error: &Error) -> String {
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
        Error::InvalidCertificate(error) => match x509::within(error) {
            Some(Fault::Malformed(_)) => {
                format!(
                    "tls: failed to parse certificate: {}",
                    certificate_text(error)
                )
            }
            Some(fault @ (Fault::Key | Fault::KeySize)) => fault.to_string(),
            _ => format!(
                "tls: failed to verify certificate: {}",
                certificate_text(error)
            ),
        },
        other => format!("tls: {other}"),
    }
}

fn certificate_text(error: &CertificateError) -> String {
    if let Some(fault) = x509::within(error) {
        return fault.to_string();
    }
    match error {
        CertificateError::UnknownIssuer => Fault::UnknownAuthority.to_string(),
        // Of etcd's rule about allowed names; a wrong host name is a fault.
        CertificateError::NotValidForName => "client certificate authentication failed".to_owned(),
        other => format!("x509: {other}"),
    }
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
