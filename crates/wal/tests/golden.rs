//! Logs and snapshots that real etcd releases wrote; see `golden/make.py`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use prost::Message;
use proto::{raftpb, walpb};
use wal::{
    Options, Wal,
    frame::{Encoder, Length, RecordType, decode},
    read_all, read_kept,
    snap::{self, Snapshotter},
    valid_snapshots, verify,
};

const VERSIONS: [&str; 5] = ["3.4.23", "3.5.0", "3.5.1", "3.5.16", "3.5.30"];

fn golden(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(version)
}

fn copy(version: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in fs::read_dir(golden(version)).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
    }
    dir
}

fn segment(version: &str) -> Vec<u8> {
    fs::read(golden(version).join("0000000000000000-0000000000000000.wal")).unwrap()
}

#[test]
fn every_release_reads_whole() {
    for version in VERSIONS {
        let dir = golden(version);
        let read = read_all(&dir, walpb::Snapshot::default()).unwrap();
        assert_eq!(read.torn, None, "{version}");
        let indexes: Vec<u64> = read.entries.iter().map(|e| e.index).collect();
        assert_eq!(
            indexes,
            (1..=indexes.len() as u64).collect::<Vec<_>>(),
            "{version}"
        );
        assert!(indexes.len() >= 25, "{version}");
        assert!(
            read.state.commit >= 22 && read.state.term == 3,
            "{version} {:?}",
            read.state
        );
        // The same without the data of what no one asked for.
        let odd = read_kept(&dir, walpb::Snapshot::default(), |e| e.index % 2 == 1).unwrap();
        let expected = read.entries.iter().cloned().map(|mut entry| {
            entry.data = entry.data.filter(|_| entry.index % 2 == 1);
            entry
        });
        assert_eq!(odd.entries, expected.collect::<Vec<_>>(), "{version}");
        // Only the newest .snap was kept; 3.5 on a log says its voters.
        let valid = valid_snapshots(&dir).unwrap();
        assert!(valid.len() >= 3, "{version} {valid:?}");
        let newest = valid.last().unwrap();
        assert_eq!(newest.index, 22);
        assert_eq!(newest.conf_state.is_some(), version != "3.4.23");
        assert_eq!(verify(&dir, newest.clone()).unwrap(), read.state);

        let snapshot = Snapshotter::new(&dir)
            .load_newest_available(&valid)
            .unwrap()
            .unwrap();
        assert_eq!(
            (snapshot.metadata.index, snapshot.metadata.term),
            (22, newest.term)
        );
        assert_eq!(snapshot.metadata.conf_state.voters.len(), 1);
        assert!(snapshot.data.unwrap().starts_with(b"{\"Root\""));
    }
}

/// Takes every record apart into its message and puts it together again.
#[test]
fn every_record_is_written_as_etcd_writes_it() {
    for version in VERSIONS {
        let bytes = Bytes::from(segment(version));
        let mut ours = Encoder::new(0);
        let mut at = 0;
        let mut kinds = [0; 6];
        while at < bytes.len() {
            let field = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
            let length = Length::parse(field).unwrap();
            let record = decode(bytes.slice(at + 8..at + 8 + length.record as usize)).unwrap();
            let data = record.data.unwrap_or_default();
            let kind = RecordType::from_number(record.r#type).unwrap();
            match kind {
                RecordType::Crc => ours.checksum(),
                RecordType::Metadata => ours.record(kind, &data),
                RecordType::Entry => ours.entry(&raftpb::Entry::decode(data).unwrap()),
                RecordType::State => {
                    ours.message(kind, &raftpb::HardState::decode(data).unwrap());
                }
                RecordType::Snapshot => {
                    ours.message(kind, &walpb::Snapshot::decode(data).unwrap());
                }
            }
            kinds[record.r#type as usize] += 1;
            at += length.frame() as usize;
        }
        assert!(kinds[1..].iter().all(|&n| n > 0), "{version} {kinds:?}");
        assert!(ours.frames() == bytes, "{version}");
    }
}

#[test]
fn every_snap_file_is_written_as_etcd_writes_it() {
    for version in VERSIONS {
        let dir = copy(version);
        let path = dir.path().join("0000000000000003-0000000000000016.snap");
        let snapshot = snap::read_file(&path).unwrap();
        let before = fs::read(&path).unwrap();
        assert!(snap::encode(&snapshot) == before, "{version}");
        fs::remove_file(&path).unwrap();
        Snapshotter::new(dir.path()).save(&snapshot).unwrap();
        assert!(fs::read(&path).unwrap() == before, "{version}");
    }
}

#[test]
fn writing_goes_on_behind_what_etcd_wrote() {
    for version in VERSIONS {
        let dir = copy(version);
        let at = valid_snapshots(dir.path()).unwrap().pop().unwrap();
        let opened = Wal::open(dir.path(), at, Options::default()).unwrap();
        assert_eq!(opened.repaired, None);
        let mut wal = opened.wal;
        let index = wal.last_index() + 1;
        let data = Some(Bytes::from_static(b"by us"));
        let entry = raftpb::Entry {
            r#type: 0,
            term: 4,
            index,
            data,
        };
        wal.append(std::slice::from_ref(&entry), None).unwrap();
        wal.close().unwrap();

        let read = read_all(dir.path(), walpb::Snapshot::default()).unwrap();
        assert_eq!(read.entries.last(), Some(&entry));
        let path = dir.path().join("0000000000000000-0000000000000000.wal");
        let now = fs::read(path).unwrap();
        assert_eq!(now.len() as u64, wal::SEGMENT_BYTES);
        let before = segment(version);
        assert!(now[..before.len()] == before);
    }
}

/// A record in proto3 style leaves zeros out; later etcd may write so.
#[test]
fn records_without_zeros_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut encoder = Encoder::new(0);
    // The head, its zero checksum left out: type 4 alone.
    let mut bytes = vec![2, 0, 0, 0, 0, 0, 0, 0x86, 0x08, 0x04, 0, 0, 0, 0, 0, 0];
    encoder.record(RecordType::Metadata, b"m");
    encoder.record(RecordType::Snapshot, b"");
    // Entry { Term 1, Index 1 }, HardState { term 1, commit 1 }.
    encoder.record(RecordType::Entry, &[0x10, 1, 0x18, 1]);
    encoder.record(RecordType::State, &[0x08, 1, 0x18, 1]);
    bytes.extend_from_slice(encoder.frames());
    fs::write(
        dir.path().join("0000000000000000-0000000000000000.wal"),
        bytes,
    )
    .unwrap();
    let read = read_all(dir.path(), walpb::Snapshot::default()).unwrap();
    assert_eq!(
        read.entries,
        [raftpb::Entry {
            term: 1,
            index: 1,
            ..Default::default()
        }]
    );
    assert_eq!(
        read.state,
        raftpb::HardState {
            term: 1,
            vote: 0,
            commit: 1
        }
    );
}
