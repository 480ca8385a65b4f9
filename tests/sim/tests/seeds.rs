//! Seeds that run with every check of the repository, and proof that the judge
//! is awake.

use sim::{Cut, Plant, Reached, Rule, run, run_cut};

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

/// Operations from the arrival of a snapshot until its database is in place and open,
/// and some more.
const INSTALL: u64 = 30;

/// Seeds that bring an install, if nothing cuts it off.
fn seeds_with_installs(count: usize) -> Vec<u64> {
    let never = Cut {
        at: u64::MAX,
        soft: true,
    };
    let seeds = (0..SEEDS).filter(|seed| run_cut(*seed, None, never).reached.installs > 0);
    let seeds: Vec<u64> = seeds.take(count).collect();
    assert_eq!(seeds.len(), count);
    seeds
}

#[test]
fn an_install_may_be_cut_off_at_any_write() {
    for (seed, soft) in seeds_with_installs(2).into_iter().zip([false, true]) {
        for at in 1..=INSTALL {
            let outcome = run_cut(seed, None, Cut { at, soft });
            assert_eq!(outcome.violation, None, "seed {seed}, cut at {at}");
        }
    }
}

#[test]
fn a_snapshot_installed_before_the_hard_state_is_found() {
    let plant = Some(Plant::Rule(Rule::InstallBeforeState));
    let cuts = (1..=INSTALL).map(|at| Cut { at, soft: true });
    let runs = seeds_with_installs(4)
        .into_iter()
        .flat_map(|seed| cuts.clone().map(move |cut| (seed, cut)));
    let found = { runs }.find_map(|(seed, cut)| run_cut(seed, plant, cut).violation);
    let check = found.map(|violation| violation.check);
    assert_eq!(check, Some("the database is never ahead of the log"));
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
        Rule::EntriesNotSynced,
        Rule::CommitBeforeQuorum,
        Rule::StaleReadIndex,
        Rule::ReadBeforeApply,
        Rule::DoubleApply,
        Rule::IndexAheadOfData,
        Rule::IndexBehindData,
        Rule::MessagesBeforePersist,
    ];
    for plant in quick {
        let found = (0..40).find_map(|seed| run(seed, Some(Plant::Rule(plant))).violation);
        assert!(found.is_some(), "{plant:?} was not found");
    }
}
