//! Doors for the fuzz targets, which call what is private elsewhere.

use crate::{Error, layer, rootfs::RootFs};

/// Reads bytes as a layer, as they are or with gzip; the bytes unpacked.
///
/// # Errors
/// What is wrong with them.
pub fn layer(bytes: &[u8]) -> Result<u64, Error> {
    let texts = [memchr::memmem::Finder::new("etcd")];
    let mut rootfs = RootFs::default();
    let seen = layer::read(bytes, "the layer", 64 << 20, &texts, &mut rootfs)?;
    Ok(seen.unpacked)
}
