//! The workloads, and the one way to measure them: connect, prepare, warm up,
//! look at the server, load it, look again.

mod k8s;
mod list;
#[cfg(test)]
mod tests;
mod unary;
mod watch;

use std::net::SocketAddr;

use crate::closed::{self, Amount, OnceFailed, Requests, Tally};
use crate::grpc::Method;
use crate::keys::{Keys, Values};
use crate::net::{self, Failed, Pool};
use crate::options::Load;
use crate::process::{self, Usage};
use crate::report::{Latency, Report};
use crate::wire;

pub(crate) use k8s::Cluster;

/// What to ask of the server.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Workload {
    /// Puts.
    Put,
    /// One key each.
    Get {
        /// Read what the member has, without asking its peers.
        serializable: bool,
    },
    /// Kubernetes' update: compare the mod revision, put, read on failure.
    TxnK8s {
        /// Percent of requests that bear a stale revision.
        conflicts: u64,
    },
    /// Pages of a prefix at one revision, as Kubernetes walks; 0 takes all at once.
    List {
        /// Keys of a page.
        limit: i64,
    },
    /// The whole prefix by `RangeStream`.
    ListStream,
    /// Many watchers of one prefix.
    Watch {
        /// How many.
        watchers: usize,
        /// Streams that they share.
        streams: usize,
    },
    /// Reads beside writes.
    Mixed {
        /// Requests outstanding that read; the rest write.
        readers: usize,
        /// As for `Get`.
        serializable: bool,
    },
    /// Fills the key space.
    Load,
    /// A Kubernetes control plane.
    K8s(Cluster),
}

/// Keys are filled with this many puts outstanding on each connection.
const FILL_PER_CONNECTION: usize = 16;

/// Runs `workload` once. A failure is part of the report.
pub(crate) fn run(workload: &Workload, load: &Load) -> Report {
    let mut report = Report {
        label: load.label.clone(),
        endpoints: load.endpoints.clone(),
        parameters: [
            ("connections", load.connections as u64),
            ("clients", load.clients as u64),
            ("key size", load.key_size as u64),
            ("value size", load.value_size as u64),
            ("keys", load.keys),
        ]
        .into(),
        ..Report::default()
    };
    let outcome = load
        .check()
        .map_err(Failed::Workload)
        .and_then(|()| match workload {
            Workload::Put => unary::put(load, &mut report),
            Workload::Get { serializable } => unary::get(load, *serializable, &mut report),
            Workload::TxnK8s { conflicts } => unary::txn_k8s(load, *conflicts, &mut report),
            Workload::List { limit } => list::unary(load, *limit, &mut report),
            Workload::ListStream => list::stream(load, &mut report),
            Workload::Watch { watchers, streams } => {
                watch::run(load, *watchers, *streams, &mut report)
            }
            Workload::Mixed {
                readers,
                serializable,
            } => unary::mixed(load, *readers, *serializable, &mut report),
            Workload::Load => unary::load(load, &mut report),
            Workload::K8s(cluster) => k8s::run(load, cluster, &mut report),
        });
    if let Err(failed) = outcome {
        report.failed.get_or_insert(failed.to_string());
    }
    report
}

