//! Why a certificate is refused, in Go's words.

use std::sync::Arc;

use rustls::{CertificateError, Error, OtherError};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Why a certificate is refused. The text is Go's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// It cannot be read.
    #[error("x509: {0}")]
    Malformed(&'static str),
    /// No path leads to a trusted certificate.
    #[error("x509: certificate signed by unknown authority")]
    UnknownAuthority,
    #[error("x509: unhandled critical extension")]
    CriticalExtension,
    #[error(
        "x509: certificate has expired or is not yet valid: current time {} is after {}",
        moment(*now),
        moment(*end)
    )]
    Expired { now: i64, end: i64 },
    #[error(
        "x509: certificate has expired or is not yet valid: current time {} is before {}",
        moment(*now),
        moment(*start)
    )]
    NotYetValid { now: i64, start: i64 },
    #[error("x509: certificate specifies an incompatible key usage")]
    Purpose,
    #[error("x509: no valid chains built: 1 candidate chains with invalid policies")]
    Policies,
    #[error(
        "x509: a root or intermediate certificate is not authorized to sign for this name: {0}"
    )]
    Constraint(String),
    /// It is for another host.
    #[error("x509: {0}")]
    Host(String),
    /// Its key is of no use in TLS.
    #[error("tls: the certificate has an unsupported type of public key")]
    Key,
    #[error("tls: the peer sent a certificate with an RSA key larger than 8192 bits")]
    KeySize,
    #[error("x509: too many intermediates for path length constraint")]
    PathLength,
    #[error("x509: certificate is not authorized to sign other certificates")]
    NotAuthorizedToSign,
    #[error("x509: signature check attempts limit reached while verifying certificate chain")]
    SignatureLimit,
}

fn moment(unix: i64) -> String {
    OffsetDateTime::from_unix_timestamp(unix)
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| unix.to_string())
}

impl From<Fault> for Error {
    /// With the alert that fits; the text stays Go's.
    fn from(fault: Fault) -> Error {
        Error::InvalidCertificate(match fault {
            Fault::UnknownAuthority => CertificateError::UnknownIssuer,
            fault => CertificateError::Other(OtherError(Arc::new(fault))),
        })
    }
}

/// The fault inside an error of a verifier.
pub(crate) fn within(error: &CertificateError) -> Option<&Fault> {
    match error {
        CertificateError::Other(OtherError(inner)) => inner.downcast_ref(),
        _ => None,
    }
}
