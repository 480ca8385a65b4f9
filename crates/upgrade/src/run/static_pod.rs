//! Members that the kubelet runs from static pod manifests. A member stops when
//! its manifest leaves the folder and starts when one comes into it. The manifest
//! as it was found is kept beside the journal with its digest, never in the
//! folder: the kubelet would start it too.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use cli::private;
use semver::Version;
use sha2::{Digest as _, Sha256};

use super::{
    driver::{Managed, release},
    place::{Folder, Place, folder_of, put_here},
};
use crate::{
    failure::{Failure, Outcome},
    inspect,
    manifest::{Manifest, diff, runs_etcd, tagged_version},
};

/// The driver `static-pod`.
#[derive(Debug)]
pub(crate) struct StaticPods {
    /// All members; those with a manifest can be driven from here.
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
    /// The manifest's place, if the member can be driven from here.
    fn place(&self, member: &str) -> Option<Place> {
        let found = self.members.iter().find(|m| m.name == member)?;
        Some(Place {
            path: found.manifest.clone()?,
            reach: found.reach.clone(),
            patience: self.patience,
        })
    }

    fn known_place(&self, member: &str) -> Outcome<Place> {
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

    /// The manifest that is kept, if its bytes are those that were found.
    fn kept(&self, member: &str) -> Outcome<Option<Manifest>> {
        let kept = self.before(member);
        if !kept.exists() {
            return Ok(None);
        }
        let manifest = Manifest::read(&kept)?;
        let sum = kept.with_extension("sha256");
        let noted = fs::read_to_string(&sum).map_err(|e| Failure::io("read", &sum, &e))?;
        match noted.split_whitespace().next() == Some(&digest(manifest.text())) {
            true => Ok(Some(manifest)),
            false => Err(Failure::new(format!(
                "{} is not the manifest that was found: its SHA-256 is not the one in {}; put the right one there before anything else",
                kept.display(),
                sum.display()
            ))),
        }
    }

    /// The manifest as this run found it.
    fn original(&self, member: &str) -> Outcome<Manifest> {
        if let Some(kept) = self.kept(member)? {
            return Ok(kept);
        }
        let place = self.known_place(member)?;
        let text = place.look()?.text.ok_or_else(|| {
            Failure::new(format!(
                "{}: no such file; it should be the manifest of {member}",
                place.words()
            ))
        })?;
        Manifest::parse(&place.path, text)
    }

    /// Keeps the manifest as it was found, with its digest.
    fn keep(&self, member: &str) -> Outcome<Manifest> {
        let found = self.original(member)?;
        let kept = self.before(member);
        if !kept.exists() {
            private::folder(&self.kept).map_err(|e| Failure::io("create", &self.kept, &e))?;
            let name = kept.file_name().unwrap_or_default().to_string_lossy();
            let line = format!("{}  {name}\n", digest(found.text()));
            put_here(&kept.with_extension("sha256"), &line)?;
            put_here(&kept, found.text())?;
        }
        Ok(found)
    }

    /// The text with which a member runs a release.
    fn text(
        &self,
        original: &Manifest,
        to: &Version,
        pintle: bool,
        flags: &[&str],
    ) -> Outcome<String> {
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
    fn check_folder(&self, member: &str, place: &Place, folder: &Folder) -> Outcome<()> {
        let refused = |why: String| Err(Failure::new(why));
        if folder.is_link {
            return refused(format!(
                "{} is a link: name the file that it leads to, and see that the kubelet reads that folder",
                place.words()
            ));
        }
        if !folder.writable {
            return refused(format!(
                "{}: nothing can be written into its folder; run this as root, on a file system that is not read-only",
                place.words()
            ));
        }
        if place.reach.is_none() {
            let at = folder_of(&place.path);
            let real = fs::canonicalize(at).map_err(|e| Failure::io("read", at, &e))?;
            let kept =
                std::path::absolute(&self.kept).map_err(|e| Failure::io("read", &self.kept, &e))?;
            // What does not exist yet lies where its first parent that does exist lies.
            let kept = kept.ancestors().find_map(|a| fs::canonicalize(a).ok());
            if kept.is_some_and(|kept| kept.starts_with(&real)) {
                return refused(format!(
                    "--state {} lies in the folder of the manifests: the kubelet would start what is kept there",
                    self.kept.display()
                ));
            }
        }
        for (name, text) in &folder.others {
            let path = folder_of(&place.path).join(name);
            if runs_etcd(text) {
                return refused(format!(
                    "{} runs an etcd too: the kubelet reads every file of the folder, whatever its name; move it out",
                    path.display()
                ));
            }
        }
        let Some(text) = &folder.text else {
            return Ok(());
        };
        let now = Manifest::parse(&place.path, text.clone())?;
        if let Some(name) = now.name()
            && name != member
        {
            return refused(format!(
                "{} is the manifest of member {name}, not of {member}",
                place.words()
            ));
        }
        let written = fs::read_to_string(self.written(member)).ok();
        let original = self.original(member)?;
        if text != original.text() && Some(text) != written.as_ref() {
            return refused(format!(
                "{} was changed since this run began, and not by it; put {} or {} back, or begin anew with another --state",
                place.words(),
                self.before(member).display(),
                self.written(member).display()
            ));
        }
        Ok(())
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
        self.check_folder(member, &place, &place.look()?)?;
        self.text(&self.original(member)?, to, pintle, &[])
            .map(drop)
    }

    fn preview(&self, member: &str, from: &Version, to: &Version, pintle: bool) -> Outcome<String> {
        let Some(place) = self.place(member) else {
            return Ok(String::new());
        };
        self.image(to, pintle)?;
        self.check_folder(member, &place, &place.look()?)?;
        let original = self.original(member)?;
        // Against the release before; where that has no image here, against what was found.
        let before = self
            .text(&original, from, false, &[])
            .unwrap_or_else(|_| original.text().to_owned());
        let after = self.text(&original, to, pintle, &[])?;
        let lines = diff(&before, &after);
        Ok(format!("{}\n{lines}", place.words()))
    }

    async fn stop(&mut self, member: &str) -> Outcome<()> {
        let place = self.known_place(member)?;
        let folder = place.look()?;
        self.check_folder(member, &place, &folder)?;
        if folder.text.is_some() {
            self.keep(member)?;
            place.take_out()?;
        }
        let endpoint = self.members.iter().find(|m| m.name == member);
        let endpoint = endpoint.map_or(String::new(), |m| m.endpoint.clone());
        let (address, _) = inspect::parts(&endpoint)
            .ok_or_else(|| Failure::new(format!("{endpoint:?} is not the URL of a member")))?;
        let deadline = Instant::now() + self.patience;
        loop {
            let open = tokio::net::TcpStream::connect(address.as_str());
            match tokio::time::timeout(Duration::from_secs(1), open).await {
                // Nothing else says that nobody listens: a name that is not resolved does not.
                Ok(Err(e)) if e.kind() == std::io::ErrorKind::ConnectionRefused => return Ok(()),
                _ if Instant::now() < deadline => tokio::time::sleep(POLL).await,
                Ok(Err(e)) => {
                    return Err(Failure::new(format!(
                        "{address}: {e}; so it cannot be seen whether {member} has stopped"
                    )));
                }
                _ => {
                    return Err(Failure::new(format!(
                        "{member} still listens on {address} {:?} after its manifest was taken out; is the kubelet running, and does it read {}?",
                        self.patience,
                        folder_of(&place.path).display()
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
        let original = self.keep(member)?;
        let text = self.text(&original, version, pintle, flags)?;
        put_here(&self.written(member), &text)?;
        self.known_place(member)?.put(&text)
    }

    async fn put_back(&mut self, member: &str, version: &Version, pintle: bool) -> Outcome<()> {
        let original = self.keep(member)?;
        // Builds of Pintle have one name among the images; what was found tells which it was.
        let is_etcd = original.version().is_some_and(|tagged| tagged.major == 3);
        if !pintle || is_etcd {
            return self.start(member, version, pintle, &[]).await;
        }
        put_here(&self.written(member), original.text())?;
        self.known_place(member)?.put(original.text())
    }
}

fn digest(text: &str) -> String {
    inspect::hex(&Sha256::digest(text.as_bytes()))
}
