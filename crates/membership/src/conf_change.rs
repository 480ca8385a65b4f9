//! Changes of the configuration: which are valid for the members there are, what
//! they change in the truth and in the v2 tree, and the entries with which the
//! first members enter.

use prost::Message as _;
use proto::raftpb::{ConfChange, ConfChangeType, ConfState, Entry, EntryType};

use crate::{
    cluster::{Cluster, Member, MemberId},
    context::Context,
    urls,
    v2store::{Blocked, Tree},
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
    /// The v2 tree has something else where the member belongs.
    #[error("membership: {0}")]
    Blocked(#[from] Blocked),
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

/// By whose rules a change is judged where the releases differ: about members that are
/// disputed ([`Cluster::is_disputed`]).
#[derive(Clone, Copy, Debug)]
pub enum Rules<'a> {
    /// etcd up to 3.5.30: an update decides who is a learner.
    Older,
    /// etcd from 3.5.31 on: an update changes URLs only.
    Newer,
    /// The change was judged before; this configuration came of it.
    Outcome(&'a ConfState),
}

impl Rules<'_> {
    /// Whether a disputed member is a learner in the eyes of those who judge.
    fn takes_for_learner(self, member: &Member) -> bool {
        match self {
            Rules::Older => !member.is_learner,
            Rules::Newer => member.is_learner,
            // One that is a learner to this day was not promoted.
            Rules::Outcome(state) => !state.learners.contains(&member.id.0),
        }
    }

    /// Whether one more learner, `id`, may come.
    fn has_room(self, cluster: &Cluster, id: MemberId) -> bool {
        let has_room = |rules: Rules<'_>| {
            let learners = cluster
                .members()
                .filter(|member| is_learner(cluster, member, rules));
            learners.count() < cluster.learners_max()
        };
        let (older, newer) = (has_room(Rules::Older), has_room(Rules::Newer));
        match self {
            Rules::Older => older,
            Rules::Newer => newer,
            Rules::Outcome(state) if older != newer => {
                state.learners.contains(&id.0) || state.voters.contains(&id.0)
            }
            Rules::Outcome(_) => newer,
        }
    }
}

fn is_learner(cluster: &Cluster, member: &Member, rules: Rules<'_>) -> bool {
    if cluster.is_disputed(member.id) {
        rules.takes_for_learner(member)
    } else {
        member.is_learner
    }
}

/// A change that is valid for the members it was checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Valid {
    /// A new member, or learner.
    Add(Member),
    /// A vote for a learner.
    Promote(MemberId),
    /// Other peer URLs, sorted, and whether the update calls the member a learner.
    Update(MemberId, Vec<String>, bool),
    /// One member less.
    Remove(MemberId),
}

/// Checks what can be said of a change without the members: its kind, and that it
/// names the member that it changes.
///
/// # Errors
/// [`Rejection::Malformed`]: etcd ends on it.
pub fn check_form(change: &ConfChange) -> Result<(), Rejection> {
    let kind = kind_of(change)?;
    match kind {
        ConfChangeType::ConfChangeRemoveNode => Ok(()),
        _ => context_of(change).map(drop),
    }
}

/// Checks further what a member proposes: its API lets no change through that the others
/// would end on, or list by one vote and count by another.
///
/// # Errors
/// [`Rejection::Malformed`]: no member proposes it.
pub fn check_proposal(change: &ConfChange) -> Result<(), Rejection> {
    let kind = kind_of(change)?;
    if kind == ConfChangeType::ConfChangeRemoveNode {
        return Ok(());
    }
    let context = context_of(change)?;
    let is_learner = kind == ConfChangeType::ConfChangeAddLearnerNode;
    let contradicts = match kind {
        ConfChangeType::ConfChangeUpdateNode => context.promote,
        _ if context.promote => is_learner || context.member.is_learner,
        _ => is_learner != context.member.is_learner,
    };
    if contradicts {
        return Err(malformed("its kind and its context name different votes"));
    }
    let urls = &context.member.peer_urls;
    let is_valid = || !urls.is_empty() && urls.iter().all(|url| urls::parse(url).is_ok());
    if context.promote || is_valid() {
        Ok(())
    } else {
        Err(malformed("a peer URL is none"))
    }
}