/// The server's processes: those given, or those behind the endpoints.
fn server_pids(load: &Load) -> Vec<u32> {
    if !load.server_pid.is_empty() {
        return load.server_pid.clone();
    }
    let addresses = load
        .endpoints
        .iter()
        .filter_map(|endpoint| net::resolve(endpoint).ok());
    let mut pids: Vec<u32> = addresses
        .filter_map(|address: SocketAddr| process::listener(address))
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// The looks at the server's and our own use before a measured part.
struct Meter {
    pids: Vec<u32>,
    peak_of_run: bool,
    server: Option<Usage>,
    own: Usage,
}

impl Meter {
    fn start(load: &Load) -> Result<Self, Failed> {
        let pids = server_pids(load);
        let peak_of_run = process::reset_peak(&pids);
        let server = if pids.is_empty() {
            None
        } else {
            Some(look(&pids)?)
        };
        Ok(Self {
            pids,
            peak_of_run,
            server,
            own: process::own(),
        })
    }

    /// Enters the use since the start; the report's operations must be in it.
    fn stop(self, report: &mut Report) -> Result<(), Failed> {
        let own = process::own().cpu.saturating_sub(self.own.cpu);
        report.own_cpu_us_per_op = Some(own.as_secs_f64() * 1e6 / report.operations.max(1) as f64);
        if let Some(before) = self.server {
            report.enter_server(&self.pids, before, look(&self.pids)?, self.peak_of_run);
        }
        Ok(())
    }
}

fn look(pids: &[u32]) -> Result<Usage, Failed> {
    process::usage_of(pids).map_err(|pid| {
        Failed::Workload(format!(
            "the server process {pid} does not exist (any more)"
        ))
    })
}

/// Warms up and measures a closed loop of `requests`.
fn measure(
    pool: &mut Pool,
    load: &Load,
    amount: Amount,
    names: &[&'static str],
    requests: &mut impl Requests,
    report: &mut Report,
) -> Result<(), Failed> {
    if load.warmup > 0 {
        let (tally, outcome) = closed::run(
            pool,
            requests,
            Amount {
                total: load.warmup,
                ..amount
            },
        );
        if tally.succeeded() == 0 {
            enter(&tally, names, report);
        }
        outcome?;
    }
    let received = pool.received();
    let meter = Meter::start(load)?;
    let (tally, outcome) = closed::run(pool, requests, amount);
    enter(&tally, names, report);
    let used = meter.stop(report);
    report.facts.insert(
        "octets received per operation",
        per(pool.received() - received, report.operations),
    );
    outcome.and(used)
}

fn per(value: u64, operations: u64) -> f64 {
    (value as f64 / operations.max(1) as f64).round()
}

fn enter(tally: &Tally, names: &[&'static str], report: &mut Report) {
    report.operations = tally.succeeded();
    report.seconds = tally.elapsed.as_secs_f64();
    report.per_second = report.operations as f64 / report.seconds.max(1e-9);
    report.latencies = names
        .iter()
        .zip(&tally.histograms)
        .map(|(name, histogram)| Latency::new(name, histogram))
        .collect();
    for (error, count) in &tally.errors {
        *report.errors.entry(error.clone()).or_default() += count;
    }
}

/// The plain amount that the flags ask for.
fn amount(load: &Load) -> Amount {
    Amount {
        clients: load.clients,
        total: load.total,
        rate: load.rate,
        classes: 1,
    }
}

fn workload_error(failed: OnceFailed) -> Failed {
    match failed {
        OnceFailed::Run(failed) => failed,
        refused => Failed::Workload(refused.to_string()),
    }
}

/// How many keys the range holds.
fn count(pool: &mut Pool, key: &[u8], end: &[u8]) -> Result<i64, Failed> {
    let mut body = Vec::new();
    wire::range(
        wire::Range {
            key,
            end,
            count_only: true,
            ..wire::Range::default()
        },
        &mut body,
    );
    let answer = closed::once(pool, Method::Range, &body).map_err(workload_error)?;
    Ok(wire::ranged(&answer)
        .map_err(|e| Failed::Workload(e.to_string()))?
        .count)
}

/// Sees to it that the prefix holds exactly the keys of the key space, with
/// values of the wanted size.
fn fill(pool: &mut Pool, load: &Load) -> Result<(), Failed> {
    let keys = Keys::new(load);
    let (prefix, end) = (keys.prefix().to_vec(), keys.end());
    let mut body = Vec::new();
    wire::range(
        wire::Range {
            key: &prefix,
            end: &end,
            limit: 1,
            ..wire::Range::default()
        },
        &mut body,
    );
    let answer = closed::once(pool, Method::Range, &body).map_err(workload_error)?;
    let found = wire::ranged(&answer).map_err(|e| Failed::Workload(e.to_string()))?;
    let (mut first, mut expected) = (Vec::new(), found.last);
    keys.key(0, &mut first);
    // The first key and the number tell whether an earlier run left the same.
    expected = expected.filter(|kv| kv.key == first && kv.value.len() == load.value_size);
    if found.count as u64 == load.keys && expected.is_some() {
        return Ok(());
    }
    body.clear();
    wire::delete_range(&prefix, &end, &mut body);
    closed::once(pool, Method::DeleteRange, &body).map_err(workload_error)?;
    let clients = FILL_PER_CONNECTION * pool.connections().len();
    let mut requests = unary::Puts::new(load, true);
    let amount = Amount {
        clients,
        total: load.keys,
        rate: 0,
        classes: 1,
    };
    let (tally, outcome) = closed::run(pool, &mut requests, amount);
    outcome?;
    if let Some((error, times)) = tally.errors.first_key_value() {
        return Err(Failed::Workload(format!(
            "filling the keys failed {times} times: {error}"
        )));
    }
    let held = count(pool, &prefix, &end)?;
    if held as u64 != load.keys {
        return Err(Failed::Workload(format!(
            "the prefix holds {held} keys after {} were put",
            load.keys
        )));
    }
    Ok(())
}

fn values(load: &Load) -> Values {
    Values::new(load.seed)
}
