//! Images made by hand, whole and broken, verified against their digests.

mod commands;
mod damage;
mod forms;
mod hostile;
mod packing;
mod tars;

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Digest, tar};

const MANIFEST: &str = crate::documents::MANIFEST;
const INDEX: &str = crate::documents::INDEX;
/// What stands in for a program: only its texts are looked at.
const PROGRAM: &[u8] = b"\x7fELF... etcd3.5.30Pintle0.1.0...";

/// An entry of a layer.
enum Item<'a> {
    Dir(&'a str),
    File(&'a str, u32, &'a [u8]),
    Hard(&'a str, &'a str),
    Sym(&'a str, &'a str),
}

/// A tar archive of these entries. Names and links may be anything that fits.
fn tar_of(items: &[Item<'_>]) -> Vec<u8> {
    let mut archive = tar::Writer::new(Vec::new(), 0);
    for item in items {
        match item {
            Item::Dir(name) => archive.directory(name, 0o755),
            Item::File(name, mode, bytes) => archive.file(name, *mode, bytes.len() as u64, *bytes),
            Item::Hard(name, to) => archive.hard_link(name, 0o755, to),
            Item::Sym(name, to) => archive.symlink(name, to),
        }
        .unwrap();
    }
    archive.finish().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// The layer of an image that is in order.
fn sound_layer() -> Vec<u8> {
    tar_of(&[
        Item::Dir("usr/local/bin"),
        Item::File("usr/local/bin/etcd", 0o755, PROGRAM),
        Item::Hard("usr/local/bin/etcdctl", "usr/local/bin/etcd"),
        Item::Sym("usr/local/bin/etcdutl", "etcd"),
    ])
}

/// Changes the config, the manifest and the index of an image.
type Change = fn(&mut Value, &mut Value, &mut Value);

/// An image on its way.
struct Making {
    layers: Vec<Vec<u8>>,
    /// Whether the layers are stored with gzip.
    packed: bool,
    labels: Value,
    platform: (&'static str, &'static str),
    /// Carried out on each before it is stored.
    change: Change,
}

impl Making {
    fn new(layers: Vec<Vec<u8>>) -> Self {
        Self {
            layers,
            packed: true,
            labels: json!({"pintle.programs": "etcd=3.5.30 etcdctl=3.5.30 etcdutl=3.5.30"}),
            platform: ("linux", "amd64"),
            change: |_, _, _| {},
        }
    }

    fn sound() -> Self {
        Self::new(vec![sound_layer()])
    }

    /// The parts of a layout.
    fn make(&self) -> Made {
        let mut parts = BTreeMap::new();
        let mut blob = |bytes: Vec<u8>| {
            let digest = Digest::of(&bytes);
            let size = bytes.len();
            parts.insert(format!("blobs/sha256/{}", digest.digits()), bytes);
            (digest, size)
        };
        let stored: Vec<Value> = self
            .layers
            .iter()
            .map(|layer| {
                let bytes = if self.packed {
                    gzip(layer)
                } else {
                    layer.clone()
                };
                let (digest, size) = blob(bytes);
                json!({"mediaType": crate::documents::LAYER, "digest": digest, "size": size})
            })
            .collect();
        let diff_ids: Vec<Digest> = self.layers.iter().map(|layer| Digest::of(layer)).collect();
        let (os, architecture) = self.platform;
        let mut config = json!({
            "architecture": architecture,
            "os": os,
            "config": {
                "Env": ["PATH=/usr/local/bin:/usr/bin"],
                "Cmd": ["/usr/local/bin/etcd"],
                "Labels": self.labels,
            },
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let mut manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": stored});
        let mut index = json!({"schemaVersion": 2, "mediaType": INDEX});
        (self.change)(&mut config, &mut manifest, &mut index);
        let (config, size) = blob(serde_json::to_vec(&config).unwrap());
        if manifest.get("config").is_none() {
            manifest["config"] = json!({
                "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": size,
            });
        }
        let (manifest, size) = blob(serde_json::to_vec(&manifest).unwrap());
        if index.get("manifests").is_none() {
            index["manifests"] = json!([{
                "mediaType": MANIFEST, "digest": manifest, "size": size,
                "platform": {"os": os, "architecture": architecture},
            }]);
        }
        let (index, size) = blob(serde_json::to_vec(&index).unwrap());
        let top = json!({
            "schemaVersion": 2,
            "manifests": [{"mediaType": INDEX, "digest": index, "size": size,
                "annotations": {"org.opencontainers.image.ref.name": "3.5.30-0"}}],
        });
        parts.insert("index.json".into(), serde_json::to_vec(&top).unwrap());
        parts.insert(
            "oci-layout".into(),
            br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
        );
        Made {
            parts,
            config,
            manifest,
            index,
        }
    }
}

/// An image and what it can be pinned by.
#[derive(Clone)]
struct Made {
    parts: BTreeMap<String, Vec<u8>>,
    config: Digest,
    manifest: Digest,
    index: Digest,
}

impl Made {
    fn bytes(&self) -> Vec<u8> {
        let items: Vec<Item<'_>> = self
            .parts
            .iter()
            .map(|(name, bytes)| Item::File(name, 0o644, bytes))
            .collect();
        tar_of(&items)
    }

    /// As a file in a folder that goes when it is dropped.
    fn archive(&self) -> Placed {
        Placed::file(&self.bytes())
    }

    fn folder(&self) -> Placed {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
        for (name, bytes) in &self.parts {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        let path = dir.path().to_owned();
        Placed { _dir: dir, path }
    }

    /// What `docker save` wrote before version 25, and what it adds to a layout since.
    fn docker(&self, layers: &[Vec<u8>], keep_layout: bool) -> Made {
        let mut made = self.clone();
        let config = format!("blobs/sha256/{}", self.config.digits());
        if !keep_layout {
            let bytes = made.parts[&config].clone();
            made.parts.clear();
            made.parts.insert(config.clone(), bytes);
        }
        let names: Vec<String> = (0..layers.len())
            .map(|n| format!("{n}/layer.tar"))
            .collect();
        for (name, layer) in names.iter().zip(layers) {
            made.parts.insert(name.clone(), layer.clone());
        }
        let list = json!([{"Config": config, "RepoTags": ["etcd:3.5.30-0"], "Layers": names}]);
        made.parts
            .insert("manifest.json".into(), serde_json::to_vec(&list).unwrap());
        made
    }
}

/// An image on disk.
struct Placed {
    _dir: TempDir,
    path: PathBuf,
}

impl Placed {
    fn file(bytes: &[u8]) -> Placed {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image.tar");
        fs::write(&path, bytes).unwrap();
        Placed { _dir: dir, path }
    }

    fn verify(&self, digest: Digest) -> Result<crate::Verified, crate::Error> {
        verify(&self.path, digest)
    }
}

fn verify(path: &Path, digest: Digest) -> Result<crate::Verified, crate::Error> {
    crate::verify_for(path, &digest.to_string(), "linux/amd64")
}

/// What an image is refused with.
fn refusal(placed: &Placed, digest: Digest) -> String {
    placed.verify(digest).unwrap_err().to_string()
}
