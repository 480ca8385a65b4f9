//! A server that the generator starts itself: one member on free loopback
//! ports. It must never outlive its guard, and a start that fails shows the
//! end of the server's own log.

use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::closed;
use crate::grpc::Method;
use crate::net::{self, Pool};
use crate::process::{self, Usage};
use crate::wire;

/// A member that replays a large log may take this long.
const READY_WITHIN: Duration = Duration::from_secs(300);
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// Between two attempts to be answered; the error of a measured start.
const POLL: Duration = Duration::from_millis(2);

/// How much of a failed server's log is shown, in bytes.
const LOG_SHOWN: usize = 2000;

/// A log for its owner alone.
fn private(log: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(log)
}

/// A running server process; killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    begin: Instant,
    endpoint: String,
    log: PathBuf,
}

/// What a start took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Started {
    /// From the start of the process to the first linearizable answer.
    pub(crate) first_answer: Duration,
    /// What the process had used by then.
    pub(crate) usage: Usage,
}

impl Server {
    /// Starts `command`, whose client port is `endpoint`, and waits until it
    /// answers a linearizable read. Its output goes to the file `log`.
    pub(crate) fn start(command: &[String], endpoint: &str, log: &Path) -> Result<(Self, Started)> {
        let mut server = Self::launch(command, endpoint, log)?;
        let started = server.wait()?;
        Ok((server, started))
    }

    /// Starts `command` without waiting: a member of a cluster answers only
    /// when there is a majority of them.
    pub(crate) fn launch(command: &[String], endpoint: &str, log: &Path) -> Result<Self> {
        let (program, arguments) = command
            .split_first()
            .context("the start command is empty")?;
        if closed_port(endpoint).is_err() {
            bail!(
                "something already listens on {endpoint}; end it first, or its answers would be mistaken for the new server's"
            );
        }
        let output = private(log).with_context(|| format!("cannot write {}", log.display()))?;
        let begin = Instant::now();
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // Ctrl-C ends the generator, which then ends the server.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        Ok(Self {
            child,
            begin,
            endpoint: endpoint.to_owned(),
            log: log.to_owned(),
        })
    }

    /// Waits for the first linearizable answer.
    pub(crate) fn wait(&mut self) -> Result<Started> {
        loop {
            if self.answers() {
                break;
            }
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "the server ended ({status}) before it answered. The end of its log:\n{}",
                    self.log_end()
                );
            }
            if net::interrupted() {
                bail!("interrupted");
            }
            if self.begin.elapsed() > READY_WITHIN {
                bail!(
                    "the server has not answered for {} s. The end of its log:\n{}",
                    READY_WITHIN.as_secs(),
                    self.log_end()
                );
            }
            std::thread::sleep(POLL);
        }
        let first_answer = self.begin.elapsed();
        let usage = process::usage(self.pid()).context("the server ended at once")?;
        Ok(Started {
            first_answer,
            usage,
        })
    }

    fn answers(&self) -> bool {
        let Ok(mut pool) = Pool::connect(std::slice::from_ref(&self.endpoint), 1) else {
            return false;
        };
        let mut body = Vec::new();
        wire::range(
            wire::Range {
                key: b"health",
                limit: 1,
                ..wire::Range::default()
            },
            &mut body,
        );
        closed::once(&mut pool, Method::Range, &body).is_ok()
    }

    /// The process that serves: the one that listens on the port, where the command
    /// is only a wrapper of it.
    pub(crate) fn pid(&self) -> u32 {
        let address = net::resolve(&self.endpoint).ok();
        address
            .and_then(process::listener)
            .unwrap_or(self.child.id())
    }

    /// Ends it by SIGTERM and waits; returns how long that took.
    pub(crate) fn stop(mut self) -> Result<Duration> {
        let begin = Instant::now();
        signal(self.pid(), rustix::process::Signal::TERM);
        signal(self.child.id(), rustix::process::Signal::TERM);
        loop {
            if self.child.try_wait()?.is_some() {
                return Ok(begin.elapsed());
            }
            if begin.elapsed() > STOP_WITHIN {
                bail!(
                    "the server does not end within {} s of SIGTERM; it is killed",
                    STOP_WITHIN.as_secs()
                );
            }
            std::thread::sleep(POLL);
        }
    }

    /// The last lines that the server wrote.
    pub(crate) fn log_end(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&text[text.len().saturating_sub(LOG_SHOWN)..]).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    if let Some(pid) = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

fn closed_port(endpoint: &str) -> Result<(), ()> {
    let Ok(address) = net::resolve(endpoint) else {
        return Ok(());
    };
    match std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
        Ok(_) => Err(()),
        Err(_) => Ok(()),
    }
}

/// The flags of `count` members of one cluster on free loopback ports with their
/// data below `data`, each with its client endpoint.
pub(crate) fn member_flags(data: &Path, count: usize) -> Result<Vec<(Vec<String>, String)>> {
    // All are held until all are known, so that they differ.
    let ports = (0..2 * count)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<Vec<_>, _>>()?;
    let urls = ports
        .iter()
        .map(|port| Ok(format!("http://{}", port.local_addr()?)))
        .collect::<Result<Vec<_>>>()?;
    let cluster: Vec<String> = urls[count..]
        .iter()
        .enumerate()
        .map(|(i, peer)| format!("bench{i}={peer}"))
        .collect();
    let cluster = cluster.join(",");
    let members = urls[..count].iter().zip(&urls[count..]).enumerate();
    members
        .map(|(i, (client, peer))| {
            let name = format!("bench{i}");
            let data = data.join(&name);
            let data = data
                .to_str()
                .context("the data directory's name is not UTF-8")?;
            let flags = [
                ("--name", name.as_str()),
                ("--data-dir", data),
                ("--listen-client-urls", client),
                ("--advertise-client-urls", client),
                ("--listen-peer-urls", peer),
                ("--initial-advertise-peer-urls", peer),
                ("--initial-cluster", &cluster),
                ("--log-level", "warn"),
            ];
            let flags = flags
                .iter()
                .map(|(flag, value)| format!("{flag}={value}"))
                .collect();
            Ok((flags, client.clone()))
        })
        .collect()
}
