//! `etcdctl` runs and their output, normalised so that runs against two
//! servers can be compared. What is masked: the endpoint's address, durations,
//! lease ids a server picked (kept apart from each other), sizes, raft's index
//! and term, the server's own version; and the client's own log lines on
//! stderr are dropped. Nothing else may be.

use std::{io::ErrorKind, path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
    time::timeout,
};

use crate::peer;

/// An `etcdctl`.
#[derive(Clone, Debug)]
pub struct Ctl {
    path: PathBuf,
    /// The release it comes from.
    pub version: String,
}

/// One line of a script.
#[derive(Clone, Debug)]
pub struct Line {
    /// Arguments separated by spaces, after variables like `ETCDCTL_USER=u`; `{L}` is the lease
    /// granted last.
    pub args: &'static str,
    /// What goes to its standard input.
    pub stdin: &'static str,
    /// Stop it after so many lines of output (for commands that do not end).
    pub lines: Option<usize>,
}

/// A command that ends by itself and reads nothing.
pub const fn line(args: &'static str) -> Line {
    Line {
        args,
        stdin: "",
        lines: None,
    }
}

/// What a run gave, already normalised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The exit code; `None` if it was stopped.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ctl {
    /// The `etcdctl` of a release, or `None` after a `SKIP:` line.
    pub fn of(version: &str) -> Option<Ctl> {
        let path = peer::tool(version, "etcdctl")?;
        Some(Ctl {
            path,
            version: version.to_owned(),
        })
    }

    /// Any program that answers to `etcdctl`'s arguments.
    pub fn at(path: PathBuf, version: &str) -> Ctl {
        Ctl {
            path,
            version: version.to_owned(),
        }
    }

    /// Runs the lines in order against one server.
    pub async fn script(&self, port: u16, lines: &[Line]) -> Result<Vec<Outcome>> {
        let dir = tempfile::tempdir()?;
        let mut lease = String::from("0");
        let mut leases = Vec::new();
        let mut outcomes = Vec::new();
        for line in lines {
            let args: Vec<String> = line
                .args
                .split(' ')
                .map(|a| {
                    a.replace("{L}", &lease)
                        .replace("{DIR}", &dir.path().display().to_string())
                })
                .collect();
            let raw = self
                .run(port, &args, line)
                .await
                .with_context(|| format!("etcdctl {} {}", self.version, line.args))?;
            if let Some(id) = granted(&raw.stdout) {
                lease = id.clone();
                leases.push(id);
            }
            let clean = |text: &str| {
                normalise(text, port, &leases).replace(&dir.path().display().to_string(), "DIR")
            };
            outcomes.push(Outcome {
                code: raw.code,
                stdout: clean(&raw.stdout),
                stderr: clean(&raw.stderr),
            });
        }
        Ok(outcomes)
    }

    async fn run(&self, port: u16, args: &[String], line: &Line) -> Result<Outcome> {
        let is_variable = |arg: &&String| arg.starts_with("ETCDCTL_");
        let (variables, words) = args.split_at(args.iter().take_while(is_variable).count());
        let mut command = Command::new(&self.path);
        command
            .env_clear()
            .env("ETCDCTL_API", "3")
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .arg(format!("--endpoints=127.0.0.1:{port}"))
            .args(words)
            .envs(variables.iter().filter_map(|one| one.split_once('=')))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let mut stdin = child.stdin.take().context("stdin")?;
        match stdin.write_all(line.stdin.as_bytes()).await {
            // It had ended before it read anything: what it printed says why.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            written => written?,
        }
        drop(stdin);
        const WITHIN: Duration = Duration::from_secs(25);
        let Some(lines) = line.lines else {
            let out = timeout(WITHIN, child.wait_with_output())
                .await
                .context("it does not end")??;
            return Ok(Outcome {
                code: out.status.code(),
                stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
                stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
            });
        };
        let mut out = child.stdout.take().context("stdout")?;
        let mut bytes = Vec::new();
        while bytes.iter().filter(|b| **b == b'\n').count() < lines {
            let n = timeout(WITHIN, out.read_buf(&mut bytes))
                .await
                .context("too few lines")??;
            ensure!(
                n > 0,
                "it ended after {:?}",
                String::from_utf8_lossy(&bytes)
            );
        }
        child.kill().await?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let kept: Vec<&str> = text.lines().take(lines).collect();
        Ok(Outcome {
            code: None,
            stdout: kept.join("\n"),
            stderr: String::new(),
        })
    }
}

/// The hexadecimal id in `lease <id> granted with TTL(..)`.
fn granted(stdout: &str) -> Option<String> {
    let (id, _) = stdout
        .strip_prefix("lease ")?
        .split_once(" granted with TTL(")?;
    (!stdout.contains("remaining(")).then(|| id.to_owned())
}

fn normalise(text: &str, port: u16, leases: &[String]) -> String {
    let mut text = text
        .lines()
        .filter(|l| !l.starts_with("{\"level\":"))
        .collect::<Vec<_>>()
        .join("\n")
        .replace(&format!("127.0.0.1:{port}"), "ENDPOINT");
    for (i, id) in leases.iter().enumerate() {
        text = text.replace(id, &format!("LEASE{i}"));
        if let Ok(number) = u64::from_str_radix(id, 16) {
            text = text.replace(&number.to_string(), &format!("LEASE{i}"));
        }
    }
    for marker in [
        "\"dbSize\":",
        "\"dbSizeInUse\":",
        "\"raftIndex\":",
        "\"raftAppliedIndex\":",
        "\"raft_term\":",
        "\"raftTerm\":",
        "\"RaftTerm\" : ",
        "\"RaftIndex\" : ",
        "\"RaftAppliedIndex\" : ",
        "\"DBSize\" : ",
        "took = ",
        "\"took\":\"",
        "\"Took\" : \"",
        "\"version\":\"",
        "\"Version\" : \"",
        "remaining(",
        "\"ttl\":",
        "\"totalSize\":",
        "\"hash\":",
        "\"TTL\" : ",
        ", took ",
    ] {
        text = masked(&text, marker);
    }
    text
}

/// Replaces the word that follows each `marker` by `N`, except that HashKV's
/// hash stays: it must be equal.
fn masked(text: &str, marker: &str) -> String {
    if marker == "\"hash\":" && text.contains("HashKV") {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(marker) {
        out.push_str(&rest[..at + marker.len()]);
        rest = &rest[at + marker.len()..];
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == 'µ'))
            .unwrap_or(rest.len());
        out.push('N');
        rest = &rest[end..];
    }
    out + rest
}
