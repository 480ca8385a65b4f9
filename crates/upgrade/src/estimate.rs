//! What a plan costs: how often members restart, and about how long it takes. The times are of
//! small members on one machine; they are there to compare one plan with another.

use serde::Serialize;

use crate::steps::Step;

/// From the stop of a member until it is healthy and published.
const RESTART_SECONDS: u64 = 2;
/// Until the cluster version has followed: the leader looks every few seconds.
const FOLLOWS_SECONDS: u64 = 3;
/// What a flush takes apart from its restarts: its entries, and the snapshot after them.
const FLUSH_SECONDS: u64 = 1;
/// A flush restarts its member with a flag, and again without.
const RESTARTS_OF_A_FLUSH: u64 = 2;

/// What a plan costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Estimate {
    /// How often a member restarts.
    pub restarts: u64,
    /// How often the members change their line.
    pub lines: u64,
    /// About how long it takes.
    pub seconds: u64,
    /// How often a member restarts when all of it is taken back.
    pub restarts_back: u64,
}

impl Estimate {
    /// What `steps` cost. Those whose records are stale are not known before, so a step that
    /// restarts them again counts for nothing here.
    pub(crate) fn of(steps: &[Step]) -> Estimate {
        let mut all = Estimate::default();
        let mut rises = false;
        for step in steps {
            let (restarts, more_seconds) = match step {
                Step::Swap { from, to, .. } => {
                    rises = from.minor != to.minor;
                    (1, 0)
                }
                Step::Flush { .. } => (RESTARTS_OF_A_FLUSH, FLUSH_SECONDS),
                Step::Line { .. } => (0, FOLLOWS_SECONDS),
                Step::Settle { .. } if rises => (0, FOLLOWS_SECONDS),
                _ => (0, 0),
            };
            all.restarts += restarts;
            all.restarts_back += u64::from(matches!(step, Step::Swap { .. }));
            all.lines += u64::from(matches!(step, Step::Line { .. }));
            all.seconds += restarts * RESTART_SECONDS + more_seconds;
        }
        all
    }

    /// In words.
    pub(crate) fn words(&self) -> String {
        let counted = |n: u64, what: &str| match n {
            1 => format!("1 {what}"),
            n => format!("{n} {what}s"),
        };
        let lines = match self.lines {
            0 => String::new(),
            n => format!(" and {}", counted(n, "line change")),
        };
        format!(
            "{}{lines}, about {} s; and back: {}",
            counted(self.restarts, "restart"),
            self.seconds,
            counted(self.restarts_back, "restart")
        )
    }
}
