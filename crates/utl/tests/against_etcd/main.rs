//! `etcdutl migrate` beside that of etcd 3.6 and 3.7: both run on copies of
//! directories that real releases made, what they say and what they store is
//! compared, and the release of the target is started on our result.
//!
//! Needs real releases: `<peers>/<version>/{etcd,etcdctl,etcdutl}`, where
//! `<peers>` is `PINTLE_PEERS` or `~/.cache/pintle-peers`. Without them the
//! tests say so and end.

mod bench;

use std::{
    fs,
    path::{Path, PathBuf},
};

use bench::{PEER_URL, Peers, Server, Who, copy, migrate, other_files, raw, records};
use prost::Message as _;
use proto::{
    etcdserverpb::{DowngradeVersionTestRequest, InternalRaftRequest, internal_raft_request::Op},
    raftpb::Entry,
    walpb,
};
use tempfile::TempDir;

const V3_5: &str = "3.5.30";
const V3_6: &str = "3.6.14";
const V3_7: &str = "3.7.1";
const KEYS: usize = 15;
/// So few that [`KEYS`] leave a `.snap` file and entries behind it.
const SNAPSHOT_COUNT: &str = "--snapshot-count=6";

/// A home for directories, and the way to each of them.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A directory with keys that a release left.
    fn left_by(&self, peers: &Peers, version: &str, flags: &[&str]) -> PathBuf {
        let dir = self.at(&format!("of-{version}-{}", flags.len()));
        let server = Server::start(peers, version, &dir, flags).expect("a new directory");
        server.put_keys(KEYS);
        match version {
            V3_6 => server.wait_storage("3.6.0"),
            V3_7 => server.wait_storage("3.7.0"),
            _ => {}
        }
        server.stop();
        dir
    }

    /// One of 3.6 that was taken down to 3.5 while it ran.
    fn taken_down(&self, peers: &Peers) -> PathBuf {
        let dir = self.at("taken-down");
        copy(&self.left_by(peers, V3_6, &[]), &dir);
        let server = Server::start(peers, V3_6, &dir, &[]).expect("it served before");
        server.ctl(&["downgrade", "enable", "3.5"]);
        server.wait_storage("3.5.0");
        server.stop();
        dir
    }

    /// What a release restores from the database of a directory.
    fn restored(&self, peers: &Peers, version: &str, from: &Path) -> PathBuf {
        let dir = self.at(&format!("restored-{version}"));
        let (db, cluster) = (from.join("member/snap/db"), format!("m={PEER_URL}"));
        let words = [
            "snapshot",
            "restore",
            "--skip-hash-check",
            db.to_str().unwrap(),
            "--data-dir",
            dir.to_str().unwrap(),
            "--name=m",
            "--initial-cluster",
            &cluster,
            "--initial-advertise-peer-urls",
            PEER_URL,
        ];
        peers.tool(version, "etcdutl", &words);
        dir
    }
}

/// Runs both on copies of a directory and compares what they say and what they
/// leave. Gives our result and our warnings.
fn compare(
    home: &Home,
    real: (&Peers, &str),
    dir: &Path,
    words: &[&str],
) -> (PathBuf, Vec<String>) {
    let (ours, theirs) = (home.at("ours"), home.at("theirs"));
    let run = |who, name: &str, to: &Path| {
        copy(dir, to);
        let words = [&["--data-dir", name], words].concat();
        migrate(who, home.0.path(), &words)
    };
    let mut said = run(Who::Ours, "ours", &ours);
    let warnings = said.take_warnings();
    let mut other = run(Who::Real(real.0, real.1), "theirs", &theirs);
    for line in &mut other.stderr {
        *line = line.replace("theirs/", "ours/");
    }
    let case = format!("{} {words:?}, beside {}", dir.display(), real.1);
    assert_eq!(said, other, "{case}");
    assert!(records(&ours) == records(&theirs), "{case}");
    assert!(other_files(&ours) == other_files(dir), "{case}");
    if said.code != Some(0) {
        let db = |dir: &Path| fs::read(dir.join("member/snap/db")).unwrap();
        assert!(db(&ours) == db(dir), "{case}: a failure changed the file");
    }
    (ours, warnings)
}

