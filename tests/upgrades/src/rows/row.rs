//! What a row is, and what several tables use.

use crate::{
    reality::Ends::{self, Panics, Refuses},
    script::Op,
};

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its id.
    pub id: &'static str,
    /// Part of the quick run.
    pub quick: bool,
    /// What the page expects of its end.
    pub page: &'static str,
    /// The history, with what each recorded step ends in.
    pub script: &'static [Op],
    /// Where the page and the releases part, or what else was learnt.
    pub note: &'static str,
}

pub(super) const fn row(
    id: &'static str,
    quick: bool,
    page: &'static str,
    script: &'static [Op],
    note: &'static str,
) -> Row {
    Row {
        id,
        quick,
        page,
        script,
        note,
    }
}

pub(super) const TOO_MANY: Ends = Refuses("too many learner members in cluster");
pub(super) const V2_CONTENT: Ends = Refuses("detected disallowed custom content in v2store");
pub(super) const V2_WAL: Ends = Panics("detected disallowed v2 WAL");
pub(super) const RAW_V2: Ends = Panics("unmarshal should never fail");
pub(super) const KUBEADM: &[&str] = &[
    "--experimental-initial-corrupt-check=true",
    "--experimental-watch-progress-notify-interval=5s",
];

/// A newcomer gets the database of the leader and not its log.
pub(super) const SHORT_LOG: &[&str] = &[
    "--snapshot-count=10",
    "--experimental-snapshot-catchup-entries=5",
];
