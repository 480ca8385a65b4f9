//! Between etcd's messages (`proto::raftpb`) and raft-rs's. Fields 1 to 12 are
//! copied; what raft-rs has beyond them never leaves, and what etcd 3.6 has
//! beyond them never enters. Payloads are handed over, not copied.
//!
//! Configuration changes travel inside raft-rs in a wrapper. It decodes what is
//! proposed, by an enum that ends where etcd's AddLearnerNode begins, and with
//! a parser that foreign bytes can exhaust. What it sees is one field of bytes.

use bytes::{Buf as _, Bytes};
use prost::encoding;
use proto::raftpb as pb;
use raft::eraftpb as rs;

/// Tag of `context`, field 4 of raft-rs's ConfChange, the bytes it does not look into.
const CONTEXT: u32 = 4;

fn wrap(change: &Bytes) -> Bytes {
    let mut out = Vec::with_capacity(encoding::bytes::encoded_len(CONTEXT, change));
    encoding::bytes::encode(CONTEXT, change, &mut out);
    out.into()
}

fn unwrap(mut wrapped: Bytes) -> Bytes {
    // Made by `wrap`: one byte of tag, a length, and the rest.
    if wrapped.has_remaining() {
        wrapped.advance(1);
        if encoding::decode_varint(&mut wrapped).is_err() {
            wrapped.clear();
        }
    }
    wrapped
}

pub(crate) fn entry_in(entry: pb::Entry) -> rs::Entry {
    let mut out = rs::Entry::default();
    out.set_entry_type(match entry.r#type {
        1 => rs::EntryType::EntryConfChange,
        2 => rs::EntryType::EntryConfChangeV2,
        _ => rs::EntryType::EntryNormal,
    });
    out.term = entry.term;
    out.index = entry.index;
    out.data = entry.data.unwrap_or_default();
    if out.get_entry_type() == rs::EntryType::EntryConfChange {
        out.data = wrap(&out.data);
    }
    out
}

pub(crate) fn entry_out(entry: rs::Entry) -> pb::Entry {
    let kind = entry.get_entry_type();
    let data = match kind {
        rs::EntryType::EntryConfChange => unwrap(entry.data),
        _ => entry.data,
    };
    pb::Entry {
        r#type: match kind {
            rs::EntryType::EntryNormal => 0,
            rs::EntryType::EntryConfChange => 1,
            rs::EntryType::EntryConfChangeV2 => 2,
        },
        term: entry.term,
        index: entry.index,
        // etcd leaves an empty payload out.
        data: (!data.is_empty()).then_some(data),
    }
}

pub(crate) fn conf_state_in(state: &pb::ConfState) -> rs::ConfState {
    rs::ConfState {
        voters: state.voters.clone(),
        learners: state.learners.clone(),
        voters_outgoing: state.voters_outgoing.clone(),
        learners_next: state.learners_next.clone(),
        auto_leave: state.auto_leave,
        ..rs::ConfState::default()
    }
}

pub(crate) fn conf_state_out(state: &rs::ConfState) -> pb::ConfState {
    let mut out = pb::ConfState {
        voters: state.voters.clone(),
        learners: state.learners.clone(),
        voters_outgoing: state.voters_outgoing.clone(),
        learners_next: state.learners_next.clone(),
        auto_leave: state.auto_leave,
    };
    // raft-rs lists sets in hash order; etcd sorts.
    out.voters.sort_unstable();
    out.learners.sort_unstable();
    out
}

pub(crate) fn hard_state_in(state: &pb::HardState) -> rs::HardState {
    rs::HardState {
        term: state.term,
        vote: state.vote,
        commit: state.commit,
        ..rs::HardState::default()
    }
}

pub(crate) fn hard_state_out(state: &rs::HardState) -> pb::HardState {
    pb::HardState {
        term: state.term,
        vote: state.vote,
        commit: state.commit,
    }
}

pub(crate) fn snapshot_in(snapshot: pb::Snapshot) -> rs::Snapshot {
    let mut out = rs::Snapshot {
        data: snapshot.data.unwrap_or_default(),
        ..rs::Snapshot::default()
    };
    let metadata = out.mut_metadata();
    metadata.index = snapshot.metadata.index;
    metadata.term = snapshot.metadata.term;
    metadata.set_conf_state(conf_state_in(&snapshot.metadata.conf_state));
    out
}

pub(crate) fn snapshot_out(snapshot: &rs::Snapshot) -> pb::Snapshot {
    let metadata = snapshot.get_metadata();
    pb::Snapshot {
        data: Some(snapshot.data.clone()),
        metadata: pb::SnapshotMetadata {
            conf_state: conf_state_out(metadata.get_conf_state()),
            index: metadata.index,
            term: metadata.term,
        },
    }
}

/// The kinds of message, by etcd's number; 19 and up never travel.
pub(crate) fn kind_in(number: i32) -> Option<rs::MessageType> {
    use rs::MessageType::*;
    const KINDS: [rs::MessageType; 19] = [
        MsgHup,
        MsgBeat,
        MsgPropose,
        MsgAppend,
        MsgAppendResponse,
        MsgRequestVote,
        MsgRequestVoteResponse,
        MsgSnapshot,
        MsgHeartbeat,
        MsgHeartbeatResponse,
        MsgUnreachable,
        MsgSnapStatus,
        MsgCheckQuorum,
        MsgTransferLeader,
        MsgTimeoutNow,
        MsgReadIndex,
        MsgReadIndexResp,
        MsgRequestPreVote,
        MsgRequestPreVoteResponse,
    ];
    KINDS.get(usize::try_from(number).ok()?).copied()
}

/// `kind` is the type of the message, checked before.
pub(crate) fn message_in(kind: rs::MessageType, message: pb::Message) -> rs::Message {
    let mut out = rs::Message::default();
    out.set_msg_type(kind);
    out.to = message.to;
    out.from = message.from;
    out.term = message.term;
    out.log_term = message.log_term;
    out.index = message.index;
    out.entries = message
        .entries
        .into_iter()
        .map(entry_in)
        .collect::<Vec<_>>()
        .into();
    out.commit = message.commit;
    // etcd up to 3.5 always writes the field; an empty one means none.
    if let Some(snapshot) = message.snapshot.filter(|s| s.metadata.index != 0) {
        out.set_snapshot(snapshot_in(snapshot));
    }
    out.reject = message.reject;
    out.reject_hint = message.reject_hint;
    out.context = message.context.unwrap_or_default();
    out
}

pub(crate) fn message_out(mut message: rs::Message) -> pb::Message {
    let snapshot = message
        .has_snapshot()
        .then(|| snapshot_out(message.get_snapshot()));
    pb::Message {
        r#type: message.get_msg_type() as i32,
        to: message.to,
        from: message.from,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        entries: message.take_entries().into_iter().map(entry_out).collect(),
        commit: message.commit,
        snapshot,
        reject: message.reject,
        reject_hint: message.reject_hint,
        context: (!message.context.is_empty()).then(|| message.context.clone()),
    }
}
