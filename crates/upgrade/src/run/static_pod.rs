//! Members that the kubelet runs from static pod manifests. A member stops when
//! its manifest leaves the folder and starts when one comes into it. The manifest
//! as it was found is kept beside the journal, never in the folder: the kubelet
//! would start it too. Whatever is written comes into place whole, by a rename.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use semver::Version;

use super::driver::{Managed, release};
use crate::{
    failure::{Failure, Outcome},
    manifest::{Manifest, tagged_version},
};

/// The driver `static-pod`.
#[derive(Debug)]
pub(crate) struct StaticPods {
    /// All members; those with a manifest are on this node.
    pub(crate) members: Vec<Managed>,
    /// Image with pinned digest for each release; `pintle` for Pintle.
    pub(crate) images: BTreeMap<String, String>,
    /// Images without a digest are taken too.
    pub(crate) allow_unpinned: bool,
    /// Where manifests are kept.
    pub(crate) kept: PathBuf,
    /// Limit for the kubelet to stop a member.
    pub(crate) patience: Duration,
}

/// How often a member that stops is looked at.
const POLL: Duration = Duration::from_millis(200);

impl StaticPods {
    /// The manifest's place, if the member is on this node.
    fn place(&self, member: &str) -> Option<&Path> {
        let found = self.members.iter().find(|m| m.name == member)?;
        found.manifest.as_deref()
    }

    fn local(&self, member: &str) -> Outcome<&Path> {
        self.place(member).ok_or_else(|| {
            Failure::new(format!(
                "the manifest of member {member} is not on this node"
            ))
        })
    }

    fn before(&self, member: &str) -> PathBuf {
        self.kept.join(format!("{member}.before.yaml"))
    }

    fn written(&self, member: &str) -> PathBuf {
        self.kept.join(format!("{member}.written.yaml"))
    }

    /// The manifest as this run found it, kept now if it was not before.
    fn original(&self, member: &str) -> Outcome<Manifest> {
        let kept = self.before(member);
        if kept.exists() {
            return Manifest::read(&kept);
        }
        let found = Manifest::read(self.local(member)?)?;
        fs::create_dir_all(&self.kept).map_err(|e| Failure::io("create", &self.kept, &e))?;
        put_in_place(&kept, found.text())?;
        Ok(found)
    }

    /// The text with which a member runs a release.
    fn text(&self, member: &str, to: &Version, pintle: bool, flags: &[&str]) -> Outcome<String> {
        let original = self.original(member)?;
        // The way back is the file itself, byte for byte.
        if !pintle && flags.is_empty() && original.version().as_ref() == Some(to) {
            return Ok(original.text().to_owned());
        }
        let image = match self.image(to, pintle) {
            // The release that runs now needs no image in the file.
            Err(_) if original.version().as_ref() == Some(to) => original.image().to_owned(),
            image => image?,
        };
        Ok(original.edited(&image, to, pintle, flags)?.text)
    }

    fn image(&self, version: &Version, pintle: bool) -> Outcome<String> {
        let name = release(version, pintle);
        let image = self.images.get(&name).ok_or_else(|| {
            Failure::new(format!(
                "no image is named for {name}, which the plan needs"
            ))
        })?;
        if !image.contains("@sha256:") && !self.allow_unpinned {
            return Err(Failure::new(format!(
                "image {image} has no digest: name it as TAG@sha256:..., or set allow_unpinned"
            )));
        }
        if !pintle
            && let Some(tagged) = tagged_version(image)
            && tagged != *version
        {
            return Err(Failure::new(format!(
                "the image for {name} has the tag of {tagged}: {image}"
            )));
        }
        Ok(image.clone())
    }

    /// What would go wrong with the folder of a manifest.
    fn check_folder(&self, manifest: &Path) -> Outcome<()> {
        let folder = folder_of(manifest);
        let failed = |e: std::io::Error| Failure::io("read", manifest, &e);
        if fs::symlink_metadata(manifest)
            .map_err(failed)?
            .file_type()
            .is_symlink()
        {
            return Err(Failure::new(format!(
                "{} is a link: name the file that it leads to, and see that the kubelet reads that folder",
                manifest.display()
            )));
        }
        let real = fs::canonicalize(folder).map_err(|e| Failure::io("read", folder, &e))?;
        fs::create_dir_all(&self.kept).map_err(|e| Failure::io("create", &self.kept, &e))?;
        let kept = fs::canonicalize(&self.kept).map_err(|e| Failure::io("read", &self.kept, &e))?;
        if kept.starts_with(&real) {
            return Err(Failure::new(format!(
                "--state {} lies in the folder of the manifests: the kubelet would start what is kept there",
                self.kept.display()
            )));
        }
        for entry in fs::read_dir(folder).map_err(|e| Failure::io("read", folder, &e))? {
            let path = entry.map_err(|e| Failure::io("read", folder, &e))?.path();
            let hidden = path
                .file_name()
                .is_some_and(|n| n.to_string_lossy().starts_with('.'));
            if hidden || path.file_name() == manifest.file_name() || !path.is_file() {
                continue;
            }
            if Manifest::read(&path).is_ok() {
                return Err(Failure::new(format!(
                    "{} runs an etcd too: the kubelet reads every file of the folder, whatever its name; move it out",
                    path.display()
                )));
            }
        }
        let probe = hidden_name(manifest);
        fs::write(&probe, "")
            .and_then(|()| fs::remove_file(&probe))
            .map_err(|e| Failure::io("write", folder, &e))
    }
}

