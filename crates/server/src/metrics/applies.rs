//! How long entries take to apply. The clock is read per run of entries and not
//! per entry: each is counted with the mean of its run.

use std::time::Duration;

use prometheus::{HistogramVec, local::LocalHistogram};
use proto::etcdserverpb::internal_raft_request::Op;

/// What an entry asked for, as etcd labels it: version and operation.
const KINDS: [(&str, &str); 12] = [
    ("v2", "PUT"),
    ("v3", "Put"),
    ("v3", "DeleteRange"),
    ("v3", "Txn"),
    ("v3", "Compaction"),
    ("v3", "LeaseGrant"),
    ("v3", "LeaseRevoke"),
    ("v3", "LeaseCheckpoint"),
    ("v3", "Alarm"),
    ("v3", "ClusterVersionSet"),
    ("v3", "ClusterMemberAttrSet"),
    ("v3", "unknown"),
];

/// A row of [`KINDS`].
#[derive(Clone, Copy)]
pub struct Kind(usize);

impl Kind {
    /// A request of the v2 store.
    pub const V2: Kind = Kind(0);

    /// The kind of an operation.
    pub fn of(op: Option<&Op>) -> Kind {
        Kind(match op {
            Some(Op::Put(_)) => 1,
            Some(Op::DeleteRange(_)) => 2,
            Some(Op::Txn(_)) => 3,
            Some(Op::Compaction(_)) => 4,
            Some(Op::LeaseGrant(_)) => 5,
            Some(Op::LeaseRevoke(_)) => 6,
            Some(Op::LeaseCheckpoint(_)) => 7,
            Some(Op::Alarm(_)) => 8,
            Some(Op::ClusterVersionSet(_)) => 9,
            Some(Op::ClusterMemberAttrSet(_)) => 10,
            _ => 11,
        })
    }
}

/// The entries of the run under way; belongs to whoever applies.
pub struct Applies {
    vec: HistogramVec,
    /// By kind and success: entries of this run, and the series once there was one.
    series: [[(u32, Option<LocalHistogram>); 2]; KINDS.len()],
}

impl Applies {
    pub(super) fn new(vec: HistogramVec) -> Applies {
        Applies {
            vec,
            series: Default::default(),
        }
    }

    /// Counts an entry of the run.
    pub fn count(&mut self, kind: Kind, success: bool) {
        self.series[kind.0][usize::from(success)].0 += 1;
    }

    /// The run took this long.
    pub fn observe(&mut self, took: Duration) {
        let entries: u32 = self.series.iter().flatten().map(|(n, _)| n).sum();
        let mean = took.as_secs_f64() / f64::from(entries.max(1));
        for ((version, op), pair) in KINDS.iter().zip(&mut self.series) {
            for ((n, local), success) in pair.iter_mut().zip(["false", "true"]) {
                if *n == 0 {
                    continue;
                }
                let local = local.get_or_insert_with(|| {
                    let labels = [*version, *op, success];
                    self.vec.with_label_values(&labels).local()
                });
                for _ in 0..std::mem::take(n) {
                    local.observe(mean);
                }
                local.flush();
            }
        }
    }
}
