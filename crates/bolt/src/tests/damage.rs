//! Planted damage of each kind is found and named; random damage never panics.

use proptest::prelude::*;

use super::golden::golden;
use super::open;
use crate::check::{Problem, ProblemKind, check};
use crate::disk::Disk;
use crate::fuzzing::fuzz_image;
use crate::id::{PageId, PageRun};
use crate::node::Node;
use crate::sim::SimDisk;
use crate::{Db, Error, Options};

const PAGE: usize = 1024;

/// A database of three levels, as an image: bucket "key" with 600 keys, "small" inline.
fn image() -> Vec<u8> {
    let disk = SimDisk::new(&[], 16 << 20).unwrap();
    let db = open(&disk, PAGE as u32).unwrap();
    let mut tx = db.begin_write().unwrap();
    tx.create_bucket_if_not_exists(b"key").unwrap();
    tx.create_bucket_if_not_exists(b"small").unwrap();
    tx.put(b"small", b"a", b"b").unwrap();
    for i in 0..600u32 {
        tx.put(
            b"key",
            format!("key-{i:08}-{}", "x".repeat(100)).as_bytes(),
            &[b'v'; 60],
        )
        .unwrap();
    }
    tx.commit().unwrap();
    disk.content()
}

fn u16_of(b: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(b[at..at + 2].try_into().unwrap())
}

fn u64_of(b: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(b[at..at + 8].try_into().unwrap())
}

/// Ids of the pages with these flags.
fn pages(image: &[u8], flags: u16) -> Vec<usize> {
    (2..image.len() / PAGE)
        .filter(|id| {
            u16_of(image, id * PAGE + 8) == flags && u64_of(image, id * PAGE) == *id as u64
        })
        .collect()
}

fn read_only(image: &[u8]) -> Db {
    let disk = SimDisk::new(image, image.len()).unwrap();
    let opts = Options {
        read_only: true,
        ..super::small(PAGE as u32)
    };
    Db::open_on(std::path::Path::new("<memory>"), disk, opts).unwrap()
}

fn problems(image: &[u8]) -> Vec<Problem> {
    check(&read_only(image).begin_read())
}

/// Damages a copy of the image and expects a finding of `kind` on a page; returns its text.
fn planted(kind: ProblemKind, page: usize, damage: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut image = image();
    damage(&mut image);
    let found = problems(&image);
    let hit = found
        .iter()
        .find(|p| p.kind == kind && p.page == PageId::new(page as u64));
    let hit = hit.unwrap_or_else(|| panic!("no {kind:?} on page {page} among {found:?}"));
    assert_eq!(
        hit.offset / PAGE as u64,
        hit.page.get(),
        "the offset lies on the page"
    );
    hit.to_string()
}

#[test]
fn a_sound_file_has_no_problems() {
    assert_eq!(problems(&image()), []);
}

