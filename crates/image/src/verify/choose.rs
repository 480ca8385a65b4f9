//! Which image of an archive a digest names. It must never take one that the
//! digest does not reach, and it reports those that are next to it.

use std::path::Path;

use serde::Serialize;

use crate::{
    Digest, Error,
    documents::{self, Config, Descriptor, DockerImage, Index, Manifest, Platform},
    store::{self, Store},
};

use super::documents::{blob, config, docker, manifest, same_size};

/// Indexes within indexes; two occur.
const DEPTH_MAX: u32 = 4;
/// Descriptors of an archive at most; an index of etcd has some ten.
const DESCRIPTORS_MAX: usize = 4096;

/// What an image is stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// A folder with `oci-layout`, `index.json` and `blobs`.
    OciFolder,
    /// The same as a tar archive.
    OciArchive,
    /// What `docker save` writes.
    DockerArchive,
    /// A tar archive that is both.
    OciAndDockerArchive,
}

/// What the pinned digest names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Names {
    /// An index of images for several platforms: what a tag of a registry names.
    Index,
    /// The manifest of one platform.
    Manifest,
    /// The config, which container engines call the image's ID.
    ImageId,
}

/// The image that was chosen.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) form: Form,
    pub(super) names: Names,
    pub(super) manifest: Option<Digest>,
    pub(super) document: Option<Manifest>,
    pub(super) config_digest: Digest,
    pub(super) config: Config,
    /// What `manifest.json` says of it.
    pub(super) docker: Option<DockerImage>,
    pub(super) other_platforms: Vec<(String, bool)>,
    pub(super) tags: Vec<String>,
    pub(super) unpinned: Vec<String>,
}

/// One thing that a layout's index reaches.
#[derive(Debug)]
struct Reached {
    digest: Digest,
    names: Names,
    platform: Option<Platform>,
    /// The indexes above it, from the top.
    under: Vec<Digest>,
    /// The config of a manifest that is here.
    config: Option<Digest>,
    tags: Vec<String>,
    present: bool,
}

/// Finds the image that `pin` names.
pub(super) fn choose(store: &Store, pin: Digest, wanted: &Platform) -> Result<Chosen, Error> {
    let is_oci = store.part("index.json").is_some();
    let is_docker = store.part("manifest.json").is_some();
    let form = match (is_oci, is_docker, store.part("oci-layout").is_some()) {
        (false, false, _) => {
            return Err(Error::not_an_image(
                &store.path,
                "it holds neither the index.json of an OCI layout nor the manifest.json of a docker archive",
            ));
        }
        (false, true, _) => Form::DockerArchive,
        (true, _, false) => {
            return Err(Error::not_an_image(
                &store.path,
                "it holds an index.json, but not the file oci-layout next to it",
            ));
        }
        (true, false, true) if store.path.is_dir() => Form::OciFolder,
        (true, false, true) => Form::OciArchive,
        (true, true, true) => Form::OciAndDockerArchive,
    };
    let images = match is_docker {
        true => docker(store)?,
        false => Vec::new(),
    };
    match is_oci {
        true => by_index(store, form, pin, wanted, images),
        false => by_docker(store, pin, wanted, images),
    }
}

/// A docker archive of the older kind: no manifest, so its ID is all it can be pinned by.
fn by_docker(
    store: &Store,
    pin: Digest,
    wanted: &Platform,
    images: Vec<DockerImage>,
) -> Result<Chosen, Error> {
    let (mut found, mut unpinned, mut chosen) = (Vec::new(), Vec::new(), None);
    for image in images {
        let part = store
            .part(&image.config)
            .ok_or_else(|| store::lacks(&image.config))?;
        found.push((
            "no manifest (docker saved it without), only the image ID".to_owned(),
            part.digest,
        ));
        match part.digest == pin && chosen.is_none() {
            true => chosen = Some(image),
            false => unpinned.push(format!("image ID {}", part.digest)),
        }
    }
    let Some(image) = chosen else {
        return Err(Error::WrongDigest { wanted: pin, found });
    };
    let config = config(store, &image.config)?;
    fits(&config, wanted)?;
    Ok(Chosen {
        form: Form::DockerArchive,
        names: Names::ImageId,
        manifest: None,
        document: None,
        config_digest: pin,
        config,
        tags: image.repo_tags.clone().unwrap_or_default(),
        docker: Some(image),
        other_platforms: Vec::new(),
        unpinned,
    })
}

