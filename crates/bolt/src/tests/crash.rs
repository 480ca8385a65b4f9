//! A disk that fails at every single operation of a workload, and power cuts that lose and tear what was not synced:
//! whatever happens, opening again gives the state before the cut transaction or after it, and the checker finds nothing.

use std::path::Path;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngSeed, TestRunner};

use super::model::{Model, content, op, prepare, run};
use super::{open, small};
use crate::sim::SimDisk;
use crate::{Db, Error};

const CAPACITY: usize = 64 << 20;
const PAGE: u32 = 1024;

fn state(db: &Db) -> Model {
    content(&db.begin_read().root()).unwrap()
}

/// Runs transactions until one fails; returns the states that the disk may hold, and what the failing one said.
fn workload(disk: &SimDisk, txs: &[Vec<super::model::Op>]) -> (Vec<Model>, Option<Error>) {
    let mut model = Model::default();
    let db = match open(disk, PAGE) {
        Ok(db) => db,
        Err(e) => return (vec![model], Some(e)),
    };
    for (number, ops) in txs.iter().enumerate() {
        let before = model.clone();
        let mut tx = db.begin_write().unwrap();
        if number == 0 {
            prepare(&mut tx, &mut model);
        }
        for op in ops {
            run(&mut tx, &mut model, op).unwrap();
        }
        if let Err(e) = tx.commit() {
            // The failure is sticky, and readers keep the state from before.
            assert!(matches!(db.begin_write(), Err(Error::Failed(_))));
            assert_eq!(state(&db), before);
            return (vec![before, model], Some(e));
        }
    }
    (vec![model], None)
}

fn survives(image: &[u8], states: &[Model], when: &str) {
    let disk = SimDisk::new(image, CAPACITY).unwrap();
    let db = open(&disk, PAGE).unwrap_or_else(|e| panic!("{when}: {e}"));
    assert_eq!(db.check(), [], "{when}");
    let found = state(&db);
    assert!(
        states.contains(&found),
        "{when}: the state is neither that before nor that after"
    );
    // It takes writes again.
    let mut tx = db.begin_write().unwrap();
    tx.create_bucket_if_not_exists(b"after").unwrap();
    tx.put(b"after", b"key", &[1; 3000]).unwrap();
    tx.commit().unwrap();
    assert_eq!(db.check(), [], "{when}");
}

/// The same random workload each time, so that operation numbers mean the same.
fn transactions(count: usize, seed: u64) -> Vec<Vec<super::model::Op>> {
    let config = ProptestConfig {
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = TestRunner::new(config);
    let strategy = prop::collection::vec(prop::collection::vec(op(), 1..6), count..=count);
    strategy.new_tree(&mut runner).unwrap().current()
}

#[test]
fn failure_at_every_operation_leaves_the_state_before_or_after() {
    for seed in 0..2 {
        let txs = transactions(8, seed);
        let disk = SimDisk::new(&[], CAPACITY).unwrap();
        assert!(workload(&disk, &txs).1.is_none());
        let total = disk.operations();
        assert!(total > 30, "the workload does something");
        let mut random = seed;
        let mut choose = move |below: usize| {
            // xorshift; its quality does not matter here.
            random ^= random.wrapping_add(0x9e37_79b9_7f4a_7c15) << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 33) as usize % below
        };
        for at in 0..total {
            let disk = SimDisk::new(&[], CAPACITY).unwrap();
            disk.fail_at(at);
            let (states, error) = workload(&disk, &txs);
            assert!(error.is_some() && disk.has_failed());
            let when = format!("seed {seed}, operation {at} of {total}");
            // The process dies, the machine lives: all that was written is there.
            survives(&disk.content(), &states, &when);
            for _ in 0..4 {
                survives(&disk.after_power_cut(&mut choose), &states, &when);
            }
            // Nothing unsynced reached the disk, and all of it did.
            survives(&disk.after_power_cut(&mut |_| 0), &states, &when);
            survives(&disk.after_power_cut(&mut |_| 1), &states, &when);
        }
    }
}

#[test]
fn power_cut_between_transactions_loses_nothing() {
    let txs = transactions(10, 99);
    let disk = SimDisk::new(&[], CAPACITY).unwrap();
    let (states, error) = workload(&disk, &txs);
    assert!(error.is_none());
    survives(&disk.after_power_cut(&mut |_| 0), &states, "at rest");
}

#[test]
fn a_commit_that_skips_a_sync_is_caught() {
    // The simulated disk itself: without syncs the same workload must be able to lose everything.
    let disk = SimDisk::new(&[], CAPACITY).unwrap();
    let opts = crate::Options {
        no_sync: true,
        ..small(PAGE)
    };
    let db = Db::open_on(Path::new("<memory>"), disk.clone(), opts).unwrap();
    let mut tx = db.begin_write().unwrap();
    tx.create_bucket_if_not_exists(b"a").unwrap();
    tx.commit().unwrap();
    assert!(disk.after_power_cut(&mut |_| 0).is_empty());
}

#[test]
fn writing_over_a_streamed_image_never_endangers_its_only_sound_meta_page() {
    for commits in [3, 4] {
        let disk = SimDisk::new(&[], CAPACITY).unwrap();
        let db = open(&disk, PAGE).unwrap();
        for i in 0..commits {
            let mut tx = db.begin_write().unwrap();
            tx.create_bucket_if_not_exists(b"a").unwrap();
            tx.put(b"a", b"round", &[i]).unwrap();
            tx.commit().unwrap();
        }
        let before = state(&db);
        let mut image = Vec::new();
        assert_eq!(db.begin_read().write_to(&mut image).unwrap(), db.size());
        // The second meta page of the image is lost; the first one is all there is.
        image[PAGE as usize + 20] ^= 1;
        for at in 0..12 {
            let disk = SimDisk::new(&image, CAPACITY).unwrap();
            let Ok(db) = open(&disk, PAGE) else {
                panic!("one sound meta page is enough")
            };
            disk.fail_at(at);
            let mut tx = db.begin_write().unwrap();
            tx.put(b"a", b"round", &[77]).unwrap();
            let done = tx.commit().is_ok();
            let mut after = before.clone();
            after
                .at(&[b"a".to_vec()])
                .keys
                .insert(b"round".to_vec(), vec![77]);
            let states = if done {
                vec![after]
            } else {
                vec![before.clone(), after]
            };
            for cut in 0..3 {
                let image = disk.after_power_cut(&mut |below| cut.min(below - 1));
                survives(
                    &image,
                    &states,
                    &format!("{commits} commits, operation {at}, cut {cut}"),
                );
            }
        }
    }
}

#[test]
fn what_a_killed_process_did_not_sync_is_durable_before_the_next_one_writes() {
    let txs = transactions(4, 7);
    let whole = SimDisk::new(&[], CAPACITY).unwrap();
    assert!(workload(&whole, &txs).1.is_none());
    // The process is killed before the last sync: its meta page is there, and may yet be lost.
    let disk = SimDisk::new(&[], CAPACITY).unwrap();
    disk.fail_at(whole.operations() - 1);
    assert!(workload(&disk, &txs).1.is_some());
    disk.kill();
    let db = open(&disk, PAGE).unwrap();
    assert_eq!(disk.after_power_cut(&mut |_| 0), disk.content());
    drop(db);
}
