//! Seeds that run with every check of the repository, and proof that the judge
//! is awake.

use sim::{Plant, Reached, run};

/// As many as a debug build does in less than a minute.
const SEEDS: u64 = 60;

#[test]
fn promises_hold_whatever_the_seed_brings() {
    let mut sum = Reached::default();
    for seed in 0..SEEDS {
        let outcome = run(seed, None);
        assert_eq!(outcome.violation, None, "seed {seed}");
        sum.installs += outcome.reached.installs;
        sum.changes += outcome.reached.changes;
        sum.reads += outcome.reached.reads;
        sum.expired += outcome.reached.expired;
        sum.compactions += outcome.reached.compactions;
    }
    // Otherwise the seeds reach nothing of what they are for.
    assert!(sum.installs > SEEDS / 2 && sum.changes > SEEDS, "{sum:?}");
    assert!(
        sum.reads > 10 * SEEDS && sum.expired > SEEDS / 2 && sum.compactions > SEEDS,
        "{sum:?}"
    );
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let (first, again, other) = (run(7, None), run(7, None), run(8, None));
    assert_eq!(first, again);
    assert_ne!(first.trace, other.trace);
}

#[test]
fn planted_bugs_are_found() {
    let quick = [
        Plant::EntriesNotSynced,
        Plant::CommitBeforeQuorum,
        Plant::StaleReadIndex,
        Plant::ReadBeforeApply,
        Plant::DoubleApply,
        Plant::IndexAheadOfData,
        Plant::IndexBehindData,
        Plant::MessagesBeforePersist,
    ];
    for plant in quick {
        let found = (0..40).find_map(|seed| run(seed, Some(plant)).violation);
        assert!(found.is_some(), "{plant:?} was not found");
    }
}
