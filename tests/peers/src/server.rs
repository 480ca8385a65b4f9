//! One running server process. Started on free ports of 127.0.0.1 with etcd's
//! own flags, waited for by asking it, ended by SIGTERM or SIGKILL, always
//! dead when its guard is dropped or the test process dies. It must never
//! wait without a deadline, and a failure shows the end of the log.

use std::{
    cell::RefCell,
    fs,
    net::TcpListener,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use proto::etcdserverpb::{MemberListRequest, StatusRequest};
use tempfile::TempDir;

use crate::{api::Api, http, peer::Program};

/// The advertised peer URL of every server here. Ids are hashes of it, so a
/// constant makes them equal on both sides of a comparison and across restarts
/// on other ports. No one dials it.
pub const PEER_URL: &str = "http://127.0.0.1:2";
/// The advertised client URL, constant for the same reason.
pub const CLIENT_URL: &str = "http://127.0.0.1:3";

const READY_WITHIN: Duration = Duration::from_secs(40);
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// What to start.
#[derive(Clone, Debug)]
pub struct Launch {
    program: Program,
    data_dir: PathBuf,
    flags: Vec<String>,
    env: Vec<(String, String)>,
    client_url: Option<String>,
    plain: bool,
    ports: Option<(u16, u16)>,
    label: Option<String>,
}

impl Launch {
    /// `program` on `data_dir` as the only member, named `m`.
    pub fn new(program: &Program, data_dir: &Path) -> Launch {
        Launch {
            program: program.clone(),
            data_dir: data_dir.to_owned(),
            flags: Vec::new(),
            env: Vec::new(),
            client_url: Some(CLIENT_URL.to_owned()),
            plain: false,
            ports: None,
            label: None,
        }
    }

    /// Adds one flag, e.g. `--snapshot-count=50`.
    pub fn flag(mut self, flag: &str) -> Launch {
        self.flags.push(flag.to_owned());
        self
    }

    /// Adds one environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Launch {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Advertises the URL the server really listens on, for clients that follow it.
    pub fn advertise_real(mut self) -> Launch {
        self.client_url = None;
        self
    }

    /// Passes the flags given here and nothing else.
    pub fn only_given_flags(mut self) -> Launch {
        self.plain = true;
        self
    }

    /// Says which client and peer port the given flags name, for [`Launch::only_given_flags`].
    pub fn ports(mut self, client: u16, peer: u16) -> Launch {
        self.ports = Some((client, peer));
        self
    }

    /// What the server is called in messages and logs, beside its program.
    pub fn label(mut self, label: &str) -> Launch {
        self.label = Some(label.to_owned());
        self
    }

    /// Starts the process and does not wait for it to serve.
    pub fn spawn(&self) -> Result<Server> {
        let (client_port, peer_port) = match self.ports {
            Some(ports) => ports,
            None => free_ports()?,
        };
        let logs = tempfile::Builder::new()
            .prefix("pintle-peers-log")
            .tempdir()?;
        let log = logs.path().join("log");
        let out = fs::File::create(&log)?;
        let mut command = Command::new(&self.program.path);
        command.args(&self.program.words);
        if !self.plain {
            let client = format!("http://127.0.0.1:{client_port}");
            let advertised = self.client_url.as_ref().unwrap_or(&client);
            command
                .arg("--name=m")
                .arg(format!("--data-dir={}", self.data_dir.display()))
                .arg(format!("--listen-client-urls={client}"))
                .arg(format!("--advertise-client-urls={advertised}"))
                .arg(format!("--listen-peer-urls=http://127.0.0.1:{peer_port}"))
                .arg(format!("--initial-advertise-peer-urls={PEER_URL}"))
                .arg(format!("--initial-cluster=m={PEER_URL}"))
                .arg("--initial-cluster-token=peers")
                .arg("--initial-cluster-state=new");
            // 3.4 would log in its old format otherwise.
            if self.program.version.starts_with("3.4.") {
                command.arg("--logger=zap");
            }
        }
        command
            .args(&self.flags)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.env.iter().cloned())
            .current_dir(logs.path())
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out);
        let child = spawn_bound(command)
            .with_context(|| format!("cannot start {}", self.program.path.display()))?;
        Ok(Server {
            api: Api::new(client_port),
            child,
            client_port,
            peer_port,
            name: match &self.label {
                Some(label) => format!("{label} ({})", self.program),
                None => self.program.to_string(),
            },
            is_pintle: self.program.is_pintle,
            announces: !self.program.version.starts_with("3.4."),
            exited: None,
            log,
            _logs: logs,
        })
    }

    /// Starts the process and waits until it serves.
    pub async fn start(&self) -> Result<Server> {
        for _ in 0..5 {
            let mut server = self.spawn()?;
            match server.ready().await {
                Ok(()) => return Ok(server),
                // Someone took the port between the probe and the start.
                Err(_) if server.log_text().contains("address already in use") => continue,
                Err(error) => return Err(error),
            }
        }
        bail!("no free port after 5 tries")
    }
}