#[test]
fn planted_damage_is_named() {
    let image = image();
    let leaves = pages(&image, 2);
    let branches = pages(&image, 1);
    let leaf = leaves[5];
    let branch = branches[0];
    let at = leaf * PAGE;
    planted(ProblemKind::WrongId, leaf, |b| b[at] ^= 0x40);
    planted(ProblemKind::WrongType, leaf, |b| b[at + 8] = 4);
    planted(ProblemKind::WrongType, leaf, |b| b[at + 8] = 3);
    planted(ProblemKind::OutOfBounds, leaf, |b| b[at + 13] = 0xff);
    planted(ProblemKind::Element, leaf, |b| b[at + 11] = 0xff);
    planted(ProblemKind::Element, leaf, |b| b[at + 16 + 5] = 0xff);
    planted(ProblemKind::Element, leaf, |b| b[at + 10] = 0);
    planted(ProblemKind::Element, leaf, |b| b[at + 10] -= 1);
    planted(ProblemKind::Element, leaf, |b| b[at + 19] = 0x80);
    planted(ProblemKind::Element, leaf, |b| b[at + 16 + 8] += 1);
    planted(ProblemKind::TooFew, leaf, |b| {
        b[at + 10] = 0;
        b[at + 20..at + 24].fill(0);
    });
    // The second key is made smaller than the first; data lies behind the elements, 16 bytes each.
    let first_key = at + 16 + u16_of(&image, at + 20) as usize;
    planted(ProblemKind::KeyOrder, leaf, |b| b[first_key + 11] = 0xff);
    planted(ProblemKind::KeyOrder, leaf, |b| b[first_key] = 0);
    planted(ProblemKind::KeySize, leaf, |b| b[at + 16 + 8] = 0);
    let child = branch * PAGE + 16 + 8;
    let text = planted(ProblemKind::OutOfBounds, branch, |b| {
        b[child..child + 8].fill(0xff)
    });
    assert!(text.contains("file offset"), "{text}");
    let other = u64_of(&image, child + 16) as usize;
    planted(ProblemKind::MultiplyReferenced, other, |b| {
        b.copy_within(child + 16..child + 24, child)
    });
    planted(ProblemKind::Element, branch, |b| b[branch * PAGE + 10] = 1);
    planted(ProblemKind::TooFew, branch, |b| {
        b[branch * PAGE + 10] = 1;
        b[branch * PAGE + 16] = 16;
        b[branch * PAGE + 17] = 0;
    });
}

#[test]
fn lost_and_doubly_used_pages_are_found_against_the_writers_free_list() {
    let disk = SimDisk::new(&image(), 16 << 20).unwrap();
    let db = open(&disk, PAGE as u32).unwrap();
    type Runs = Vec<PageRun>;
    let kinds = |change: &dyn Fn(&mut Runs)| -> Vec<ProblemKind> {
        db.with_unused(|tx, mut unused| {
            change(&mut unused);
            crate::check::against(tx, unused)
                .iter()
                .map(|p| p.kind)
                .collect()
        })
        .unwrap()
    };
    assert_eq!(kinds(&|_| ()), []);
    assert_eq!(
        kinds(&|unused| unused.clear()),
        [ProblemKind::UnreachableUnfreed]
    );
    assert_eq!(
        kinds(&|unused| unused.push(unused[0])),
        [ProblemKind::DoubleFreed; 2]
    );
    assert_eq!(
        kinds(&|unused| {
            let last = db.begin_read().size() / 1024 - 1;
            unused.push(PageRun::new(PageId::new(last), 1));
        }),
        [ProblemKind::ReachableFreed]
    );
    assert_eq!(
        kinds(&|unused| unused.push(PageRun::new(PageId::new(1 << 40), 1))),
        [ProblemKind::OutOfBounds]
    );
}

#[test]
fn a_page_with_two_owners_keeps_the_file_from_being_opened_for_writing() {
    let mut image = image();
    let branch = pages(&image, 1)[0];
    let child = branch * PAGE + 16 + 8;
    image.copy_within(child + 16..child + 24, child);
    let disk = SimDisk::new(&image, 16 << 20).unwrap();
    let e = open(&disk, PAGE as u32).map(|_| ()).unwrap_err();
    assert!(matches!(e, Error::Corrupt { .. }), "{e}");
}

#[test]
fn a_tree_that_runs_in_a_circle_ends_in_an_error() {
    let mut image = image();
    for branch in pages(&image, 1) {
        for i in 0..u16_of(&image, branch * PAGE + 10) as usize {
            let child = branch * PAGE + 16 + i * 16 + 8;
            image[child..child + 8].copy_from_slice(&(branch as u64).to_le_bytes());
        }
    }
    let db = read_only(&image);
    let tx = db.begin_read();
    let bucket = tx.bucket(b"key").unwrap().unwrap();
    assert!(matches!(bucket.get(b"key-1"), Err(Error::Corrupt { .. })));
    assert!(bucket.cursor().first().is_err());
    assert!(bucket.cursor().last().is_err());
    assert!(bucket.cursor().seek(b"key-1").is_err());
    assert!(bucket.len().is_err());
    assert!(!check(&tx).is_empty());
}

