//! Where facts come from. Reading never changes a file, never takes a lock that
//! would keep a member from starting, and never sets anything aside.

mod access;
mod database;
mod directory;
mod error;
mod live;
mod lock;
mod pages;

pub use access::Access;
pub use database::{database, metadata};
pub use directory::directory;
pub use error::Error;
pub use live::{hash, live, moments};
pub(crate) use live::{read, stream};
pub(crate) use lock::is_in_use;
pub(crate) use pages::{cluster_version, is_pintle, knock, parts, started_at};

/// Bytes as `sha256sum` shows them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
