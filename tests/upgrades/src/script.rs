//! The words a history is made of. A script is data, so that the table can be
//! read, printed and checked against the releases this machine has.

use crate::reality::Ends;

/// The version word for Pintle.
pub const PINTLE: &str = "pintle";
/// The same at line 3.6.
pub const PINTLE_3_6: &str = "pintle-3.6";
/// The same at line 3.7.
pub const PINTLE_3_7: &str = "pintle-3.7";

/// The line of Pintle that a version word stands for.
pub fn line_of(version: &str) -> Option<&'static str> {
    match version {
        PINTLE => Some("3.5"),
        PINTLE_3_6 => Some("3.6"),
        PINTLE_3_7 => Some("3.7"),
        _ => None,
    }
}

/// How the tool names a version word as its target.
pub fn named(version: &str) -> &str {
    match version {
        PINTLE => "pintle:3.5",
        PINTLE_3_6 => "pintle:3.6",
        PINTLE_3_7 => "pintle:3.7",
        other => other,
    }
}

/// Which members an [`Op::Upgrade`] takes, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Only the first.
    First,
    /// All of them, in order.
    All,
    /// All of them, stopped together and started together.
    Together,
}

/// One step of a history. Versions are `3.5.30` and so on, or [`PINTLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Bootstraps so many members together.
    Start(usize, &'static str),
    /// Grows the cluster to so many members: learner, start, promote.
    Learners(usize, &'static str),
    /// Grows the cluster to so many members by plain additions.
    Voters(usize, &'static str),
    /// Adds a learner and leaves it one.
    Learner(&'static str),
    /// So many writes, one after the other.
    Keys(u32),
    /// Restarts every member with these flags, one after the other.
    Restart(&'static [&'static str]),
    /// Restarts so many members (the first ones) on this release; nothing is recorded.
    Roll(usize, &'static str),
    /// Replaces every member by a new one of this release: learner, promote, remove the old.
    Replace(&'static str),
    /// The same, recorded.
    Replaced(&'static str, Ends),
    /// Saves a snapshot, restores it with the tool of this release into a new
    /// single member, and starts that on the release.
    Restore(&'static str),
    /// A key through the v2 API.
    V2Put,
    /// The same key deleted.
    V2Delete,
    /// A v2 user made and removed again.
    V2User,
    /// Stops all, puts so many members into every bucket that never were, starts all again.
    PlantZombies(u64),
    /// Stops all, makes everyone but the first a learner in every bucket, starts all again.
    PlantLearners,
    /// Stops all and runs `pintle upgrade repair --yes` with these flags on every
    /// directory; a second repair must find nothing. No one is started again.
    Repair(&'static [&'static str]),
    /// `member remove` for every listed member that is not in the cluster; recorded.
    RemoveZombies(Ends),
    /// Enables a downgrade to this minor version and waits for the storage version.
    Downgrade(&'static str),
    /// Cancels it.
    CancelDowngrade,
    /// Updates the peer URL of the learner to what it is.
    UpdateLearner,
    /// Announces a member to the cluster while its last member is stopped;
    /// recorded: does it answer?
    AddWhileOneIsDown(Ends),
    /// Starts this release on the members as they are, with these flags; recorded.
    Upgrade(&'static str, Who, &'static [&'static str], Ends),
    /// Starts this release on the first member, which must end and change nothing,
    /// and then the one from before, which must go on; recorded.
    Refused(&'static str, Ends),
    /// Stops the last member; recorded: do the others still take a write?
    LoseOne(Ends),
}

/// A restart with a snapshot every ten entries, in force until the next start:
/// followed by writes it leaves a `.snap` newer than everything else.
pub const SNAP: Op = Op::Restart(&["--snapshot-count=10"]);

impl Op {
    /// The releases it needs.
    pub fn version(&self) -> Option<&'static str> {
        match self {
            Op::Start(_, v)
            | Op::Learners(_, v)
            | Op::Voters(_, v)
            | Op::Learner(v)
            | Op::Roll(_, v)
            | Op::Replace(v)
            | Op::Replaced(v, _)
            | Op::Restore(v)
            | Op::Refused(v, _)
            | Op::Upgrade(v, ..) => Some(v),
            Op::Repair(_) => Some(PINTLE),
            _ => None,
        }
    }

    /// What is expected of it, if it is recorded.
    pub fn ends(&self) -> Option<Ends> {
        match self {
            Op::Upgrade(.., ends)
            | Op::LoseOne(ends)
            | Op::RemoveZombies(ends)
            | Op::Replaced(_, ends)
            | Op::Refused(_, ends)
            | Op::AddWhileOneIsDown(ends) => Some(*ends),
            _ => None,
        }
    }

    /// In few words, for the report.
    pub fn words(&self) -> String {
        match self {
            Op::Start(n, v) => format!("{n} x {v}"),
            Op::Learners(n, v) => format!("to {n} by learners of {v}"),
            Op::Voters(n, v) => format!("to {n} by plain add of {v}"),
            Op::Learner(v) => format!("a learner of {v}"),
            Op::Keys(n) => format!("{n} keys"),
            Op::Restart(flags) => format!("restart {}", flags.join(" ")),
            Op::Roll(n, v) => format!("{n} restarted on {v}"),
            Op::Replace(v) => format!("all replaced by {v}"),
            Op::Replaced(v, _) => format!("**all replaced by {v}**"),
            Op::Restore(v) => format!("snapshot restored by {v} to 1"),
            Op::V2Put => "v2 put".to_owned(),
            Op::V2Delete => "v2 delete".to_owned(),
            Op::V2User => "v2 user made and removed".to_owned(),
            Op::PlantZombies(n) => format!("{n} zombies planted"),
            Op::PlantLearners => "learner flags planted".to_owned(),
            Op::Repair(flags) => {
                let mut words = "stopped and repaired".to_owned();
                for flag in *flags {
                    words.push_str(&format!(" `{flag}`"));
                }
                words
            }
            Op::RemoveZombies(_) => "**zombies removed by the API**".to_owned(),
            Op::Downgrade(to) => format!("downgrade enable {to}"),
            Op::CancelDowngrade => "downgrade cancel".to_owned(),
            Op::UpdateLearner => "member update of the learner".to_owned(),
            Op::AddWhileOneIsDown(_) => "member add with one down".to_owned(),
            Op::Upgrade(v, who, flags, _) => {
                let who = match who {
                    Who::First => "first on",
                    Who::All => "all on",
                    Who::Together => "all at once on",
                };
                let mut words = format!("**{who} {v}**");
                for flag in *flags {
                    words.push_str(&format!(" `{flag}`"));
                }
                words
            }
            Op::Refused(v, _) => format!("**first tried on {v}**"),
            Op::LoseOne(_) => "**one stopped**".to_owned(),
        }
    }
}
