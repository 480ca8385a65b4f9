//! Packs a program to an image: a layout, an archive that is an OCI layout and a
//! docker archive at once, checksums, an SBOM, and the line that an image promoter
//! wants. The bytes follow from what is given alone. It must never take a time, a
//! user or an order from the machine that it runs on.

mod elf;
mod recipe;
mod rootfs;
mod sbom;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
};

pub use recipe::Recipe;
use rootfs::{FOLDER, PROGRAMS};

use cli::private;
use serde::Serialize;

use crate::{
    Digest,
    digest::Hashing,
    documents::{
        self, Config, Descriptor, DockerImage, Execution, Index, Manifest, Platform, RootFs,
    },
    store::BLOBS,
    tar,
};

/// What was made.
#[derive(Clone, Debug)]
pub struct Packed {
    /// What a tag of a registry names: pin the image by this.
    pub digest: Digest,
    /// The archive.
    pub archive: PathBuf,
    /// Everything, as in `SHA256SUMS`.
    pub sums: Vec<(String, Digest)>,
}

/// gzip's slowest: the image is packed once and pulled often.
const LEVEL: u32 = 9;

/// Packs an image.
///
/// # Errors
/// A file that cannot be read or written, or a program that would not run in the image.
pub fn pack(recipe: &Recipe<'_>) -> io::Result<Packed> {
    let (architecture, is_static) = elf::read(recipe.binary)?;
    if !is_static && !recipe.dynamic {
        return Err(io::Error::other(format!(
            "{}: it needs shared libraries, and the image has none; link it statically",
            recipe.binary.display()
        )));
    }
    let out = recipe.out;
    private::folder(out)?;
    if fs::read_dir(out)?.next().is_some() {
        return Err(io::Error::other(format!("{}: not empty", out.display())));
    }
    let layout = out.join("oci");
    let blobs = layout.join(BLOBS);
    private::folder(&blobs)?;

    let time = time::OffsetDateTime::from_unix_timestamp(recipe.time.cast_signed())
        .ok()
        .and_then(|time| {
            time.format(&time::format_description::well_known::Rfc3339)
                .ok()
        })
        .ok_or_else(|| io::Error::other("SOURCE_DATE_EPOCH is no time"))?;
    let platform = Platform {
        architecture: architecture.to_owned(),
        os: "linux".to_owned(),
    };
    let (layer, diff_id) = layer(recipe, &blobs)?;
    let config = config(recipe, &platform, &time, diff_id);
    let config = put(&blobs, documents::CONFIG, &config)?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: documents::MANIFEST.to_owned(),
        config: config.clone(),
        layers: vec![layer.clone()],
    };
    let mut manifest = put(&blobs, documents::MANIFEST, &manifest)?;
    manifest.platform = Some(platform);
    let mut index = put(
        &blobs,
        documents::INDEX,
        &Index {
            schema_version: 2,
            media_type: documents::INDEX.to_owned(),
            manifests: vec![manifest],
        },
    )?;
    let digest = Digest::parse(&index.digest).map_err(io::Error::other)?;
    let name = format!("{}:{}", recipe.repository, recipe.tag);
    index.annotations = Some(BTreeMap::from([
        (documents::REF_NAME.to_owned(), recipe.tag.to_owned()),
        (documents::IMAGE_NAME.to_owned(), name.clone()),
    ]));
    let top = Index {
        schema_version: 2,
        media_type: documents::INDEX.to_owned(),
        manifests: vec![index],
    };
    private::write(&layout.join("index.json"), &line(&top)?)?;
    private::write(
        &layout.join("oci-layout"),
        b"{\"imageLayoutVersion\":\"1.0.0\"}\n",
    )?;

    let place =
        |descriptor: &Descriptor| format!("{BLOBS}{}", &descriptor.digest["sha256:".len()..]);
    let docker = [DockerImage {
        config: place(&config),
        repo_tags: Some(vec![name]),
        layers: vec![place(&layer)],
    }];
    let file = format!("pintle-{}-linux-{architecture}.tar", recipe.tag);
    let archive = out.join(&file);
    archive_of(&layout, &line(&docker)?, recipe.time, &archive)?;

    if let Some((metadata, lock)) = recipe.sources {
        let sbom = sbom::spdx(metadata, lock, recipe, &time, digest)?;
        private::write(&out.join("sbom.spdx.json"), &line(&sbom)?)?;
    }
    private::write(
        &out.join("images.yaml"),
        promoter(digest, recipe.tag).as_bytes(),
    )?;
    let sums = sums(out)?;
    let text: String = sums
        .iter()
        .map(|(name, digest)| format!("{}  {name}\n", digest.digits()))
        .collect();
    private::write(&out.join("SHA256SUMS"), text.as_bytes())?;
    Ok(Packed {
        digest,
        archive,
        sums,
    })
}

/// The entry of Kubernetes' image promoter: a digest and its tags.
fn promoter(digest: Digest, tag: &str) -> String {
    format!("- name: etcd\n  dmap:\n    \"{digest}\": [\"{tag}\"]\n")
}