fn by_index(
    store: &Store,
    form: Form,
    pin: Digest,
    wanted: &Platform,
    images: Vec<DockerImage>,
) -> Result<Chosen, Error> {
    layout(store)?;
    let mut reached = Vec::new();
    let top = store
        .part("index.json")
        .ok_or_else(|| store::lacks("index.json"))?;
    walk(store, "index.json", &[top.digest], &mut reached)?;

    let below = |one: &Reached| one.under.contains(&pin) || one.digest == pin;
    let by_id = |one: &Reached| one.config == Some(pin);
    let names = if pin == top.digest {
        Names::Index
    } else if let Some(one) = reached.iter().find(|one| one.digest == pin) {
        one.names
    } else if reached.iter().any(by_id) {
        Names::ImageId
    } else {
        let found = reached.iter().map(|one| {
            let what = match (one.names, &one.platform) {
                (Names::Index, _) => "the index".to_owned(),
                (_, Some(platform)) => format!("the manifest for {platform}"),
                (_, None) => "the manifest".to_owned(),
            };
            (what, one.digest)
        });
        return Err(Error::WrongDigest {
            wanted: pin,
            found: found.collect(),
        });
    };
    let vouched = |one: &Reached| below(one) || by_id(one);
    let manifests: Vec<&Reached> = reached
        .iter()
        .filter(|one| one.names == Names::Manifest && vouched(one))
        .collect();
    let one = pick(store, &manifests, wanted)?;
    let config_digest = one.config.ok_or_else(|| store::lacks(&blob(one.digest)))?;
    let document = manifest(store, &blob(one.digest))?;
    same_blob(store, &document.config)?;
    let config = config(store, &blob(config_digest))?;
    fits(&config, wanted)?;
    if let Some(said) = one
        .platform
        .as_ref()
        .filter(|said| **said != config.platform)
    {
        return Err(Error::Inconsistent(format!(
            "the index says that {} is for {said}, and its config says {}",
            one.digest, config.platform
        )));
    }
    let mut unpinned: Vec<String> = reached
        .iter()
        .filter(|one| !vouched(one) && !leads_to(one, &reached, &vouched))
        .map(|one| format!("{} {}", word(one.names), one.digest))
        .collect();
    let mut tags: Vec<String> = reached
        .iter()
        .filter(|one| vouched(one))
        .flat_map(|one| one.tags.iter().cloned())
        .collect();
    let mut docker = None;
    for image in images {
        let part = store
            .part(&image.config)
            .ok_or_else(|| store::lacks(&image.config))?;
        if part.digest == config_digest {
            tags.extend(image.repo_tags.iter().flatten().cloned());
            docker = Some(image);
        } else if !manifests.iter().any(|one| one.config == Some(part.digest)) {
            unpinned.push(format!(
                "image ID {} as {} in manifest.json",
                part.digest,
                image.repo_tags.unwrap_or_default().join(", ")
            ));
        }
    }
    tags.sort();
    tags.dedup();
    let other_platforms = manifests
        .iter()
        .filter(|other| other.digest != one.digest)
        .filter_map(|other| Some((other.platform.as_ref()?.to_string(), other.present)))
        .collect();
    Ok(Chosen {
        form,
        names,
        manifest: Some(one.digest),
        document: Some(document),
        config_digest,
        config,
        docker,
        other_platforms,
        tags,
        unpinned,
    })
}

fn word(names: Names) -> &'static str {
    match names {
        Names::Index => "index",
        Names::Manifest => "manifest",
        Names::ImageId => "image ID",
    }
}

/// Whether an index does no more than hold what the pin vouches for.
fn leads_to(index: &Reached, reached: &[Reached], vouched: &impl Fn(&Reached) -> bool) -> bool {
    let mut below = reached
        .iter()
        .filter(|one| one.under.contains(&index.digest))
        .peekable();
    index.names == Names::Index && below.peek().is_some() && below.all(vouched)
}

/// The version of the layout.
fn layout(store: &Store) -> Result<(), Error> {
    let bytes = store.document("oci-layout")?;
    let said: serde_json::Value = documents::read("oci-layout", &bytes)?;
    match said.get("imageLayoutVersion").and_then(|v| v.as_str()) {
        Some(version) if version.starts_with("1.") => Ok(()),
        version => Err(Error::not_an_image(
            Path::new(&store.path),
            format!("its oci-layout has version {version:?}; 1.0.0 is known"),
        )),
    }
}

