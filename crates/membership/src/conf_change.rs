//! Changes of the configuration: which hold against the members there are, what
//! they change in the truth and in the v2 tree, and the entries with which the
//! first members enter.

use prost::Message as _;
use proto::raftpb::{ConfChange, ConfChangeType, Entry, EntryType};
use serde::Deserialize;

use crate::{
    cluster::{Cluster, Member, MemberId},
    v2store::Tree,
};

/// Why a committed change does not hold. The texts are etcd's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Removed ids never come back.
    #[error("membership: ID removed")]
    Removed,
    /// The id is taken.
    #[error("membership: ID exists")]
    Exists,
    /// There is no such member.
    #[error("membership: ID not found")]
    NotFound,
    /// Another member has one of the URLs.
    #[error("membership: peerURL exists")]
    PeerUrlExists,
    /// Only a learner can be promoted.
    #[error("membership: can only promote a learner member")]
    NotLearner,
    /// One learner at a time.
    #[error("membership: too many learner members in cluster")]
    TooManyLearners,
    /// The change does not say what it changes.
    #[error("configuration change is malformed: {0}")]
    Malformed(String),
}

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// A member, or learner, was added.
    Added(MemberId),
    /// A learner got its vote.
    Promoted(MemberId),
    /// Peer URLs changed.
    Updated(MemberId),
    /// A member was removed.
    Removed(MemberId),
}

/// Learners a cluster may have, up to etcd 3.5.
const LEARNERS_MAX: usize = 1;

/// A member and what is to happen to it, the JSON of a change's context.
#[derive(Debug, Deserialize)]
struct Context {
    #[serde(flatten)]
    member: Member,
    #[serde(rename = "isPromote", default)]
    promote: bool,
}

/// Checks a committed change against the members and carries it out in both.
pub fn apply(
    cluster: &mut Cluster,
    tree: &mut Tree,
    change: &ConfChange,
) -> Result<Done, Rejection> {
    let id = MemberId(change.node_id);
    let malformed = |why: &str| Rejection::Malformed(why.to_owned());
    let kind = ConfChangeType::try_from(change.r#type).map_err(|_| malformed("unknown kind"))?;
    if cluster.is_removed(id) {
        return Err(Rejection::Removed);
    }
    if kind == ConfChangeType::ConfChangeRemoveNode {
        if cluster.member(id).is_none() {
            return Err(Rejection::NotFound);
        }
        cluster.remove(id);
        tree.remove_member(id);
        return Ok(Done::Removed(id));
    }
    let context: Context = serde_json::from_slice(change.context.as_deref().unwrap_or_default())
        .map_err(|error| Rejection::Malformed(error.to_string()))?;
    if context.member.id != id {
        return Err(malformed(
            "the member in the context is not the one that changes",
        ));
    }
    let mut member = context.member;
    member.peer_urls.sort();
    let taken = |except: Option<MemberId>| {
        cluster
            .members()
            .filter(|other| Some(other.id) != except)
            .any(|other| {
                other
                    .peer_urls
                    .iter()
                    .any(|url| member.peer_urls.contains(url))
            })
    };
    match kind {
        ConfChangeType::ConfChangeAddNode if context.promote => {
            let known = cluster.member_mut(id).ok_or(Rejection::NotFound)?;
            if !known.is_learner {
                return Err(Rejection::NotLearner);
            }
            known.is_learner = false;
            let known = known.clone();
            tree.set_raft_attributes(&known);
            Ok(Done::Promoted(id))
        }
        ConfChangeType::ConfChangeAddNode | ConfChangeType::ConfChangeAddLearnerNode => {
            if cluster.member(id).is_some() {
                return Err(Rejection::Exists);
            }
            if taken(None) {
                return Err(Rejection::PeerUrlExists);
            }
            member.is_learner = kind == ConfChangeType::ConfChangeAddLearnerNode;
            if member.is_learner
                && cluster.members().filter(|m| m.is_learner).count() >= LEARNERS_MAX
            {
                return Err(Rejection::TooManyLearners);
            }
            tree.add_member(&member);
            cluster.insert(member);
            Ok(Done::Added(id))
        }
        ConfChangeType::ConfChangeUpdateNode => {
            if cluster.member(id).is_none() {
                return Err(Rejection::NotFound);
            }
            if taken(Some(id)) {
                return Err(Rejection::PeerUrlExists);
            }
            if let Some(known) = cluster.member_mut(id) {
                known.peer_urls = member.peer_urls;
                let known = known.clone();
                tree.set_raft_attributes(&known);
            }
            Ok(Done::Updated(id))
        }
        ConfChangeType::ConfChangeRemoveNode => Err(malformed("handled above")),
    }
}

/// The entries with which the first members enter: term 1, one each, in the
/// order of their ids, the same on every member.
pub fn bootstrap_entries(cluster: &Cluster) -> Vec<Entry> {
    cluster
        .members()
        .enumerate()
        .map(|(i, member)| {
            let change = ConfChange {
                id: 0,
                r#type: ConfChangeType::ConfChangeAddNode as i32,
                node_id: member.id.0,
                // In the order of the fields, which is etcd's. Strings and numbers always serialize.
                context: Some(serde_json::to_vec(member).unwrap_or_default().into()),
            };
            Entry {
                r#type: EntryType::EntryConfChange as i32,
                term: 1,
                index: i as u64 + 1,
                data: Some(change.encode_to_vec().into()),
            }
        })
        .collect()
}