impl super::Driver for StaticPods {
    fn members(&self) -> Vec<Managed> {
        self.members.clone()
    }

    fn available(&self) -> Vec<Version> {
        let names = self.images.keys();
        names.filter_map(|name| Version::parse(name).ok()).collect()
    }

    fn manages(&self, member: &str) -> bool {
        self.place(member).is_some()
    }

    fn ready_for(&self, member: &str, to: &Version, pintle: bool) -> Outcome<()> {
        let Some(place) = self.place(member) else {
            return Ok(());
        };
        self.image(to, pintle)?;
        if place.exists() {
            self.check_folder(place)?;
        }
        self.text(member, to, pintle, &[]).map(drop)
    }

    fn preview(&self, member: &str, to: &Version, pintle: bool) -> Outcome<String> {
        let Some(place) = self.place(member) else {
            return Ok(String::new());
        };
        let kept = self.before(member);
        let original = Manifest::read(if kept.exists() { &kept } else { place })?;
        let image = self.image(to, pintle)?;
        Ok(original.edited(&image, to, pintle, &[])?.diff())
    }

    async fn stop(&mut self, member: &str) -> Outcome<()> {
        let place = self.local(member)?.to_owned();
        if place.exists() {
            self.check_folder(&place)?;
            let now = Manifest::read(&place)?;
            let original = self.original(member)?;
            let written = fs::read_to_string(self.written(member)).ok();
            if now.text() != original.text() && Some(now.text()) != written.as_deref() {
                return Err(Failure::new(format!(
                    "{} was changed since this run began, and not by it; put {} or {} back, or begin anew with another --state",
                    place.display(),
                    self.before(member).display(),
                    self.written(member).display()
                )));
            }
            fs::remove_file(&place).map_err(|e| Failure::io("remove", &place, &e))?;
            sync_folder(&place)?;
        }
        let endpoint = self.members.iter().find(|m| m.name == member);
        let endpoint = endpoint.map_or(String::new(), |m| m.endpoint.clone());
        let address = address_of(&endpoint)
            .ok_or_else(|| Failure::new(format!("{endpoint:?} is not the URL of a member")))?;
        let deadline = Instant::now() + self.patience;
        loop {
            let open = tokio::net::TcpStream::connect(address.as_str());
            match tokio::time::timeout(Duration::from_secs(1), open).await {
                Ok(Err(_)) => return Ok(()),
                _ if Instant::now() < deadline => tokio::time::sleep(POLL).await,
                _ => {
                    return Err(Failure::new(format!(
                        "{member} still listens on {address} {:?} after its manifest was taken out; is the kubelet running, and does it read {}?",
                        self.patience,
                        folder_of(&place).display()
                    )));
                }
            }
        }
    }

    async fn start(
        &mut self,
        member: &str,
        version: &Version,
        pintle: bool,
        flags: &[&str],
    ) -> Outcome<()> {
        let text = self.text(member, version, pintle, flags)?;
        let place = self.local(member)?.to_owned();
        put_in_place(&self.written(member), &text)?;
        put_in_place(&place, &text)
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A name in the same folder that the kubelet passes over.
fn hidden_name(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    folder_of(path).join(format!(".{name}.pintle"))
}

/// Writes a file whole: beside its place, durable, then renamed.
fn put_in_place(path: &Path, text: &str) -> Outcome<()> {
    let beside = hidden_name(path);
    let failed = |e: std::io::Error| Failure::io("write", path, &e);
    let mut file = {
        use std::os::unix::fs::OpenOptionsExt as _;
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)
            .map_err(failed)?
    };
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&beside, path))
        .map_err(failed)?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> Outcome<()> {
    let folder = folder_of(path);
    fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| Failure::io("sync", folder, &e))
}

/// Host and port of a URL.
fn address_of(endpoint: &str) -> Option<String> {
    let rest = endpoint
        .split_once("://")
        .map_or(endpoint, |(_, rest)| rest);
    let address = rest.split('/').next()?;
    let (host, port) = address.rsplit_once(':')?;
    (!host.is_empty() && port.parse::<u16>().is_ok()).then(|| address.to_owned())
}
