//! Bits that turn, in logs that real etcd wrote: named with file and offset,
//! never taken for a torn end, never repaired.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use proto::{raftpb, walpb};
use wal::{Error, Options, Wal, frame::Length, read_all};

const NAME: &str = "0000000000000000-0000000000000000.wal";

fn golden(version: &str) -> Vec<u8> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    fs::read(dir.join(version).join(NAME)).unwrap()
}

fn put(dir: &Path, bytes: &[u8], len: u64) -> PathBuf {
    let path = dir.join(NAME);
    // Not truncated first: ext4 flushes a file that is, at its next closing.
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .unwrap();
    file.write_all(bytes).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    file.set_len(len).unwrap();
    path
}

/// Where frames begin, and the end.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let mut starts = vec![0];
    let mut at = 0;
    while at < bytes.len() {
        let field = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        at += Length::parse(field).unwrap().frame() as usize;
        starts.push(at);
    }
    starts
}

fn options() -> Options {
    Options {
        background: false,
        segment_bytes: 1 << 16,
        ..Options::default()
    }
}

fn open(dir: &Path) -> Result<wal::Opened, Error> {
    Wal::open(dir, walpb::Snapshot::default(), options())
}

/// Bits of a log, turned one at a time: all that frame a record, one of every
/// other byte. Either the place is named, or what is read is the same: a bit of
/// padding, or one that turns the tag of a zero field into an unknown one.
#[test]
fn every_turned_bit_is_named_with_file_and_offset() {
    let whole = golden("3.5.16");
    let starts = frames(&whole);
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), &whole, whole.len() as u64);
    let intact = read_all(dir.path(), walpb::Snapshot::default()).unwrap();
    let (mut named, mut harmless) = (0, 0);
    for at in 0..whole.len() {
        let next = starts.iter().position(|&start| start > at).unwrap();
        let frame = starts[next - 1];
        let bits = if at - frame < 20 {
            0..8
        } else {
            at % 8..at % 8 + 1
        };
        for bit in bits {
            // The file ends there, or zeros follow.
            let len = if (at + bit) % 2 == 0 {
                whole.len() as u64
            } else {
                1 << 16
            };
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            let path = put(dir.path(), &bytes, len);
            match read_all(dir.path(), walpb::Snapshot::default()) {
                Err(Error::Corrupt {
                    path: file, offset, ..
                }) => {
                    assert_eq!(file, path);
                    // Some turns only show in a later record: of the first
                    // checksum, or of a type, which no checksum covers.
                    let later = at < 16 || (8..10).contains(&(at - frame));
                    assert!(
                        offset == frame as u64 || later,
                        "{at}.{bit} named at {offset}"
                    );
                    // To open is slow; what it sees is the same.
                    if named % 16 == 0 {
                        assert!(matches!(open(dir.path()), Err(Error::Corrupt { .. })));
                        assert!(fs::read(&path).unwrap()[..bytes.len()] == bytes, "changed");
                        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
                    }
                    named += 1;
                }
                Ok(read) => {
                    assert!(read == intact, "{at}.{bit} changed what is read");
                    harmless += 1;
                }
                Err(other) => panic!("{at}.{bit}: {other}"),
            }
        }
    }
    assert!(
        harmless > 0 && harmless < named / 8,
        "{harmless} of {named}"
    );
}

fn entry(index: u64, data: Vec<u8>) -> raftpb::Entry {
    raftpb::Entry {
        r#type: 0,
        term: 1,
        index,
        data: Some(Bytes::from(data)),
    }
}