/// A running (or ended) server.
pub struct Server {
    api: Api,
    child: Child,
    client_port: u16,
    peer_port: u16,
    name: String,
    is_pintle: bool,
    announces: bool,
    exited: Option<ExitStatus>,
    log: PathBuf,
    _logs: TempDir,
}

impl Server {
    /// A connection to this server.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// A new connection of its own.
    pub fn connect(&self) -> Api {
        Api::new(self.client_port)
    }

    /// The client port.
    pub fn port(&self) -> u16 {
        self.client_port
    }

    /// The peer port.
    pub fn peer_port(&self) -> u16 {
        self.peer_port
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has printed so far.
    pub fn log_text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last lines it printed.
    pub fn tail(&self) -> String {
        let text = self.log_text();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(15);
        let mut shown = format!("--- end of the log of {} ---\n", self.name);
        for line in &lines[from..] {
            shown.push_str(line.get(..400).unwrap_or(line));
            shown.push('\n');
        }
        shown
    }

    /// Waits until the server serves, knows its cluster version and has
    /// published its attributes: from there on nothing happens by itself.
    pub async fn ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if let Some(status) = self.poll_exit()? {
                bail!(
                    "{} ended before it served: {status}\n{}",
                    self.name,
                    self.tail()
                );
            }
            if self.is_ready().await {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{} does not serve after {READY_WITHIN:?}\n{}",
                self.name,
                self.tail()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn is_ready(&self) -> bool {
        // The line test frameworks wait for; 3.4 prints it only in its old log format.
        if self.announces && !self.log_text().contains("ready to serve client requests") {
            return false;
        }
        let status = match probe(self.api.status(StatusRequest {})).await {
            Ok(Ok(status)) => status,
            // Authentication is on. What its pages say has to do.
            Ok(Err(refused)) if refused.message() == "etcdserver: user name is empty" => {
                return self.page_has("/health", "\"true\"").await
                    && self.page_has("/version", "\"etcdcluster\":\"3.").await;
            }
            _ => return false,
        };
        if status.leader == 0 {
            return false;
        }
        let list = self
            .api
            .member_list(MemberListRequest { linearizable: true });
        let Ok(Ok(list)) = probe(list).await else {
            return false;
        };
        if !list
            .members
            .iter()
            .all(|m| !m.name.is_empty() && !m.client_ur_ls.is_empty())
        {
            return false;
        }
        match probe(http::send(self.client_port, "GET", "/version", "")).await {
            Ok(Ok(answer)) => !answer.text().contains("not_decided"),
            _ => false,
        }
    }

    async fn page_has(&self, path: &str, text: &str) -> bool {
        let page = probe(http::send(self.client_port, "GET", path, "")).await;
        matches!(page, Ok(Ok(answer)) if answer.text().contains(text))
    }

    /// Waits until the log contains `text`.
    pub async fn wait_log(&mut self, text: &str, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        while !self.log_text().contains(text) {
            if let Some(status) = self.poll_exit()? {
                bail!(
                    "{} ended ({status}) without logging {text:?}\n{}",
                    self.name,
                    self.tail()
                );
            }
            ensure!(
                Instant::now() < deadline,
                "{} did not log {text:?}\n{}",
                self.name,
                self.tail()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// The exit status if the process has ended.
    pub fn poll_exit(&mut self) -> Result<Option<ExitStatus>> {
        if self.exited.is_none() {
            self.exited = self.child.try_wait()?;
        }
        Ok(self.exited)
    }

    /// Waits for the process to end by itself.
    pub async fn wait_exit(&mut self, within: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.poll_exit()? {
                return Ok(status);
            }
            ensure!(
                Instant::now() < deadline,
                "{} did not end in {within:?}\n{}",
                self.name,
                self.tail()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// SIGTERM; the process must end by that signal or with code 0, and must not
    /// have panicked (real etcd under `ETCD_VERIFY=all` checks its files here).
    pub async fn terminate(mut self) -> Result<()> {
        self.signal(rustix::process::Signal::TERM)?;
        let status = self.wait_exit(STOP_WITHIN).await?;
        ensure!(
            status.signal() == Some(15) || status.code() == Some(0),
            "{} ended with {status} after SIGTERM\n{}",
            self.name,
            self.tail()
        );
        self.no_panic()
    }

    /// SIGKILL, and waits until the process is gone.
    pub async fn kill(mut self) -> Result<()> {
        if let Some(status) = self.poll_exit()? {
            bail!(
                "{} was dead before its SIGKILL: {status}\n{}",
                self.name,
                self.tail()
            );
        }
        self.signal(rustix::process::Signal::KILL)?;
        self.wait_exit(STOP_WITHIN).await?;
        self.no_panic()
    }

    /// Sends any signal.
    pub fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal)?;
        Ok(())
    }

    /// An error if the log holds the traces of a panic.
    pub fn no_panic(&self) -> Result<()> {
        let text = self.log_text();
        for trace in ["panicked at", "RUST_BACKTRACE", "panic:", "goroutine 1 ["] {
            ensure!(
                !text.contains(trace),
                "{} panicked\n{}",
                self.name,
                self.tail()
            );
        }
        Ok(())
    }

    /// Whether this process is Pintle.
    pub fn is_pintle(&self) -> bool {
        self.is_pintle
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.exited.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let tail = self.tail();
        keep_log(&self.log, &self.name);
        if std::thread::panicking() {
            eprintln!("{tail}");
        }
        LAST_LOGS.with_borrow_mut(|logs| {
            if logs.len() >= 6 {
                logs.remove(0);
            }
            logs.push(tail);
        });
    }
}

thread_local! {
    static LAST_LOGS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Starts a new list of log ends.
pub fn forget_logs() {
    LAST_LOGS.with_borrow_mut(Vec::clear);
}

/// The log ends of the last servers of this test, for its failure message.
pub fn last_logs() -> Vec<String> {
    LAST_LOGS.with_borrow(Clone::clone)
}

/// Copies a log to the directory `PINTLE_PEERS_LOGS`, if that is set, under
/// the name of the test, a running number and the server.
fn keep_log(log: &Path, name: &str) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let Some(dir) = std::env::var_os("PINTLE_PEERS_LOGS") else {
        return;
    };
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let test = std::thread::current().name().unwrap_or("test").to_owned();
    let file: String = format!("{test}-{number:03}-{name}")
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    let _ = fs::create_dir_all(&dir);
    let _ = fs::copy(log, Path::new(&dir).join(format!("{file}.log")));
}

async fn probe<T>(call: impl Future<Output = T>) -> Result<T, tokio::time::error::Elapsed> {
    tokio::time::timeout(Duration::from_secs(5), call).await
}

/// Two ports of 127.0.0.1 that were free a moment ago.
pub fn free_ports() -> Result<(u16, u16)> {
    let a = TcpListener::bind("127.0.0.1:0")?;
    let b = TcpListener::bind("127.0.0.1:0")?;
    Ok((a.local_addr()?.port(), b.local_addr()?.port()))
}

/// Starts a child that dies with this test process. The kernel ties the child
/// to the *thread* that made it, so one thread that never ends makes them all.
pub fn spawn_bound(command: Command) -> std::io::Result<Child> {
    type Job = (Command, mpsc::Sender<std::io::Result<Child>>);
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, answer) in jobs {
                // SAFETY: the closure runs between fork and exec and makes one
                // system call; it allocates nothing and takes no lock.
                unsafe {
                    command.pre_exec(|| {
                        rustix::process::set_parent_process_death_signal(Some(
                            rustix::process::Signal::KILL,
                        ))?;
                        Ok(())
                    });
                }
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (answer, result) = mpsc::channel();
    spawner
        .send((command, answer))
        .expect("the spawner thread lives as long as the process");
    result.recv().expect("the spawner thread answers every job")
}
