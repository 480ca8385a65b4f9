//! How members are stopped and started: by commands of the operator's, or as
//! processes of a rehearsal.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use semver::Version;
use serde::Deserialize;
use tokio::process::Command;

use crate::failure::{Failure, Outcome};

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
}

/// Stops and starts members.
pub(crate) trait Driver {
    /// All members, in no order.
    fn members(&self) -> Vec<Managed>;
    /// Releases that can be started, as far as that is known.
    fn available(&self) -> Vec<Version>;
    /// Stops a member; one that does not run is stopped.
    async fn stop(&mut self, member: &str) -> Outcome<()>;
    /// Starts a member with a release, with further flags for this one start.
    async fn start(
        &mut self,
        member: &str,
        version: &Version,
        pintle: bool,
        flags: &[&str],
    ) -> Outcome<()>;
}

/// The members and their commands, from a file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Commands {
    /// All members.
    members: Vec<Managed>,
    /// Path of the binary for each release; `pintle` for Pintle.
    #[serde(default)]
    binaries: BTreeMap<String, PathBuf>,
    /// Limit for one command, in seconds.
    #[serde(default = "patience")]
    timeout_seconds: u64,
}

fn patience() -> u64 {
    120
}

impl Commands {
    /// Reads the file: JSON or YAML.
    pub(crate) fn read(path: &Path) -> Outcome<Commands> {
        let text = std::fs::read_to_string(path).map_err(|e| Failure::io("read", path, &e))?;
        let commands: Commands = yaml_serde::from_str(&text)
            .map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
        if commands.members.is_empty() {
            return Err(Failure::new(format!("{} names no members", path.display())));
        }
        for member in &commands.members {
            if member.stop.is_empty() || member.start.is_empty() {
                return Err(Failure::new(format!(
                    "{}: member {} needs the commands stop and start",
                    path.display(),
                    member.name
                )));
            }
        }
        Ok(commands)
    }

    /// Fails before anything is stopped if a binary that a step needs is not there.
    pub(crate) fn has_binary(&self, version: &Version, pintle: bool) -> Outcome<()> {
        if self.binaries.is_empty() {
            return Ok(());
        }
        let name = release(version, pintle);
        match self.binaries.get(&name) {
            Some(path) if path.is_file() => Ok(()),
            Some(path) => Err(Failure::new(format!("{}: no such file", path.display()))),
            None => Err(Failure::new(format!(
                "no binary is named for {name}, which the plan needs"
            ))),
        }
    }

    async fn shell(&self, line: &str, variables: &[(&str, String)]) -> Outcome<()> {
        let mut command = Command::new("/bin/sh");
        command
            .arg("-c")
            .arg(line)
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

    async fn stop(&mut self, member: &str) -> Outcome<()> {
        let line = self.find(member)?.stop.clone();
        self.shell(&line, &[("MEMBER", member.to_owned())]).await
    }

    async fn start(
        &mut self,
        member: &str,
        version: &Version,
        pintle: bool,
        flags: &[&str],
    ) -> Outcome<()> {
        let line = self.find(member)?.start.clone();
        let name = release(version, pintle);
        let binary = self.binaries.get(&name);
        let variables = [
            ("MEMBER", member.to_owned()),
            ("VERSION", name.clone()),
            (
                "BINARY",
                binary.map_or(String::new(), |path| path.display().to_string()),
            ),
            ("EXTRA_FLAGS", flags.join(" ")),
        ];
        self.shell(&line, &variables).await
    }
}
