//! How long entries take to apply. The clock is read per run of entries and not
//! per entry: each is counted with the mean of its run.

use std::time::Duration;

use member::host::Kind;
use prometheus::{HistogramVec, local::LocalHistogram};

/// What an entry asked for, as etcd labels it: version and operation. In the order of [`Kind`].
pub(super) const KINDS: [(&str, &str); 28] = [
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
    ("v3", "Authenticate"),
    ("v3", "AuthEnable"),
    ("v3", "AuthDisable"),
    ("v3", "AuthUserAdd"),
    ("v3", "AuthUserDelete"),
    ("v3", "AuthUserChangePassword"),
    ("v3", "AuthUserGrantRole"),
    ("v3", "AuthUserGet"),
    ("v3", "AuthUserRevokeRole"),
    ("v3", "AuthUserList"),
    ("v3", "AuthRoleAdd"),
    ("v3", "AuthRoleGrantPermission"),
    ("v3", "AuthRoleGet"),
    ("v3", "AuthRoleRevokePermission"),
    ("v3", "AuthRoleDelete"),
    ("v3", "AuthRoleList"),
    ("v3", "unknown"),
];

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
        self.series[kind as usize][usize::from(success)].0 += 1;
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
