//! The same seeded random requests to the subject and to real etcd, in lock
//! step, every answer equal. `PINTLE_SEED=<n>` replays, `PINTLE_STEPS=<n>`
//! sets the length of a run.

use peers::{lockstep, peer};

fn random(default_seed: u64, physical: bool) {
    let Some((subject, reference)) = peer::pair() else { return };
    let seed = peers::seed(default_seed);
    let steps = peers::env_number("PINTLE_STEPS").unwrap_or(1200);
    peers::run(400, async {
        lockstep::compare(&subject, &reference, seed, steps, physical).await
    });
    peer::say(&format!("RAN: answers, seed {seed}, {steps} steps, physical compaction {physical}"));
}

#[test]
fn random_requests_seed_1() {
    random(1, true);
}

#[test]
fn random_requests_seed_2() {
    random(2, true);
}

#[test]
fn random_requests_seed_3() {
    random(3, true);
}

#[test]
fn random_requests_seed_4_with_background_compaction() {
    random(4, false);
}

#[test]
fn random_requests_seed_5_with_background_compaction() {
    random(5, false);
}
