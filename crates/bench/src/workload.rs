//! The workloads: what each asks of the server.

mod fill;
mod k8s;
mod list;
mod measure;
mod puts;
#[cfg(test)]
mod tests;
mod unary;
mod watch;

use crate::net::Failed;
use crate::options::Load;
use crate::report::Report;

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
        /// Percent of requests with a stale revision.
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
    /// Reads next to writes.
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
