//! The apply thread: what `server::apply::Machine` does, in its order.

use bolt::Batch;
use bytes::Bytes;
use lease::LeaseId;
use membership::{
    Payload,
    conf_change::{self, Rules},
    v3store,
};
use mvcc::{Leases, Writer};
use prost::Message as _;
use proto::{
    etcdserverpb::{InternalRaftRequest, internal_raft_request::Op},
    raftpb::{self as pb, ConfChange, EntryType},
};

use super::{Command, MIN_TTL, Member, Shared, SnapshotStep, TICK_US, Turn, Waiting, disk};
use crate::{
    member::ELECTION_TICKS,
    model::{Kv, Reply},
    plant::Plant,
};

/// The lessor as the store sees it.
struct Book<'a>(&'a mut lease::Lessor);

impl Leases for Book<'_> {
    fn exists(&self, id: i64) -> bool {
        self.0.exists(LeaseId(id))
    }
    fn attach(&mut self, id: i64, key: &Bytes) {
        // The store asked for the lease before it wrote the key.
        let _ = self.0.attach(LeaseId(id), key);
    }
    fn detach(&mut self, _: i64, key: &[u8]) {
        self.0.detach(key);
    }
}

impl Member {
    /// The apply thread's turn: what is queued, in order.
    pub fn apply_turn(&mut self, shared: &mut Shared) -> Turn {
        while let Some(command) = self.apply.pop_front() {
            match command {
                Command::Install(snapshot) => self.install(shared, &snapshot)?,
                Command::Committed(entries) => self.apply_run(shared, entries)?,
                Command::Reads(reads) => self.take_reads(shared, reads),
                Command::Role { leads } => self.change_role(leads),
                Command::Send(message) => self.send_snapshot(shared, *message)?,
                Command::SnapshotSaved(snapshot) => self.snapshot_saved(shared, snapshot),
            }
        }
        self.answer_reads(shared);
        self.maybe_snapshot(shared);
        self.hand_on(shared);
        Ok(())
    }

    fn change_role(&mut self, leads: bool) {
        if self.leads == leads {
            return;
        }
        self.leads = leads;
        if !leads {
            self.sole_leader = false;
            self.lessor.demote();
        }
    }

    fn take_reads(&mut self, shared: &mut Shared, reads: Vec<(u64, Bytes)>) {
        for (index, context) in reads {
            let Ok(number) = <[u8; 8]>::try_from(&context[..]) else {
                continue;
            };
            let request = u64::from_be_bytes(number);
            shared.oracle.read_index(self.id, request, index);
            self.reads.push((index, request));
        }
    }

    fn answer_reads(&mut self, shared: &mut Shared) {
        let hasty = shared.broken(Plant::ReadBeforeApply);
        let applied = self.applied;
        let (ready, rest) = std::mem::take(&mut self.reads)
            .into_iter()
            .partition(|(index, _)| *index <= applied || hasty);
        self.reads = rest;
        let ready: Vec<(u64, u64)> = ready;
        for (_, request) in ready {
            match self.waiting.remove(&request) {
                Some(Waiting::Read(range)) => {
                    let reply = self.read(&range);
                    self.out.answers.push((request, reply));
                }
                Some(Waiting::Renew(lease)) => self.renew(shared, request, lease),
                None => {}
            }
        }
    }

    fn apply_run(&mut self, shared: &mut Shared, entries: Vec<pb::Entry>) -> Turn {
        if shared.broken(Plant::IndexAheadOfData)
            && let Some(last) = entries.last()
            && last.index > self.consistent_index
        {
            self.backend.set_consistent_index(last.index, last.term);
            if last.index.is_multiple_of(8) {
                self.backend.commit_now().map_err(disk)?;
            }
        }
        let store = self.store.clone();
        let mut writer = store.write();
        for entry in entries {
            self.apply_entry(shared, &entry, &mut writer);
        }
        // Nobody watches here.
        let _ = writer.publish();
        self.node.applied_to(self.applied);
        self.hand_on(shared);
        Ok(())
    }