fn malformed(why: &str) -> Rejection {
    Rejection::Malformed(why.to_owned())
}

fn kind_of(change: &ConfChange) -> Result<ConfChangeType, Rejection> {
    ConfChangeType::try_from(change.r#type).map_err(|_| malformed("unknown kind"))
}

fn context_of(change: &ConfChange) -> Result<Context, Rejection> {
    let context = Context::read(change.context.as_deref().unwrap_or_default())
        .map_err(|error| Rejection::Malformed(error.to_string()))?;
    if context.id().0 != change.node_id || change.node_id == 0 {
        return Err(malformed(
            "the member in the context is not the one that changes",
        ));
    }
    Ok(context)
}

/// Checks a change against the members.
///
/// # Errors
/// It does not hold.
pub fn validate(
    cluster: &Cluster,
    change: &ConfChange,
    rules: Rules<'_>,
) -> Result<Valid, Rejection> {
    let id = MemberId(change.node_id);
    let kind = kind_of(change)?;
    if cluster.is_removed(id) {
        return Err(Rejection::Removed);
    }
    let known = cluster.member(id);
    if kind == ConfChangeType::ConfChangeRemoveNode {
        return known.map(|_| Valid::Remove(id)).ok_or(Rejection::NotFound);
    }
    let context = context_of(change)?;
    let mut member = context.member;
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
            Some(_) => Ok(Valid::Update(id, member.peer_urls, member.is_learner)),
        },
        _ if context.promote => match known {
            None => Err(Rejection::NotFound),
            Some(member) if !is_learner(cluster, member, rules) => Err(Rejection::NotLearner),
            Some(_) => Ok(Valid::Promote(id)),
        },
        _ if known.is_some() => Err(Rejection::Exists),
        _ if url_taken() => Err(Rejection::PeerUrlExists),
        // The list follows the context, as in etcd; raft follows the kind. They differ in no
        // change that an API makes.
        _ if member.is_learner && !rules.has_room(cluster, id) => Err(Rejection::TooManyLearners),
        _ => Ok(Valid::Add(member)),
    }
}

/// Checks a committed change against the members and carries it out in both.
///
/// # Errors
/// It does not hold, and nothing was changed; or the v2 tree is blocked, on which etcd ends.
pub fn apply(
    cluster: &mut Cluster,
    tree: &mut Tree,
    change: &ConfChange,
    rules: Rules<'_>,
) -> Result<Done, Rejection> {
    match validate(cluster, change, rules)? {
        Valid::Add(member) => {
            let id = member.id;
            tree.add_member(&member)?;
            cluster.insert(member);
            Ok(Done::Added(id))
        }
        Valid::Promote(id) => {
            cluster.promote(id);
            if let Some(member) = cluster.member(id) {
                tree.set_raft_attributes(member)?;
            }
            Ok(Done::Promoted(id))
        }
        Valid::Update(id, peer_urls, said_learner) => {
            if let Some(member) = cluster.member_mut(id) {
                member.peer_urls = peer_urls;
                tree.set_raft_attributes(member)?;
            }
            cluster.dispute(id, said_learner);
            Ok(Done::Updated(id))
        }
        Valid::Remove(id) => {
            cluster.remove(id);
            tree.remove_member(id)?;
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

/// The change of a member's peer URLs. Unlike etcd's own it says whether the member is a
/// learner: releases that take that over then keep what the others keep.
pub fn update(request_id: u64, id: MemberId, peer_urls: &[String], is_learner: bool) -> ConfChange {
    let member = Member {
        id,
        peer_urls: peer_urls.to_vec(),
        is_learner,
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
