//! One run: a cluster of a mix, clients, faults, and the verdict. It must never
//! end well without having heard of every revision, read every member, and
//! found them equal.

use std::{collections::BTreeMap, fmt, fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use peers::{
    cluster::{self, Plan},
    peer::{self, Program},
};

use crate::{
    check::{self, Violation},
    history::{History, Outcome},
    load::{self, Recorder},
    nemesis::{Clocks, Fault, Nemesis},
    rng::Rng,
    wgl,
};

/// Clients that read and write, and clients that hold leases.
const CLIENTS: usize = 6;
const LEASERS: usize = 2;

/// What to run.
#[derive(Clone, Debug)]
pub struct Order {
    /// Chooses calls and faults. The interleaving is the machine's, so a seed
    /// repeats a run's intentions, not its history.
    pub seed: u64,
    /// `P` for the subject, else a release of etcd, by place: `P,P,3.5.30`.
    pub mix: String,
    /// Faults are begun for so long.
    pub seconds: u64,
}

/// What came out.
#[derive(Debug)]
pub struct Verdict {
    /// What was run.
    pub order: Order,
    /// Calls answered, and all.
    pub ops: (usize, usize),
    /// Revisions made.
    pub revisions: i64,
    /// Messages of watch streams.
    pub messages: usize,
    /// Keys that the general checker judged too.
    pub judged: usize,
    /// Faults done.
    pub faults: BTreeMap<Fault, u32>,
    /// What is wrong.
    pub violations: Vec<Violation>,
    /// Keys that no order of calls explains.
    pub unexplained: Vec<String>,
}

impl Verdict {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.violations.is_empty() && self.unexplained.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<String> = self
            .faults
            .iter()
            .map(|(k, n)| format!("{k:?} {n}"))
            .collect();
        let Order { seed, mix, .. } = &self.order;
        let (ok, all) = self.ops;
        write!(
            f,
            "seed {seed} | {mix} | {ok}/{all} calls, {} revisions, {} watch messages, {} keys twice | {} | ",
            self.revisions,
            self.messages,
            self.judged,
            faults.join(", ")
        )?;
        if self.is_good() {
            return f.write_str("linearizable");
        }
        let count = self.violations.len() + self.unexplained.len();
        write!(f, "VIOLATED ({count})")
    }
}

/// The programs of a mix; `None` after a `SKIP:` line where one is not there.
pub fn programs(mix: &str) -> Option<Vec<Program>> {
    mix.split(',')
        .map(|word| match word {
            "P" => peer::subject(),
            version => peer::etcd(version),
        })
        .collect()
}

/// Runs it. A cluster that does not come back, a member that panics or leaves an
/// unsound file, and members that differ at the end are errors; what the
/// history shows is in the verdict. `keep` gets the history of a bad run.
pub async fn run(order: &Order, programs: &[Program], keep: Option<&Path>) -> Result<Verdict> {
    let scratch = tempfile::Builder::new().prefix("pintle-linear").tempdir()?;
    let mut clocks = Clocks::default();
    if Clocks::library().is_none() && programs.iter().any(|p| p.is_pintle) {
        peer::say("SKIP: jumps of the wall clock: libfaketime is not installed");
    }
    let wrapped: Result<Vec<Program>> = programs
        .iter()
        .enumerate()
        .map(|(place, program)| clocks.wrap(program, place, scratch.path()))
        .collect();
    let mut rng = Rng::new(order.seed);
    let mut plan = Plan::of(&wrapped?)
        .gated()
        .flag("--strict-reconfig-check=false");
    let notify = "--experimental-watch-progress-notify-interval=1s";
    if programs.iter().all(|p| p.knows(notify)) {
        plan = plan.flag(notify);
    }
    if rng.percent(70) {
        plan = plan.snapshots(40 + rng.below(100), 10 + rng.below(20));
    }
    let mut cluster = plan.start().await?;
    let recorder = Recorder::new();
    for place in cluster.places() {
        recorder.restarted(place);
        recorder.open(place, cluster.members()[place].client_port);
    }
    let mut watchers = Vec::new();
    for (id, key) in [None, None, None, Some("k0"), Some("k1")]
        .into_iter()
        .enumerate()
    {
        watchers.push(tokio::spawn(load::watcher(
            recorder.clone(),
            id,
            key.map(str::to_owned),
        )));
    }
    let mut clients = Vec::new();
    for id in 0..CLIENTS {
        clients.push(tokio::spawn(load::client(recorder.clone(), id, order.seed)));
    }
    for id in CLIENTS..CLIENTS + LEASERS {
        clients.push(tokio::spawn(load::leaser(recorder.clone(), id, order.seed)));
    }
    let mut nemesis = Nemesis {
        cluster: &mut cluster,
        recorder: &recorder,
        replaces: rng.percent(25),
        rng,
        clocks,
        done: BTreeMap::new(),
    };
    let survived = nemesis.run(Duration::from_secs(order.seconds)).await;
    let faults = std::mem::take(&mut nemesis.done);
    recorder.stop_load();
    for client in clients {
        client.await?;
    }
    let ended = match survived {
        Ok(()) => finish(&recorder, cluster).await,
        Err(error) => Err(error),
    };
    recorder.stop_watch();
    let mut told = Vec::new();
    for watcher in watchers {
        told.push(watcher.await?);
    }
    let history = recorder.history(told);
    if let Err(error) = ended {
        save(&history, &[], keep)?;
        return Err(error);
    }
    let verdict = judge(order, &history, faults);
    if !verdict.is_good() {
        save(&history, &verdict.violations, keep)?;
    }
    Ok(verdict)
}

