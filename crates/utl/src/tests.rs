//! Compared with what the real etcdutl 3.5.30 said and made; see
//! `tests/golden/make.py`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bolt::{Db, Options};
use proto::walpb;
use serde_json::Value;

use crate::{
    failure::{Failure, Outcome},
    hashkv::hash_kv,
    program,
};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

fn real() -> Value {
    serde_json::from_slice(&fs::read(golden("etcdutl-3.5.30.json")).unwrap()).unwrap()
}

fn run(words: &[&str]) -> Outcome<String> {
    let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    program::answer(program::Called::Etcdutl, &words)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Every file below a directory, with its content.
fn tree(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(tree(&path));
        } else {
            let content = fs::read(&path).unwrap();
            files.push((path, content));
        }
    }
    files.sort();
    files
}

#[test]
fn it_says_what_etcdutl_says() {
    let file = golden("small.snapshot");
    let real = real();
    let lines = real["said"].as_array().unwrap();
    assert!(lines.len() > 30);
    for said in lines {
        let line = said["line"].as_str().unwrap();
        let words: Vec<&str> = line
            .split_whitespace()
            .map(|word| {
                if word == "small.snapshot" {
                    text(&file)
                } else {
                    word
                }
            })
            .collect();
        let (code, stdout, stderr) = match run(&words) {
            Ok(answer) => (0, answer, String::new()),
            Err(Failure {
                code,
                message,
                before,
                answer,
            }) => (code, answer, format!("{before}Error: {message}\n")),
        };
        assert_eq!(stdout, said["stdout"].as_str().unwrap(), "{line}");
        assert_eq!(stderr, said["stderr"].as_str().unwrap(), "{line}");
        assert_eq!(code, said["code"], "{line}");
    }
}

#[test]
fn it_restores_what_etcdutl_restores() {
    for (name, made) in real()["restored"].as_object().unwrap() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("data");
        let file = golden("small.snapshot");
        let mut words = vec!["snapshot", "restore", text(&file), "--data-dir", text(&dir)];
        words.extend(
            made["flags"]
                .as_array()
                .unwrap()
                .iter()
                .map(|flag| flag.as_str().unwrap()),
        );
        assert_eq!(run(&words).unwrap(), "");

        let wal = fs::read(dir.join("member/wal/0000000000000000-0000000000000000.wal")).unwrap();
        let end = wal.iter().rposition(|&b| b != 0).unwrap() + 1;
        let hex: String = wal[..end].iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, made["wal"].as_str().unwrap(), "{name}");
        assert_eq!(wal.len() as u64, wal::SEGMENT_BYTES);

        let db = dir.join("member/snap/db");
        let status = run(&["snapshot", "status", text(&db), "-wjson"]).unwrap();
        let status: Value = serde_json::from_str(&status).unwrap();
        assert_eq!(status["hash"], made["db_hash"], "{name}");

        let mut names: Vec<String> = fs::read_dir(dir.join("member/snap"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let snap = made["snap"][0].as_str().unwrap();
        assert_eq!(names, [snap, "db"]);
        // The .snap holds more history in etcd's; what counts is in both.
        let snap = wal::snap::read_file(&dir.join("member/snap").join(snap)).unwrap();
        let valid = wal::valid_snapshots(&dir.join("member/wal")).unwrap();
        let record = walpb::Snapshot {
            index: snap.metadata.index,
            term: snap.metadata.term,
            conf_state: Some(snap.metadata.conf_state),
        };
        assert_eq!(valid.last(), Some(&record));
        let tree = membership::v2store::Tree::parse(&snap.data.unwrap()).unwrap();
        let members = tree.members().unwrap();
        let mut ids: Vec<u64> = members.iter().map(|member| member.id.0).collect();
        ids.sort_unstable();
        assert_eq!(ids, record.conf_state.unwrap().voters);

        // A second one into the same place is refused and changes nothing.
        let before = self::tree(&dir);
        let error = run(&words).unwrap_err();
        assert_eq!(
            error.message,
            format!("data-dir {:?} not empty or could not be read", text(&dir))
        );
        assert!(self::tree(&dir) == before);
    }
}

#[test]
fn the_log_may_lie_elsewhere() {
    let home = tempfile::tempdir().unwrap();
    let (dir, wal) = (home.path().join("data"), home.path().join("a/b"));
    let file = golden("small.snapshot");
    let words = [
        "snapshot",
        "restore",
        text(&file),
        "--data-dir",
        text(&dir),
        "--wal-dir",
        text(&wal),
    ];
    run(&words).unwrap();
    assert_eq!(wal::valid_snapshots(&wal).unwrap().len(), 2);
    assert!(!dir.join("member/wal").exists());
    fs::remove_dir_all(&dir).unwrap();
    let error = run(&words).unwrap_err();
    assert!(error.message.starts_with("wal-dir "), "{}", error.message);
    assert!(!dir.exists());
}

