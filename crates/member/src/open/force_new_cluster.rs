//! `--force-new-cluster`: what takes the other members out of a directory's configuration, and
//! this one in where it is missing, as etcd does it: configuration changes after the last
//! committed entry, as if all had agreed. Nothing is written here.

use std::collections::BTreeSet;

use membership::{Member, Replay, conf_change};
use prost::Message as _;
use proto::{
    raftpb::{ConfChange, ConfChangeType, Entry, EntryType, HardState},
    wire::Read as _,
};

/// The peer URL with which a member adds itself. etcd's choice; `member update` changes it.
const PEER_URL: &str = "http://localhost:2380";

/// What the directory of a stopped member says.
pub(super) struct Found<'a> {
    /// The member that the log belongs to.
    pub(super) own: u64,
    /// The index of the newest snapshot, and the membership as of it.
    pub(super) snapshot: (u64, Replay),
    /// The entries after it.
    pub(super) entries: &'a [Entry],
    /// As of the end of the log.
    pub(super) hard_state: HardState,
    /// Up to where the database has applied the log.
    pub(super) consistent_index: u64,
}

/// What the directory becomes.
#[derive(Debug, PartialEq)]
pub(super) struct Forced {
    /// The last entry that counts as committed. Those after it are dropped.
    pub(super) kept: u64,
    /// The entries that follow it.
    pub(super) changes: Vec<Entry>,
}

/// Why the directory cannot become a cluster of its own. etcd panics or ends on the same ones.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Impossible {
    #[error(
        "the database has entries up to {applied}, but the log ends at {last}; take another member's directory, or restore a backup as a new cluster"
    )]
    LogEnds { applied: u64, last: u64 },
    #[error(
        "--force-new-cluster needs a member with a vote, and this one is a learner; force a voting member's directory, \
         or make a new one with `etcdutl snapshot restore` from this one's database"
    )]
    Learner,
    #[error(
        "--force-new-cluster needs a member of the cluster, and this one was removed from it; force another member's \
         directory, or make a new one with `etcdutl snapshot restore` from this one's database"
    )]
    Removed,
}

impl Found<'_> {
    /// Works out the changes.
    pub(super) fn force(mut self) -> Result<Forced, Impossible> {
        // A commit index that merely moved need not be in the log yet, while the database may
        // already have what it committed.
        let kept = self.hard_state.commit.max(self.consistent_index);
        let last = self.entries.last().map_or(self.snapshot.0, |e| e.index);
        if self.consistent_index > last {
            return Err(Impossible::LogEnds {
                applied: self.consistent_index,
                last,
            });
        }
        let named = self.named(kept);
        self.check_self(kept)?;
        let changes = changes(self.own, &named)
            .iter()
            .zip(kept + 1..)
            .map(|(change, index)| Entry {
                r#type: EntryType::EntryConfChange as i32,
                term: self.hard_state.term,
                index,
                data: Some(change.encode_to_vec().into()),
            })
            .collect();
        Ok(Forced { kept, changes })
    }

    /// Ids that the configuration names. A change that was rejected counts as well, as in etcd:
    /// removing a member that never came is rejected too.
    fn named(&self, kept: u64) -> BTreeSet<u64> {
        let state = &self.snapshot.1.conf_state;
        let mut ids: BTreeSet<u64> = state
            .voters
            .iter()
            .chain(&state.learners)
            .copied()
            .collect();
        let changes = self
            .entries
            .iter()
            .take_while(|entry| entry.index <= kept)
            .filter(|entry| entry.r#type == EntryType::EntryConfChange as i32)
            // What cannot be decoded is refused before the first write.
            .filter_map(|entry| ConfChange::read(&entry.data.clone().unwrap_or_default()).ok());
        for change in changes {
            match ConfChangeType::try_from(change.r#type) {
                Ok(ConfChangeType::ConfChangeRemoveNode) => {
                    ids.remove(&change.node_id);
                }
                Ok(ConfChangeType::ConfChangeUpdateNode) | Err(_) => {}
                Ok(_) => {
                    ids.insert(change.node_id);
                }
            }
        }
        ids
    }

    /// Refuses a member that cannot be the only voter.
    fn check_self(&mut self, kept: u64) -> Result<(), Impossible> {
        let replay = &mut self.snapshot.1;
        for entry in self.entries.iter().take_while(|entry| entry.index <= kept) {
            let _ = replay.follow(entry);
        }
        if replay.cluster.is_removed(self.own.into()) {
            return Err(Impossible::Removed);
        }
        if replay.conf_state.learners.contains(&self.own) {
            return Err(Impossible::Learner);
        }
        Ok(())
    }
}

/// This member comes first: raft has no configuration without a voter.
fn changes(own: u64, named: &BTreeSet<u64>) -> Vec<ConfChange> {
    let own_member = || Member {
        id: own.into(),
        peer_urls: vec![PEER_URL.to_owned()],
        ..Member::default()
    };
    let missing = (!named.contains(&own)).then(|| conf_change::add(0, &own_member()));
    let others = named.iter().filter(|id| **id != own);
    missing
        .into_iter()
        .chain(others.map(|id| conf_change::remove(0, (*id).into())))
        .collect()
}

#[cfg(test)]
mod tests;