/// Waits for a whole cluster again, reads it, waits for the watchers, compares
/// the members.
async fn finish(recorder: &Recorder, cluster: cluster::Cluster) -> Result<()> {
    cluster
        .leader()
        .await
        .context("after all faults are healed")?;
    // Leases that no one renews end by themselves, and each end is a write.
    let agreed = cluster::until("writes end", cluster::WITHIN, async || {
        let before = recorder.top();
        tokio::time::sleep(Duration::from_millis(600)).await;
        load::read_all(recorder, 91).await;
        let leases = cluster
            .api(cluster.up()[0])
            .lease_leases(Default::default())
            .await?;
        ensure!(
            leases.leases.is_empty(),
            "{} leases are left",
            leases.leases.len()
        );
        ensure!(
            before == recorder.top(),
            "revisions {before} to {}",
            recorder.top()
        );
        Ok(())
    });
    agreed.await?;
    load::read_all(recorder, 91).await;
    cluster::until(
        "watchers are told everything",
        cluster::WITHIN,
        async || {
            let (told, top) = (recorder.told(), recorder.top());
            ensure!(told >= top, "told up to {told} of {top}");
            Ok(())
        },
    )
    .await?;
    recorder.stop_watch();
    cluster.finish().await?;
    Ok(())
}

/// Both checkers on a history.
fn judge(order: &Order, history: &History, faults: BTreeMap<Fault, u32>) -> Verdict {
    let violations = check::check(history);
    let (unexplained, judged) = wgl::check(history);
    let ok = |o: &Outcome| matches!(o, Outcome::Ok { .. });
    let messages = history.watchers.iter().flat_map(|w| &w.segments);
    Verdict {
        order: order.clone(),
        ops: (
            history.ops.iter().filter(|op| ok(&op.outcome)).count(),
            history.ops.len(),
        ),
        revisions: history
            .ops
            .iter()
            .map(|op| revision(&op.outcome))
            .max()
            .unwrap_or(0),
        messages: messages.map(|s| s.messages.len()).sum(),
        judged,
        faults,
        violations,
        unexplained,
    }
}

fn revision(outcome: &Outcome) -> i64 {
    match outcome {
        Outcome::Ok { revision, .. } => *revision,
        _ => 0,
    }
}

/// The violations and the whole history, one call or message a line.
fn save(history: &History, violations: &[Violation], keep: Option<&Path>) -> Result<()> {
    let Some(dir) = keep else { return Ok(()) };
    fs::create_dir_all(dir)?;
    let mut text = String::new();
    for violation in violations {
        text += &format!("VIOLATION {violation}\n");
    }
    let mut ops: Vec<_> = history.ops.iter().collect();
    ops.sort_by_key(|op| op.invoke);
    for op in ops {
        text += &format!("{op:?}\n");
    }
    for watcher in &history.watchers {
        for segment in &watcher.segments {
            text += &format!(
                "{} member {} from {}\n",
                watcher.name, segment.place, segment.start
            );
            for message in &segment.messages {
                text += &format!("  {message:?}\n");
            }
        }
    }
    text += &format!("doubtful: {:?}\n", history.doubtful);
    fs::write(dir.join("history.txt"), text)?;
    Ok(())
}