/// Values that are zero over whole sectors look like holes once a bit turned;
/// a later batch proves that they had been durable.
#[test]
fn rot_in_a_value_of_zeros_is_not_taken_for_a_torn_write() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("wal");
    let mut wal = Wal::create(&dir, b"m", options()).unwrap();
    for index in 1..=3 {
        wal.append(
            &[entry(index, vec![0; 3000])],
            Some(&raftpb::HardState {
                term: 1,
                vote: 1,
                commit: index,
            }),
        )
        .unwrap();
        wal.sync().unwrap();
    }
    wal.close().unwrap();
    let path = dir.join(NAME);
    let whole = fs::read(&path).unwrap();
    let starts = frames(whole.without_zero_tail());

    // Entries are frames 3, 5, 7 (after crc, metadata, snapshot).
    let turned = |frame: usize| {
        let mut bytes = whole.clone();
        bytes[starts[frame] + 40] ^= 4;
        fs::write(&path, &bytes).unwrap();
        open(&dir)
    };
    for frame in [3, 5] {
        let error = turned(frame).unwrap_err();
        assert!(
            matches!(error, Error::Corrupt { offset, .. } if offset == starts[frame] as u64),
            "{error}"
        );
    }
    // Nothing follows the last batch: it may never have been acknowledged.
    let opened = turned(7).unwrap();
    let repair = opened.repaired.unwrap();
    assert_eq!(repair.offset, starts[7] as u64);
    assert!(repair.dropped_bytes > 3000);
    assert_eq!(opened.entries.len(), 2);
    // And even then the bytes are kept.
    let mut kept = whole.clone();
    kept[starts[7] + 40] ^= 4;
    assert!(fs::read(&repair.copy).unwrap() == kept);
    assert!(repair.copy.to_str().unwrap().ends_with(".wal.broken"));
}

/// The hard state that ended the batch does not continue the checksum, but shows
/// that a batch ended before the next entry.
#[test]
fn a_record_that_breaks_the_chain_is_a_witness_too() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("wal");
    let mut wal = Wal::create(&dir, b"m", options()).unwrap();
    for index in 1..=2 {
        let state = raftpb::HardState {
            term: 1,
            vote: 1,
            commit: index,
        };
        wal.append(&[entry(index, vec![7; 3000])], Some(&state))
            .unwrap();
        wal.sync().unwrap();
    }
    wal.close().unwrap();
    let path = dir.join(NAME);
    let mut bytes = fs::read(&path).unwrap();
    let starts = frames(bytes.without_zero_tail());
    // A sector of the first entry is lost, and the hard state after it rots.
    let sector = (starts[3] + 1000).next_multiple_of(512);
    bytes[sector..sector + 512].fill(0);
    // In its checksum, after the length, the type and a tag.
    bytes[starts[4] + 11] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = open(&dir).unwrap_err();
    assert!(matches!(error, Error::Corrupt { offset, .. } if offset == starts[3] as u64));
    assert!(fs::read(&path).unwrap() == bytes, "nothing was changed");
}

trait ZeroTail {
    fn without_zero_tail(&self) -> &[u8];
}

impl ZeroTail for Vec<u8> {
    /// Up to the last byte that is not zero, and on to a multiple of eight.
    fn without_zero_tail(&self) -> &[u8] {
        let end = self.iter().rposition(|&b| b != 0).map_or(0, |i| i + 1);
        &self[..end.next_multiple_of(8)]
    }
}

/// A write that was interrupted: cut at any byte, or a sector lost.
#[test]
fn torn_ends_are_repaired_and_a_copy_is_kept() {
    let whole = golden("3.5.30");
    let starts = frames(&whole);
    let last = starts[starts.len() - 2];
    let dir = tempfile::tempdir().unwrap();
    for cut in last + 1..whole.len() {
        let path = put(dir.path(), &whole[..cut], cut as u64);
        let options = Options {
            repair: false,
            background: false,
            ..Options::default()
        };
        let refused = Wal::open(dir.path(), walpb::Snapshot::default(), options).unwrap_err();
        assert!(matches!(refused, Error::Torn { offset, .. } if offset == last as u64));
        assert_eq!(
            read_all(dir.path(), walpb::Snapshot::default())
                .unwrap()
                .torn,
            Some((path.clone(), last as u64))
        );
        let opened = open(dir.path()).unwrap();
        let repair = opened.repaired.unwrap();
        assert_eq!((repair.path, repair.offset), (path.clone(), last as u64));
        assert!(fs::read(repair.copy).unwrap() == whole[..cut]);
        drop(opened.wal);
        assert_eq!(open(dir.path()).unwrap().repaired, None);
        let now = fs::read(&path).unwrap();
        assert!(now[..last] == whole[..last] && now[last..].iter().all(|&b| b == 0));
    }
}

