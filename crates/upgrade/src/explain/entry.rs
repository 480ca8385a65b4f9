//! One check or prediction, as the table has it.

use serde::Serialize;

/// The id of what keeps `run` from stopping a member.
pub(crate) const STOP: &str = "stop";

/// One check or prediction.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// `P1` to `P25` of the checks, `B1` to `B14` of the predictions, or `stop`.
    pub id: &'static str,
    /// What it looks for, or what was predicted.
    pub title: &'static str,
    /// What it means for the cluster.
    pub means: &'static str,
    /// What which release of etcd does about it.
    pub etcd: &'static str,
    /// How to see it without this tool.
    #[serde(rename = "byHand")]
    pub by_hand: &'static str,
    /// What to do.
    pub fix: &'static str,
    /// What etcd prints where it strikes; `…` is where a value is.
    pub texts: &'static [&'static str],
}

impl Entry {
    /// Its four parts, each under its heading.
    pub fn parts(&self) -> [(&'static str, &'static str); 4] {
        [
            ("what it means", self.means),
            ("what etcd does", self.etcd),
            ("see it by hand", self.by_hand),
            ("fix", self.fix),
        ]
    }
}
