//! How members are stopped and started: by commands of the operator's, by static
//! pod manifests, or as processes of a rehearsal.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use semver::Version;
use serde::Deserialize;
use tokio::process::Command;

use super::static_pod::StaticPods;
use crate::{
    failure::{Failure, Outcome},
    target,
};

/// One member, as a driver knows it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Managed {
    /// Its name in the cluster.
    pub(crate) name: String,
    /// Where clients reach it.
    pub(crate) endpoint: String,
    /// Stops it and returns when it has ended.
    #[serde(default)]
    pub(crate) stop: String,
    /// Starts it and returns; which release is told by variables.
    #[serde(default)]
    pub(crate) start: String,
    /// Its static pod manifest, if it can be reached from this node.
    #[serde(default)]
    pub(crate) manifest: Option<PathBuf>,
    /// What stands before a command for it to run on the node of the manifest, as
    /// `ssh cp2 --`; without it the manifest is on this node.
    #[serde(default)]
    pub(crate) reach: Option<String>,
    /// Its data directory, if it can be read from here: what a member that does not
    /// answer can be started with is told by nothing else.
    #[serde(default)]
    pub(crate) data_dir: Option<PathBuf>,
}

/// What a member is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Launch {
    /// The release.
    pub(crate) version: Version,
    /// Whether that is Pintle.
    pub(crate) pintle: bool,
    /// Further flags, for this one start.
    pub(crate) flags: Vec<&'static str>,
    /// Whether it is what the member ran before the run.
    pub(crate) back: bool,
}

impl Launch {
    /// A release with the flags that a member has.
    pub(crate) fn of(version: &Version, pintle: bool) -> Launch {
        Launch {
            version: version.clone(),
            pintle,
            flags: Vec::new(),
            back: false,
        }
    }

    /// The same as what the member ran before the run.
    pub(crate) fn back(version: &Version, pintle: bool) -> Launch {
        Launch {
            back: true,
            ..Launch::of(version, pintle)
        }
    }
}

/// Stops and starts members.
pub(crate) trait Driver {
    /// All members, in no order.
    fn members(&self) -> Vec<Managed>;
    /// Releases that can be started, as far as that is known.
    fn available(&self) -> Vec<Version>;
    /// Whether it can stop and start this member; others are waited for.
    fn manages(&self, _member: &str) -> bool {
        true
    }
    /// Whether it changes the flags of a member to those that a release knows.
    fn edits_flags(&self) -> bool {
        false
    }
    /// The data directory of a member, if it can be read from here.
    fn directory(&self, _member: &str) -> Option<PathBuf> {
        None
    }
    /// Fails, before anything is stopped, if a member could not be started like that.
    fn ready_for(&self, member: &str, launch: &Launch) -> Outcome<()>;
    /// What would be changed for that, in words; empty if nothing is written.
    fn preview(
        &self,
        _member: &str,
        _from: &Version,
        _to: &Version,
        _pintle: bool,
    ) -> Outcome<String> {
        Ok(String::new())
    }
    /// Writes all that a start takes, while the member still runs: between its stop
    /// and its start nothing must be left that a full disk could hold up.
    fn prepare(&mut self, _member: &str, _launch: &Launch) -> Outcome<()> {
        Ok(())
    }
    /// Whether `launch` starts the very build that the member has, as far as that can be
    /// told: by their versions alone two builds of one release are the same.
    fn is_same_build(&self, _member: &str, _launch: &Launch) -> bool {
        true
    }
    /// Whether what makes the member run, and run again, leads to this release: its
    /// process may have outlived that.
    fn is_in_place(&self, _member: &str, _launch: &Launch) -> bool {
        true
    }
    /// Stops a member; one that does not run is stopped.
    async fn stop(&mut self, member: &str) -> Outcome<()>;
    /// Starts a member.
    async fn start(&mut self, member: &str, launch: &Launch) -> Outcome<()>;
    /// After a stop or a start that failed: puts back what the stop took out. Returns
    /// whether there was such a thing.
    fn restore(&mut self, _member: &str) -> Outcome<bool> {
        Ok(false)
    }
}

/// How members are stopped and started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    /// By commands of the operator's.
    #[default]
    Command,
    /// By manifests that the kubelet reads.
    StaticPod,
}

/// The file of members.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    driver: Kind,
    members: Vec<Managed>,
    #[serde(default)]
    binaries: BTreeMap<String, PathBuf>,
    #[serde(default)]
    images: BTreeMap<String, String>,
    #[serde(default)]
    allow_unpinned: bool,
    #[serde(default = "patience")]
    timeout_seconds: u64,
}