#[test]
fn a_restore_that_fails_leaves_nothing_behind() {
    let whole = fs::read(golden("small.snapshot")).unwrap();
    let db_len = whole.len() - 32;
    let mut turned = whole.clone();
    turned[9000] ^= 1;
    // What is cut from the database, but still has its hash, is whole to the
    // hash and not to the database.
    let cases = [
        (turned, "expected sha256 [", false),
        (whole[..db_len].to_vec(), "snapshot missing hash", false),
        (whole[..db_len - 4096].to_vec(), "is truncated", true),
        (vec![7; 8192], "not a usable bbolt database", true),
    ];
    for (bytes, says, skip) in cases {
        for own_wal_dir in [false, true] {
            let home = tempfile::tempdir().unwrap();
            let (file, dir, wal) = (
                home.path().join("file"),
                home.path().join("data"),
                home.path().join("wal"),
            );
            fs::write(&file, &bytes).unwrap();
            let mut words = vec!["snapshot", "restore", text(&file), "--data-dir", text(&dir)];
            if skip {
                words.push("--skip-hash-check");
            }
            if own_wal_dir {
                fs::create_dir(&wal).unwrap();
                words.extend(["--wal-dir", text(&wal)]);
            }
            let error = run(&words).unwrap_err();
            assert!(error.message.contains(says), "{}", error.message);
            assert_eq!(error.code, 1);
            assert!(!dir.exists());
            assert_eq!(wal.exists(), own_wal_dir);
        }
    }
}

#[test]
fn a_copy_from_a_data_directory_restores_without_its_hash() {
    let home = tempfile::tempdir().unwrap();
    let whole = fs::read(golden("small.snapshot")).unwrap();
    let (file, dir) = (home.path().join("db"), home.path().join("data"));
    fs::write(&file, &whole[..whole.len() - 32]).unwrap();
    run(&[
        "snapshot",
        "restore",
        "--skip-hash-check",
        text(&file),
        "--data-dir",
        text(&dir),
    ])
    .unwrap();
    assert_eq!(
        fs::metadata(dir.join("member/snap/db")).unwrap().len() % 4096,
        0
    );
}

#[test]
fn the_history_has_the_hash_that_a_member_answers() {
    let options = Options {
        read_only: true,
        ..Options::default()
    };
    let db = Db::open(&golden("small.snapshot"), options).unwrap();
    for (revision, answer) in real()["hash_kv"].as_object().unwrap() {
        let found = hash_kv(&db.begin_read(), Path::new("db"), revision.parse().unwrap()).unwrap();
        assert_eq!(answer[0], found.hash, "{revision}");
        assert_eq!(answer[1], found.compact_revision);
    }
    let error = |at| {
        hash_kv(&db.begin_read(), Path::new("db"), at)
            .unwrap_err()
            .message
    };
    assert_eq!(error(9), "mvcc: required revision has been compacted");
    assert_eq!(error(24), "mvcc: required revision is a future revision");
    let file = golden("small.snapshot");
    let shown = run(&["hashkv", text(&file), "--rev=15", "-w", "json"]).unwrap();
    assert_eq!(
        shown,
        "{\"hash\":780324168,\"hashRevision\":15,\"compactRevision\":10}\n"
    );
}

#[test]
fn defrag_keeps_the_content_and_frees_the_rest() {
    let home = tempfile::tempdir().unwrap();
    let snap = home.path().join("member/snap");
    fs::create_dir_all(&snap).unwrap();
    let path = snap.join("db");
    {
        let db = Db::open(&path, Options::default()).unwrap();
        let mut tx = db.begin_write().unwrap();
        tx.create_bucket_if_not_exists(b"key").unwrap();
        for i in 0..2000u64 {
            let mut key = i.to_be_bytes().to_vec();
            key.extend_from_slice(b"_\0\0\0\0\0\0\0\0");
            tx.put(b"key", &key, &[1; 300]).unwrap();
        }
        tx.commit().unwrap();
        let mut tx = db.begin_write().unwrap();
        for i in 100..2000u64 {
            let mut key = i.to_be_bytes().to_vec();
            key.extend_from_slice(b"_\0\0\0\0\0\0\0\0");
            tx.delete(b"key", &key).unwrap();
        }
        tx.commit().unwrap();
    }
    let status = |path: &Path| -> Value {
        let answer = run(&["snapshot", "status", text(path), "-w=json"]).unwrap();
        serde_json::from_str(&answer).unwrap()
    };
    let before = status(&path);
    assert_eq!(
        run(&["defrag", "--data-dir", text(home.path())]).unwrap(),
        ""
    );
    let after = status(&path);
    assert_eq!(
        (&after["hash"], &after["totalKey"]),
        (&before["hash"], &before["totalKey"])
    );
    let size = |status: &Value| status["totalSize"].as_u64().unwrap();
    assert!(size(&after) * 4 < size(&before), "{before} {after}");
    assert_eq!(fs::read_dir(&snap).unwrap().count(), 1);
    assert!(
        run(&["check", "db", text(&path)])
            .unwrap()
            .contains("is sound")
    );

    let nowhere = home.path().join("nope");
    let error = run(&["defrag", "--data-dir", text(&nowhere)]).unwrap_err();
    assert!(
        error
            .message
            .ends_with("nope/member/snap/db: no such file or directory")
    );
    assert!(!nowhere.exists());
}

