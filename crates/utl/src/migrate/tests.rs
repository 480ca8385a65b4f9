//! What needs no etcd beside it; the rest stands in `tests/against_etcd`.

use std::{fs, path::Path};

use bolt::{Db, Options};

use super::{plan::plan, version::Version};
use crate::{failure::Failure, program};

fn run(dir: &Path, more: &[&str]) -> Result<String, Failure> {
    let words = ["migrate", "--data-dir", dir.to_str().unwrap()];
    let words: Vec<String> = words.iter().chain(more).map(|&w| w.to_owned()).collect();
    program::answer(program::Called::Etcdutl, &words)
}

/// Names and values of bucket `meta`.
type Records<'a> = &'a [(&'a str, &'a [u8])];

/// A data directory whose database has nothing but these records in `meta`.
fn directory(records: Records<'_>) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir_all(home.path().join("member/snap")).unwrap();
    let db = Db::open(&home.path().join("member/snap/db"), Options::default()).unwrap();
    let mut tx = db.begin_write().unwrap();
    tx.create_bucket_if_not_exists(b"meta").unwrap();
    for (name, value) in records {
        tx.put(b"meta", name.as_bytes(), value).unwrap();
    }
    tx.commit().unwrap();
    home
}

#[test]
fn a_way_leads_through_known_versions_only() {
    let shown = |from: (i64, i64), to: (i64, i64)| {
        plan(Version::line(from.0, from.1), Version::line(to.0, to.1)).map(|steps| {
            let steps: Vec<String> = steps.iter().map(ToString::to_string).collect();
            steps.join(" ")
        })
    };
    let cases = [
        ((3, 5), (3, 5), Ok("")),
        ((3, 5), (3, 6), Ok("3.6.0")),
        ((3, 5), (3, 7), Ok("3.6.0 3.7.0")),
        ((3, 6), (3, 5), Ok("3.5.0")),
        ((3, 7), (3, 5), Ok("3.6.0 3.5.0")),
        ((3, 5), (3, 9), Err("version \"3.8.0\" is not supported")),
        (
            (3, 5),
            (3, i64::MAX),
            Err("version \"3.8.0\" is not supported"),
        ),
        (
            (3, i64::MAX),
            (3, 5),
            Err("version \"3.9223372036854775807.0\" is not supported"),
        ),
        ((3, 8), (3, 7), Err("version \"3.8.0\" is not supported")),
        ((3, 4), (3, 6), Err("version \"3.5.0\" is not supported")),
        ((3, 5), (3, 4), Err("version \"3.5.0\" is not supported")),
        (
            (3, 7),
            (4, 0),
            Err("changing major storage version is not supported"),
        ),
        ((4, 0), (4, 1), Err("version \"4.1.0\" is not supported")),
    ];
    for (from, to, way) in cases {
        let way = way.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(shown(from, to), way, "{from:?} to {to:?}");
    }
}

#[test]
fn a_version_is_read_by_the_first_three_numbers() {
    let parsed = |text| Version::parse(text).map(|v| v.to_string());
    for (text, version) in [
        ("3.6.0", "3.6.0"),
        ("03.06.14", "3.6.14"),
        ("3.6.0-rc.1", "3.6.0"),
        ("3.6.0+build.5", "3.6.0"),
    ] {
        assert_eq!(parsed(text).unwrap(), version);
    }
    for text in ["", "3", "3.6", "3.6.", "3.6.x", "3.6.0.1", "-3.6.0"] {
        assert!(parsed(text).is_err(), "{text}");
    }
}

#[test]
fn the_storage_version_is_what_is_stored_or_else_what_the_term_says() {
    let index = 7u64.to_be_bytes();
    let cases: [(Records<'_>, &str); 8] = [
        (&[], "missing term information"),
        (&[("consistent_index", &index)], "missing term information"),
        (&[("term", &index)], "missing term information"),
        (
            &[("consistent_index", &index), ("term", &[0; 8])],
            "missing term information",
        ),
        (
            &[("consistent_index", &index), ("term", &[1; 3])],
            "invalid database: meta/term has 3 bytes, not 8",
        ),
        // From here on it is known, and the missing log is what stops.
        (
            &[("consistent_index", &index), ("term", &index)],
            "failed to get the lastest snapshot: ",
        ),
        (
            &[("storageVersion", b"3.7.0")],
            "failed to get the lastest snapshot: ",
        ),
        // No version at all, so the term decides.
        (
            &[("storageVersion", b"\xff\xff")],
            "missing term information",
        ),
    ];
    for (records, says) in cases {
        let home = directory(records);
        let before = fs::read(home.path().join("member/snap/db")).unwrap();
        let failure = run(home.path(), &["--target-version=3.6", "--force"]).unwrap_err();
        assert!(failure.message.starts_with(says), "{}", failure.message);
        assert_eq!(failure.code, 1);
        assert!(fs::read(home.path().join("member/snap/db")).unwrap() == before);
    }
    for (records, target) in [
        (&[("storageVersion", &b"3.7.0"[..])][..], "3.7"),
        (&[("consistent_index", &index), ("term", &index)], "3.5"),
    ] {
        let home = directory(records);
        assert_eq!(run(home.path(), &["--target-version", target]).unwrap(), "");
    }
}

#[test]
fn what_is_no_database_is_left_as_it_is() {
    for bytes in [vec![], vec![0; 32768], vec![7; 9000], vec![7; 3]] {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("member/snap/db");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &bytes).unwrap();
        let failure = run(home.path(), &["--target-version=3.6", "--force"]).unwrap_err();
        assert_eq!(failure.code, 1);
        assert!(
            failure.message.contains("is not a usable bbolt database"),
            "{}",
            failure.message
        );
        assert!(fs::read(&path).unwrap() == bytes);
    }
    let home = tempfile::tempdir().unwrap();
    let failure = run(home.path(), &["--target-version=3.6"]).unwrap_err();
    assert!(failure.message.starts_with("stat "), "{}", failure.message);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}
