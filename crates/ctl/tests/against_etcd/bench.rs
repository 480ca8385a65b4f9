//! Real binaries, servers and processes. Everything started here is ended
//! here, and only that.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::cases::Case;

/// The etcd that serves.
pub(crate) const SERVER_VERSION: &str = "3.5.30";
/// Nothing here takes longer unless it hangs.
const DEADLINE: Duration = Duration::from_secs(20);

/// The folder of real binaries.
pub(crate) struct Peers(PathBuf);

impl Peers {
    /// The folder, if it has the server and these versions of etcdctl;
    /// otherwise says on stderr that nothing was compared, and why.
    pub(crate) fn find(versions: &[&str]) -> Option<Self> {
        let folder = std::env::var_os("PINTLE_PEERS").map_or_else(
            || {
                let home = std::env::var_os("HOME").unwrap_or_default();
                PathBuf::from(home).join(".cache/pintle-peers")
            },
            PathBuf::from,
        );
        let peers = Self(folder);
        for version in versions.iter().chain([&SERVER_VERSION]) {
            for program in ["etcd", "etcdctl"] {
                let binary = peers.binary(version, program);
                if !binary.is_file() {
                    // Past the capture of test output: a skip must be seen.
                    let _ = writeln!(
                        std::io::stderr(),
                        "SKIPPED, nothing compared: no {} (set PINTLE_PEERS)",
                        binary.display()
                    );
                    return None;
                }
            }
        }
        Some(peers)
    }

    pub(crate) fn binary(&self, version: &str, program: &str) -> PathBuf {
        self.0.join(version).join(program)
    }
}

/// The example of this crate, which cargo builds beside its tests.
pub(crate) fn our_etcdctl() -> PathBuf {
    let test = std::env::current_exe().expect("the test has a path");
    let target = test
        .ancestors()
        .nth(2)
        .expect("the test is in target/<profile>/deps");
    let binary = target.join("examples/etcdctl");
    let changed = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
    let built = changed(&binary);
    for folder in ["src", "src/output", "src/spec", "src/check", "../cli/src"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for source in fs::read_dir(folder)
            .expect("the sources are here")
            .flatten()
        {
            // `cargo test --test` builds no examples.
            assert!(
                built >= changed(&source.path()),
                "{} is older than {}: run cargo build --example etcdctl first",
                binary.display(),
                source.path().display()
            );
        }
    }
    binary
}

/// A client port and a peer port that were free a moment ago.
pub(crate) fn free_ports() -> (u16, u16) {
    let listen = || TcpListener::bind("127.0.0.1:0").expect("a free port");
    let (client, peer) = (listen(), listen());
    let port = |listener: &TcpListener| listener.local_addr().expect("bound").port();
    (port(&client), port(&peer))
}

/// A running etcd with one member; ends with this value.
pub(crate) struct Server {
    process: Child,
    /// Removed at the end.
    root: PathBuf,
    pub(crate) endpoint: String,
    /// Accepts, because the kernel does, and never answers.
    silent: TcpListener,
}

impl Server {
    pub(crate) fn start(peers: &Peers, flags: &[String], (client, peer): (u16, u16)) -> Self {
        let root = std::env::temp_dir().join(format!("ctl-against-etcd-{client}-{peer}"));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("files")).expect("a directory for the server");
        let (client_url, peer_url) = (
            format!("http://127.0.0.1:{client}"),
            format!("http://127.0.0.1:{peer}"),
        );
        let log = File::create(root.join("log")).expect("a log file");
        let process = Command::new(peers.binary(SERVER_VERSION, "etcd"))
            .args([
                "--name",
                "m1",
                "--heartbeat-interval=50",
                "--election-timeout=300",
            ])
            .arg("--data-dir")
            .arg(root.join("data"))
            .args(["--listen-client-urls", &client_url])
            .args(["--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", &peer_url])
            .args(["--initial-advertise-peer-urls", &peer_url])
            .args(["--initial-cluster", &format!("m1={peer_url}")])
            .args(flags)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("etcd starts");
        let server = Self {
            process,
            root,
            endpoint: format!("127.0.0.1:{client}"),
            silent: TcpListener::bind("127.0.0.1:0").expect("a free port"),
        };
        // This line comes after the member knows its cluster's version, so
        // nothing of its own is proposed later.
        for message in [
            "ready to serve client requests",
            "cluster version is updated",
        ] {
            let log = server.root.join("log");
            until::is(message, || {
                fs::read_to_string(&log)
                    .unwrap_or_default()
                    .contains(message)
            });
        }
        server
    }

    /// An empty directory for the files of commands.
    pub(crate) fn directory(&self) -> PathBuf {
        self.root.join("files")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// How a command ended.
pub(crate) struct Outcome {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// `None` for a command that was ended after its lines.
    pub(crate) code: Option<i32>,
    pub(crate) lease: String,
    pub(crate) directory: PathBuf,
}

pub(crate) fn run(case: &Case, etcdctl: &Path, server: &Server, lease: &str) -> Outcome {
    let directory = server.directory();
    let silent = server.silent.local_addr().expect("bound").to_string();
    let fill = |word: &str| {
        word.replace("$EP", &server.endpoint)
            .replace("$SILENT", &silent)
            .replace("$L", lease)
            .replace("$DIR", &directory.to_string_lossy())
    };
    let mut command = Command::new(etcdctl);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ETCDCTL_") {
            command.env_remove(name);
        }
    }
    for (name, value) in &case.environment {
        command.env(name, fill(value));
    }
    if !case.bare {
        command.args(["--endpoints", &server.endpoint]);
    }
    let mut process = command
        .args(case.words.iter().map(|word| fill(word)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("etcdctl starts");
    let mut stdin = process.stdin.take();
    if let (Some(pipe), Some(text)) = (stdin.as_mut(), &case.stdin) {
        // A command that does not read its stdin may be gone by now.
        let _ = pipe.write_all(text);
    }
    if case.lines.is_none() {
        stdin = None;
    }
    let stdout = process.stdout.take().expect("piped");
    let mut stderr = process.stderr.take().expect("piped");
    let errors = thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stderr.read_to_end(&mut bytes);
        bytes
    });
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = Vec::new();
        while stdout
            .read_until(b'\n', &mut line)
            .is_ok_and(|read| read > 0)
        {
            if sender.send(std::mem::take(&mut line)).is_err() {
                return;
            }
        }
    });
    let mut output = Vec::new();
    let mut seen = 0;
    let deadline = Instant::now() + DEADLINE;
    let wanted = case.lines.unwrap_or(usize::MAX);
    while seen < wanted {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => output.extend(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                output.extend_from_slice(b"(did not end)");
                break;
            }
        }
        seen += 1;
    }
    if case.lines.is_some() || Instant::now() >= deadline {
        let _ = process.kill();
    }
    drop(stdin);
    let status = process.wait().expect("etcdctl ends");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Outcome {
        stdout: text(output),
        stderr: text(errors.join().expect("stderr was read")),
        code: status.code().filter(|_| case.lines.is_none()),
        lease: lease.to_owned(),
        directory,
    }
}
