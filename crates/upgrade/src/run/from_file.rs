//! The file of members, and the driver that it asks for.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use semver::Version;
use serde::Deserialize;

use super::{
    commands::Commands,
    driver::{Driver, Launch, Managed, Process},
    static_pod::StaticPods,
};
use crate::{
    failure::{Failure, Outcome},
    target,
};

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
                target::release(name).map_err(|e| wrong(&e.to_string()))?;
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

    fn commands(&self, member: &str, launch: &Launch) -> Vec<String> {
        match self {
            FromFile::Commands(driver) => driver.commands(member, launch),
            FromFile::StaticPods(driver) => driver.commands(member, launch),
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

    fn replaces(&self, member: &str, launch: &Launch) -> bool {
        match self {
            FromFile::Commands(driver) => driver.replaces(member, launch),
            FromFile::StaticPods(driver) => driver.replaces(member, launch),
        }
    }

    async fn process(&self, member: &str) -> Process {
        match self {
            FromFile::Commands(driver) => driver.process(member).await,
            FromFile::StaticPods(driver) => driver.process(member).await,
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

fn patience() -> u64 {
    120
}
