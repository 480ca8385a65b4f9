//! A cluster is rolled member by member from one program to another and back
//! while clients write: no write fails but for the leader changes, none is
//! lost, after each step all members hold the same, and every file left behind
//! is sound.

use std::fmt;

use anyhow::{Context as _, Result, ensure};
use peers::{
    cluster::{Cluster, Plan},
    load::Load,
    mixes,
    peer::Program,
};

/// From what to what and back, and in which order of members.
#[derive(Clone)]
struct Roll {
    from: Program,
    to: Program,
    size: usize,
    leader_first: bool,
}

impl fmt::Display for Roll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = if self.leader_first {
            "leader first"
        } else {
            "leader last"
        };
        write!(
            f,
            "{} x {} -> {} -> back, {order}",
            self.size, self.from, self.to
        )
    }
}

/// How many members keep the program of the lower release: once none is left, the
/// cluster version rises and there is no way back.
fn kept(from: &Program, to: &Program) -> usize {
    usize::from(from.minor() != to.minor())
}

/// Swaps members of `left` to `to`, one after the other, until `keep` are left.
/// Returns those that were swapped.
async fn roll(
    cluster: &mut Cluster,
    load: &Load,
    to: &Program,
    leader_first: bool,
    mut left: Vec<usize>,
    keep: usize,
) -> Result<Vec<usize>> {
    let mut swapped = Vec::new();
    while left.len() > keep {
        let leader = cluster.leader().await?;
        let next = match left.iter().position(|p| *p == leader) {
            Some(at) if leader_first => at,
            at => left
                .iter()
                .enumerate()
                .map(|(i, _)| i)
                .find(|i| Some(*i) != at)
                .unwrap_or(0),
        };
        let place = left.remove(next);
        swapped.push(place);
        let step = format!("{} becomes {to}", cluster.members()[place].label());
        let going = &cluster.members()[place].program;
        load.stopping(place, place == leader, going, &step);
        cluster
            .swap(place, to)
            .await
            .with_context(|| step.clone())?;
        cluster.leader().await?;
        load.calm();
        // Between two steps an operator looks whether all is well; so do the clients.
        load.more(60)
            .await
            .with_context(|| format!("after: {step}"))?;
        cluster
            .hashes_equal()
            .await
            .with_context(|| format!("after: {step}"))?;
    }
    Ok(swapped)
}

async fn there_and_back(case: Roll) -> Result<String> {
    let plan = Plan::of(&vec![case.from.clone(); case.size]).snapshots(150, 50);
    let mut cluster = plan.start().await?;
    let places: Vec<usize> = cluster.places().collect();
    let load = Load::start(&cluster, &places, 6, peers::seed(21)).await?;
    load.more(200).await?;
    let keep = kept(&case.from, &case.to);
    let all = cluster.places().collect();
    let order = case.leader_first;
    let swapped = roll(&mut cluster, &load, &case.to, order, all, keep).await?;
    load.more(200).await?;
    roll(&mut cluster, &load, &case.from, order, swapped, 0).await?;
    let summary = load.finish(&cluster, 0).await?;
    ensure!(summary.writes > 400, "too little was written: {summary}");
    cluster.finish().await?;
    Ok(summary.to_string())
}

#[test]
fn members_are_swapped_under_load() {
    let mut cases = Vec::new();
    for (subject, other) in mixes::others(&["3.5.30", "3.4.23"]) {
        // From the lower release, which sets the cluster version.
        let (from, to) = match other.minor() > subject.minor() {
            true => (subject, other),
            false => (other, subject),
        };
        let one = Roll {
            from,
            to,
            size: 3,
            leader_first: false,
        };
        if mixes::is_full() {
            cases.push(Roll {
                size: 5,
                ..one.clone()
            });
        }
        cases.push(Roll {
            leader_first: true,
            ..one.clone()
        });
        cases.push(one);
    }
    // By default each release in one order.
    if !mixes::is_full() {
        let mut turn = 0;
        cases.retain(|_| {
            turn += 1;
            turn % 4 == 1 || turn % 4 == 0
        });
    }
    mixes::each("roll", 240, cases, there_and_back);
}
