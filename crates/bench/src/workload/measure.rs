//! The one way to measure: warm up, look at the server, load it, look again.

use std::net::SocketAddr;

use crate::closed::{self, Amount, OnceFailed, Requests, Tally};
use crate::grpc::Method;
use crate::keys::Values;
use crate::net::{self, Failed, Pool};
use crate::options::Load;
use crate::process::{self, Usage};
use crate::report::{Latency, Report};
use crate::wire;

/// The server's processes: those given, or those that serve the endpoints.
pub(super) fn server_pids(load: &Load) -> Vec<u32> {
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
pub(super) struct Meter {
    pids: Vec<u32>,
    peak_of_run: bool,
    server: Option<Usage>,
    own: Usage,
}

impl Meter {
    pub(super) fn start(load: &Load) -> Result<Self, Failed> {
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
    pub(super) fn stop(self, report: &mut Report) -> Result<(), Failed> {
        let own = process::own().cpu.saturating_sub(self.own.cpu);
        report.own_cpu_us_per_op = Some(own.as_secs_f64() * 1e6 / report.operations.max(1) as f64);
        if let Some(before) = self.server {
            report.enter_server(&self.pids, before, look(&self.pids)?, self.peak_of_run);
        }
        Ok(())
    }
}

pub(super) fn look(pids: &[u32]) -> Result<Usage, Failed> {
    process::usage_of(pids).map_err(|pid| {
        Failed::Workload(format!(
            "the server process {pid} does not exist (any more)"
        ))
    })
}

/// Warms up and measures a closed loop of `requests`.
pub(super) fn measure(
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
        "bytes received per operation",
        per(pool.received() - received, report.operations),
    );
    outcome.and(used)
}

pub(super) fn per(value: u64, operations: u64) -> f64 {
    (value as f64 / operations.max(1) as f64).round()
}

pub(super) fn enter(tally: &Tally, names: &[&'static str], report: &mut Report) {
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
pub(super) fn amount(load: &Load) -> Amount {
    Amount {
        clients: load.clients,
        total: load.total,
        rate: load.rate,
        classes: 1,
    }
}

pub(super) fn workload_error(failed: OnceFailed) -> Failed {
    match failed {
        OnceFailed::Run(failed) => failed,
        refused => Failed::Workload(refused.to_string()),
    }
}

/// How many keys the range holds.
pub(super) fn count(pool: &mut Pool, key: &[u8], end: &[u8]) -> Result<i64, Failed> {
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

pub(super) fn values(load: &Load) -> Values {
    Values::new(load.seed)
}
