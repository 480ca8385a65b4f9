//! Which server binaries this machine has. Real etcd releases lie under
//! `PINTLE_PEERS` (default `~/.cache/pintle-peers`) as `<version>/etcd`; the
//! subject is `PINTLE_BIN`, else a `pintle` built beside this test, else a
//! real etcd that stands in for it. It must never let a stand-in pass for
//! Pintle: the line `SUBJECT:` says what was tested.

use std::{
    env, fmt, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The release whose answers are the measure.
pub const REFERENCE: &str = "3.5.30";
/// The 3.5 releases that directories travel to and from.
pub const LINE_3_5: [&str; 4] = ["3.5.0", "3.5.1", "3.5.16", "3.5.30"];
/// The lines after 3.5, built as Go modules.
pub const AFTER: [&str; 2] = ["3.6.14", "3.7.1"];
/// The release directories come from only (a 3.5 directory does not go back to 3.4).
pub const BEFORE: &str = "3.4.23";

/// A server program: a real etcd, or Pintle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// `3.5.30` for real etcd; the version Pintle reports for itself.
    pub version: String,
    /// The executable.
    pub path: PathBuf,
    /// Words before the first flag: `server` for Pintle, nothing for etcd.
    pub words: Vec<String>,
    /// Whether this is Pintle rather than a real etcd.
    pub is_pintle: bool,
}

impl Program {
    /// Major and minor number of the version it reports.
    pub fn minor(&self) -> (u64, u64) {
        let mut numbers = self.version.split('.').map(|n| n.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    /// Whether it answers what it has taken before it goes, when it is told to stop. 25
    /// stops under 8 writers (`PINTLE_SUBJECT=<version> cargo test --test stops`): 3.5.1
    /// and 3.5.16 break the connections of some 170 requests, 3.5.21 and 3.5.30 of none.
    pub fn drains(&self) -> bool {
        let patch = self.version.splitn(3, '.').nth(2);
        let patch: u64 = patch.and_then(|n| n.parse().ok()).unwrap_or(0);
        self.is_pintle || self.minor() >= (3, 6) || (self.minor() == (3, 5) && patch >= 21)
    }

    /// Whether it accepts this flag (such as `--snapshot-catchup-entries=1`):
    /// the releases of one line differ in the flags that help does not list.
    pub fn knows(&self, flag: &str) -> bool {
        Command::new(&self.path)
            .args(&self.words)
            .args([flag, "--version"])
            .output()
            .is_ok_and(|out| out.status.success())
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_pintle { "pintle" } else { "etcd" };
        write!(f, "{kind} {}", self.version)
    }
}

fn peers_dir() -> PathBuf {
    env::var_os("PINTLE_PEERS")
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            let cache = env::var_os("XDG_CACHE_HOME")
                .map(PathBuf::from)
                .unwrap_or_else(|| {
                    PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache")
                });
            cache.join("pintle-peers")
        })
}

/// With these etcd's verdicts on users depend on the log alone. A commit of its database leaves
/// the records that were written before it in a buffer, right after those written since; one that
/// is looked up by a name greater than all of these is then found there, as it was long ago, and
/// a user that has just been given a role is refused. So there is no commit that the log does
/// not ask for.
pub const STEADY_USERS: [&str; 2] = [
    "--backend-batch-interval=1h",
    "--backend-batch-limit=1000000",
];

/// The real etcd of this version, or `None` after a `SKIP:` line.
pub fn etcd(version: &str) -> Option<Program> {
    let path = peers_dir().join(version).join("etcd");
    if !path.is_file() {
        say(&format!("SKIP: etcd {version} not installed"));
        return None;
    }
    Some(Program {
        version: version.to_owned(),
        path,
        words: Vec::new(),
        is_pintle: false,
    })
}