/// The driver that a file of members asks for.
#[derive(Debug)]
pub(crate) enum FromFile {
    /// By commands.
    Commands(Commands),
    /// By manifests.
    StaticPods(StaticPods),
}

impl FromFile {
    /// Reads the file: JSON or YAML. `state` is the folder of the journal. With
    /// `only_here` members that a command reaches are left to their own nodes.
    pub(crate) fn read(path: &Path, state: &Path, only_here: bool) -> Outcome<FromFile> {
        let text = std::fs::read_to_string(path).map_err(|e| Failure::io("read", path, &e))?;
        let wrong = |why: &str| Failure::new(format!("{}: {why}", path.display()));
        let mut file: File = yaml_serde::from_str(&text).map_err(|e| wrong(&e.to_string()))?;
        if file.members.is_empty() {
            return Err(wrong("it names no members"));
        }
        for name in file.binaries.keys().chain(file.images.keys()) {
            if name != "pintle" {
                target::release(name).map_err(|why| wrong(&why))?;
            }
        }
        if let Some(lost) = file
            .members
            .iter()
            .find(|m| m.reach.is_some() && m.manifest.is_none())
        {
            return Err(wrong(&format!(
                "member {} has `reach` and no manifest that it leads to",
                lost.name
            )));
        }
        if only_here {
            for member in &mut file.members {
                member.manifest.take_if(|_| member.reach.is_some());
            }
        }
        match file.driver {
            Kind::Command if only_here => Err(wrong(
                "--only-this-node is for the driver static-pod; commands reach every node",
            )),
            Kind::Command => {
                for member in &file.members {
                    if member.stop.is_empty() || member.start.is_empty() {
                        return Err(wrong(&format!(
                            "member {} needs the commands stop and start",
                            member.name
                        )));
                    }
                }
                Ok(FromFile::Commands(Commands {
                    members: file.members,
                    binaries: file.binaries,
                    timeout_seconds: file.timeout_seconds,
                }))
            }
            Kind::StaticPod => {
                if file.members.iter().all(|member| member.manifest.is_none()) {
                    return Err(wrong(
                        "no member has a manifest on this node: manifest: /etc/kubernetes/manifests/etcd.yaml",
                    ));
                }
                Ok(FromFile::StaticPods(StaticPods {
                    members: file.members,
                    images: file.images,
                    allow_unpinned: file.allow_unpinned,
                    kept: state.join("manifests"),
                    patience: Duration::from_secs(file.timeout_seconds),
                }))
            }
        }
    }
}

impl Driver for FromFile {
    fn members(&self) -> Vec<Managed> {
        match self {
            FromFile::Commands(driver) => driver.members(),
            FromFile::StaticPods(driver) => driver.members(),
        }
    }

    fn available(&self) -> Vec<Version> {
        match self {
            FromFile::Commands(driver) => driver.available(),
            FromFile::StaticPods(driver) => driver.available(),
        }
    }

    fn edits_flags(&self) -> bool {
        matches!(self, FromFile::StaticPods(_))
    }

    fn manages(&self, member: &str) -> bool {
        match self {
            FromFile::Commands(driver) => driver.manages(member),
            FromFile::StaticPods(driver) => driver.manages(member),
        }
    }

    fn directory(&self, member: &str) -> Option<PathBuf> {
        match self {
            FromFile::Commands(driver) => driver.directory(member),
            FromFile::StaticPods(driver) => driver.directory(member),
        }
    }

    fn ready_for(&self, member: &str, launch: &Launch) -> Outcome<()> {
        match self {
            FromFile::Commands(driver) => driver.ready_for(member, launch),
            FromFile::StaticPods(driver) => driver.ready_for(member, launch),
        }
    }

    fn preview(&self, member: &str, from: &Version, to: &Version, pintle: bool) -> Outcome<String> {
        match self {
            FromFile::Commands(driver) => driver.preview(member, from, to, pintle),
            FromFile::StaticPods(driver) => driver.preview(member, from, to, pintle),
        }
    }

    fn is_same_build(&self, member: &str, launch: &Launch) -> bool {
        match self {
            FromFile::Commands(driver) => driver.is_same_build(member, launch),
            FromFile::StaticPods(driver) => driver.is_same_build(member, launch),
        }
    }

    fn is_in_place(&self, member: &str, launch: &Launch) -> bool {
        match self {
            FromFile::Commands(driver) => driver.is_in_place(member, launch),
            FromFile::StaticPods(driver) => driver.is_in_place(member, launch),
        }
    }

