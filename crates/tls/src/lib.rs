//! TLS from files: certificate, key, trusted CA and revocation list become an
//! [`Acceptor`] for listeners and a [`Connector`] for connections. The files are
//! checked on every handshake and read again when they changed, so that a
//! renewed certificate needs no restart. This crate must never accept a peer
//! that its options do not allow, and never fall back to plain text.
//!
//! - [`Options`]: one side of a member, as etcd's flags describe it
//! - [`Protocol`]: versions and cipher suites
//! - [`Acceptor`]: the listening side, [`Refused`] when a handshake fails
//! - [`describe`], [`dial_error`]: what a connection failed with, in Go's words
//! - [`Connector`]: the dialling side, from [`ClientOptions`]
//! - [`self_signed`]: the certificates of `--auto-tls`
//! - [`Leaf`]: the parts of a certificate that are used
//! - [`Error`]: files and options that cannot be used

mod acceptor;
mod connector;
mod der;
mod error;
mod follow;
mod leaf;
mod load;
mod options;
mod protocol;
mod refused;
mod remote;
mod revocation;
mod selfsigned;
mod unreached;
mod verify;
mod wording;
mod x509;

pub use acceptor::{Accepted, Acceptor};
pub use connector::Connector;
pub use error::Error;
pub use leaf::Leaf;
pub use load::leaves;
pub use options::{Allowed, ClientOptions, Identity, Options};
pub use protocol::{Protocol, Version};
pub use refused::Refused;
pub use selfsigned::self_signed;
/// A TLS connection this side opened.
pub use tokio_rustls::client::TlsStream as ClientStream;
/// A TLS connection this side accepted.
pub use tokio_rustls::server::TlsStream as ServerStream;
pub use unreached::dial_error;
pub use wording::describe;

#[cfg(test)]
mod tests;
