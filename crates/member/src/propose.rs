//! The consensus core as a member drives it: what may enter the log, and the work that comes
//! out, sorted by who does it. The order in which a [`HandOff`] is handed on is the rule that
//! keeps both queues in log order: whoever holds the core hands on before anyone else enters.

use consensus::{Role, SoftState, Work};
use proto::raftpb::{HardState, Message, MessageType};

use crate::{
    apply::Command,
    log::LogCommand,
    plant::{Plant, broken},
    status::{Status, errors},
};

/// Entries that may wait between commit and apply before requests are refused.
const APPLY_GAP_MAX: u64 = 5000;

/// Entries of so many bytes may wait for the log writer: what a disk takes in about a
/// second, after which a leader gives up anyway.
pub const UNWRITTEN_MAX: usize = 128 << 20;

/// True while more than that waits for the log writer: nothing that would add to it is taken.
pub fn is_congested(unwritten: usize) -> bool {
    unwritten > UNWRITTEN_MAX
}

/// Whether a request of `len` bytes may be proposed, by what the member has in hand. Whether the
/// log writer keeps up is asked apart, with [`is_congested`]. What frees room may wait with twice
/// as many entries, if it has priority.
///
/// # Errors
/// etcd's, for a request that is too large or comes too soon.
pub fn admit(
    commit: u64,
    applied: u64,
    len: usize,
    len_max: usize,
    has_priority: bool,
) -> Result<(), Status> {
    let gap_max = APPLY_GAP_MAX * if has_priority { 2 } else { 1 };
    if commit.saturating_sub(applied) > gap_max {
        return Err(errors::TOO_MANY_REQUESTS);
    }
    if len > len_max {
        return Err(errors::REQUEST_TOO_LARGE);
    }
    Ok(())
}

/// True for a message that is not taken in while the log writer is congested. raft tolerates the
/// loss: a leader sends its entries again, and a forwarded proposal that no one took is given up
/// by its caller.
pub fn adds_entries(message: &Message) -> bool {
    let kind = MessageType::try_from(message.r#type);
    let adds = matches!(kind, Ok(MessageType::MsgApp | MessageType::MsgProp));
    adds && !message.entries.is_empty()
}

/// The work of one step of the core, sorted by who does it. To be handed on from the first field
/// to the last.
pub struct HandOff {
    /// Leader and role, if one of them changed.
    pub soft: Option<SoftState>,
    /// For the apply machine, before anything of the same step.
    pub role: Option<Command>,
    /// To other members, at once.
    pub send: Vec<Message>,
    /// The hard state, if it changed.
    pub hard_state: Option<HardState>,
    /// The highest index that is on its way into the log, if it changed.
    pub last_index: Option<u64>,
    /// For the apply machine: reads that wait for their index.
    pub reads: Option<Command>,
    /// For the apply machine: entries.
    pub committed: Option<Command>,
    /// How many.
    pub committed_len: usize,
    /// For the log writer.
    pub append: LogCommand,
    /// Bytes of data that it appends.
    pub append_bytes: usize,
    /// The log writer should not wait for company: something must be durable, or a message waits
    /// for it. A commit index that merely moved rides with the next append, or the next tick.
    pub is_urgent: bool,
}

/// A message of a follower that promises nothing which a crash could take back:
/// it need not wait for the disk. An answer to a heartbeat says that no one was
/// elected over the leader; whoever elects someone writes it down first.
fn promises_nothing(message: &Message) -> bool {
    matches!(
        MessageType::try_from(message.r#type),
        Ok(MessageType::MsgHeartbeatResp | MessageType::MsgReadIndex | MessageType::MsgProp)
    )
}

impl HandOff {
    /// What the core wants done next; `None` if nothing.
    pub fn next(node: &mut consensus::Node) -> Option<HandOff> {
        node.has_work().then(|| {
            let mut work = node.work();
            if broken(Plant::CommitBeforeQuorum) && node.status().role == Role::Leader {
                work.committed.extend_from_slice(&work.entries);
            }
            HandOff::sort(work)
        })
    }

    fn sort(mut work: Work) -> HandOff {
        if broken(Plant::VoteNotSynced) && work.entries.is_empty() {
            work.must_sync = false;
        }
        let (at_once, after): (Vec<_>, Vec<_>) = work
            .messages_after_persist
            .into_iter()
            .partition(|message| promises_nothing(message) || broken(Plant::MessagesBeforePersist));
        let mut send = work.messages;
        send.extend(at_once);
        let data = work.entries.iter().filter_map(|entry| entry.data.as_ref());
        let append_bytes = data.map(bytes::Bytes::len).sum();
        let last_index = match (work.entries.last(), &work.snapshot) {
            (Some(entry), _) => Some(entry.index),
            (None, Some(snapshot)) => Some(snapshot.metadata.index),
            (None, None) => None,
        };
        let committed_len = work.committed.len();
        HandOff {
            soft: work.soft,
            role: work.soft.map(|soft| Command::Role {
                leads: soft.role == Role::Leader,
                leader: soft.leader,
            }),
            send,
            hard_state: work.hard_state,
            last_index,
            reads: (!work.read_states.is_empty()).then_some(Command::Reads(work.read_states)),
            committed: (committed_len > 0).then_some(Command::Committed(work.committed)),
            committed_len,
            is_urgent: work.must_sync || !after.is_empty() || work.snapshot.is_some(),
            append: LogCommand::Append {
                bytes: append_bytes,
                snapshot: work.snapshot.map(Box::new),
                entries: work.entries,
                state: work.hard_state,
                must_sync: work.must_sync,
                number: work.number,
                messages: after,
            },
            append_bytes,
        }
    }
}
