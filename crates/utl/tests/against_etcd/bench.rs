//! Real releases, data directories and runs of both tools. Everything started
//! here is ended here, and only that.

use std::{
    fs::{self, File},
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use bolt::Db;

/// The folder of real releases.
pub(crate) struct Peers(PathBuf);

impl Peers {
    /// The folder, if it has these releases; otherwise says on stderr that
    /// nothing was compared, and why.
    pub(crate) fn find(versions: &[&str]) -> Option<Self> {
        let folder = std::env::var_os("PINTLE_PEERS").map_or_else(
            || {
                let home = std::env::var_os("HOME").unwrap_or_default();
                PathBuf::from(home).join(".cache/pintle-peers")
            },
            PathBuf::from,
        );
        let peers = Self(folder);
        for version in versions {
            for program in ["etcd", "etcdctl", "etcdutl"] {
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

    /// Runs a tool that must succeed; gives what it printed.
    pub(crate) fn tool(&self, version: &str, program: &str, words: &[&str]) -> String {
        let out = Command::new(self.binary(version, program))
            .args(words)
            .output()
            .expect("the tool starts");
        assert!(out.status.success(), "{program} {words:?}: {out:?}");
        String::from_utf8_lossy(&out.stdout).into_owned()
    }
}

/// The example of this crate, which cargo builds beside its tests.
fn our_etcdutl() -> PathBuf {
    let test = std::env::current_exe().expect("the test has a path");
    let target = test
        .ancestors()
        .nth(2)
        .expect("the test is in target/<profile>/deps");
    let binary = target.join("examples/etcdutl");
    let changed = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
    let built = changed(&binary);
    for folder in [
        "src",
        "src/migrate",
        "../cli/src",
        "../wal/src",
        "../bolt/src",
    ] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for source in fs::read_dir(folder)
            .expect("the sources are here")
            .flatten()
            .filter(|entry| entry.file_name() != "tests.rs" && entry.path().is_file())
        {
            // `cargo test --test` builds no examples.
            assert!(
                built >= changed(&source.path()),
                "{} is older than {}: run cargo build --example etcdutl first",
                binary.display(),
                source.path().display()
            );
        }
    }
    binary
}

/// Whose `etcdutl migrate` runs.
#[derive(Clone, Copy)]
pub(crate) enum Who<'a> {
    Ours,
    Real(&'a Peers, &'a str),
}

/// What a run of `etcdutl migrate` said.
#[derive(Debug, PartialEq)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    /// Log lines as level, message and fields; then the error. What bbolt logs
    /// and Go's stack traces are left out.
    pub(crate) stderr: Vec<String>,
}

impl Said {
    /// Takes out our warnings of what etcdutl leaves for the start to find.
    pub(crate) fn take_warnings(&mut self) -> Vec<String> {
        let ours = |line: &String| line.starts_with("warn\tetcd ");
        let (warnings, rest) = self.stderr.drain(..).partition(ours);
        self.stderr = rest;
        warnings
    }
}

/// Runs `etcdutl migrate` with these words, in the directory that holds `data`.
pub(crate) fn migrate(who: Who<'_>, home: &Path, words: &[&str]) -> Said {
    let out = raw(who, home, words);
    let mut stderr = Vec::new();
    for line in String::from_utf8_lossy(&out.stderr).lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields[..] {
            [_, _, "bbolt", ..] => {}
            [time, level, _, ref rest @ ..] if time.ends_with('Z') => {
                stderr.push(format!("{level}\t{}", rest.join("\t")));
            }
            _ if line.starts_with("Error:") => stderr.push(line.to_owned()),
            _ => {}
        }
    }
    Said {
        code: out.status.code(),
        stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
        stderr,
    }
}

/// The same, as it is.
pub(crate) fn raw(who: Who<'_>, home: &Path, words: &[&str]) -> Output {
    let binary = match who {
        Who::Ours => our_etcdutl(),
        Who::Real(peers, version) => peers.binary(version, "etcdutl"),
    };
    Command::new(binary)
        .arg("migrate")
        .args(words)
        .current_dir(home)
        .stdin(Stdio::null())
        .output()
        .expect("etcdutl starts")
}

/// Copies a data directory; what is preallocated stays a hole.
pub(crate) fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let done = Command::new("cp")
        .args(["-a", "--sparse=always"])
        .args([from, to])
        .status()
        .expect("cp starts");
    assert!(done.success());
}

/// One record: its bucket, key and value.
pub(crate) type Record = (Vec<u8>, Vec<u8>, Vec<u8>);

