//! A plan as steps that a machine carries out: `plan` shows them, `run` does them.

use semver::Version;
use serde::{Deserialize, Serialize};

/// Entries after which a flushed member writes a snapshot. So few that making them takes a
/// moment, and so many that a busy cluster leaves the member time for something else.
pub(crate) const FLUSH_ENTRIES: u64 = 1000;
/// The flag for that.
pub(crate) const FLUSH_FLAG: &str = "--snapshot-count=1000";
/// How a person makes one entry more than that, each of which changes nothing.
pub(crate) const FLUSH_BY_HAND: &str =
    "`for i in $(seq 1001); do etcdctl del pintle-upgrade; done`";

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
    /// A member restarts on the same release and writes a snapshot soon, so that its log
    /// holds nothing after that which the next release cannot read.
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
                "restart {member} ({version}) with {FLUSH_FLAG}, make as many entries, restart it as usual"
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
            Step::Flush { member, version } => {
                format!("start {member} ({version}) with its own flags")
            }
            _ => String::new(),
        }
    }
}

/// A member, as far as its steps depend on it.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// What it runs.
    pub(crate) runs: Version,
    /// Whether that is Pintle.
    pub(crate) pintle: bool,
    /// Whether it gets the last release once more where all run it: a new build of it.
    pub(crate) anew: bool,
}

impl Member {
    /// Whether it gets another binary on the way from `from` to `to`.
    fn moves(&self, from: &Version, to: &Version, pintle: bool, is_last: bool) -> bool {
        match is_last {
            true => (from == to && self.anew) || self.runs != *to || self.pintle != pintle,
            // One that is ahead, of an upgrade that was left half done, stays there.
            false => self.runs < *to,
        }
    }
}

/// The steps along `path` (the oldest release first) for `members`, of which the last
/// one leads. The last release is Pintle if `pintle`. With `stale` records in the
/// databases, members restart once before a release that believes those.
pub(crate) fn along(path: &[Version], members: &[Member], pintle: bool, stale: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut members = members.to_vec();
    if let [first, next, ..] = path
        && stale
        && heals(&members, first)
        && next.minor > first.minor
    {
        steps.push(Step::Heal {
            version: first.clone(),
        });
    }
    for (at, hop) in path.windows(2).enumerate() {
        let [from, to] = hop else { continue };
        let is_last = at + 2 == path.len();
        let becomes_pintle = pintle && is_last;
        steps.push(Step::Check { to: to.clone() });
        let moving: Vec<usize> = (0..members.len())
            .filter(|n| members[*n].moves(from, to, becomes_pintle, is_last))
            .collect();
        for n in &moving {
            let member = &mut members[*n];
            // Next to its own swap: runs on several nodes wait for each other there.
            // Pintle leaves no such records after its newest snapshot.
            if member.runs.minor == 6 && to.minor == 7 && !member.pintle {
                steps.push(Step::Flush {
                    member: member.name.clone(),
                    version: member.runs.clone(),
                });
            }
            if Some(n) == moving.last() {
                steps.push(Step::MoveLeader {
                    member: member.name.clone(),
                });
            }
            steps.push(Step::Swap {
                member: member.name.clone(),
                from: member.runs.clone(),
                from_pintle: member.pintle,
                to: to.clone(),
                pintle: becomes_pintle,
            });
            member.runs = to.clone();
            member.pintle = becomes_pintle;
        }
        steps.push(Step::Settle { to: to.clone() });
        // What older patches left in the databases goes only when all run the new one.
        if from.minor == 5 && to.minor == 5 && heals(&members, to) {
            steps.push(Step::Heal {
                version: to.clone(),
            });
        }
    }
    if members.len() == 1 {
        steps.retain(|step| !matches!(step, Step::MoveLeader { .. }));
    }
    steps
}

/// The first release whose members correct all records when one publishes itself.
const HEALS: Version = Version::new(3, 5, 26);

/// Whether restarts correct records: all members run `version`, and that does it.
fn heals(members: &[Member], version: &Version) -> bool {
    let all = members.iter().all(|m| m.runs == *version && !m.pintle);
    all && version.minor == 5 && *version >= HEALS
}
