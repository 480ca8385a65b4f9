//! What etcd 3.6 logs of promotions when it opens a directory, whose bucket of members may have
//! missed them (etcd#19557): who operates a cluster looks for it. Never changes anything.

use std::collections::BTreeSet;

use line::{Feature, Line, Truth};
use membership::{Cluster, MemberId, Replay};
use proto::raftpb::{Entry, EntryType};

use super::membership::Stored;

/// Logs the promotions that the log has up to what the database holds.
pub(super) fn log(
    line: Line,
    snapshot: &Replay,
    snapshot_index: u64,
    entries: &[Entry],
    stored: &Stored,
) {
    let held = stored.consistent_index();
    let repairs = line.facts().truth == Truth::V3Store && !line.has(Feature::VotesFromMembers);
    if !repairs || held == 0 || held < snapshot_index {
        return;
    }
    let buckets = Cluster::of_buckets(snapshot.cluster.id(), stored.view());
    for id in missed(&snapshot.cluster, &buckets) {
        tracing::warn!(member = %id, "Syncing member in v3store");
    }
    for id in promoted(snapshot.clone(), entries, held) {
        match buckets.member(id).map(|member| member.is_learner) {
            Some(true) => {
                tracing::info!(member = %id, "Forcibly apply member promotion request in v3store");
            }
            Some(false) => tracing::info!(
                "promoted-member-id" = %id,
                "ignore already promoted member in v3store"
            ),
            None => {}
        }
    }
}

/// The voters that the buckets take for learners.
fn missed(voters: &Cluster, buckets: &Cluster) -> impl Iterator<Item = MemberId> {
    let learners = buckets.members().filter(|member| member.is_learner);
    learners
        .map(|member| member.id)
        .filter(|id| voters.member(*id).is_some_and(|m| !m.is_learner))
}

/// Who became a voter between the snapshot and an entry.
fn promoted(mut log: Replay, entries: &[Entry], last: u64) -> BTreeSet<MemberId> {
    let learners = |log: &Replay| -> BTreeSet<MemberId> {
        let members = log.cluster.members();
        let learners = members.filter(|member| member.is_learner);
        learners.map(|member| member.id).collect()
    };
    let mut ever = learners(&log);
    for entry in entries.iter().take_while(|entry| entry.index <= last) {
        // What cannot be decoded ends the server when it is applied.
        let _ = log.follow(entry);
        if entry.r#type != EntryType::EntryNormal as i32 {
            ever.extend(learners(&log));
        }
    }
    ever.retain(|id| log.cluster.member(*id).is_some_and(|m| !m.is_learner));
    ever
}
