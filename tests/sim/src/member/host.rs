//! What is around a machine here: the consensus core and the queues of one member, in virtual
//! time, under the eyes of the judge.

use std::collections::VecDeque;

use bytes::Bytes;
use consensus::{Node, Role};
use member::{
    Command, Fatal, Host,
    host::{Applied, Step},
    log::LogCommand,
    propose::HandOff,
    snapshot::Job,
};
use membership::{Payload, conf_change::Rules};
use proto::{
    etcdserverpb::internal_raft_request::Op,
    raftpb::{self as pb, EntryType},
};

use crate::{
    model::Reply,
    shared::{MIN_TTL, Shared, Wire},
};

/// What the snapshot thread does next.
pub(super) enum SnapshotStep {
    Commit(Job),
    Save(Job),
}

/// The consensus core, and the queues between it and those who do its work.
pub(super) struct Core {
    pub(super) id: u64,
    pub(super) node: Node,
    pub(super) log: VecDeque<LogCommand>,
    /// Something in the log queue should not wait.
    pub(super) log_is_loud: bool,
    pub(super) apply: VecDeque<Command>,
    /// Messages that leave.
    pub(super) messages: Vec<Wire>,
    /// Those whose snapshot has yet to be made.
    pub(super) snapshots: Vec<pb::Message>,
    pub(super) snapshot: Option<SnapshotStep>,
    /// A snapshot that had to be waited for failed.
    pub(super) failed: Option<Fatal>,
    pub(super) leads: bool,
    /// This member has told the cluster its name and URLs since it started.
    pub(super) published: bool,
}

impl Core {
    pub(super) fn new(id: u64, node: Node) -> Core {
        Core {
            id,
            node,
            log: VecDeque::new(),
            log_is_loud: false,
            apply: VecDeque::new(),
            messages: Vec::new(),
            snapshots: Vec::new(),
            snapshot: None,
            failed: None,
            leads: false,
            published: false,
        }
    }

    /// Messages leave.
    pub(super) fn send(&mut self, shared: &mut Shared, messages: Vec<pb::Message>) {
        for message in messages {
            if message.r#type == pb::MessageType::MsgSnap as i32 {
                self.snapshots.push(message);
                continue;
            }
            shared.oracle.sends(self.id, &message);
            self.messages.push(Wire { message, db: None });
        }
    }

    /// Hands on all work; returns the number of entries that were committed.
    pub(super) fn hand_on(&mut self, shared: &mut Shared) -> usize {
        let mut committed = 0;
        while let Some(work) = HandOff::next(&mut self.node) {
            if let Some(soft) = work.soft {
                self.leads = soft.role == Role::Leader;
            }
            if let Some(Command::Reads(reads)) = &work.reads {
                for (index, context) in reads {
                    if let Some(request) = request_of(context) {
                        shared.oracle.read_index(self.id, request, *index);
                    }
                }
            }
            self.apply.extend(work.role);
            self.send(shared, work.send);
            self.apply.extend(work.reads);
            self.apply.extend(work.committed);
            committed += work.committed_len;
            self.log_is_loud |= work.is_urgent;
            self.log.push_back(work.append);
        }
        committed
    }

    /// One step of the snapshot under way.
    pub(super) fn snapshot_step(&mut self, shared: &mut Shared) -> Result<(), Fatal> {
        match self.snapshot.take() {
            Some(SnapshotStep::Commit(job)) => {
                job.commit()?;
                self.snapshot = Some(SnapshotStep::Save(job));
            }
            Some(SnapshotStep::Save(job)) => {
                job.save()?;
                self.log.push_back(job.record());
                self.log_is_loud = true;
                shared.oracle.reached.snapshots += 1;
            }
            None => {}
        }
        Ok(())
    }
}

/// Which request a read index is for.
pub(super) fn request_of(context: &Bytes) -> Option<u64> {
    let number = <[u8; 8]>::try_from(&context[..]).ok()?;
    Some(u64::from_be_bytes(number))
}

/// The core during one turn of the machine.
pub(super) struct SimulatedHost<'a> {
    pub(super) core: &'a mut Core,
    pub(super) shared: &'a mut Shared,
}

impl Host for SimulatedHost<'_> {
    fn now_ms(&self) -> u64 {
        self.shared.now_ms()
    }

    fn consensus<R>(&mut self, event: impl FnOnce(&mut Node) -> R) -> R {
        let result = event(&mut self.core.node);
        self.core.hand_on(self.shared);
        result
    }

    fn rules(&self) -> Rules<'static> {
        Rules::Newer
    }

    fn is_sending_snapshot(&self) -> bool {
        false
    }

    fn start_snapshot(&mut self, job: Job) -> bool {
        self.core.snapshot = Some(SnapshotStep::Commit(job));
        true
    }

    fn await_snapshot(&mut self) {
        while self.core.snapshot.is_some() {
            if let Err(fatal) = self.core.snapshot_step(self.shared) {
                self.core.failed = Some(fatal);
            }
        }
    }

    fn observe(&mut self, step: Step<'_>) {
        if let Step::Entry(applied) = step {
            self.applied(&applied);
        }
    }
}

impl SimulatedHost<'_> {
    fn applied(&mut self, applied: &Applied<'_>) {
        let entry = applied.entry;
        let oracle = &mut self.shared.oracle;
        let is_change = entry.r#type == EntryType::EntryConfChange as i32;
        if is_change && matches!(applied.result, Some(Ok(_))) && entry.index > oracle.last() {
            oracle.reached.changes += 1;
        }
        let data = entry.data.clone().unwrap_or_default();
        let request = match membership::decode_entry(&data, line::Line::DEFAULT) {
            Ok(Payload::Internal(request)) if !is_change => Some(request),
            _ => None,
        };
        let op = request
            .as_ref()
            .and_then(|request| Some((request.id, request.op.as_ref()?)));
        if let Some((_, Op::ClusterMemberAttrSet(set))) = op {
            self.core.published |= applied.fresh && set.member_id == self.core.id;
        }
        let reply = applied.result.map(Reply::of);
        oracle.applies(
            self.core.id,
            entry,
            op,
            reply.as_ref().filter(|_| applied.fresh),
            applied.asked,
            applied.fresh.then_some(applied.revision),
            MIN_TTL,
            self.shared.now_us,
        );
    }
}
