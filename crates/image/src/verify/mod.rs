//! Holds an image against a pinned digest, from the digest down: the document it
//! names, the manifest of the platform, the config, every layer, and the programs
//! in them. It must never report as verified what the digest does not vouch for.

mod choose;
mod documents;
mod programs;

use std::path::Path;

use memchr::memmem::Finder;
use serde::Serialize;

use crate::{
    Digest, Error,
    documents::Platform,
    layer,
    rootfs::RootFs,
    store::{self, Store},
};
use choose::Chosen;
use documents::{blob, same_size};

pub use choose::{Form, Names};
pub use programs::{Program, Version};

/// Bytes that all layers of an image may have unpacked. etcd's own has some 100 MB.
const UNPACKED_MAX: u64 = 8 << 30;

/// A layer that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Layer {
    /// Of the bytes as they are stored.
    pub digest: Digest,
    /// Of the tar archive in them.
    pub diff_id: Digest,
    /// Bytes of that archive.
    pub unpacked: u64,
}

/// An image that is what its digest says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// What it is stored as.
    pub form: Form,
    /// The pin.
    pub digest: Digest,
    /// What the pin names.
    pub names: Names,
    /// The manifest that was followed; an old docker archive has none.
    pub manifest: Option<Digest>,
    /// The config, which container engines call the image's ID.
    pub config: Digest,
    /// As `linux/amd64`.
    pub platform: String,
    /// Other platforms that the pinned index lists, and whether they are here.
    pub other_platforms: Vec<(String, bool)>,
    /// What the archive calls the image. No digest vouches for that.
    pub tags: Vec<String>,
    /// From the lowest up.
    pub layers: Vec<Layer>,
    /// The programs that were looked for, and where they are.
    pub programs: Vec<Program>,
    /// Versions that its label promises and that the programs hold.
    pub versions: Vec<Version>,
    /// What the usual label of images says of the version; not verified.
    pub claimed_version: Option<String>,
    /// Parts of the archive or folder, all of them hashed, and their bytes.
    pub parts: usize,
    /// Bytes of all parts.
    pub bytes: u64,
    /// Other images in the same archive, or other names for this one: whoever
    /// loads all of it gets them too, and the digest says nothing about them.
    pub unpinned: Vec<String>,
}

/// Verifies the image at `path`, a docker archive, an OCI layout or the archive of
/// one, against `digest`, for the platform of this machine. Memory stays within
/// some 100 MiB whatever the file holds.
///
/// # Errors
/// What is wrong with the image, or why it cannot be judged: [`Error::is_verdict`] says which.
pub fn verify(path: &Path, digest: &str) -> Result<Verified, Error> {
    verify_for(path, digest, &this_platform())
}

/// The platform of this machine, in the words of images: `linux/amd64`.
#[must_use]
pub fn this_platform() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    };
    format!("linux/{architecture}")
}

/// As [`verify`], for another platform, given as `linux/arm64`.
///
/// # Errors
/// As those of [`verify`].
pub fn verify_for(path: &Path, digest: &str, platform: &str) -> Result<Verified, Error> {
    let pin = Digest::parse(digest)?;
    let wanted = match platform.split_once('/') {
        Some((os, architecture)) if !os.is_empty() && !architecture.is_empty() => Platform {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
        },
        _ => {
            return Err(Error::Question(format!(
                "{platform:?} is no platform; give one like linux/amd64"
            )));
        }
    };
    let store = Store::open(path)?;
    let chosen = choose::choose(&store, pin, &wanted)?;
    let layers = layers_of(&store, &chosen)?;
    let promised = programs::promised(&chosen.config)?;
    let texts: Vec<Finder<'_>> = promised
        .iter()
        .map(|version| Finder::new(version.version.as_bytes()))
        .collect();
    let mut rootfs = RootFs::default();
    let mut seen = Vec::new();
    let mut left = UNPACKED_MAX;
    for (name, diff_id) in layers.iter().zip(&chosen.config.rootfs.diff_ids) {
        let whole = format!("the layer {name}");
        let part = store.part(name).ok_or_else(|| store::lacks(name))?;
        let layer = layer::read(store.reader(name)?, &whole, left, &texts, &mut rootfs)?;
        if layer.digest != part.digest {
            return Err(store::changed(name));
        }
        if layer.diff_id != *diff_id {
            return Err(Error::Inconsistent(format!(
                "{whole} unpacks to {}, and the config says {diff_id}",
                layer.diff_id
            )));
        }
        left -= layer.unpacked.min(left);
        seen.push(Layer {
            digest: layer.digest,
            diff_id: layer.diff_id,
            unpacked: layer.unpacked,
        });
    }
    let programs = programs::find(&chosen.config, &mut rootfs)?;
    programs::hold(&promised, &programs)?;
    let (parts, bytes) = store.sums();
    Ok(Verified {
        form: chosen.form,
        digest: pin,
        names: chosen.names,
        manifest: chosen.manifest,
        config: chosen.config_digest,
        platform: chosen.config.platform.to_string(),
        other_platforms: chosen.other_platforms,
        tags: chosen.tags,
        layers: seen,
        programs: programs.into_iter().map(|(program, _)| program).collect(),
        versions: promised,
        claimed_version: programs::claimed(&chosen.config),
        parts,
        bytes,
        unpinned: chosen.unpinned,
    })
}

/// The names of the parts that are the layers, verified against what names them.
fn layers_of(store: &Store, chosen: &Chosen) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    if let Some(manifest) = &chosen.document {
        for descriptor in &manifest.layers {
            let digest = descriptor.digest()?;
            let name = blob(digest);
            let part = store.part(&name).ok_or_else(|| store::lacks(&name))?;
            same_size(&name, descriptor.size, part.size)?;
            names.push(name);
        }
    }
    if let Some(docker) = &chosen.docker {
        let digests = docker.layers.iter().map(|name| {
            let part = store.part(name).ok_or_else(|| store::lacks(name))?;
            Ok(part.digest)
        });
        let digests = digests.collect::<Result<Vec<Digest>, Error>>()?;
        match chosen.document {
            // Container engines that know only this file unpack what it lists: it has to be
            // the same, packed or not.
            Some(_) => {
                let stored = names.iter().filter_map(|name| store.part(name));
                let stored: Vec<Digest> = stored.map(|part| part.digest).collect();
                if digests != stored && digests != chosen.config.rootfs.diff_ids {
                    return Err(Error::Inconsistent(
                        "manifest.json lists other layers than the manifest".into(),
                    ));
                }
            }
            None => names.clone_from(&docker.layers),
        }
    }
    let said = chosen.config.rootfs.diff_ids.len();
    if names.len() != said {
        return Err(Error::Inconsistent(format!(
            "there are {} layers, and the config counts {said}",
            names.len()
        )));
    }
    Ok(names)
}