/// Data after an end that is zero to its sector's end: a lost first sector, if
/// all of it may be of one batch.
#[test]
fn what_lies_behind_a_lost_sector_is_kept_as_a_copy() {
    let whole = golden("3.5.30");
    let starts = frames(&whole);
    // A frame that begins a sector does not exist; lose all from the end of a
    // frame to the end of its sector, as if nothing had been there before.
    let end = starts[starts.len() / 2];
    let mut bytes = whole.clone();
    let sector_end = end.next_multiple_of(512);
    bytes[end..sector_end].fill(0);
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), &bytes, 1 << 16);
    let refused = open(dir.path()).unwrap_err();
    assert!(matches!(refused, Error::Corrupt { offset, .. } if offset == end as u64));

    // The rest of the frame at the border, and one more.
    let one = starts.partition_point(|start| *start < sector_end) + 1;
    bytes[starts[one]..].fill(0);
    put(dir.path(), &bytes, 1 << 16);
    let opened = open(dir.path()).unwrap();
    let repair = opened.repaired.unwrap();
    assert_eq!(repair.offset, end as u64);
    let last = bytes.iter().rposition(|&b| b != 0).unwrap();
    assert_eq!(repair.dropped_bytes, (last + 1 - end) as u64);
    assert!(fs::read(repair.copy).unwrap()[..bytes.len()] == bytes);
}

#[test]
fn damage_in_an_earlier_segment_is_refused_even_if_it_looks_torn() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("wal");
    let options = Options {
        background: false,
        segment_bytes: 1 << 16,
        ..Options::default()
    };
    let mut wal = Wal::create(&dir, b"m", options).unwrap();
    wal.append(&[entry(1, vec![1; 2000])], None).unwrap();
    wal.cut_now().unwrap();
    wal.append(&[entry(2, vec![1; 20])], None).unwrap();
    wal.close().unwrap();
    let path = dir.join(NAME);
    let whole = fs::read(&path).unwrap();

    // A record cut short.
    fs::write(&path, &whole[..whole.len() - 100]).unwrap();
    assert!(matches!(open(&dir), Err(Error::Corrupt { path: p, .. }) if p == path));
    // A whole record missing: only the next segment's first checksum tells.
    let starts = frames(&whole);
    fs::write(&path, &whole[..starts[starts.len() - 2]]).unwrap();
    let error = open(&dir).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the end of that segment is missing"),
        "{error}"
    );
    // All of it missing.
    fs::write(&path, b"").unwrap();
    assert!(matches!(open(&dir), Err(Error::Corrupt { path: p, offset: 0, .. }) if p == path));
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let home = tempfile::tempdir().unwrap();
    let blocked = home.path().join("file");
    fs::write(&blocked, b"").unwrap();
    let error = Wal::create(&blocked.join("wal"), b"m", Options::default()).unwrap_err();
    assert!(error.to_string().contains("file/wal.tmp"), "{error}");
    // Never removed: a directory that holds something else.
    let dir = home.path().join("wal");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("notes"), b"mine").unwrap();
    Wal::create(&dir, b"m", Options::default()).unwrap_err();
    assert_eq!(fs::read(dir.join("notes")).unwrap(), b"mine");
    fs::remove_file(dir.join("notes")).unwrap();
    Wal::create(&dir, b"m", Options::default()).unwrap();
}