#[test]
fn a_sick_file_is_shown_page_by_page() {
    let home = tempfile::tempdir().unwrap();
    let mut bytes = fs::read(golden("small.snapshot")).unwrap();
    let file = golden("small.snapshot");
    assert!(
        run(&["check", "db", text(&file)])
            .unwrap()
            .contains("is sound")
    );

    // The page that both meta pages call the root: its type, at offset 8, is
    // turned into that of a meta page.
    let root = u64::from_le_bytes(bytes[16 + 16..16 + 24].try_into().unwrap()) as usize;
    bytes[root * 4096 + 8] = 4;
    let path = home.path().join("sick");
    fs::write(&path, &bytes).unwrap();
    let failure = run(&["check", "db", text(&path)]).unwrap_err();
    assert_eq!(failure.code, 1);
    assert!(failure.message.contains("problem") && failure.message.contains(text(&path)));
    assert!(
        failure.answer.contains(&format!("{:#x}", root * 4096)),
        "{}",
        failure.answer
    );
    let failure = run(&["check", "db", text(&path), "-w", "json"]).unwrap_err();
    let report: Value = serde_json::from_str(&failure.answer).unwrap();
    assert_eq!(report["problems"][0]["page"], root);
    for format in ["fields", "table", "simple"] {
        assert!(
            !run(&["check", "db", text(&path), "-w", format])
                .unwrap_err()
                .answer
                .is_empty()
        );
    }

    // No answer about a file that contradicts itself, and none is restored.
    let failure = run(&["snapshot", "status", text(&path)]).unwrap_err();
    assert!(
        failure.message.contains("integrity check failed"),
        "{}",
        failure.message
    );
    assert!(failure.answer.is_empty());
    assert!(fs::read(&path).unwrap() == bytes);
}

#[test]
fn users_keys_in_the_old_store_are_found_in_the_newest_snapshot() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let file = golden("small.snapshot");
    let check = || run(&["check", "v2store", "--data-dir", text(&dir)]);
    assert_eq!(
        check().unwrap_err().message,
        format!("open {}/member/wal: no such file or directory", text(&dir))
    );
    run(&["snapshot", "restore", text(&file), "--data-dir", text(&dir)]).unwrap();
    let before = tree(&dir);
    assert_eq!(check().unwrap(), "No custom content found in v2store.\n");

    // The same snapshot, with a key that a user wrote.
    let snap_dir = dir.join("member/snap");
    let valid = wal::valid_snapshots(&dir.join("member/wal")).unwrap();
    let newest = valid.last().unwrap();
    let path = snap_dir.join(wal::snap::file_name(newest.into()));
    let mut snapshot = wal::snap::read_file(&path).unwrap();
    let mut store = membership::v2store::Tree::parse(snapshot.data.as_ref().unwrap()).unwrap();
    store
        .apply(&proto::etcdserverpb::Request {
            method: "PUT".into(),
            path: "/1/mine".into(),
            val: "x".into(),
            ..Default::default()
        })
        .expect("not blocked");
    snapshot.data = Some(store.to_json().into());
    fs::write(&path, wal::snap::encode(&snapshot)).unwrap();
    assert_eq!(
        check().unwrap_err().message,
        "detected custom content in v2store"
    );

    // A snapshot that is damaged is passed over, and left as it is.
    fs::write(&path, b"damaged").unwrap();
    assert_eq!(check().unwrap(), "No custom content found in v2store.\n");
    let names = |files: Vec<(PathBuf, Vec<u8>)>| -> Vec<PathBuf> {
        files.into_iter().map(|(path, _)| path).collect()
    };
    assert_eq!(names(tree(&dir)), names(before));
}
