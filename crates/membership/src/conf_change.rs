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

/// A member and what is to happen to it, the JSON of a change's context.
#[derive(Debug, Deserialize)]
struct Context {
    #[serde(flatten)]
    member: Member,
    #[serde(rename = "isPromote", default)]
    promote: bool,
}

/// A change that holds against the members it was checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Valid {
    /// A new member, or learner.
    Add(Member),
    /// A vote for a learner.
    Promote(MemberId),
    /// Other peer URLs, sorted.
    Update(MemberId, Vec<String>),
    /// One member less.
    Remove(MemberId),
}

/// Checks a change against the members.
pub fn validate(cluster: &Cluster, change: &ConfChange) -> Result<Valid, Rejection> {
    let id = MemberId(change.node_id);
    let malformed = |why: &str| Rejection::Malformed(why.to_owned());
    let kind = ConfChangeType::try_from(change.r#type).map_err(|_| malformed("unknown kind"))?;
    if cluster.is_removed(id) {
        return Err(Rejection::Removed);
    }
    let known = cluster.member(id);
    if kind == ConfChangeType::ConfChangeRemoveNode {
        return known.map(|_| Valid::Remove(id)).ok_or(Rejection::NotFound);
    }
    let context: Context = serde_json::from_slice(change.context.as_deref().unwrap_or_default())
        .map_err(|error| Rejection::Malformed(error.to_string()))?;
    let mut member = context.member;
    if member.id != id || id.0 == 0 {
        return Err(malformed(
            "the member in the context is not the one that changes",
        ));
    }
    member.peer_urls.sort();
    let url_taken = || {
        cluster
            .members()
            .filter(|other| other.id != id)
            .flat_map(|other| &other.peer_urls)
            .any(|url| member.peer_urls.contains(url))
    };
    match kind {
        ConfChangeType::ConfChangeUpdateNode => match known {
            None => Err(Rejection::NotFound),
            Some(_) if url_taken() => Err(Rejection::PeerUrlExists),
            Some(_) => Ok(Valid::Update(id, member.peer_urls)),
        },
        _ if context.promote => match known {
            None => Err(Rejection::NotFound),
            Some(member) if !member.is_learner => Err(Rejection::NotLearner),
            Some(_) => Ok(Valid::Promote(id)),
        },
        _ if known.is_some() => Err(Rejection::Exists),
        _ if url_taken() => Err(Rejection::PeerUrlExists),
        kind => {
            member.is_learner = kind == ConfChangeType::ConfChangeAddLearnerNode;
            if member.is_learner && !cluster.has_room_for_learner() {
                return Err(Rejection::TooManyLearners);
            }
            Ok(Valid::Add(member))
        }
    }
}

/// Checks a committed change against the members and carries it out in both.
pub fn apply(
    cluster: &mut Cluster,
    tree: &mut Tree,
    change: &ConfChange,
) -> Result<Done, Rejection> {
    match validate(cluster, change)? {
        Valid::Add(member) => {
            let id = member.id;
            tree.add_member(&member);
            cluster.insert(member);
            Ok(Done::Added(id))
        }
        Valid::Promote(id) => {
            if let Some(member) = cluster.member_mut(id) {
                member.is_learner = false;
                tree.set_raft_attributes(member);
            }
            Ok(Done::Promoted(id))
        }
        Valid::Update(id, peer_urls) => {
            if let Some(member) = cluster.member_mut(id) {
                member.peer_urls = peer_urls;
                tree.set_raft_attributes(member);
            }
            Ok(Done::Updated(id))
        }
        Valid::Remove(id) => {
            cluster.remove(id);
            tree.remove_member(id);
            Ok(Done::Removed(id))
        }
    }
}

fn change(
    request_id: u64,
    kind: ConfChangeType,
    id: MemberId,
    context: Option<String>,
) -> ConfChange {
    ConfChange {
        id: request_id,
        r#type: kind as i32,
        node_id: id.0,
        context: context.map(Into::into),
    }
}

/// The change that adds a member, or a learner.
pub fn add(request_id: u64, member: &Member) -> ConfChange {
    let kind = if member.is_learner {
        ConfChangeType::ConfChangeAddLearnerNode
    } else {
        ConfChangeType::ConfChangeAddNode
    };
    change(request_id, kind, member.id, Some(member.to_json()))
}

/// The change that gives a learner its vote.
pub fn promote(request_id: u64, id: MemberId) -> ConfChange {
    // Both adding and promoting are AddNode; the context tells them apart.
    let context = format!("{{\"id\":{},\"peerURLs\":null,\"isPromote\":true}}", id.0);
    change(
        request_id,
        ConfChangeType::ConfChangeAddNode,
        id,
        Some(context),
    )
}

/// The change of a member's peer URLs.
pub fn update(request_id: u64, id: MemberId, peer_urls: &[String]) -> ConfChange {
    let member = Member {
        id,
        peer_urls: peer_urls.to_vec(),
        ..Member::default()
    };
    change(
        request_id,
        ConfChangeType::ConfChangeUpdateNode,
        id,
        Some(member.to_json()),
    )
}

/// The change that removes a member.
pub fn remove(request_id: u64, id: MemberId) -> ConfChange {
    change(request_id, ConfChangeType::ConfChangeRemoveNode, id, None)
}

/// The entries with which the first members enter: term 1, one each, in the
/// order of their ids, the same on every member.
pub fn bootstrap_entries(cluster: &Cluster) -> Vec<Entry> {
    cluster
        .members()
        .enumerate()
        .map(|(i, member)| Entry {
            r#type: EntryType::EntryConfChange as i32,
            term: 1,
            index: i as u64 + 1,
            data: Some(add(0, member).encode_to_vec().into()),
        })
        .collect()
}
