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
    commands::status,
    driver::{Launch, Managed, Process, release},
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

    /// What is about to be put into the folder; [`StaticPods::written`] once it is.
    fn next(&self, member: &str) -> PathBuf {
        self.kept.join(format!("{member}.next.yaml"))
    }

    /// The text that `launch` leads to.
    fn text_of(&self, original: &Manifest, launch: &Launch) -> Outcome<String> {
        // Builds of Pintle have one name among the images; what was found tells which it was.
        let is_etcd = original.version().is_some_and(|tagged| tagged.major == 3);
        if launch.back && launch.pintle && !is_etcd {
            return Ok(original.text().to_owned());
        }
        let flags = &launch.flags;
        self.text(original, &launch.version, launch.pintle, flags)
    }

    /// What a start of `launch` takes, without writing anything.
    fn checked(&self, member: &str, launch: &Launch) -> Outcome<(Place, String)> {
        let place = self.known_place(member)?;
        self.check_folder(member, &place, &place.look()?)?;
        let text = self.text_of(&self.original(member)?, launch)?;
        Ok((place, text))
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
                    "--state {} is in the folder of the manifests: the kubelet would start what is kept there",
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
        let original = self.original(member)?;
        let ours = [self.written(member), self.next(member)];
        let is_ours = |path: &PathBuf| fs::read_to_string(path).is_ok_and(|t| t == *text);
        if text != original.text() && !ours.iter().any(is_ours) {
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

    fn directory(&self, member: &str) -> Option<PathBuf> {
        let found = self.members.iter().find(|m| m.name == member)?;
        if found.data_dir.is_some() || found.manifest.is_none() || found.reach.is_some() {
            return found.data_dir.clone();
        }
        let path = self.original(member).ok()?.value("data-dir");
        path.map(PathBuf::from).filter(|path| path.is_absolute())
    }

    fn ready_for(&self, member: &str, launch: &Launch) -> Outcome<()> {
        if self.place(member).is_none() {
            return Ok(());
        }
        let (_, text) = self.checked(member, launch)?;
        // What is there already needs no image in the file, nor does what was found.
        if launch.back || text == self.original(member)?.text() {
            return Ok(());
        }
        self.image(&launch.version, launch.pintle).map(drop)
    }

    fn is_same_build(&self, member: &str, launch: &Launch) -> bool {
        let Some(place) = self.place(member) else {
            return true;
        };
        let now = place.look().ok().and_then(|folder| folder.text);
        let original = self.original(member).ok();
        let wanted = original.and_then(|original| self.text_of(&original, launch).ok());
        now.zip(wanted).is_none_or(|(now, wanted)| now == wanted)
    }

    fn is_in_place(&self, member: &str, launch: &Launch) -> bool {
        let Some(place) = self.place(member) else {
            return true;
        };
        let text = place.look().ok().and_then(|folder| folder.text);
        let now = text.and_then(|text| Manifest::parse(&place.path, text).ok());
        now.is_some_and(|now| match now.version() {
            // A build of Pintle, or an image whose tag is no release.
            Some(tagged) if tagged.major == 3 => launch.pintle || tagged == launch.version,
            _ => true,
        })
    }

    fn prepare(&mut self, member: &str, launch: &Launch) -> Outcome<()> {
        let (place, text) = self.checked(member, launch)?;
        self.keep(member)?;
        let next = self.next(member);
        // A start that was killed has put it into the folder, and not gone on from there.
        let put = fs::read_to_string(&next).ok();
        if put.is_some() && put == place.look()?.text {
            let written = self.written(member);
            fs::rename(&next, &written).map_err(|e| Failure::io("rename", &next, &e))?;
        }
        put_here(&next, &text)?;
        place.stage(&text)
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

    fn replaces(&self, member: &str, launch: &Launch) -> bool {
        let Some(place) = self.place(member) else {
            return false;
        };
        let wanted = self.original(member).and_then(|o| self.text_of(&o, launch));
        match (place.look().map(|folder| folder.text), wanted) {
            (Ok(None), _) => false,
            (Ok(Some(now)), Ok(wanted)) => now != wanted,
            _ => true,
        }
    }

    async fn process(&self, member: &str) -> Process {
        let found = self.members.iter().find(|m| m.name == member);
        let line = found.map_or("", |managed| &managed.status);
        status(line, member, self.patience).await
    }

    async fn stop(&mut self, member: &str) -> Outcome<()> {
        let place = self.known_place(member)?;
        self.check_folder(member, &place, &place.look()?)?;
        place.take_out()?;
        let endpoint = self.members.iter().find(|m| m.name == member);
        let endpoint = endpoint.map_or(String::new(), |m| m.endpoint.clone());
        let (address, _) = inspect::parts(&endpoint)
            .ok_or_else(|| Failure::new(format!("{endpoint:?} is not the URL of a member")))?;
        let deadline = Instant::now() + self.patience;
        loop {
            let open = tokio::net::TcpStream::connect(address.as_str());
            match tokio::time::timeout(Duration::from_secs(1), open).await {
                // Nothing else says that no one listens: a name that is not resolved does not.
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

    async fn start(&mut self, member: &str, _launch: &Launch) -> Outcome<()> {
        self.known_place(member)?.put_staged()?;
        // Where that fails, the text is known as the one that was about to be put.
        let _ = fs::rename(self.next(member), self.written(member));
        Ok(())
    }

    fn restore(&mut self, member: &str) -> Outcome<bool> {
        self.known_place(member)?.put_back()
    }
}

fn digest(text: &str) -> String {
    inspect::hex(&Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Driver as _;

    /// A member that does not listen, with its manifest in a folder.
    fn pods(dir: &std::path::Path) -> StaticPods {
        let folder = dir.join("manifests");
        fs::create_dir_all(&folder).expect("a folder");
        let member = Managed {
            manifest: Some(folder.join("etcd.yaml")),
            // Nothing listens at the first port.
            ..Managed::at("a", "http://127.0.0.1:1")
        };
        StaticPods {
            members: vec![member],
            images: BTreeMap::from([("3.6.14".into(), "x/etcd:3.6.14-0@sha256:0".into())]),
            allow_unpinned: false,
            kept: dir.join("state/manifests"),
            patience: Duration::from_secs(20),
        }
    }

    const FOUND: &str = "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - command:\n    - etcd\n    - --name=a\n    - --data-dir=/d\n    image: x/etcd:3.5.30-0\n    name: etcd\n";

    fn launch() -> Launch {
        Launch::of(&Version::new(3, 6, 14), false)
    }

    fn in_folder(dir: &std::path::Path) -> Option<String> {
        fs::read_to_string(dir.join("manifests/etcd.yaml")).ok()
    }

    /// The first `calls` of those that an exchange makes.
    async fn exchange(pods: &mut StaticPods, launch: &Launch, calls: usize) {
        for call in 0..calls {
            match call {
                0 => pods.prepare("a", launch),
                1 => pods.stop("a").await,
                // Killed in the middle of the start.
                2 if calls == 3 => pods.known_place("a").and_then(|place| place.put_staged()),
                2 => Ok(()),
                _ => pods.start("a", launch).await,
            }
            .expect("done");
        }
    }

    #[test]
    fn an_exchange_that_is_killed_anywhere_goes_on_or_is_taken_back() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let back = Launch::back(&Version::new(3, 5, 30), false);
        for killed in 0..=4 {
            for (next, text) in [(launch(), "3.6.14-0@"), (back.clone(), "3.5.30-0\n")] {
                let dir = tempfile::tempdir().expect("a folder");
                pods(dir.path());
                fs::write(dir.path().join("manifests/etcd.yaml"), FOUND).expect("written");
                runtime.block_on(async {
                    exchange(&mut pods(dir.path()), &launch(), killed).await;
                    // Another process.
                    let mut pods = pods(dir.path());
                    pods.ready_for("a", &next).expect("ready");
                    exchange(&mut pods, &next, 4).await;
                });
                let now = in_folder(dir.path()).expect("a manifest");
                assert!(now.contains(text), "after {killed} calls: {now}");
                if next.back {
                    assert_eq!(now, FOUND);
                }
                let beside = fs::read_dir(dir.path()).expect("read").count();
                assert_eq!(beside, 2, "something was left next to the folder");
            }
        }
    }

    #[test]
    fn what_a_stop_took_out_comes_back_and_nothing_is_taken_out_without_room() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut pods = pods(dir.path());
        fs::write(dir.path().join("manifests/etcd.yaml"), FOUND).expect("written");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(exchange(&mut pods, &launch(), 2));
        assert_eq!(in_folder(dir.path()), None);
        assert!(pods.restore("a").expect("restored"));
        assert_eq!(in_folder(dir.path()).as_deref(), Some(FOUND));
        assert!(!pods.restore("a").expect("nothing is out"));
        // Where the state cannot be written, as on a full disk, nothing begins.
        fs::remove_dir_all(dir.path().join("state")).expect("removed");
        fs::write(dir.path().join("state"), "in the way").expect("written");
        assert!(pods.prepare("a", &launch()).is_err());
        assert_eq!(in_folder(dir.path()).as_deref(), Some(FOUND));
    }
}
