//! Members that commands of the operator's stop and start.

use std::{collections::BTreeMap, path::PathBuf, process::Stdio, time::Duration};

use semver::Version;
use tokio::process::Command;

use super::driver::{Driver, Launch, Managed, Process, release, versions};
use crate::failure::{Failure, Outcome};

/// Members that commands of the operator's stop and start.
#[derive(Debug)]
pub(crate) struct Commands {
    /// All members.
    pub(super) members: Vec<Managed>,
    /// Path of the binary for each release; `pintle` for Pintle.
    pub(super) binaries: BTreeMap<String, PathBuf>,
    /// Limit for one command, in seconds.
    pub(super) timeout_seconds: u64,
}

/// How a status command ends where there is no process, as `systemctl is-active` does.
const NOT_RUNNING: i32 = 3;

/// What the operator's command `line` says of a member.
pub(super) async fn status(line: &str, member: &str, limit: Duration) -> Process {
    if line.is_empty() {
        return Process::Unknown;
    }
    let variables = [("MEMBER", member.to_owned())];
    match shell(line, &variables, limit).await.map(|s| s.code()) {
        Ok(Some(0)) => Process::Runs,
        Ok(Some(NOT_RUNNING)) => Process::Ended,
        _ => Process::Unknown,
    }
}

/// Runs a command of the operator's to its end.
async fn shell(
    line: &str,
    variables: &[(&str, String)],
    limit: Duration,
) -> Outcome<std::process::ExitStatus> {
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
    tokio::time::timeout(limit, command.status())
        .await
        .map_err(|_| Failure::new(format!("not finished after {limit:?}: {line}")))?
        .map_err(|e| Failure::new(format!("{line}: {e}")))
}

impl Commands {
    async fn shell(&self, line: &str, variables: &[(&str, String)]) -> Outcome<()> {
        let limit = Duration::from_secs(self.timeout_seconds);
        let status = shell(line, variables, limit).await?;
        match status.success() {
            true => Ok(()),
            false => Err(Failure::new(format!(
                "{}: {status}",
                filled(line, variables)
            ))),
        }
    }

    /// What the command that starts `member` is told.
    fn variables(&self, member: &str, launch: &Launch) -> [(&'static str, String); 4] {
        let name = release(&launch.version, launch.pintle);
        let binary = self.binaries.get(&name);
        let binary = binary.map_or(String::new(), |path| path.display().to_string());
        [
            ("MEMBER", member.to_owned()),
            ("VERSION", name),
            ("BINARY", binary),
            ("EXTRA_FLAGS", launch.flags.join(" ")),
        ]
    }

    fn find(&self, member: &str) -> Outcome<&Managed> {
        let found = self.members.iter().find(|m| m.name == member);
        found.ok_or_else(|| Failure::new(format!("no commands are given for member {member}")))
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

    async fn process(&self, member: &str) -> Process {
        let line = self.find(member).map_or("", |managed| &managed.status);
        let limit = Duration::from_secs(self.timeout_seconds);
        status(line, member, limit).await
    }

    async fn stop(&mut self, member: &str) -> Outcome<()> {
        let line = self.find(member)?.stop.clone();
        self.shell(&line, &[("MEMBER", member.to_owned())]).await
    }

    async fn start(&mut self, member: &str, launch: &Launch) -> Outcome<()> {
        let line = self.find(member)?.start.clone();
        self.shell(&line, &self.variables(member, launch)).await
    }

    fn commands(&self, member: &str, launch: &Launch) -> Vec<String> {
        let Ok(managed) = self.find(member) else {
            return Vec::new();
        };
        let variables = self.variables(member, launch);
        [("stop", &managed.stop), ("start", &managed.start)]
            .map(|(what, line)| format!("{what}: {}", filled(line, &variables)))
            .into()
    }
}

/// A command line with the variables that it is told in their places, for a person to proofread.
/// The shell reads the line itself; other variables stay.
fn filled(line: &str, variables: &[(&str, String)]) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let inner = after.strip_prefix('{').unwrap_or(after);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = inner.find(|c| !is_name(c)).unwrap_or(inner.len());
        let (name, tail) = inner.split_at(end);
        let braced = inner.len() != after.len();
        let tail = match braced {
            true => tail.strip_prefix('}'),
            false => Some(tail),
        };
        match (variables.iter().find(|(known, _)| *known == name), tail) {
            (Some((_, value)), Some(tail)) => {
                out.push_str(value);
                rest = tail;
            }
            _ => {
                out.push('$');
                rest = after;
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_with_their_variables_filled_in() {
        let managed = Managed {
            stop: "ssh $MEMBER stop".into(),
            start: "ssh ${MEMBER} start $VERSION $BINARY [$EXTRA_FLAGS] $HOME $VERSIONS ${X} $"
                .into(),
            ..Managed::at("n1", "")
        };
        let commands = Commands {
            members: vec![managed],
            binaries: BTreeMap::from([("3.6.14".to_owned(), "/opt/etcd".into())]),
            timeout_seconds: 1,
        };
        let mut launch = Launch::of(&Version::new(3, 6, 14), false);
        launch.flags = vec!["--snapshot-count=1000"];
        assert_eq!(
            commands.commands("n1", &launch),
            [
                "stop: ssh n1 stop",
                "start: ssh n1 start 3.6.14 /opt/etcd [--snapshot-count=1000] $HOME $VERSIONS ${X} $",
            ]
        );
    }
}