    fn prepare(&mut self, member: &str, launch: &Launch) -> Outcome<()> {
        match self {
            FromFile::Commands(driver) => driver.prepare(member, launch),
            FromFile::StaticPods(driver) => driver.prepare(member, launch),
        }
    }

    async fn stop(&mut self, member: &str) -> Outcome<()> {
        match self {
            FromFile::Commands(driver) => driver.stop(member).await,
            FromFile::StaticPods(driver) => driver.stop(member).await,
        }
    }

    async fn start(&mut self, member: &str, launch: &Launch) -> Outcome<()> {
        match self {
            FromFile::Commands(driver) => driver.start(member, launch).await,
            FromFile::StaticPods(driver) => driver.start(member, launch).await,
        }
    }

    fn restore(&mut self, member: &str) -> Outcome<bool> {
        match self {
            FromFile::Commands(driver) => driver.restore(member),
            FromFile::StaticPods(driver) => driver.restore(member),
        }
    }
}

/// Members that commands of the operator's stop and start.
#[derive(Debug)]
pub(crate) struct Commands {
    /// All members.
    members: Vec<Managed>,
    /// Path of the binary for each release; `pintle` for Pintle.
    binaries: BTreeMap<String, PathBuf>,
    /// Limit for one command, in seconds.
    timeout_seconds: u64,
}

fn patience() -> u64 {
    120
}

impl Commands {
    async fn shell(&self, line: &str, variables: &[(&str, String)]) -> Outcome<()> {
        let mut command = Command::new("/bin/sh");
        command
            .arg("-c")
            .arg(line)
            // A signal to this process and its group, as of a key pressed here or of a service
            // manager, must not end a command between stop and start. Nor may the command
            // ignore signals instead: what it starts would inherit that.
            .process_group(0)
            .envs(variables.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let limit = Duration::from_secs(self.timeout_seconds);
        let status = tokio::time::timeout(limit, command.status())
            .await
            .map_err(|_| Failure::new(format!("not finished after {limit:?}: {line}")))?
            .map_err(|e| Failure::new(format!("{line}: {e}")))?;
        match status.success() {
            true => Ok(()),
            false => Err(Failure::new(format!("{line}: {status}"))),
        }
    }

    fn find(&self, member: &str) -> Outcome<&Managed> {
        let found = self.members.iter().find(|m| m.name == member);
        found.ok_or_else(|| Failure::new(format!("no commands are given for member {member}")))
    }
}

/// The etcd releases among binaries.
pub(crate) fn versions(binaries: &BTreeMap<String, PathBuf>) -> Vec<Version> {
    let names = binaries.keys();
    names.filter_map(|name| Version::parse(name).ok()).collect()
}

/// How a release is called among the binaries.
pub(crate) fn release(version: &Version, pintle: bool) -> String {
    match pintle {
        true => "pintle".into(),
        false => version.to_string(),
    }
}

impl Driver for Commands {
    fn members(&self) -> Vec<Managed> {
        self.members.clone()
    }

    fn available(&self) -> Vec<Version> {
        versions(&self.binaries)
    }

    fn directory(&self, member: &str) -> Option<PathBuf> {
        self.find(member).ok()?.data_dir.clone()
    }

    fn ready_for(&self, _member: &str, launch: &Launch) -> Outcome<()> {
        if self.binaries.is_empty() {
            return Ok(());
        }
        let name = release(&launch.version, launch.pintle);
        let Some(path) = self.binaries.get(&name) else {
            return Err(Failure::new(format!(
                "no binary is named for {name}, which the plan needs"
            )));
        };
        let shown = path.display();
        if !path.is_file() {
            return Err(Failure::new(format!("{shown}: no such file")));
        }
        match rustix::fs::access(path, rustix::fs::Access::EXEC_OK) {
            Ok(()) => Ok(()),
            Err(_) => Err(Failure::new(format!("{shown}: not executable"))),
        }
    }

    async fn stop(&mut self, member: &str) -> Outcome<()> {
        let line = self.find(member)?.stop.clone();
        self.shell(&line, &[("MEMBER", member.to_owned())]).await
    }

    async fn start(&mut self, member: &str, launch: &Launch) -> Outcome<()> {
        let line = self.find(member)?.start.clone();
        let name = release(&launch.version, launch.pintle);
        let binary = self.binaries.get(&name);
        let variables = [
            ("MEMBER", member.to_owned()),
            ("VERSION", name.clone()),
            (
                "BINARY",
                binary.map_or(String::new(), |path| path.display().to_string()),
            ),
            ("EXTRA_FLAGS", launch.flags.join(" ")),
        ];
        self.shell(&line, &variables).await
    }
}
