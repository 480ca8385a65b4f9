//! A plan as steps that a machine carries out: `plan` shows them, `run` does them.

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::hops::{Hop, How, line_of};

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
        /// Whether members that run Pintle go there by their line.
        #[serde(default)]
        line: bool,
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
    /// Members that run Pintle change their line, and none restarts.
    Line {
        /// What they answer before.
        from: Version,
        /// What they answer afterwards.
        to: Version,
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
            Step::Check { to, line: false } => format!("check the way to {to}"),
            Step::Check { to, line: true } => format!("check the way to line {}", line_of(to)),
            Step::Line { from, to } => format!(
                "set the line from {} to {}, no member restarts",
                line_of(from),
                line_of(to)
            ),
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

    /// What `member` ran before this step, if the step changes that, and whether that was Pintle.
    pub(crate) fn before(&self, name: &str) -> Option<(&Version, bool)> {
        match self {
            Step::Swap {
                member,
                from,
                from_pintle,
                ..
            } if member == name => Some((from, *from_pintle)),
            Step::Line { from, .. } => Some((from, true)),
            _ => None,
        }
    }

    /// Where this step leads, if it changes what members run, and whether that is Pintle.
    pub(crate) fn leads_to(&self) -> Option<(&Version, bool)> {
        match self {
            Step::Swap { to, pintle, .. } => Some((to, *pintle)),
            Step::Line { to, .. } => Some((to, true)),
            _ => None,
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
            Step::Line { from, to } => format!(
                "set the line from {} back to {}, no member restarts",
                line_of(to),
                line_of(from)
            ),
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
    /// Whether it gets another binary by `hop`, from `from` on. By the last hop of binaries all
    /// come to run the same.
    fn moves(&self, from: &Version, hop: &Hop, is_last: bool) -> bool {
        let anew = *from == hop.to && self.anew;
        match hop.how {
            How::Line => false,
            // What it answers is of its line, and that stays.
            How::Pintle => anew || !self.pintle,
            How::Etcd if is_last => anew || self.runs != hop.to || self.pintle,
            // One that is ahead, of an upgrade that was left half done, stays there.
            How::Etcd => self.runs < hop.to,
        }
    }

    /// It gets the binary of `hop`.
    fn swap(&mut self, hop: &Hop) -> Step {
        let pintle = hop.how == How::Pintle;
        let step = Step::Swap {
            member: self.name.clone(),
            from: self.runs.clone(),
            from_pintle: self.pintle,
            to: hop.to.clone(),
            pintle,
        };
        self.runs = hop.to.clone();
        self.pintle = pintle;
        step
    }
}

/// The steps along `hops` from `first`, the oldest release that runs, for `members`, of which the
/// last one leads. With `stale` records in the databases, members restart once before a release
/// that believes those.
pub(crate) fn along(first: &Version, hops: &[Hop], members: &[Member], stale: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut members = members.to_vec();
    if let [next, ..] = hops
        && stale
        && heals(&members, first)
        && next.to.minor > first.minor
    {
        steps.push(Step::Heal {
            version: first.clone(),
        });
    }
    let last = hops.iter().rposition(|hop| hop.how != How::Line);
    let mut from = first;
    for (at, hop) in hops.iter().enumerate() {
        let line = hop.how == How::Line;
        steps.push(Step::Check {
            to: hop.to.clone(),
            line,
        });
        match line {
            true => steps.push(set_line(from, &hop.to, &mut members)),
            false => swaps(from, hop, last == Some(at), &mut members, &mut steps),
        }
        from = &hop.to;
    }
    if members.len() == 1 {
        steps.retain(|step| !matches!(step, Step::MoveLeader { .. }));
    }
    steps
}

fn set_line(from: &Version, to: &Version, members: &mut [Member]) -> Step {
    for member in members {
        member.runs = to.clone();
    }
    Step::Line {
        from: from.clone(),
        to: to.clone(),
    }
}

/// The steps of one hop by binaries.
fn swaps(from: &Version, hop: &Hop, is_last: bool, members: &mut [Member], steps: &mut Vec<Step>) {
    let moving: Vec<usize> = (0..members.len())
        .filter(|n| members[*n].moves(from, hop, is_last))
        .collect();
    for n in &moving {
        let member = &mut members[*n];
        // Next to its own swap: runs on several nodes wait for each other there.
        // Pintle leaves no such records after its newest snapshot.
        if member.runs.minor == 6 && hop.to.minor == 7 && !member.pintle {
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
        steps.push(member.swap(hop));
    }
    steps.push(Step::Settle { to: hop.to.clone() });
    // What older patches left in the databases goes only when all run the new one.
    if from.minor == 5 && hop.to.minor == 5 && heals(members, &hop.to) {
        steps.push(Step::Heal {
            version: hop.to.clone(),
        });
    }
}

/// The first release whose members correct all records when one publishes itself.
const HEALS: Version = Version::new(3, 5, 26);

/// Whether restarts correct records: all members run `version`, and that does it.
fn heals(members: &[Member], version: &Version) -> bool {
    let all = members.iter().all(|m| m.runs == *version && !m.pintle);
    all && version.minor == 5 && *version >= HEALS
}
