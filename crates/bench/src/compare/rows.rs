//! The table: which workloads are run, how hard, and what is read off each.

use crate::options::Load;
use crate::report::Report;
use crate::workload::Workload;

/// A number that is read off a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Metric {
    /// Server CPU time per operation, in microseconds.
    ServerCpu,
    /// Operations per second.
    PerSecond,
    /// Median latency of the first kind of request, in microseconds.
    P50,
    /// 99 of 100, likewise.
    P99,
    /// Peak of the server's resident memory during the run, in bytes.
    Peak,
    /// Its resident memory after the run, in bytes.
    Resident,
    /// From the start of the process to the first answer, in microseconds.
    Restart,
    /// Resident memory at the first answer after a restart, in bytes.
    RestartResident,
    /// Events that a watcher did not get.
    Lost,
}

impl Metric {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ServerCpu => "server CPU",
            Self::PerSecond => "per second",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::Peak => "peak memory",
            Self::Resident => "resident memory",
            Self::Restart => "restart to first answer",
            Self::RestartResident => "resident memory after restart",
            Self::Lost => "events lost",
        }
    }

    /// The value in `report`, where the run gave one.
    pub(super) fn of(self, report: &Report) -> Option<f64> {
        let server = report.server.as_ref();
        match self {
            Self::ServerCpu => server.map(|server| server.cpu_us_per_op),
            Self::PerSecond => Some(report.per_second),
            Self::P50 => report.latencies.first().map(|latency| latency.p50_us),
            Self::P99 => report.latencies.first().map(|latency| latency.p99_us),
            Self::Peak => server.map(|server| server.peak as f64),
            Self::Resident => server.map(|server| server.resident as f64),
            Self::Lost => report.facts.get("events lost").copied(),
            Self::Restart | Self::RestartResident => None,
        }
    }

    /// The value with its unit.
    pub(super) fn show(self, value: f64) -> String {
        match self {
            Self::ServerCpu if value < 1000.0 => format!("{value:.2} us"),
            Self::ServerCpu | Self::P50 | Self::P99 | Self::Restart => {
                crate::histogram::short(std::time::Duration::from_nanos((value * 1e3) as u64))
            }
            Self::PerSecond => format!("{value:.0}/s"),
            Self::Peak | Self::Resident | Self::RestartResident => {
                crate::report::bytes(value as u64)
            }
            Self::Lost => format!("{value:.0}"),
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// Short name for `--rows`.
    pub(super) id: &'static str,
    /// What is asked, for people.
    pub(super) title: &'static str,
    pub(super) workload: Workload,
    pub(super) load: Load,
    pub(super) metrics: Vec<Metric>,
    /// Each round begins on an empty server, and there is one round unless
    /// more are asked for by `--load-rounds`.
    pub(super) fresh: bool,
}

/// The rows, with every number of requests multiplied by `scale`.
pub(super) fn table(scale: f64) -> Vec<Row> {
    use Metric::*;
    let load = |connections, clients, total: u64, value_size| Load {
        endpoints: Vec::new(),
        connections,
        clients,
        total: ((total as f64 * scale) as u64).max(20),
        warmup: 0,
        key_size: 32,
        value_size,
        keys: 10_000,
        prefix: "/registry/bench/".into(),
        sequential: false,
        random: true,
        rate: 0,
        seed: 1,
        server_pid: Vec::new(),
        token: String::new(),
        label: String::new(),
    };
    let row = |id, title, workload, load: Load, metrics: &[Metric]| Row {
        id,
        title,
        workload,
        load: Load {
            warmup: load.total / 10,
            ..load
        },
        metrics: metrics.to_vec(),
        fresh: false,
    };
    let all = Workload::List { limit: 0 };
    let million = ((1_000_000.0 * scale) as u64).max(1000);
    vec![
        row(
            "put-100",
            "put 100 B, 128 outstanding on 16 connections",
            Workload::Put,
            load(16, 128, 50_000, 100),
            &[ServerCpu, PerSecond],
        ),
        row(
            "put-256",
            "put 256 B, 128 outstanding on 16 connections",
            Workload::Put,
            load(16, 128, 50_000, 256),
            &[ServerCpu, PerSecond],
        ),
        row(
            "put-one",
            "put 256 B, one client, one connection",
            Workload::Put,
            load(1, 1, 2_000, 256),
            &[P50, P99],
        ),
        row(
            "txn-k8s",
            "Kubernetes update (compare mod revision, put 1 KiB), 128 on 16",
            Workload::TxnK8s { conflicts: 0 },
            load(16, 128, 30_000, 1024),
            &[ServerCpu, PerSecond],
        ),
        row(
            "get",
            "linearizable get 256 B, 128 on 16",
            Workload::Get {
                serializable: false,
            },
            load(16, 128, 100_000, 256),
            &[ServerCpu, PerSecond],
        ),
        row(
            "list-page",
            "page of 500 of 10,000 keys x 256 B, exact count, 8 on 4",
            Workload::List { limit: 500 },
            load(4, 8, 2_000, 256),
            &[ServerCpu],
        ),
        row(
            "list-256",
            "all of 10,000 keys x 256 B, unary",
            all.clone(),
            load(1, 1, 100, 256),
            &[ServerCpu, Peak],
        ),
        row(
            "stream-256",
            "all of 10,000 keys x 256 B, RangeStream",
            Workload::ListStream,
            load(1, 1, 100, 256),
            &[ServerCpu, Peak],
        ),
        row(
            "list-1k",
            "all of 10,000 keys x 1 KiB, unary",
            all,
            load(1, 1, 60, 1024),
            &[ServerCpu, Peak],
        ),
        row(
            "stream-1k",
            "all of 10,000 keys x 1 KiB, RangeStream",
            Workload::ListStream,
            load(1, 1, 60, 1024),
            &[ServerCpu, Peak],
        ),
        row(
            "mixed",
            "linearizable gets (10 outstanding) while 100 clients write 256 B, 16 connections",
            Workload::Mixed {
                readers: 10,
                serializable: false,
            },
            load(16, 100, 50_000, 256),
            &[P50, P99],
        ),
        row(
            "watch",
            "1,000 watchers of one prefix on 10 streams, 1,000 puts (CPU per delivered event)",
            Workload::Watch {
                watchers: 1000,
                streams: 10,
            },
            load(10, 10, 1_000, 256),
            &[ServerCpu, P50, Lost],
        ),
        // Unpaced, watchers fall behind and get many events in one message;
        // paced, each event travels alone. Both happen in a cluster.
        row(
            "watch-paced",
            "the same at 100 puts a second (CPU per delivered event)",
            Workload::Watch {
                watchers: 1000,
                streams: 10,
            },
            Load {
                rate: 100,
                ..load(10, 1, 1_000, 256)
            },
            &[ServerCpu, P50, P99, Lost],
        ),
        Row {
            fresh: true,
            ..row(
                "load",
                "1,000,000 keys x 256 B loaded, 128 on 16",
                Workload::Load,
                Load {
                    keys: million,
                    total: 0,
                    ..load(16, 128, 0, 256)
                },
                &[Resident, PerSecond, Restart, RestartResident],
            )
        },
    ]
}
