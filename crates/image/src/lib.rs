//! OCI images without a container engine: packs Pintle's own, reproducibly, and
//! holds any image of etcd against a pinned digest. It must never run a container
//! nor ask a registry: it reads and writes files.
//!
//! - [`verify()`]: an archive or a layout against a digest, down to the programs in it
//! - [`pack`]: a program to a layout, an archive, checksums, an SBOM and the line of a promoter
//! - [`versions`]: `versions.toml`, the versions that must agree
//! - [`main`]: `pintle upgrade image`
//! - `store`, `layer`, `rootfs`: where the parts are, one layer, the tree that layers make
//! - `tar`, `documents`, `digest`: what images are written in

#![forbid(unsafe_code)]

mod digest;
mod documents;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod layer;
pub mod pack;
mod program;
mod rootfs;
mod store;
mod tar;
mod verify;
pub mod versions;

#[cfg(test)]
mod tests;

pub use digest::{BadDigest, Digest};
pub use error::Error;
pub use verify::{
    Form, Layer, Names, Program, Verified, Version, this_platform, verify, verify_for,
};

/// Runs `pintle upgrade image`; `words` are its arguments. Returns the exit
/// code: 0 the image is the pinned one, 3 it is not, 4 it is but not alone in its
/// archive, 1 it could not be judged.
#[must_use]
pub fn main(words: &[String]) -> i32 {
    program::run(words)
}