/// The real releases on this machine.
pub fn installed() -> Vec<String> {
    let entries = std::fs::read_dir(peers_dir())
        .into_iter()
        .flatten()
        .flatten();
    let whole = entries.filter(|entry| entry.path().join("etcd").is_file());
    let mut names: Vec<String> = whole
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A tool (`etcdctl`, `etcdutl`) of a real release, or `None` after a `SKIP:` line.
pub fn tool(version: &str, name: &str) -> Option<PathBuf> {
    let path = peers_dir().join(version).join(name);
    if path.is_file() {
        return Some(path);
    }
    say(&format!("SKIP: {name} {version} not installed"));
    None
}

/// The server under test. `PINTLE_BIN` must name a working server;
/// `PINTLE_SUBJECT=<version>` puts a real etcd in its place; without either a
/// `pintle` in the target directory is taken if it knows `server --version`,
/// and otherwise the reference release stands in, which checks the suite itself.
/// `None` (after a `SKIP:` line) when not even that is installed.
pub fn subject() -> Option<Program> {
    static CHOICE: OnceLock<Option<Program>> = OnceLock::new();
    CHOICE
        .get_or_init(|| {
            let choice = choose_subject();
            match &choice {
                Some(p) if p.is_pintle => say(&format!("SUBJECT: {p} at {}", p.path.display())),
                Some(p) => say(&format!(
                    "SUBJECT: {p} stands in: Pintle itself was NOT tested"
                )),
                None => {}
            }
            choice
        })
        .clone()
}

fn choose_subject() -> Option<Program> {
    if let Some(version) = env::var("PINTLE_SUBJECT").ok().filter(|v| !v.is_empty()) {
        return etcd(&version);
    }
    if let Some(path) = env::var_os("PINTLE_BIN") {
        // Tests run in the crate's directory; the variable is set in the repository's.
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let path = root.join(path);
        return Some(pintle(&path).unwrap_or_else(|| {
            panic!(
                "PINTLE_BIN={}: `server --version` does not answer",
                path.display()
            )
        }));
    }
    // target/<profile>/deps/<test> -> target/<profile>/pintle, then the other profile.
    let exe = env::current_exe().ok()?;
    let profile = exe.parent()?.parent()?;
    let candidates = [
        profile.join("pintle"),
        profile.parent()?.join("release/pintle"),
        profile.parent()?.join("debug/pintle"),
    ];
    candidates
        .iter()
        .find_map(|p| pintle(p))
        .or_else(|| etcd(REFERENCE))
}

fn pintle(path: &Path) -> Option<Program> {
    let out = Command::new(path)
        .args(["server", "--version"])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let version = text
        .lines()
        .find_map(|l| l.strip_prefix("etcd Version: "))?;
    Some(Program {
        version: version.trim().to_owned(),
        path: path.to_owned(),
        words: vec!["server".to_owned()],
        is_pintle: true,
    })
}

/// Both programs of a comparison, or `None` after `SKIP:` lines.
pub fn pair() -> Option<(Program, Program)> {
    Some((subject()?, etcd(REFERENCE)?))
}

/// The newest release of a line (`3.6`) that is installed, or `None` after a `SKIP:` line.
pub fn newest_of(line: &str) -> Option<Program> {
    let of_line = format!("{line}.");
    let patch = |name: &String| name.strip_prefix(&of_line)?.parse::<u64>().ok();
    let newest = installed()
        .into_iter()
        .filter(|name| patch(name).is_some())
        .max_by_key(patch);
    if newest.is_none() {
        say(&format!("SKIP: no etcd {line} is installed"));
    }
    etcd(&newest?)
}

/// Both programs of a comparison on a later line than 3.5, or `None` after `SKIP:` lines: of
/// programs, Pintle alone can speak another line than its own.
pub fn pair_at(line: &str) -> Option<(Program, Program)> {
    let (mut subject, reference) = (subject()?, newest_of(line)?);
    if !subject.is_pintle {
        say(&format!("SKIP: {subject} does not speak line {line}"));
        return None;
    }
    subject.words.push(format!("--line={line}"));
    Some((subject, reference))
}

/// A line for the person who reads the run: past the test harness's capture to
/// stderr, and appended to the file `PINTLE_PEERS_REPORT` when that is set.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
    if let Some(path) = env::var_os("PINTLE_PEERS_REPORT")
        && let Ok(mut file) = fs::OpenOptions::new().create(true).append(true).open(path)
    {
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}
