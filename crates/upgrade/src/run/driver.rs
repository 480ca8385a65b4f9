//! What stops and starts members. Commands of the operator's do it, static pod manifests,
//! or a rehearsal for its own processes.

use std::{collections::BTreeMap, path::PathBuf};

use semver::Version;
use serde::Deserialize;

use crate::failure::Outcome;

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
    /// Says whether its process runs: it ends with 0 if it does, with 3 if it does not, and
    /// with anything else where that is not known.
    #[serde(default)]
    pub(crate) status: String,
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

impl Managed {
    /// A member of which no more is known than where clients reach it.
    pub(crate) fn at(name: &str, endpoint: &str) -> Managed {
        Managed {
            name: name.to_owned(),
            endpoint: endpoint.to_owned(),
            stop: String::new(),
            start: String::new(),
            status: String::new(),
            manifest: None,
            reach: None,
            data_dir: None,
        }
    }
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

/// What is known of the process of a member by other means than asking the member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Process {
    /// Nothing.
    #[default]
    Unknown,
    /// It runs.
    Runs,
    /// There is none.
    Ended,
}

/// Stops and starts members.
pub(crate) trait Driver {
    /// All members, in no order.
    fn members(&self) -> Vec<Managed>;
    /// Releases that can be started, as far as that is known.
    fn available(&self) -> Vec<Version>;
    /// Whether it can stop and start this member; a run waits for the others.
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
    /// The commands that stop the member and start it like that, as they are carried out; none
    /// where it is not done by commands.
    fn commands(&self, _member: &str, _launch: &Launch) -> Vec<String> {
        Vec::new()
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
    /// Whether the member must not be left as it is: a signal does not end its step.
    fn is_in_hand(&self, _member: &str) -> bool {
        false
    }
    /// Whether a start of `launch` ends what may run in the place of `member`; else it does
    /// nothing to a member that runs.
    fn replaces(&self, _member: &str, _launch: &Launch) -> bool {
        false
    }
    /// What is known of the process of a member, wherever that is.
    async fn process(&self, _member: &str) -> Process {
        Process::Unknown
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
