//! A plan as steps that a machine carries out.

use std::collections::BTreeSet;

use semver::Version;
use serde::{Deserialize, Serialize};

/// One step. Done twice it does no more than once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub(crate) enum Step {
    /// All checks for the way to this release; a blocker stops the run.
    Check {
        /// Where the hop leads.
        to: Version,
    },
    /// Leadership goes to another member.
    MoveLeader {
        /// Away from this one.
        member: String,
    },
    /// A member gets another binary on the same directory.
    Swap {
        /// Whose.
        member: String,
        /// What it runs before.
        from: Version,
        /// Whether that is Pintle.
        #[serde(default)]
        from_pintle: bool,
        /// What it runs afterwards.
        to: Version,
        /// Whether that is Pintle.
        pintle: bool,
    },
    /// A member restarts on the same release and writes a snapshot at once, so
    /// that its log holds nothing that the next release cannot read.
    Flush {
        /// Whose.
        member: String,
        /// What it runs.
        version: Version,
    },
    /// Members whose records are stale in any database restart once more on the same
    /// release: their publication rewrites the record, but only at members that ran
    /// a release with the fix when they applied it.
    Heal {
        /// What all run.
        version: Version,
    },
    /// The cluster version must follow.
    Settle {
        /// To this minor version.
        to: Version,
    },
}

impl Step {
    /// The step in words.
    pub(crate) fn words(&self) -> String {
        match self {
            Step::Check { to } => format!("check the way to {to}"),
            Step::MoveLeader { member } => format!("move the leadership away from {member}"),
            Step::Swap {
                member,
                from,
                from_pintle,
                to,
                pintle,
            } => {
                let before = if *from_pintle { "pintle " } else { "" };
                let program = if *pintle { "pintle" } else { "etcd" };
                format!("stop {member} ({before}{from}), start it with {program} {to}")
            }
            Step::Flush { member, version } => format!(
                "restart {member} ({version}) with --snapshot-count=1, write a key, restart it as usual"
            ),
            Step::Heal { version } => {
                format!("restart those whose records are stale once more on {version}")
            }
            Step::Settle { to } => format!(
                "wait for cluster version {}.{}, compare members and hashes",
                to.major, to.minor
            ),
        }
    }

    /// Whether a member's answers can tell that it is done: not where the same release
    /// of the same program is put in anew.
    pub(crate) fn shows(&self) -> bool {
        match self {
            Step::Swap {
                from,
                from_pintle,
                to,
                pintle,
                ..
            } => from != to || from_pintle != pintle,
            _ => false,
        }
    }

    /// What taking it back does to a member, in words; empty for what changes none.
    pub(crate) fn back_in_words(&self) -> String {
        match self {
            Step::Swap {
                member,
                from,
                from_pintle,
                ..
            } => {
                let program = if *from_pintle { "pintle " } else { "" };
                format!("take {member} back to {program}{from}, on the same directory")
            }
            _ => String::new(),
        }
    }
}

/// The steps along `path` (the present release first) for `members`, of which the
/// last one leads. Those of `pintles` are Pintle now; the last release is if `pintle`.
pub(crate) fn along(
    path: &[Version],
    members: &[String],
    pintles: &BTreeSet<String>,
    pintle: bool,
) -> Vec<Step> {
    let mut steps = Vec::new();
    for (at, hop) in path.windows(2).enumerate() {
        let [from, to] = hop else { continue };
        let is_last = at + 2 == path.len();
        steps.push(Step::Check { to: to.clone() });
        for (n, member) in members.iter().enumerate() {
            // Beside its own swap: runs on several nodes wait for each other there.
            if from.minor == 6 && to.minor == 7 {
                steps.push(Step::Flush {
                    member: member.clone(),
                    version: from.clone(),
                });
            }
            if n + 1 == members.len() && members.len() > 1 {
                steps.push(Step::MoveLeader {
                    member: member.clone(),
                });
            }
            steps.push(Step::Swap {
                member: member.clone(),
                from: from.clone(),
                from_pintle: at == 0 && pintles.contains(member),
                to: to.clone(),
                pintle: pintle && is_last,
            });
        }
        steps.push(Step::Settle { to: to.clone() });
        // What older patches left in the databases goes only when all run the new one.
        if from.minor == 5 && to.minor == 5 && !(pintle && is_last) {
            steps.push(Step::Heal {
                version: to.clone(),
            });
        }
    }
    steps
}
