//! Bytes that no writer wrote, from real logs changed at random: no panic, no
//! endless loop, no allocation beyond the input.
#![cfg(feature = "fuzzing")]

use std::{fs, path::Path};

use proptest::prelude::*;
use wal::fuzzing;

fn golden(name: &str) -> Vec<u8> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/3.5.30");
    fs::read(dir.join(name)).unwrap()
}

/// Overwrites, insertions, removals and copies within.
fn change(bytes: &mut Vec<u8>, changes: &[(u8, u16, u16, u8)]) {
    for &(what, at, len, value) in changes {
        let at = usize::from(at) % bytes.len().max(1);
        let end = bytes.len().min(at + usize::from(len) % 700);
        match what % 5 {
            0 if at < bytes.len() => bytes[at] = value,
            1 => bytes[at..end].fill(value.wrapping_mul(value & 1)),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let copied = bytes[at..end].to_vec();
                bytes.splice(at..at, copied);
            }
            _ => bytes.truncate(end.max(8)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn changed_logs(
        part in prop_oneof![Just(0u8), any::<u8>()],
        changes in proptest::collection::vec(any::<(u8, u16, u16, u8)>(), 1..6),
    ) {
        let mut bytes = golden("0000000000000000-0000000000000000.wal");
        change(&mut bytes, &changes);
        bytes.insert(0, part);
        fuzzing::log(&bytes);
    }

    #[test]
    fn changed_snapshots(changes in proptest::collection::vec(any::<(u8, u16, u16, u8)>(), 1..4)) {
        let whole = golden("0000000000000003-0000000000000016.snap");
        let mut bytes = whole.clone();
        change(&mut bytes, &changes);
        let read = fuzzing::snap(&bytes);
        prop_assert!(read.is_none() || bytes == whole || read == Some(22));
    }

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600), text: String) {
        fuzzing::log(&bytes);
        fuzzing::snap(&bytes);
        fuzzing::name(&text);
    }
}

#[test]
fn the_unchanged_log_is_accepted() {
    let mut bytes = golden("0000000000000000-0000000000000000.wal");
    bytes.insert(0, 0);
    assert!(fuzzing::log(&bytes).is_some_and(|entries| entries > 20));
}
