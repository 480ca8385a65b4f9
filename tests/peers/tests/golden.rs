//! Small data directories that real releases made, with what they hold written
//! beside them: `golden/<version>/{data,facts.json}`. The crates `bolt` and
//! `wal` read the files, and the subject serves them, also where no etcd is
//! installed. `cargo test -p pintle-peers --test golden -- --ignored` makes
//! them anew with the installed releases.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use peers::{
    dirs,
    fingerprint::{Fingerprint, Position},
    peer,
    server::Launch,
    workload::{self, Amount, Dice},
};
use prost::Message as _;
use proto::{etcdserverpb::Metadata, mvccpb::KeyValue};
use serde_json::{Value, json};

const VERSIONS: [&str; 5] = ["3.4.23", "3.5.0", "3.5.1", "3.5.16", "3.5.30"];

fn home(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden")
        .join(version)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn key_facts(kvs: &[KeyValue]) -> Value {
    let rows = kvs.iter().map(|kv| {
        json!([
            hex(&kv.key),
            hex(&kv.value),
            kv.create_revision,
            kv.mod_revision,
            kv.version,
            kv.lease
        ])
    });
    rows.collect()
}

/// What is written down of a state: rows of numbers and hexadecimal bytes.
fn facts(state: &Fingerprint) -> Value {
    json!({
        "cluster_id": state.ids.0,
        "member_id": state.ids.1,
        "revision": state.revision,
        "compact_revision": state.compact_revision,
        "keys": key_facts(&state.keys),
        "hash_kv": state.hashes,
        "events": state.events.iter().map(|e| {
            let kv = e.kv.clone().unwrap_or_default();
            json!([e.r#type, kv.mod_revision, hex(&kv.key), hex(&kv.value)])
        }).collect::<Value>(),
        "leases": state.leases.iter().map(|(id, granted, keys)| {
            json!([id, granted, keys.iter().map(|k| hex(k)).collect::<Value>()])
        }).collect::<Value>(),
        "alarms": state.alarms,
        "members": state.members.iter().map(|m| {
            json!([m.id, m.name, m.peer_ur_ls, m.client_ur_ls, m.is_learner])
        }).collect::<Value>(),
    })
}

#[test]
#[ignore = "writes the corpus with the installed releases"]
fn write_the_corpus() {
    for version in VERSIONS {
        let Some(program) = peer::etcd(version) else {
            continue;
        };
        peers::run(60, async {
            let temp = tempfile::tempdir()?;
            let dir = temp.path().join("data");
            let server = Launch::new(&program, &dir)
                .flag("--snapshot-count=20")
                .start()
                .await?;
            let amount = Amount {
                writes: 45,
                compact: true,
                alarm: true,
            };
            workload::fill(server.api(), &mut Dice::new(5), 1000, amount).await?;
            let mut facts = facts(&Fingerprint::of(server.api()).await?);
            let position = Position::of(server.api()).await?;
            facts["raft_index"] = position.index.into();
            facts["raft_term"] = position.term.into();
            server.terminate().await?;
            let home = home(version);
            let _ = fs::remove_dir_all(&home);
            let newest = dirs::snapshots(&dir)?.pop().context("no .snap file")?;
            for (path, bytes) in dirs::contents(&dir)? {
                let name = path
                    .file_name()
                    .context("name")?
                    .to_string_lossy()
                    .into_owned();
                let old = name.ends_with(".snap") && !newest.ends_with(&path);
                if name.ends_with(".tmp") || old {
                    continue;
                }
                let to = home.join("data").join(&path);
                fs::create_dir_all(to.parent().context("parent")?)?;
                fs::write(&to, &bytes)?;
                if name == "db" {
                    // Grown by 16 MiB at once, used up to the high water mark.
                    let report = bolt::check::check_file(&dir.join(&path))?;
                    let len = report.high_water_mark * u64::from(report.page_size);
                    fs::OpenOptions::new().write(true).open(&to)?.set_len(len)?;
                }
            }
            fs::write(home.join("facts.json"), format!("{facts:#}\n"))?;
            Ok(())
        });
    }
}

fn load(version: &str) -> Result<(PathBuf, Value)> {
    let home = home(version);
    let facts = fs::read_to_string(home.join("facts.json"))
        .with_context(|| format!("facts of {version}"))?;
    Ok((home.join("data"), serde_json::from_str(&facts)?))
}

/// The newest value of each key, read from bucket `key` alone.
fn keys_of_database(path: &Path) -> Result<(Vec<KeyValue>, u64)> {
    let options = bolt::Options {
        read_only: true,
        ..Default::default()
    };
    let db = bolt::Db::open(path, options)?;
    let tx = db.begin_read();
    let problems = bolt::check::check(&tx);
    ensure!(problems.is_empty(), "{problems:?}");
    let mut newest: BTreeMap<Vec<u8>, Option<KeyValue>> = BTreeMap::new();
    let bucket = tx.bucket(b"key")?.context("no bucket key")?;
    let mut cursor = bucket.cursor();
    let mut row = cursor.first()?;
    while let Some((key, value)) = row {
        let kv = KeyValue::decode(value)?;
        let tombstone = key.len() == 18 && key[17] == b't';
        newest.insert(kv.key.to_vec(), (!tombstone).then_some(kv));
        row = cursor.next()?;
    }
    let meta = tx.bucket(b"meta")?.context("no bucket meta")?;
    let index = meta
        .get(b"consistent_index")?
        .context("no consistent_index")?;
    Ok((
        newest.into_values().flatten().collect(),
        u64::from_be_bytes(index.try_into()?),
    ))
}

#[test]
fn bolt_and_wal_read_what_each_release_wrote() {
    for version in VERSIONS {
        let check = || -> Result<()> {
            let (source, facts) = load(version)?;
            // Opening takes locks and may leave files: work on a copy.
            let temp = tempfile::tempdir()?;
            let data = temp.path().join("data");
            dirs::copy(&source, &data)?;
            let (kvs, consistent_index) = keys_of_database(&data.join("member/snap/db"))?;
            ensure!(
                key_facts(&kvs) == facts["keys"],
                "keys: {:?}",
                key_facts(&kvs)
            );
            let index = facts["raft_index"].as_u64().context("raft_index")?;
            // Older releases do not store the index of entries that write nothing.
            let older = matches!(version, "3.4.23" | "3.5.0" | "3.5.1");
            ensure!(
                consistent_index == index
                    || (older && (index - 3..index).contains(&consistent_index)),
                "consistent_index {consistent_index}, raft stood at {index}"
            );

            let wal_dir = data.join("member/wal");
            let valid = wal::valid_snapshots(&wal_dir)?;
            let newest = valid.last().context("no snapshot record")?.clone();
            ensure!(
                newest.index >= 20,
                "the newest snapshot stands at {}",
                newest.index
            );
            let log = wal::read_all(&wal_dir, newest.clone())?;
            let metadata = Metadata::decode(log.metadata.clone())?;
            ensure!(
                facts["member_id"] == metadata.node_id,
                "member id {}",
                metadata.node_id
            );
            ensure!(
                facts["cluster_id"] == metadata.cluster_id,
                "cluster id {}",
                metadata.cluster_id
            );
            ensure!(
                facts["raft_term"] == log.state.term,
                "term {}",
                log.state.term
            );
            for (entry, expected) in log.entries.iter().zip(newest.index + 1..) {
                ensure!(
                    entry.index == expected,
                    "entry {} at {expected}",
                    entry.index
                );
            }
            let last = log.entries.last().map_or(newest.index, |e| e.index);
            ensure!(
                last == index,
                "the log ends at {last}, raft stood at {index}"
            );

            let snapshotter = wal::snap::Snapshotter::new(&data.join("member/snap"));
            let snapshot = snapshotter
                .load_newest_available(&valid)?
                .context("no .snap file")?;
            let tree: Value = serde_json::from_slice(snapshot.data.as_deref().unwrap_or_default())?;
            let member = format!("{:x}", metadata.node_id);
            ensure!(
                tree.to_string().contains(&member),
                "the v2store lacks member {member}"
            );
            Ok(())
        };
        if let Err(error) = check() {
            panic!("{version}: {error:#}");
        }
    }
}

#[test]
fn the_subject_serves_what_each_release_wrote() {
    let Some(subject) = peer::subject() else {
        return;
    };
    for version in VERSIONS {
        peers::run(60, async {
            let (source, mut facts_then) = load(version)?;
            let temp = tempfile::tempdir()?;
            let data = temp.path().join("data");
            dirs::copy(&source, &data)?;
            let server = Launch::new(&subject, &data).start().await?;
            let facts_now = facts(&Fingerprint::of(server.api()).await?);
            let index = facts_then["raft_index"].as_u64().context("raft_index")?;
            ensure!(
                Position::of(server.api()).await?.index > index,
                "raft stands before {index}"
            );
            let map = facts_then.as_object_mut().context("facts")?;
            map.retain(|name, _| !name.starts_with("raft_"));
            for (name, then) in map {
                ensure!(
                    facts_now[name.as_str()] == *then,
                    "{version}: {name} is\n{}\nand was\n{then}",
                    facts_now[name.as_str()]
                );
            }
            server.terminate().await
        });
    }
    peer::say(&format!("RAN: golden, directories of {VERSIONS:?}"));
}
