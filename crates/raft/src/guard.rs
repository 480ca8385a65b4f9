//! What a message must be before the core sees it. raft-rs, like etcd's raft,
//! trusts its peers and panics on messages that no correct member sends; here
//! such a message is refused, and the process lives. Never changes a message.

use std::collections::BTreeSet;

use proto::{raftpb as pb, wire::Read as _};
use raft::eraftpb::MessageType as Kind;

use crate::{error::Error, wire};

/// What the checks need to know of the node.
pub(crate) struct Position {
    pub(crate) term: u64,
    pub(crate) last_index: u64,
    pub(crate) leads: bool,
}

/// Terms and indexes are counted one by one. From here on there would be room
/// for as many again, so that additions cannot overflow.
const HORIZON: u64 = 1 << 63;

/// True for kinds that only a node's own clock and transport produce.
fn is_local(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::MsgHup
            | Kind::MsgBeat
            | Kind::MsgUnreachable
            | Kind::MsgSnapStatus
            | Kind::MsgCheckQuorum
    )
}

/// Lets a message of another member through, or says why not.
pub(crate) fn admit(message: &pb::Message, at: &Position) -> Result<Kind, Error> {
    let refuse = |why: &str| {
        Err(Error::Message {
            from: message.from,
            kind: message.r#type,
            why: why.to_owned(),
        })
    };
    let Some(kind) = wire::kind_in(message.r#type).filter(|kind| !is_local(*kind)) else {
        return refuse("a kind that does not travel between members");
    };
    if message.from == 0 {
        return refuse("it names no sender");
    }
    // Forwarded requests are the only ones a sender leaves the term out of.
    if message.term == 0 && !matches!(kind, Kind::MsgPropose | Kind::MsgReadIndex) {
        return refuse("it has no term");
    }
    let numbers = [
        message.term,
        message.log_term,
        message.index,
        message.commit,
        message.reject_hint,
    ];
    if numbers.iter().any(|&n| n >= HORIZON) {
        return refuse("a term or an index that no cluster reaches");
    }
    if message.entries.iter().any(|e| !(0..=2).contains(&e.r#type)) {
        return refuse("an entry of an unknown type");
    }
    match kind {
        Kind::MsgPropose => {
            if message.entries.is_empty() {
                return refuse("it proposes nothing");
            }
            // etcd's apply dies on them, so no member may bring one in.
            if message.entries.iter().any(|e| e.r#type == 2) {
                return refuse("joint configuration changes are not part of etcd's protocol");
            }
            // Once committed, it would stop every member's apply.
            let mut changes = message.entries.iter().filter(|e| e.r#type == 1);
            if changes.any(|e| pb::ConfChange::read(&e.data.clone().unwrap_or_default()).is_err()) {
                return refuse("a configuration change that cannot be decoded");
            }
        }
        Kind::MsgReadIndex => match &message.entries[..] {
            [entry] if entry.data.as_ref().is_some_and(|data| !data.is_empty()) => {}
            _ => return refuse("a read needs exactly one context"),
        },
        Kind::MsgAppend => {
            // Term 0 is what raft-rs takes an entry it does not have for.
            if message.index > 0 && message.log_term == 0 {
                return refuse("the entry before its own has no term");
            }
            let mut index = message.index;
            for entry in &message.entries {
                index += 1;
                if entry.index != index || entry.term == 0 {
                    return refuse("its entries are not consecutive, or have no term");
                }
            }
        }
        Kind::MsgSnapshot => {
            let Some(snapshot) = &message.snapshot else {
                return refuse("it carries no snapshot");
            };
            let at = &snapshot.metadata;
            if !(1..HORIZON).contains(&at.index) || !(1..HORIZON).contains(&at.term) {
                return refuse("its snapshot has no place in the log");
            }
            if let Err(why) = conf_state(&snapshot.metadata.conf_state) {
                return refuse(&format!("the configuration in its snapshot: {why}"));
            }
        }
        // A message of an earlier term is ignored, so it can claim what it likes.
        Kind::MsgHeartbeat if message.term >= at.term && message.commit > at.last_index => {
            return Err(Error::LogLost {
                commit: message.commit,
                last_index: at.last_index,
            });
        }
        Kind::MsgAppendResponse
            if at.leads
                && message.term == at.term
                && !message.reject
                && message.index > at.last_index =>
        {
            return refuse("it acknowledges entries that were never sent");
        }
        _ => {}
    }
    Ok(kind)
}

/// Checks a configuration for what raft-rs takes for granted: etcd's is never
/// joint, and each member stands in it once.
pub(crate) fn conf_state(state: &pb::ConfState) -> Result<(), &'static str> {
    if !state.voters_outgoing.is_empty() || !state.learners_next.is_empty() || state.auto_leave {
        return Err("it is joint, which etcd's never is");
    }
    if state.voters.is_empty() && !state.learners.is_empty() {
        return Err("it has learners but no voter");
    }
    let mut seen = BTreeSet::new();
    for &id in state.voters.iter().chain(&state.learners) {
        if id == 0 {
            return Err("it names member 0");
        }
        if !seen.insert(id) {
            return Err("it names a member twice");
        }
    }
    Ok(())
}