/// A document on a line of its own.
fn line(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Writes a document as a blob.
fn put(blobs: &Path, media_type: &str, value: &impl Serialize) -> io::Result<Descriptor> {
    let bytes = serde_json::to_vec(value)?;
    let digest = Digest::of(&bytes);
    private::write(&blobs.join(digest.digits()), &bytes)?;
    Ok(Descriptor {
        media_type: media_type.to_owned(),
        digest: digest.to_string(),
        size: bytes.len() as u64,
        platform: None,
        annotations: None,
    })
}

/// Writes the layer as a blob; gives its descriptor and the digest of what is in it.
fn layer(recipe: &Recipe<'_>, blobs: &Path) -> io::Result<(Descriptor, Digest)> {
    let new = blobs.join("new");
    let stored = Hashing::new(BufWriter::new(private::create(&new)?));
    // No name and no time in the header of gzip: both are zero by default.
    let packed = flate2::GzBuilder::new()
        .mtime(0)
        .write(stored, flate2::Compression::new(LEVEL));
    let mut archive = tar::Writer::new(Hashing::new(packed), recipe.time);
    rootfs::write(&mut archive, recipe.binary)?;
    let (packed, diff_id, _) = archive.finish()?.finish();
    let (mut file, digest, size) = packed.finish()?.finish();
    file.flush()?;
    fs::rename(&new, blobs.join(digest.digits()))?;
    let descriptor = Descriptor {
        media_type: documents::LAYER.to_owned(),
        digest: digest.to_string(),
        size,
        platform: None,
        annotations: None,
    };
    Ok((descriptor, diff_id))
}

fn config(recipe: &Recipe<'_>, platform: &Platform, time: &str, diff_id: Digest) -> Config {
    let mut programs: Vec<String> = PROGRAMS
        .iter()
        .map(|name| format!("{name}={}", recipe.etcd))
        .collect();
    programs.push(format!("pintle={}", recipe.pintle));
    let mut labels = BTreeMap::from([
        (documents::PROGRAMS.to_owned(), programs.join(" ")),
        (documents::VERSION.to_owned(), recipe.tag.to_owned()),
        (
            "org.opencontainers.image.title".to_owned(),
            "Pintle".to_owned(),
        ),
        (
            "org.opencontainers.image.licenses".to_owned(),
            "Apache-2.0".to_owned(),
        ),
    ]);
    if let Some(revision) = recipe.revision {
        labels.insert(
            "org.opencontainers.image.revision".to_owned(),
            revision.to_owned(),
        );
    }
    let ports = ["2379/tcp", "2380/tcp"].map(|port| (port.to_owned(), serde_json::json!({})));
    Config {
        created: Some(time.to_owned()),
        platform: platform.clone(),
        config: Execution {
            exposed_ports: Some(BTreeMap::from(ports)),
            env: Some(vec!["PATH=/usr/local/bin".to_owned()]),
            entrypoint: None,
            cmd: Some(vec![format!("/{FOLDER}/etcd")]),
            working_dir: Some("/".to_owned()),
            labels: Some(labels),
        },
        rootfs: RootFs {
            kind: "layers".to_owned(),
            diff_ids: vec![diff_id],
        },
        history: vec![serde_json::json!({
            "created": time,
            "created_by": format!("packaging/build: pintle {} as etcd {}", recipe.pintle, recipe.etcd),
        })],
    }
}

/// The layout as an archive, together with what older container engines read.
fn archive_of(layout: &Path, docker: &[u8], time: u64, to: &Path) -> io::Result<()> {
    let mut archive = tar::Writer::new(BufWriter::new(private::create(to)?), time);
    let mut names = vec!["index.json".to_owned(), "oci-layout".to_owned()];
    for entry in fs::read_dir(layout.join(BLOBS))? {
        names.push(format!("{BLOBS}{}", entry?.file_name().to_string_lossy()));
    }
    names.sort();
    archive.directory("blobs", 0o755)?;
    archive.directory(BLOBS.trim_end_matches('/'), 0o755)?;
    for name in names {
        let file = File::open(layout.join(&name))?;
        archive.file(&name, 0o644, file.metadata()?.len(), file)?;
    }
    archive.file("manifest.json", 0o644, docker.len() as u64, docker)?;
    archive.finish()?.flush()
}

/// Every file below a folder and its digest, sorted by name.
fn sums(folder: &Path) -> io::Result<Vec<(String, Digest)>> {
    let (mut todo, mut sums) = (vec![String::new()], Vec::new());
    while let Some(below) = todo.pop() {
        for entry in fs::read_dir(folder.join(&below))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let name = match below.as_str() {
                "" => name,
                below => format!("{below}/{name}"),
            };
            if entry.file_type()?.is_dir() {
                todo.push(name);
                continue;
            }
            let mut hashing = Hashing::new(File::open(entry.path())?);
            io::copy(&mut hashing, &mut io::sink())?;
            let (_, digest, _) = hashing.finish();
            sums.push((name, digest));
        }
    }
    sums.sort();
    Ok(sums)
}