/// Every record of a directory's database.
pub(crate) fn records(data_dir: &Path) -> Vec<Record> {
    let options = bolt::Options {
        read_only: true,
        ..bolt::Options::default()
    };
    let db = Db::open(&data_dir.join("member/snap/db"), options).expect("a database");
    let tx = db.begin_read();
    let mut found = Vec::new();
    for name in tx.buckets() {
        let name = name.unwrap();
        let bucket = tx.bucket(name).unwrap().expect("it was listed");
        let mut cursor = bucket.cursor();
        let mut pair = cursor.first().unwrap();
        while let Some((key, value)) = pair {
            found.push((name.to_vec(), key.to_vec(), value.to_vec()));
            pair = cursor.next().unwrap();
        }
    }
    found
}

/// Every file below a directory but the database, with its content.
pub(crate) fn other_files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    fn visit(dir: &Path, root: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
        for entry in fs::read_dir(dir).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                visit(&path, root, found);
            } else if !path.ends_with("snap/db") {
                let content = fs::read(&path).expect("a file");
                found.push((path.strip_prefix(root).expect("below").into(), content));
            }
        }
    }
    let mut found = Vec::new();
    visit(dir, dir, &mut found);
    found.sort();
    found
}

/// A running etcd with one member; ends with this value.
pub(crate) struct Server<'a> {
    peers: &'a Peers,
    version: &'a str,
    process: Child,
    log: PathBuf,
    endpoint: String,
}

/// The peer URL of every directory here. No one dials it.
pub(crate) const PEER_URL: &str = "http://127.0.0.1:2";

impl<'a> Server<'a> {
    /// Starts a release; `None` if it ends before it serves.
    pub(crate) fn start(
        peers: &'a Peers,
        version: &'a str,
        data_dir: &Path,
        flags: &[&str],
    ) -> Option<Self> {
        loop {
            let mut server = Self::spawn(peers, version, data_dir, flags);
            if server.serves() {
                return Some(server);
            }
            // Someone took the port between the probe and the start.
            if !server.log_text().contains("address already in use") {
                return None;
            }
        }
    }

    fn spawn(peers: &'a Peers, version: &'a str, data_dir: &Path, flags: &[&str]) -> Self {
        let listen = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (client, peer) = (listen(), listen());
        let port = |listener: &TcpListener| listener.local_addr().expect("bound").port();
        let (client_port, peer_port) = (port(&client), port(&peer));
        drop((client, peer));
        let endpoint = format!("127.0.0.1:{client_port}");
        let client_url = format!("http://{endpoint}");
        let log = data_dir.with_extension("log");
        let process = Command::new(peers.binary(version, "etcd"))
            .args(["--name", "m", "--heartbeat-interval=50"])
            .args(["--election-timeout=300", "--unsafe-no-fsync"])
            .arg("--data-dir")
            .arg(data_dir)
            .args(["--listen-client-urls", &client_url])
            .args(["--advertise-client-urls", &client_url])
            .args([
                "--listen-peer-urls",
                &format!("http://127.0.0.1:{peer_port}"),
            ])
            .args(["--initial-advertise-peer-urls", PEER_URL])
            .args(["--initial-cluster", &format!("m={PEER_URL}")])
            .args(flags)
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a log file"))
            .spawn()
            .expect("etcd starts");
        Self {
            peers,
            version,
            process,
            log,
            endpoint,
        }
    }

    /// Waits until it serves; false if it ends before.
    fn serves(&mut self) -> bool {
        // A log that the release cannot read ends it only after its port is open.
        until::found("etcd serves, or ends", || {
            if self.answers() {
                return Some(true);
            }
            let has_ended = self.process.try_wait().expect("its state").is_some();
            has_ended.then_some(false)
        })
    }

    fn answers(&self) -> bool {
        Command::new(self.peers.binary(self.version, "etcdctl"))
            .args(["--endpoints", &self.endpoint, "get", "x"])
            .output()
            .is_ok_and(|out| out.status.success())
    }

    pub(crate) fn ctl(&self, words: &[&str]) -> String {
        let words = [&["--endpoints", &self.endpoint], words].concat();
        self.peers.tool(self.version, "etcdctl", &words)
    }

    pub(crate) fn put_keys(&self, count: usize) {
        for i in 0..count {
            self.ctl(&["put", &format!("key{i:02}"), &format!("value {i}")]);
        }
    }

    fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has changed its storage.
    pub(crate) fn wait_storage(&self, version: &str) {
        let line = format!("\"new-storage-version\":\"{version}\"");
        until::is(&line, || self.log_text().contains(&line));
    }

    /// Ends it as an operator would.
    pub(crate) fn stop(mut self) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").arg(&pid).status();
        assert!(sent.expect("kill starts").success());
        until::is("etcd stops", || {
            self.process.try_wait().expect("its state").is_some()
        });
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