#[test]
fn elements_that_share_bytes_are_not_written_out() {
    let mut image = image();
    let leaf = pages(&image, 2)[5];
    let elem = leaf * PAGE + 16;
    let second = u16_of(&image, elem + 4) - 16;
    let size = image[elem + 8..elem + 16].to_vec();
    // Every element becomes the first one's data, and the last of them reaches further.
    for i in 1..u16_of(&image, leaf * PAGE + 10) {
        let at = elem + 16 * i as usize;
        image[at + 4..at + 6].copy_from_slice(&(second + 16 - 16 * i).to_le_bytes());
        image[at + 8..at + 16].copy_from_slice(&size);
    }
    image[elem + 12..elem + 14].copy_from_slice(&700u16.to_le_bytes());
    // Opening for writing refuses such a page; damage that comes later is met when the page is taken into memory.
    assert!(open(&SimDisk::new(&image, 16 << 20).unwrap(), PAGE as u32).is_err());
    let db = read_only(&image);
    let tx = db.begin_read();
    let e = Node::load(tx.pages(), PageId::new(leaf as u64)).unwrap_err();
    assert!(e.to_string().contains("overlap"), "{e}");
}

#[test]
fn a_bucket_whose_root_becomes_an_impossible_page_is_an_error_to_the_writer() {
    let image = image();
    let disk = SimDisk::new(&image, 16 << 20).unwrap();
    let db = open(&disk, PAGE as u32).unwrap();
    let root = {
        let tx = db.begin_read();
        let (e, _) = crate::page::lookup(tx.pages(), tx.root().root, b"key")
            .unwrap()
            .unwrap();
        e.value_at
    };
    let mut tx = db.begin_write().unwrap();
    disk.pwrite(root, &(1u64 << 63 | 5).to_le_bytes()).unwrap();
    assert!(matches!(tx.get(b"key", b"k"), Err(Error::Corrupt { .. })));
    assert!(matches!(
        tx.put(b"key", b"k", b"v"),
        Err(Error::Corrupt { .. })
    ));
    assert!(matches!(
        tx.delete(b"key", b"k"),
        Err(Error::Corrupt { .. })
    ));
    assert!(matches!(
        tx.delete_bucket(b"key"),
        Err(Error::Corrupt { .. })
    ));
}

/// Ids of the branch and leaf pages that the state of `image` uses.
fn used(image: &[u8]) -> Vec<u64> {
    let db = read_only(image);
    let tx = db.begin_read();
    let mut ids = Vec::new();
    crate::walk::runs(tx.pages(), tx.meta().root, &mut |run| {
        ids.push(run.start.get());
        Ok(())
    })
    .unwrap();
    ids
}

fn sources() -> Vec<Vec<u8>> {
    let file = |name| std::fs::read(golden(name)).unwrap();
    vec![
        image(),
        file("etcd-3.4.23.db"),
        file("etcd-3.5.30.db"),
        file("bbolt-1.3.11-synced.db"),
    ]
}

#[test]
fn a_flipped_bit_in_the_header_of_a_page_keeps_the_file_from_being_opened_for_writing() {
    for image in sources() {
        let page_size = u32::from_le_bytes(image[24..28].try_into().unwrap());
        for id in used(&image) {
            let at = id as usize * page_size as usize;
            for bit in 0..16 * 8 {
                let mut damaged = image.clone();
                damaged[at + bit / 8] ^= 1 << (bit % 8);
                let disk = SimDisk::new(&damaged, damaged.len()).unwrap();
                match open(&disk, page_size) {
                    Err(e @ Error::Corrupt { page, offset, .. }) => {
                        assert!(e.is_corruption());
                        assert_eq!(offset / u64::from(page_size), page.get());
                    }
                    other => panic!("page {id}, bit {bit}: {:?}", other.map(|_| ())),
                }
            }
        }
    }
}

