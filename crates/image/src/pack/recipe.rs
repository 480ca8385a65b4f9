//! What is packed.

use std::path::Path;

/// What is packed.
#[derive(Clone, Debug)]
pub struct Recipe<'a> {
    /// The program that is all of Pintle's.
    pub binary: &'a Path,
    /// A folder, which must be empty or be missing.
    pub out: &'a Path,
    /// Name without a tag, with a host: `localhost/pintle/etcd`. No digest depends on it.
    pub repository: &'a str,
    /// The tag, `3.5.30-0`.
    pub tag: &'a str,
    /// The etcd that the programs report.
    pub etcd: &'a str,
    /// Pintle's own version.
    pub pintle: &'a str,
    /// The commit, if it is known.
    pub revision: Option<&'a str>,
    /// Seconds since 1970 that everything gets.
    pub time: u64,
    /// What `cargo metadata` printed, and `Cargo.lock`: what the program is made of.
    pub sources: Option<(&'a [u8], &'a str)>,
    /// What the linker added to it: name, version, licence.
    pub linked: &'a [(String, String, String)],
    /// Takes a program that needs shared libraries, which the image does not have.
    /// For tests, which have no other.
    pub dynamic: bool,
}