    fn apply_entry(&mut self, shared: &mut Shared, entry: &pb::Entry, writer: &mut Writer<'_>) {
        if entry.index <= self.applied {
            return;
        }
        let again = shared.broken(Plant::DoubleApply);
        let fresh = entry.index > self.consistent_index || again;
        let mut request = None;
        let reply = match EntryType::try_from(entry.r#type) {
            Ok(EntryType::EntryNormal) => {
                let data = entry.data.clone().unwrap_or_default();
                match membership::decode_entry(&data) {
                    Ok(Payload::Empty) => {
                        self.first_entry_of_term(shared, entry.term);
                        None
                    }
                    Ok(Payload::Internal(internal)) => {
                        let reply = self.apply_request(shared, &internal, fresh, writer);
                        request = Some(internal);
                        Some(reply)
                    }
                    Ok(Payload::V2(_)) => None,
                    Err(error) => {
                        let text = format!("entry {}: {error}", entry.index);
                        shared.oracle.fail("entries are understood", text);
                        None
                    }
                }
            }
            Ok(EntryType::EntryConfChange) => {
                Some(self.apply_conf_change(shared, entry, fresh, writer))
            }
            _ => {
                let text = format!("entry {} is of type {}", entry.index, entry.r#type);
                shared.oracle.fail("entries are understood", text);
                None
            }
        };
        self.applied = entry.index;
        self.term = entry.term;
        let late = shared.broken(Plant::IndexBehindData) && !entry.index.is_multiple_of(8);
        if fresh && !late {
            writer.set_consistent_index(entry.index, entry.term);
        }
        let op = request
            .as_ref()
            .and_then(|request| Some((request.id, request.op.as_ref()?)));
        shared.oracle.applies(
            self.id,
            entry,
            op,
            reply.as_ref().filter(|_| fresh),
            fresh.then(|| writer.revision()),
            MIN_TTL,
            shared.now_us,
        );
    }

    /// The leader's empty entry is in: everything of earlier terms is applied.
    fn first_entry_of_term(&mut self, shared: &Shared, term: u64) {
        let status = self.node.status();
        if status.role != consensus::Role::Leader || term != status.term {
            return;
        }
        let extend = ELECTION_TICKS as u64 * TICK_US / 1000;
        self.lessor.promote(term, shared.now_ms(), extend);
        self.sole_leader = self.is_alone();
    }

    fn is_alone(&self) -> bool {
        self.conf_state.voters == [self.id] && self.conf_state.learners.is_empty()
    }

    fn apply_request(
        &mut self,
        shared: &Shared,
        request: &InternalRaftRequest,
        fresh: bool,
        writer: &mut Writer<'_>,
    ) -> Reply {
        let Some(op) = &request.op else {
            return Reply::Refused("etcdserver: unknown method".into());
        };
        let reply = match op {
            Op::ClusterVersionSet(set) => match semver::Version::parse(&set.ver) {
                Ok(version) => {
                    if let Err(blocked) = self.tree.set_version(&version) {
                        return Reply::Refused(blocked.to_string());
                    }
                    self.cluster.set_version(Some(version));
                    self.project(fresh, writer);
                    Reply::Done
                }
                Err(error) => Reply::Refused(error.to_string()),
            },
            Op::ClusterMemberAttrSet(set) => {
                let attributes = set.member_attributes.clone().unwrap_or_default();
                let id = set.member_id.into();
                let (name, urls) = (&attributes.name, &attributes.client_urls);
                if self.cluster.set_attributes(id, name, urls).is_ok()
                    && let Err(blocked) = self.tree.set_attributes(id, name, urls)
                {
                    return Reply::Refused(blocked.to_string());
                }
                self.project(fresh, writer);
                self.published |= fresh && set.member_id == self.id;
                Reply::Done
            }
            _ if !fresh => return Reply::Done,
            op => self.apply_op(shared, op, writer),
        };
        if self.waiters.remove(&request.id) {
            self.out.answers.push((request.id, reply.clone()));
        }
        reply
    }

    fn apply_op(&mut self, shared: &Shared, op: &Op, writer: &mut Writer<'_>) -> Reply {
        let now = shared.now_ms();
        let mut batch = Batch::default();
        let revision = |header: &Option<proto::etcdserverpb::ResponseHeader>| {
            header.as_ref().map_or(0, |header| header.revision)
        };
        match op {
            Op::Put(put) => match writer.put(put, &mut Book(&mut self.lessor)) {
                Ok(done) => Reply::Put(revision(&done.header), done.prev_kv.as_ref().map(Kv::from)),
                Err(error) => Reply::Refused(error.to_string()),
            },
            Op::DeleteRange(delete) => {
                match writer.delete_range(delete, &mut Book(&mut self.lessor)) {
                    Ok(done) => Reply::Delete(revision(&done.header), done.deleted),
                    Err(error) => Reply::Refused(error.to_string()),
                }
            }
            Op::Txn(txn) => match writer.txn(txn, &mut Book(&mut self.lessor)) {
                Ok(done) => Reply::Txn(
                    revision(&done.header),
                    done.succeeded,
                    Reply::parts(&done.responses),
                ),
                Err(error) => Reply::Refused(error.to_string()),
            },
            Op::Compaction(compaction) => match writer.compact(compaction.revision) {
                Ok(_) => Reply::Done,
                Err(error) => Reply::Refused(error.to_string()),
            },
            Op::LeaseGrant(grant) => {
                match self
                    .lessor
                    .grant(LeaseId(grant.id), grant.ttl, now, &mut batch)
                {
                    Ok(ttl) => {
                        writer.write(batch);
                        Reply::Granted(ttl)
                    }
                    Err(error) => Reply::Refused(error.to_string()),
                }
            }
            Op::LeaseRevoke(revoke) => match self.lessor.revoke(LeaseId(revoke.id), &mut batch) {
                Ok(mut keys) => {
                    if shared.broken(Plant::LeaseKeysUnordered) && self.id % 2 == 1 {
                        keys.reverse();
                    }
                    writer.delete_keys(&keys);
                    writer.write(batch);
                    Reply::Done
                }
                Err(error) => Reply::Refused(error.to_string()),
            },
            _ => Reply::Refused("not simulated".into()),
        }
    }

    fn project(&self, fresh: bool, writer: &mut Writer<'_>) {
        if fresh {
            let mut batch = Batch::default();
            v3store::project(&self.cluster, &mut batch);
            writer.write(batch);
        }
    }

    /// A change that does not hold is still told to raft, as a change of nobody.
    fn apply_conf_change(
        &mut self,
        shared: &mut Shared,
        entry: &pb::Entry,
        fresh: bool,
        writer: &mut Writer<'_>,
    ) -> Reply {
        let data = entry.data.clone().unwrap_or_default();
        let mut change = match ConfChange::decode(data) {
            Ok(change) => change,
            Err(error) => {
                let text = format!("entry {}: {error}", entry.index);
                shared.oracle.fail("entries are understood", text);
                return Reply::Done;
            }
        };
        let result = conf_change::apply(&mut self.cluster, &mut self.tree, &change, Rules::Newer);
        let reply = match &result {
            Ok(_) => Reply::Done,
            Err(rejection) => Reply::Refused(rejection.to_string()),
        };
        if result.is_err() && !shared.broken(Plant::RejectedChangeToRaft) {
            change.node_id = 0;
        }
        self.conf_state = self.node.apply_conf_change(&change);
        let promoted = matches!(result, Ok(conf_change::Done::Promoted(_)));
        if fresh {
            let mut batch = Batch::default();
            v3store::project_conf_state(&self.conf_state, &mut batch);
            writer.write(batch);
        }
        if !(promoted && shared.broken(Plant::PromotionNotProjected)) {
            self.project(fresh, writer);
        }
        if !shared.broken(Plant::SoleLeaderKept) {
            self.sole_leader &= self.is_alone();
        }
        if result.is_ok() && entry.index > shared.oracle.last() {
            shared.oracle.reached.changes += 1;
        }
        if self.waiters.remove(&change.id) {
            self.out.answers.push((change.id, reply.clone()));
        }
        reply
    }

    fn maybe_snapshot(&mut self, shared: &Shared) {
        if !matches!(self.snapshot, SnapshotStep::Idle)
            || self.applied - self.snapshot_index <= shared.snapshot_count
        {
            return;
        }
        self.snapshot = SnapshotStep::Commit(self.merged_snapshot());
    }

    /// The membership as of the last applied entry, which is what a snapshot of
    /// raft holds beside the database.
    pub(super) fn merged_snapshot(&self) -> pb::Snapshot {
        pb::Snapshot {
            data: Some(self.tree.to_json().into()),
            metadata: pb::SnapshotMetadata {
                conf_state: self.conf_state.clone(),
                index: self.applied,
                term: self.term,
            },
        }
    }

    /// The snapshot is on disk: raft may forget what lies well before it.
    fn snapshot_saved(&mut self, shared: &Shared, snapshot: pb::Snapshot) {
        if matches!(self.snapshot, SnapshotStep::Recorded) {
            self.snapshot = SnapshotStep::Idle;
        }
        let index = snapshot.metadata.index;
        if index <= self.snapshot_index {
            return;
        }
        self.snapshot_index = index;
        self.node.create_snapshot(snapshot);
        let compact = index.saturating_sub(shared.catch_up);
        if compact > 0 {
            self.node.compact_log(compact);
        }
    }
}
