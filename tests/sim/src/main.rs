//! Runs seeds and says what they found:
//!
//! ```text
//! pintle-sim seeds <from> <to>         every seed, and what all of them reached
//! pintle-sim seed <seed> [<plant>]     one seed
//! pintle-sim plants <tries> [<plant>]  for each planted bug: seeds until it is found
//! ```

use std::{collections::BTreeMap, process::ExitCode, time::Instant};

use sim::{Plant, Reached};

/// Seeds that are tried for a planted bug before it counts as not found.
const SEEDS_MAX: u64 = 2000;

fn add(sum: &mut Reached, one: &Reached) {
    sum.entries += one.entries;
    sum.writes += one.writes;
    sum.reads += one.reads;
    sum.renewals += one.renewals;
    sum.terms += one.terms;
    sum.crashes += one.crashes;
    sum.restarts += one.restarts;
    sum.snapshots += one.snapshots;
    sum.installs += one.installs;
    sum.changes += one.changes;
    sum.expired += one.expired;
    sum.compactions += one.compactions;
}

fn seeds(from: u64, to: u64) -> bool {
    let (begin, mut sum, mut events, mut broken) = (Instant::now(), Reached::default(), 0, 0);
    for seed in from..to {
        let outcome = sim::run(seed, None);
        add(&mut sum, &outcome.reached);
        events += outcome.events;
        if let Some(violation) = outcome.violation {
            broken += 1;
            println!("seed {seed}: {}: {}", violation.check, violation.text);
        }
    }
    println!(
        "{} seeds in {:.0} s, {events} events, {broken} with a broken promise; reached {sum:?}",
        to - from,
        begin.elapsed().as_secs_f64()
    );
    broken == 0
}

fn plants(tries: u64, only: Option<Plant>) -> bool {
    let mut all = true;
    for plant in Plant::all() {
        if only.is_some_and(|only| only != plant) {
            continue;
        }
        let mut needed = Vec::new();
        let mut checks: BTreeMap<&str, u64> = BTreeMap::new();
        for attempt in 0..tries {
            let start = 1_000_000 * (attempt + 1);
            let found = (0..SEEDS_MAX).find_map(|n| {
                let violation = sim::run(start + n, Some(plant)).violation?;
                Some((n + 1, violation.check))
            });
            match found {
                Some((count, check)) => {
                    needed.push(count);
                    *checks.entry(check).or_default() += 1;
                }
                None => all = false,
            }
        }
        needed.sort_unstable();
        let median = needed.get(needed.len() / 2);
        println!(
            "{}: median {median:?} of {needed:?}; {checks:?}",
            plant.name()
        );
    }
    all
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |word: &str| word.parse::<u64>().ok();
    let good = match words[..] {
        ["seeds", from, to] => match (number(from), number(to)) {
            (Some(from), Some(to)) if from < to => seeds(from, to),
            _ => return usage(),
        },
        ["seed", seed, ref rest @ ..] => {
            let plant = rest.first().and_then(|name| Plant::named(name));
            let Some(seed) = number(seed).filter(|_| plant.is_some() != rest.is_empty()) else {
                return usage();
            };
            let outcome = sim::run(seed, plant);
            println!("{outcome:#?}");
            outcome.violation.is_none()
        }
        ["plants", tries, ref rest @ ..] => {
            let plant = rest.first().and_then(|name| Plant::named(name));
            let Some(tries) = number(tries).filter(|_| plant.is_some() != rest.is_empty()) else {
                return usage();
            };
            plants(tries, plant)
        }
        _ => return usage(),
    };
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn usage() -> ExitCode {
    eprintln!("pintle-sim seeds <from> <to> | seed <seed> [<plant>] | plants <tries> [<plant>]");
    ExitCode::from(2)
}