#[test]
fn a_wrong_element_count_is_an_error_to_whoever_reads_the_page() {
    let image = image();
    for id in used(&image) {
        let at = id as usize * PAGE;
        let count = u16_of(&image, at + 10);
        for wrong in (0..=64).chain((0..16).map(|bit| count ^ 1 << bit)) {
            if wrong == count {
                continue;
            }
            let mut damaged = image.clone();
            damaged[at + 10..at + 12].copy_from_slice(&wrong.to_le_bytes());
            let db = read_only(&damaged);
            let tx = db.begin_read();
            match tx.pages().page(PageId::new(id)) {
                Err(Error::Corrupt { page, offset, .. }) => {
                    assert_eq!((page.get(), offset), (id, at as u64))
                }
                other => panic!("page {id} with {wrong} for {count}: {}", other.is_ok()),
            }
            assert!(
                reads_all(&tx).is_err(),
                "page {id} with {wrong} for {count}"
            );
        }
    }
}

#[test]
fn a_wrong_element_count_of_an_inline_bucket_is_an_error_to_its_reader() {
    let image = image();
    let value = {
        let db = read_only(&image);
        let tx = db.begin_read();
        let found = crate::page::lookup(
            tx.pages(),
            crate::page::Root::Page(tx.meta().root),
            b"small",
        );
        found.unwrap().unwrap().0.value_at as usize
    };
    assert_eq!(u16_of(&image, value + 16 + 10), 1);
    for wrong in [0u16, 2, 3, 0x8001] {
        let mut damaged = image.clone();
        damaged[value + 26..value + 28].copy_from_slice(&wrong.to_le_bytes());
        let db = read_only(&damaged);
        assert!(db.begin_read().bucket(b"small").is_err(), "{wrong}");
    }
}

/// Counts the pairs of all top-level buckets by cursor.
fn reads_all(tx: &crate::ReadTx) -> Result<usize, Error> {
    let mut pairs = 0;
    for name in tx.buckets() {
        let bucket = tx.bucket(name?)?.expect("a listed bucket is there");
        let mut cursor = bucket.cursor();
        while cursor.next()?.is_some() {
            pairs += 1;
        }
    }
    Ok(pairs)
}

#[test]
fn the_other_meta_page_is_used_when_the_newer_one_is_damaged() {
    let mut image = image();
    let newer = if u64_of(&image, 64) > u64_of(&image, PAGE + 64) {
        0
    } else {
        PAGE
    };
    let older = u64_of(&image, PAGE - newer + 64);
    image[newer + 40] ^= 1;
    let db = open(&SimDisk::new(&image, 16 << 20).unwrap(), PAGE as u32).unwrap();
    assert_eq!(db.begin_read().txid(), older);
    image[PAGE - newer + 72] ^= 1;
    let e = open(&SimDisk::new(&image, 16 << 20).unwrap(), PAGE as u32)
        .map(|_| ())
        .unwrap_err();
    assert!(
        matches!(&e, Error::NotADatabase { .. }) && e.to_string().contains("checksum"),
        "{e}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("BOLT_CASES").map_or(400, |n| n.parse().unwrap()),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn flipped_bytes_never_panic(
        source in 0usize..3,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..12),
    ) {
        let mut bytes = match source {
            0 => image(),
            1 => std::fs::read(golden("etcd-3.5.30.db")).unwrap(),
            _ => std::fs::read(golden("bbolt-1.3.11-synced.db")).unwrap(),
        };
        for (index, value, head) in flips {
            let mut at = index.index(bytes.len());
            if head {
                // Headers and elements are where damage hurts; the meta pages' checksums stop most of it there.
                let page = if source == 0 { PAGE } else { 4096 };
                at = (at / page * page + at % 128).min(bytes.len() - 1);
            }
            bytes[at] ^= value;
        }
        fuzz_image(&bytes);
    }

    #[test]
    fn cut_files_never_panic(cut in any::<prop::sample::Index>()) {
        let bytes = image();
        fuzz_image(&bytes[..cut.index(bytes.len())]);
    }
}
