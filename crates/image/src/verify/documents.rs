//! Documents of an image, read and verified against what points to them.

use crate::{
    Digest, Error,
    documents::{self, Config, DockerImage, Manifest},
    store::{BLOBS, Store},
};

/// Where a layout keeps a blob.
pub(super) fn blob(digest: Digest) -> String {
    format!("{BLOBS}{}", digest.digits())
}

pub(super) fn same_size(name: &str, said: u64, is: u64) -> Result<(), Error> {
    match said == is {
        true => Ok(()),
        false => Err(Error::Inconsistent(format!(
            "{name} has {is} bytes, and what points to it says {said}"
        ))),
    }
}

/// Reads a manifest, whose kind the reference to it has given.
pub(super) fn manifest(store: &Store, name: &str) -> Result<Manifest, Error> {
    let manifest: Manifest = documents::read(name, &store.document(name)?)?;
    if manifest.schema_version != 2 {
        return Err(Error::Unsupported(format!(
            "{name} has version {} of its schema; 2 is read here",
            manifest.schema_version
        )));
    }
    if !manifest.media_type.is_empty() && !documents::is_manifest(&manifest.media_type) {
        return Err(Error::Inconsistent(format!(
            "{name} calls itself {:?}, and what points to it calls it a manifest",
            manifest.media_type
        )));
    }
    Ok(manifest)
}

/// Reads a config.
pub(super) fn config(store: &Store, name: &str) -> Result<Config, Error> {
    let config: Config = documents::read(name, &store.document(name)?)?;
    if config.rootfs.kind != "layers" {
        return Err(Error::Inconsistent(format!(
            "{name} has a root file system of kind {:?}; there is only \"layers\"",
            config.rootfs.kind
        )));
    }
    Ok(config)
}

/// What `manifest.json` lists.
pub(super) fn docker(store: &Store) -> Result<Vec<DockerImage>, Error> {
    documents::read("manifest.json", &store.document("manifest.json")?)
}
