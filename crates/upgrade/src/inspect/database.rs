//! Reads a database file: a member's own, or a snapshot.

use std::{path::Path, time::Duration};

use bolt::{Db, Options, ReadTx};
use membership::{cluster::MemberId, v3store};
use prost::Message as _;
use proto::etcdserverpb::{AlarmMember, AlarmType};

use super::error::Error;
use crate::{facts::Database, progress};

/// A running member holds its lock all the time; no one waits for that.
const LOCK_TIMEOUT: Duration = Duration::from_millis(200);

fn open(path: &Path) -> Result<Db, Error> {
    std::fs::metadata(path).map_err(|source| Error::Io {
        path: path.into(),
        source,
    })?;
    let options = Options {
        read_only: true,
        lock_timeout: Some(LOCK_TIMEOUT),
        ..Options::default()
    };
    Db::open(path, options).map_err(|source| match source {
        bolt::Error::Locked { .. } => Error::InUse(path.into()),
        source => Error::Database {
            path: path.into(),
            source,
        },
    })
}

/// Reads the database at `path`. With `pages` every page is walked, which reads
/// the file once.
///
/// # Errors
/// It is no database, or is in use.
pub fn database(path: &Path, pages: bool) -> Result<Database, Error> {
    let mut found = metadata(path)?;
    if pages {
        let bar = progress::busy(&format!("walking the pages of {}", path.display()));
        let report = bolt::check::check_file(path).map_err(|source| Error::Database {
            path: path.into(),
            source,
        })?;
        bar.finish_and_clear();
        found.damage = report
            .problems
            .iter()
            .map(|problem| {
                format!(
                    "page {} at {:#x}: {}",
                    problem.page, problem.offset, problem.detail
                )
            })
            .collect();
        found.pages_checked = true;
    }
    Ok(found)
}

/// Reads everything but the keys.
///
/// # Errors
/// It is no database, or is in use.
pub fn metadata(path: &Path) -> Result<Database, Error> {
    let db = open(path)?;
    let tx = db.begin_read();
    let damaged = |source| Error::Database {
        path: path.into(),
        source,
    };
    let mut found = read(&tx).map_err(damaged)?;
    if tx.bucket(b"key").map_err(damaged)?.is_none() {
        return Err(Error::NotAMember {
            path: path.into(),
            why: "a bbolt file, but not of etcd: it has no bucket \"key\"".into(),
        });
    }
    found.path = path.into();
    found.size = db.size();
    found.in_use = db.size_in_use();
    Ok(found)
}

fn read(tx: &ReadTx) -> Result<Database, bolt::Error> {
    let mut found = Database {
        members: v3store::read(tx)?,
        ..Database::default()
    };
    if let Some(meta) = tx.bucket(b"meta")? {
        let number = |name: &[u8]| -> Result<Option<u64>, bolt::Error> {
            let value = meta.get(name)?;
            Ok(value
                .and_then(|v| v.try_into().ok())
                .map(u64::from_be_bytes))
        };
        found.consistent_index = number(b"consistent_index")?.unwrap_or(0);
        found.term = number(b"term")?;
        found.storage_version = meta
            .get(b"storageVersion")?
            .map(|v| String::from_utf8_lossy(v).into_owned());
        for name in [&b"finishedCompactRev"[..], b"scheduledCompactRev"] {
            let compacted = meta.get(name)?.and_then(main_revision).unwrap_or(0);
            found.compacted = found.compacted.max(compacted);
        }
    }
    if let Some(auth) = tx.bucket(b"auth")? {
        found.auth_enabled = auth.get(b"authEnabled")? == Some(&[1]);
    }
    if let Some(alarm) = tx.bucket(b"alarm")? {
        let mut cursor = alarm.cursor();
        let mut item = cursor.first()?;
        while let Some((key, _)) = item {
            if let Ok(alarm) = AlarmMember::decode(key) {
                found
                    .alarms
                    .push((MemberId(alarm.member_id), alarm_name(alarm.alarm)));
            }
            item = cursor.next()?;
        }
    }
    if let Some(keys) = tx.bucket(b"key")? {
        let newest = keys
            .cursor()
            .last()?
            .and_then(|(key, _)| main_revision(key));
        found.revision = newest.unwrap_or(1).max(found.compacted).max(1);
        let mut cursor = keys.cursor();
        let mut item = cursor.last()?;
        for _ in 0..NEWEST {
            let Some((_, value)) = item else { break };
            if let Some(key) = stored_key(value)
                && (found.writers.len() < WRITERS_MAX
                    || found.writers.contains_key(first_part(&key)))
            {
                *found
                    .writers
                    .entry(first_part(&key).to_owned())
                    .or_insert(0) += 1;
            }
            item = cursor.prev()?;
        }
        tx.advise_cold();
    }
    Ok(found)
}

/// Records that are looked at for who writes here.
const NEWEST: usize = 20_000;
/// Different prefixes that are told apart.
const WRITERS_MAX: usize = 12;

/// The key in a stored record, readable.
fn stored_key(value: &[u8]) -> Option<String> {
    let record = proto::mvccpb::KeyValue::decode(bytes::Bytes::copy_from_slice(value)).ok()?;
    Some(String::from_utf8_lossy(&record.key).into_owned())
}

/// `/registry` of `/registry/pods/...`, and a key without slashes as it is.
fn first_part(key: &str) -> &str {
    let rest = key.strip_prefix('/').unwrap_or(key);
    let len = rest.find('/').unwrap_or(rest.len());
    let short = key.char_indices().nth(40).map_or(key.len(), |(at, _)| at);
    &key[..(key.len() - rest.len() + len).min(short)]
}

/// etcd's name of an alarm.
pub(super) fn alarm_name(alarm: i32) -> String {
    AlarmType::try_from(alarm).map_or_else(
        |_| format!("alarm {alarm}"),
        |alarm| alarm.as_str_name().to_owned(),
    )
}

/// The main revision at the head of a revision key.
fn main_revision(key: &[u8]) -> Option<i64> {
    key.get(..8)
        .and_then(|head| head.try_into().ok())
        .map(i64::from_be_bytes)
}
