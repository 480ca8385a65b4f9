//! What other writers of tar archives do, read as they mean it.

use std::io::Read as _;

use super::{Item, tar_of};
use crate::tar::{Bounds, Fault, Kind, Reader, clean};

const BOUNDS: Bounds = Bounds {
    bytes: 1 << 20,
    entries: 100,
    total: None,
};

/// A header with this type in front of its content.
fn entry(kind: u8, name: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = tar_of(&[Item::File(name, 0o644, content)]);
    bytes.truncate(bytes.len() - 1024);
    bytes[156] = kind;
    sum(&mut bytes);
    bytes
}

fn sum(bytes: &mut [u8]) {
    bytes[148..156].fill(b' ');
    let sum: u32 = bytes[..512].iter().map(|byte| u32::from(*byte)).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let length = (rest.len()..).find(|n| n.to_string().len() + rest.len() == *n);
    format!("{}{rest}", length.unwrap())
}

#[test]
fn long_names_of_gnu_and_pax_are_read() {
    let long = format!("{}/etcd", "deep/".repeat(60));
    let gnu = [
        entry(b'L', "././@LongLink", format!("{long}\0").as_bytes()),
        entry(b'0', "cut", b"content"),
    ];
    let pax = [
        entry(b'g', "global", record("comment", "a commit").as_bytes()),
        entry(
            b'x',
            "pax",
            (record("mtime", "1.5") + &record("path", &long)).as_bytes(),
        ),
        entry(b'0', "cut", b"content"),
    ];
    for archive in [gnu.concat(), pax.concat()] {
        let mut reader = Reader::new(&archive[..], BOUNDS);
        let found = reader.next().unwrap().unwrap();
        assert_eq!(
            (found.name.as_str(), found.kind, found.size),
            (long.as_str(), Kind::File, 7)
        );
        let mut content = String::new();
        reader.read_to_string(&mut content).unwrap();
        assert_eq!(content, "content");
        assert!(reader.next().unwrap().is_none());
        assert!(!reader.ended(), "there is no end mark");
    }
    let mut prefixed = entry(b'0', "etcd", b"");
    prefixed[345..352].copy_from_slice(b"usr/bin");
    sum(&mut prefixed);
    let found = Reader::new(&prefixed[..], BOUNDS).next().unwrap().unwrap();
    assert_eq!(found.name, "usr/bin/etcd");
}

#[test]
fn pax_sizes_count_and_broken_records_do_not() {
    let sized = [
        entry(b'x', "pax", record("size", "3").as_bytes()),
        entry(b'0', "a", b"abc"),
    ];
    let found = Reader::new(&sized.concat()[..], BOUNDS)
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(found.size, 3);
    for broken in [
        "",
        "x",
        "99 path=a\n",
        "9 path=a",
        "0 path=a\n",
        "5 a=\n",
        "18446744073709551616 a=b\n",
        "12 size=-1\n\n",
    ] {
        let archive = [
            entry(b'x', "pax", broken.as_bytes()),
            entry(b'0', "a", b"abc"),
        ]
        .concat();
        let found = Reader::new(&archive[..], BOUNDS).next();
        let empty = broken.is_empty() || broken == "5 a=\n";
        assert_eq!(found.is_ok(), empty, "{broken:?}");
    }
    let sparse = entry(b'x', "pax", record("GNU.sparse.major", "1").as_bytes());
    assert!(matches!(
        Reader::new(&sparse[..], BOUNDS).next(),
        Err(Fault::Unsupported(_))
    ));
    // One that is longer than any path, and one that is not even read.
    for size in [1 << 16, (1 << 20) + 1] {
        let large = entry(b'L', "name", &vec![b'a'; size]);
        let large = [large, entry(b'0', "a", b"")].concat();
        let bounds = Bounds {
            bytes: 4 << 20,
            ..BOUNDS
        };
        let mut reader = Reader::new(&large[..], bounds);
        assert!(matches!(reader.next(), Err(Fault::TooLarge(_))));
        assert_eq!(reader.at() > 512, size == 1 << 16, "{size}");
    }
}

#[test]
fn old_archives_are_read() {
    // Folders by the slash at their end, links that claim a size.
    let folder = entry(0, "usr/", b"");
    let found = Reader::new(&folder[..], BOUNDS).next().unwrap().unwrap();
    assert_eq!(found.kind, Kind::Directory);
    let mut link = entry(b'1', "b", b"");
    link[157] = b'a';
    link[124..135].copy_from_slice(b"00000001000");
    sum(&mut link);
    let archive = [link, entry(b'0', "c", b"")].concat();
    let mut reader = Reader::new(&archive[..], BOUNDS);
    let found = reader.next().unwrap().unwrap();
    assert_eq!(
        (found.kind, found.link.as_str(), found.size),
        (Kind::HardLink, "a", 0)
    );
    assert_eq!(reader.next().unwrap().unwrap().name, "c");
}

#[test]
fn entries_are_counted() {
    let archive = entry(b'0', "a", b"").repeat(101);
    let mut reader = Reader::new(&archive[..], BOUNDS);
    let fault = (0..archive.len()).find_map(|_| reader.next().err());
    assert!(matches!(fault, Some(Fault::TooLarge(_))));
}

#[test]
fn names_are_cleaned() {
    for (name, rooted, wanted) in [
        ("./a//b/./c/", false, Some("a/b/c")),
        ("./", false, Some("")),
        ("/a", true, Some("a")),
        ("/a", false, None),
        ("a/../b", true, None),
        ("..", true, None),
        ("..a/b..", false, Some("..a/b..")),
    ] {
        assert_eq!(clean(name, rooted).ok().as_deref(), wanted, "{name}");
    }
}