/// Everything that an index reaches.
fn walk(
    store: &Store,
    name: &str,
    under: &[Digest],
    reached: &mut Vec<Reached>,
) -> Result<(), Error> {
    let index: Index = documents::read(name, &store.document(name)?)?;
    if index.schema_version != 2 {
        return Err(Error::Unsupported(format!(
            "{name} has version {} of its schema; 2 is read here",
            index.schema_version
        )));
    }
    if !index.media_type.is_empty() && !documents::is_index(&index.media_type) {
        return Err(Error::Inconsistent(format!(
            "{name} calls itself {:?} where an index is expected",
            index.media_type
        )));
    }
    for descriptor in &index.manifests {
        if reached.len() >= DESCRIPTORS_MAX {
            return Err(Error::TooLarge(format!(
                "its indexes list more than {DESCRIPTORS_MAX} manifests"
            )));
        }
        let digest = descriptor.digest()?;
        let name = blob(digest);
        let part = store.part(&name);
        if let Some(part) = part {
            same_size(&name, descriptor.size, part.size)?;
        }
        let names = match descriptor.media_type.as_str() {
            index if documents::is_index(index) => Names::Index,
            manifest if documents::is_manifest(manifest) => Names::Manifest,
            other => {
                return Err(Error::Unsupported(format!(
                    "{name} is of media type {other:?}; indexes and manifests of images are read here"
                )));
            }
        };
        let tags = [documents::IMAGE_NAME, documents::REF_NAME];
        let tags = tags.iter().filter_map(|tag| descriptor.annotation(tag));
        let mut one = Reached {
            digest,
            names,
            platform: descriptor.platform.clone(),
            under: under.to_vec(),
            config: None,
            tags: tags.map(str::to_owned).collect(),
            present: part.is_some(),
        };
        // One that is listed again is not read again.
        let before = reached.iter().find(|before| before.digest == digest);
        let again = before.is_some_and(|before| before.names == names);
        if let Some(before) = before.filter(|_| again) {
            one.config = before.config;
        } else if names == Names::Manifest && one.present {
            one.config = Some(manifest(store, &name)?.config.digest()?);
        }
        let down = (names == Names::Index && one.present && !again).then(|| {
            let mut under = under.to_vec();
            under.push(digest);
            under
        });
        reached.push(one);
        if let Some(under) = down {
            if under.len() as u32 > DEPTH_MAX {
                return Err(Error::TooLarge(format!(
                    "its indexes are nested more than {DEPTH_MAX} deep"
                )));
            }
            walk(store, &name, &under, reached)?;
        }
    }
    Ok(())
}

/// The manifest for a platform, among those that the pin vouches for.
fn pick<'a>(
    store: &Store,
    manifests: &[&'a Reached],
    wanted: &Platform,
) -> Result<&'a Reached, Error> {
    let mut platforms = Vec::new();
    for one in manifests {
        let platform = match (&one.platform, one.config) {
            (Some(platform), _) => platform.clone(),
            (None, Some(digest)) if store.part(&blob(digest)).is_some() => {
                config(store, &blob(digest))?.platform
            }
            _ => continue,
        };
        if platform == *wanted {
            return match one.present {
                true => Ok(one),
                false => Err(store::lacks(&blob(one.digest))),
            };
        }
        platforms.push(platform.to_string());
    }
    if manifests.is_empty() {
        return Err(Error::Damaged("the pinned index is missing".into()));
    }
    Err(Error::WrongPlatform {
        wanted: wanted.to_string(),
        found: match platforms.is_empty() {
            true => "none that it names".into(),
            false => platforms.join(", "),
        },
    })
}

fn same_blob(store: &Store, descriptor: &Descriptor) -> Result<(), Error> {
    let name = blob(descriptor.digest()?);
    let part = store.part(&name).ok_or_else(|| store::lacks(&name))?;
    same_size(&name, descriptor.size, part.size)
}

fn fits(config: &Config, wanted: &Platform) -> Result<(), Error> {
    match config.platform == *wanted {
        true => Ok(()),
        false => Err(Error::WrongPlatform {
            wanted: wanted.to_string(),
            found: config.platform.to_string(),
        }),
    }
}
