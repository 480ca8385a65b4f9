//! Bytes that no one wrote, after the last record of a log or in its place:
//! what etcd cuts off as a torn tail is cut off, and never a record with it.

use std::{fs, path::Path};

use proptest::prelude::*;
use wal::{
    Error, Options, ReadOnly, Wal,
    frame::{Length, first_zero_piece},
    read_all,
};

const NAME: &str = "0000000000000000-0000000000000000.wal";
const FILE_BYTES: usize = 1 << 16;

fn golden() -> Vec<u8> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/3.5.30");
    fs::read(dir.join(NAME)).unwrap()
}

/// A log in a directory of its own.
fn log(bytes: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(NAME), bytes).unwrap();
    dir
}

fn read(bytes: &[u8]) -> Result<ReadOnly, Error> {
    read_all(log(bytes).path(), proto::walpb::Snapshot::default())
}

/// Where the last record begins.
fn last_record(bytes: &[u8]) -> usize {
    let (mut at, mut last) = (0, 0);
    while at < bytes.len() {
        last = at;
        let field = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        at += Length::parse(field).unwrap().frame() as usize;
    }
    last
}

/// Whether etcd calls what is at that place a torn tail, or an end, unread.
fn etcd_goes_on(bytes: &[u8], at: usize) -> bool {
    let Some(field) = bytes[at..].first_chunk::<8>() else {
        return true;
    };
    let length = Length::lenient(u64::from_le_bytes(*field));
    let body = at + 8;
    let frame = (length.record + length.pad) as usize;
    u64::from_le_bytes(*field) == 0
        || frame > bytes.len() - body
        || first_zero_piece(&bytes[body..body + frame], body as u64).is_some()
}

/// Garbage as disks and hands leave it: one byte over and over, random bytes,
/// or a length field that says something with either after it.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let field = prop_oneof![
        any::<u64>(),
        Just(0),
        0u64..(2 * FILE_BYTES as u64),
        (0u64..4096).prop_map(|n| 1 << 63 | n),
        (0u32..64).prop_map(|bit| 1 << bit),
    ];
    let body =
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..3000),
            (any::<u8>(), 0usize..3000).prop_map(|(byte, n)| vec![byte; n]),
            (0usize..600, proptest::collection::vec(any::<u8>(), 0..600))
                .prop_map(|(zeros, rest)| [vec![0; zeros], rest].concat()),
        ];
    prop_oneof![
        body.clone(),
        (field, body).prop_map(|(field, body)| [&field.to_le_bytes()[..], &body].concat()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn behind_the_last_record_costs_none(garbage in garbage(), cut: bool) {
        let whole = golden();
        let intact = read(&whole).unwrap();
        let mut bytes = [&whole[..], &garbage].concat();
        if !cut {
            bytes.resize(FILE_BYTES, 0);
        }
        let result = read(&bytes);
        if etcd_goes_on(&bytes, whole.len()) {
            let read = result.unwrap();
            prop_assert_eq!((&read.entries, &read.state), (&intact.entries, &intact.state));
        } else if let Err(error) = result {
            let named = matches!(error, Error::Corrupt { offset, .. } if offset == whole.len() as u64);
            prop_assert!(named, "{error}");
        }
    }

    /// Over a part of the log, the last record excepted: all is read, or it is
    /// refused.
    #[test]
    fn over_records_is_refused(
        garbage in proptest::collection::vec(1u8.., 1..600),
        at in any::<prop::sample::Index>(),
        short: bool,
    ) {
        let whole = golden();
        let last = last_record(&whole);
        let intact = read(&whole).unwrap();
        let at = at.index(last);
        let len = if short { garbage.len().min(8) } else { garbage.len() };
        let end = (at + len).min(last);
        let mut bytes = whole.clone();
        bytes[at..end].copy_from_slice(&garbage[..end - at]);
        if let Ok(read) = read(&bytes) {
            prop_assert_eq!(read.entries, intact.entries);
        }
    }

    /// Zeros over a part of the log, likewise, once a later batch proves a sync.
    #[test]
    fn zeros_over_records_are_refused_before_a_later_batch(
        at in any::<prop::sample::Index>(),
        len in 1usize..2000,
    ) {
        let whole = golden();
        // The last two batches of that log are in its last kilobyte.
        let end = whole.len() - 1024;
        let at = at.index(end);
        let mut bytes = whole.clone();
        bytes[at..(at + len).min(end)].fill(0);
        if let Ok(read) = read(&bytes) {
            prop_assert_eq!(read.entries, self::read(&whole).unwrap().entries);
        }
    }
}

/// The frame in front of a length field that says any other size, one bit or
/// many aside, still shows its record.
#[test]
fn a_changed_length_never_hides_a_record() {
    let whole = golden();
    let last = last_record(&whole);
    let lengths = (0..64)
        .map(|bit| u64::from_le_bytes(whole[last..last + 8].try_into().unwrap()) ^ 1 << bit)
        .chain([0, u64::MAX, 1 << 40, 1 << 63 | 16, 0x5555_5555_5555_5555]);
    for field in lengths {
        for len in [whole.len(), FILE_BYTES] {
            let mut bytes = whole.clone();
            bytes[last..last + 8].copy_from_slice(&field.to_le_bytes());
            bytes.resize(len, 0);
            let error = read(&bytes).unwrap_err();
            assert!(
                matches!(error, Error::Corrupt { offset, .. } if offset == last as u64),
                "{field:#x}: {error}"
            );
        }
    }
}

#[test]
fn it_is_cut_off_and_kept_as_a_copy() {
    let whole = golden();
    let mut bytes = whole.clone();
    bytes.resize(FILE_BYTES, 0xff);
    let dir = log(&bytes);
    let options = Options {
        background: false,
        segment_bytes: FILE_BYTES as u64,
        ..Options::default()
    };
    let opened = Wal::open(dir.path(), proto::walpb::Snapshot::default(), options).unwrap();
    let repair = opened.repaired.unwrap();
    assert_eq!(repair.offset, whole.len() as u64);
    assert_eq!(repair.dropped_bytes, (FILE_BYTES - whole.len()) as u64);
    assert!(fs::read(repair.copy).unwrap() == bytes);
    let now = fs::read(dir.path().join(NAME)).unwrap();
    assert!(now[..whole.len()] == whole && now[whole.len()..].iter().all(|&b| b == 0));
}