/// Migrates a directory that no one compares.
fn prepare(home: &Home, who: Who<'_>, dir: &Path, target: &str) {
    let name = dir.file_name().unwrap().to_str().unwrap();
    let said = migrate(
        who,
        home.0.path(),
        &["--data-dir", name, "--target-version", target],
    );
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn it_says_and_stores_what_etcdutl_does_and_warns_where_etcd_will_not_start() {
    let Some(peers) = Peers::find(&[V3_5, V3_6, V3_7]) else {
        return;
    };
    let home = Home::new();
    let of_5 = home.left_by(&peers, V3_5, &[]);
    let of_6 = home.left_by(&peers, V3_6, &[SNAPSHOT_COUNT]);
    let of_7 = home.left_by(&peers, V3_7, &[SNAPSHOT_COUNT]);
    let down = home.taken_down(&peers);
    let restored_6 = home.restored(&peers, V3_6, &of_6);
    let restored_7 = home.restored(&peers, V3_7, &of_7);
    // Storage that is ahead of its cluster, which only `migrate` leaves.
    let raised = home.at("raised");
    copy(&of_5, &raised);
    prepare(&home, Who::Real(&peers, V3_6), &raised, "3.6");
    let raised_twice = home.at("raised-twice");
    copy(&of_6, &raised_twice);
    prepare(&home, Who::Real(&peers, V3_7), &raised_twice, "3.7");

    // The tool beside us, and the release that is to start, if one is.
    let cases = [
        (&of_5, V3_6, "3.6", Some(V3_6)),
        (&of_5, V3_6, "3.5", Some(V3_5)),
        (&of_5, V3_7, "3.6", Some(V3_6)),
        (&of_5, V3_7, "3.7", Some(V3_7)),
        (&of_5, V3_7, "3.8", None),
        (&of_5, V3_7, "4.0", None),
        (&of_6, V3_6, "3.5", Some(V3_5)),
        (&of_6, V3_6, "3.6", Some(V3_6)),
        (&of_6, V3_6, "03.06", None),
        (&of_6, V3_7, "3.7", Some(V3_7)),
        (&of_6, V3_7, "3.9223372036854775807", None),
        (&of_7, V3_6, "3.7", None),
        (&of_7, V3_7, "3.6", Some(V3_6)),
        (&of_7, V3_7, "3.5", None),
        (&down, V3_6, "3.5", Some(V3_5)),
        (&down, V3_6, "3.6", Some(V3_6)),
        (&restored_6, V3_6, "3.5", Some(V3_5)),
        (&restored_7, V3_7, "3.6", Some(V3_6)),
        (&restored_7, V3_7, "3.5", Some(V3_5)),
        (&raised, V3_6, "3.5", Some(V3_5)),
        (&raised_twice, V3_7, "3.6", Some(V3_6)),
        (&raised_twice, V3_7, "3.7", Some(V3_7)),
    ];
    let mut refused = 0;
    for (dir, tool, target, release) in cases {
        let words = ["--target-version", target];
        let (result, warnings) = compare(&home, (&peers, tool), dir, &words);
        let Some(release) = release else {
            continue;
        };
        if !warnings.is_empty() {
            refused += 1;
        }
        let case = format!("{} to {target}", dir.display());
        match Server::start(&peers, release, &result, &[]) {
            Some(server) => {
                assert!(warnings.is_empty(), "{case}: it starts, but {warnings:?}");
                let keys = server.ctl(&["get", "key", "--prefix", "--keys-only"]);
                assert_eq!(keys.matches("key").count(), KEYS, "{case}");
                server.stop();
            }
            None => assert!(!warnings.is_empty(), "{case}: no start and no warning"),
        }
    }
    assert_eq!(refused, 4);
}

#[test]
fn a_second_run_finds_nothing_to_do() {
    let Some(peers) = Peers::find(&[V3_6]) else {
        return;
    };
    let home = Home::new();
    let dir = home.left_by(&peers, V3_6, &[]);
    let (ours, _) = compare(&home, (&peers, V3_6), &dir, &["--target-version=3.5"]);
    let again = home.at("again");
    copy(&ours, &again);
    let before = fs::read(again.join("member/snap/db")).unwrap();
    compare(&home, (&peers, V3_6), &again, &["--target-version=3.5"]);
    let said = migrate(
        Who::Ours,
        home.0.path(),
        &["--data-dir=again", "--target-version=3.5"],
    );
    assert_eq!(
        said.stderr,
        ["info\tstorage version up-to-date\t{\"storage-version\": \"3.5\"}"]
    );
    assert!(fs::read(again.join("member/snap/db")).unwrap() == before);
}

/// Adds an entry to the end of a directory's log.
fn append(dir: &Path, data: Vec<u8>) {
    let wal_dir = dir.join("member/wal");
    let at = wal::valid_snapshots(&wal_dir).unwrap();
    let at = walpb::Snapshot {
        conf_state: None,
        ..at.last().cloned().unwrap_or_default()
    };
    let options = wal::Options {
        background: false,
        ..wal::Options::default()
    };
    let mut opened = wal::Wal::open(&wal_dir, at, options).unwrap();
    let last = opened.entries.last().unwrap();
    let entry = Entry {
        index: last.index + 1,
        term: last.term,
        data: Some(data.into()),
        ..Entry::default()
    };
    opened.wal.append(&[entry], None).unwrap();
    opened.wal.sync().unwrap();
    opened.wal.close().unwrap();
}

#[test]
fn entries_of_a_newer_version_behind_the_snapshot_hold_the_storage_up() {
    let Some(peers) = Peers::find(&[V3_6, V3_7]) else {
        return;
    };
    let home = Home::new();
    let of_6 = home.left_by(&peers, V3_6, &[SNAPSHOT_COUNT]);
    let of_7 = home.left_by(&peers, V3_7, &[SNAPSHOT_COUNT]);
    let needs = |dir: &Path, name: &str, version: &str| {
        let dir_of = home.at(name);
        copy(dir, &dir_of);
        let op = Op::DowngradeVersionTest(DowngradeVersionTestRequest {
            ver: version.to_owned(),
        });
        let request = InternalRaftRequest {
            op: Some(op),
            ..InternalRaftRequest::default()
        };
        append(&dir_of, request.encode_to_vec());
        dir_of
    };
    let needs_6 = needs(&of_6, "needs-6", "3.6.0");
    // The field itself came with 3.6, whatever version it names.
    let needs_5 = needs(&of_6, "needs-5", "3.5.0");
    let needs_7 = needs(&of_7, "needs-7", "3.7.0");
    let force = "--force";
    for (dir, tool, words) in [
        (&needs_6, V3_6, &["--target-version=3.5"][..]),
        (&needs_6, V3_6, &["--target-version=3.5", force]),
        (&needs_5, V3_6, &["--target-version=3.5"]),
        (&needs_7, V3_7, &["--target-version=3.6"]),
        (&needs_7, V3_7, &["--target-version=3.6", force]),
        (&needs_7, V3_7, &["--target-version=3.5"]),
        (&needs_6, V3_7, &["--target-version=3.7"]),
        (&of_6, V3_7, &["--target-version=3.9", force]),
    ] {
        let (ours, _) = compare(&home, (&peers, tool), dir, words);
        let changed = records(&ours) != records(dir);
        let held_up = !words.contains(&force) && !words[0].ends_with("3.7");
        assert_eq!(changed, !held_up, "{} {words:?}", dir.display());
    }

    // What etcdutl panics at is an error here, and force has its way.
    for (name, data) in [("no-version", None), ("no-request", Some(vec![0x1a, 9]))] {
        let dir = match data {
            None => needs(&of_6, name, "x"),
            Some(data) => {
                let dir = home.at(name);
                copy(&of_6, &dir);
                append(&dir, data);
                dir
            }
        };
        let words = ["--data-dir", name, "--target-version=3.5"];
        let before = records(&dir);
        let theirs = migrate(Who::Real(&peers, V3_6), home.0.path(), &words);
        assert_eq!(theirs.code, Some(2));
        let ours = migrate(Who::Ours, home.0.path(), &words);
        assert_eq!(ours.code, Some(1), "{ours:?}");
        let error = ours.stderr.last().unwrap();
        assert!(
            error.starts_with("Error: cannot tell which version reads entry "),
            "{error}"
        );
        assert!(records(&dir) == before);
        let words = [&words[..], &["--force"]].concat();
        let ours = migrate(Who::Ours, home.0.path(), &words);
        assert_eq!(ours.code, Some(0), "{ours:?}");
        assert!(records(&dir) != before);
    }
}

#[test]
fn a_damaged_snapshot_is_passed_over_and_left_where_it_is() {
    let Some(peers) = Peers::find(&[V3_6]) else {
        return;
    };
    let home = Home::new();
    let dir = home.left_by(&peers, V3_6, &[SNAPSHOT_COUNT]);
    let mut snaps: Vec<PathBuf> = other_files(&dir)
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    snaps.retain(|path| path.extension().is_some_and(|end| end == "snap"));
    assert!(snaps.len() > 1);
    let newest = snaps.last().unwrap();
    fs::write(dir.join(newest), b"damaged").unwrap();
    let warnings = migrated_alike(&home, &peers, &dir);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    // etcdutl set it aside.
    assert!(!home.at("theirs").join(newest).exists());
    assert!(home.at("ours").join(newest).exists());
}

/// [`compare`] for the way from 3.6 to 3.5, without what the tools say.
fn migrated_alike(home: &Home, peers: &Peers, dir: &Path) -> Vec<String> {
    let (ours, theirs) = (home.at("ours"), home.at("theirs"));
    let mut warnings = Vec::new();
    for (who, name, to) in [
        (Who::Ours, "ours", &ours),
        (Who::Real(peers, V3_6), "theirs", &theirs),
    ] {
        copy(dir, to);
        let words = ["--data-dir", name, "--target-version=3.5"];
        let mut said = migrate(who, home.0.path(), &words);
        assert_eq!(said.code, Some(0), "{said:?}");
        warnings.extend(said.take_warnings());
    }
    assert!(records(&ours) == records(&theirs));
    assert!(other_files(&ours) == other_files(dir));
    warnings
}

#[test]
fn a_log_with_requests_of_version_2_goes_down_where_etcdutl_3_7_panics() {
    let Some(peers) = Peers::find(&[V3_5, V3_6, V3_7]) else {
        return;
    };
    let home = Home::new();
    let dir = home.left_by(&peers, V3_5, &[]);
    prepare(&home, Who::Real(&peers, V3_6), &dir, "3.6");
    let theirs = home.at("theirs");
    copy(&dir, &theirs);
    let target = "--target-version=3.5";
    let said = migrate(
        Who::Real(&peers, V3_7),
        home.0.path(),
        &["--data-dir=theirs", target],
    );
    assert_eq!(said.code, Some(2));
    assert!(records(&theirs) == records(&dir));
    // 3.6 reads them, and so do we.
    let (ours, warnings) = compare(&home, (&peers, V3_6), &dir, &[target]);
    assert!(warnings.is_empty());
    let server = Server::start(&peers, V3_5, &ours, &[]).expect("3.5 starts");
    server.stop();
}

#[test]
fn bad_input_is_answered_as_etcdutl_answers_it() {
    let Some(peers) = Peers::find(&[V3_6]) else {
        return;
    };
    let home = Home::new();
    let real = Who::Real(&peers, V3_6);
    let texts = [
        "",
        "3",
        "3.6.0",
        "x.y",
        "3.x",
        "3.",
        ".6",
        " 3.6",
        "3.6 ",
        "3.-6",
        "-1.5",
        "3.6+a",
        "3.6-a",
        "3.+6",
        "3.4",
        "2.9",
        "0.0",
        "3.99999999999999999999",
        "3.\u{e9}",
        "3.6\n",
        "3,6",
        "3.0x6",
        "3._6",
    ];
    let mut lines: Vec<Vec<&str>> = texts
        .iter()
        .map(|text| vec!["--data-dir", "nowhere", "--target-version", text])
        .collect();
    lines.extend([
        vec!["--data-dir", "nowhere", "--target-version", "3.6"],
        vec![
            "--data-dir",
            "nowhere/",
            "--target-version",
            "9.9",
            "--force",
        ],
        vec!["--data-dir", "", "--target-version", "3.6"],
        vec!["--data-dir", "nowhere"],
        vec!["--target-version", "3.6"],
        vec![],
        vec!["--data-dir"],
        vec![
            "--force=maybe",
            "--data-dir",
            "x",
            "--target-version",
            "3.6",
        ],
        vec!["--bogus"],
        vec!["--help"],
    ]);
    for words in lines {
        let (ours, theirs) = (
            raw(Who::Ours, home.0.path(), &words),
            raw(real, home.0.path(), &words),
        );
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(text(&ours.stdout), text(&theirs.stdout), "{words:?}");
        assert_eq!(text(&ours.stderr), text(&theirs.stderr), "{words:?}");
        assert_eq!(ours.status.code(), theirs.status.code(), "{words:?}");
    }
    assert!(!home.at("nowhere").exists());

    // No log.
    let dir = home.left_by(&peers, V3_6, &[]);
    fs::remove_dir_all(dir.join("member/wal")).unwrap();
    compare(&home, (&peers, V3_6), &dir, &["--target-version=3.5"]);
    compare(
        &home,
        (&peers, V3_6),
        &dir,
        &["--target-version=3.5", "--force"],
    );
    compare(&home, (&peers, V3_6), &dir, &["--target-version=3.6"]);

    // No database: etcdutl panics, or makes one of an empty file.
    let path = home.at("foreign/member/snap/db");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    for (bytes, code) in [(vec![7; 9000], 2), (vec![], 1)] {
        fs::write(&path, &bytes).unwrap();
        let words = ["--data-dir=foreign", "--target-version=3.6"];
        let ours = migrate(Who::Ours, home.0.path(), &words);
        assert_eq!(ours.code, Some(1));
        assert!(fs::read(&path).unwrap() == bytes);
        assert_eq!(migrate(real, home.0.path(), &words).code, Some(code));
        assert!(bytes.is_empty() == (fs::read(&path).unwrap() != bytes));
    }
}

#[test]
fn a_directory_in_use_is_refused() {
    let Some(peers) = Peers::find(&[V3_6]) else {
        return;
    };
    let home = Home::new();
    let dir = home.at("used");
    let server = Server::start(&peers, V3_6, &dir, &[]).expect("a new directory");
    server.put_keys(1);
    for target in ["3.5", "3.6"] {
        let said = migrate(
            Who::Ours,
            home.0.path(),
            &["--data-dir=used", "--target-version", target, "--force"],
        );
        assert_eq!(said.code, Some(1));
        let error = said.stderr.last().unwrap();
        assert!(error.contains("is locked by another process"), "{error}");
    }
    server.put_keys(2);
    server.stop();
}
