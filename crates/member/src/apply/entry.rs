//! One committed entry: what it is, whether the database has it already, and who gets the result.

use failpoint::failpoint;
use line::Feature;
use membership::{Payload, Refusal};
use proto::{
    etcdserverpb::{InternalRaftRequest, RequestHeader, internal_raft_request::Op},
    raftpb::{Entry, EntryType},
    wire::Logged,
};

use super::{
    command::{Outcome, PeerChange},
    machine::{Machine, Run},
};
use crate::{
    error::Fatal,
    host::{Applied, Host, Kind, Step},
    plant::{Plant, broken},
    status::Status,
};

/// Where a request is in the log, and who waits for it.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub(super) index: u64,
    /// The database does not hold it yet.
    pub(super) fresh: bool,
    /// A client of this member waits for the result.
    pub(super) asked: bool,
}

/// What an entry came to.
#[derive(Default)]
pub(super) struct Done {
    /// The request's, 0 for none.
    pub(super) id: u64,
    /// As etcd counts it, if it does.
    pub(super) kind: Option<Kind>,
    /// For whoever awaits it.
    pub(super) result: Option<Result<Outcome, Status>>,
}

/// Why an entry has no outcome.
pub(super) enum Failure {
    /// Every member refuses what it asks for.
    Refused(Status),
    /// This member must not pass over it.
    Fatal(Fatal),
}

impl From<Fatal> for Failure {
    fn from(fatal: Fatal) -> Failure {
        Failure::Fatal(fatal)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        Failure::Refused(status)
    }
}

impl From<mvcc::Error> for Failure {
    fn from(error: mvcc::Error) -> Failure {
        Failure::Refused(error.into())
    }
}

impl From<lease::Error> for Failure {
    fn from(error: lease::Error) -> Failure {
        Failure::Refused(error.into())
    }
}

/// Stops before an entry that must not be applied. It is never skipped: the
/// members after it would not be the same.
pub(super) fn refuse(index: u64, refusal: &Refusal) -> Fatal {
    Fatal {
        what: CANNOT_APPLY,
        error: format!("entry {index}: {refusal}; {}", Refusal::ADVICE),
    }
}

const CANNOT_APPLY: &str = "cannot apply a committed entry";

/// Tells what the log decided, the same on every member, from what went wrong on
/// this one, which must not pass over the entry.
pub(super) fn decided<T>(index: u64, result: Result<T, mvcc::Error>) -> Result<T, Failure> {
    result.map_err(|error| match error {
        mvcc::Error::EmptyOperation => refuse(index, &Refusal::Invalid("operation")).into(),
        mvcc::Error::Database(_) | mvcc::Error::Corrupt { .. } => Failure::Fatal(Fatal {
            what: CANNOT_APPLY,
            error: format!("entry {index}: {error}"),
        }),
        error => Failure::Refused(error.into()),
    })
}

impl Machine {
    pub(super) fn apply_entry<H: Host>(
        &mut self,
        entry: &Entry,
        run: &mut Run<'_, H>,
    ) -> Result<(), Fatal> {
        if entry.index <= self.applied {
            return Ok(());
        }
        let fresh = entry.index > self.consistent_index || broken(Plant::DoubleApply);
        let done = match EntryType::try_from(entry.r#type) {
            Ok(EntryType::EntryNormal) => {
                failpoint!(BeforeApplyOneEntryNormal);
                self.apply_normal(entry, fresh, run)?
            }
            Ok(EntryType::EntryConfChange) => {
                failpoint!(BeforeApplyOneConfChange);
                self.apply_conf_change(entry, fresh, run)?
            }
            _ => return Err(refuse(entry.index, &Refusal::Type(entry.r#type))),
        };
        self.applied = entry.index;
        self.term = entry.term;
        if self.adopt_if_due() {
            let members = self.cluster.members().cloned().collect();
            run.effects.peers.push(PeerChange::Replaced(members));
        }
        let late = broken(Plant::IndexBehindData) && !entry.index.is_multiple_of(8);
        if fresh && !late {
            run.writer.set_consistent_index(entry.into());
        }
        run.host.observe(Step::Entry(Applied {
            entry,
            kind: done.kind,
            result: done.result.as_ref(),
            fresh,
            asked: self.waiters.contains(done.id),
            revision: run.writer.revision(),
        }));
        if let Some(result) = done.result {
            self.answer(done.id, result, run);
        }
        Ok(())
    }

    fn apply_normal<H: Host>(
        &mut self,
        entry: &Entry,
        fresh: bool,
        run: &mut Run<'_, H>,
    ) -> Result<Done, Fatal> {
        let data = entry.data.clone().unwrap_or_default();
        let line = self.line_of_entries();
        let payload = membership::decode_entry(&data, line)
            .map_err(|error| refuse(entry.index, &error.into()))?;
        if let Some(refusal) = membership::entry::refusal(&payload, fresh, line) {
            return Err(refuse(entry.index, &refusal));
        }
        let request = match payload {
            Payload::Empty => {
                self.first_entry_of_term(entry.term, run);
                return Ok(Done::default());
            }
            Payload::V2(request) => {
                self.apply_v2(entry.index, &request, fresh, run)?;
                return Ok(Done {
                    id: request.id,
                    kind: Some(Kind::V2),
                    result: Some(Ok(Outcome::Done)),
                });
            }
            Payload::Internal(request) => request,
        };
        let id = match &request.header {
            Some(header) if request.id == 0 => header.id,
            _ => request.id,
        };
        let kind = Kind::of(request.op.as_ref());
        let at = At {
            index: entry.index,
            fresh,
            asked: self.waiters.contains(id),
        };
        let result = match self.apply_request(request, at, run) {
            Ok(outcome) => Ok(outcome),
            Err(Failure::Refused(status)) => Err(status),
            Err(Failure::Fatal(fatal)) => return Err(fatal),
        };
        Ok(Done {
            id,
            kind: Some(kind),
            result: Some(result),
        })
    }

    /// The leader's empty entry is in: everything of earlier terms is applied.
    fn first_entry_of_term<H: Host>(&mut self, term: u64, run: &mut Run<'_, H>) {
        let status = run.host.consensus(|node| node.status());
        if status.role != consensus::Role::Leader || term != status.term {
            return;
        }
        // Once: a change of the configuration that came while another was under way is an empty
        // entry too. Leases that ended since would last again, until their revocation comes.
        if run.lessor.primary_term() != Some(term) {
            let (now, extend) = (run.host.now_ms(), self.options.lease_extension_ms);
            run.lessor.promote(term, now, extend);
            run.effects.leases_changed = true;
        }
        self.leads_since_entry = true;
        self.follow_sole_leader();
    }

    fn apply_request<H: Host>(
        &mut self,
        mut request: Logged,
        at: At,
        run: &mut Run<'_, H>,
    ) -> Result<Outcome, Failure> {
        self.check_root(&request, run)?;
        // Membership follows the log from the last `.snap` on, whatever the database holds.
        if membership::entry::is_about_members(request.op.as_ref()) {
            // etcd 3.4 ends where it finds one of these in its log.
            self.blocks_newer_release = true;
        }
        match &request.op {
            Some(Op::ClusterVersionSet(set)) => {
                return self.set_cluster_version(at.index, &set.ver, at.fresh, run);
            }
            Some(Op::ClusterMemberAttrSet(set)) => return self.set_attributes(at, set, run),
            Some(Op::DowngradeInfoSet(set)) => return Ok(self.set_downgrade(set, at.fresh, run)),
            Some(Op::DowngradeVersionTest(test)) => {
                self.storage.demand(&test.ver, at.index);
                return Ok(Outcome::Done);
            }
            _ if !at.fresh => return Ok(Outcome::Done),
            _ => {}
        }
        let InternalRaftRequest { header, op, .. } = &mut **request;
        let Some(op) = op else {
            return Err(refuse(at.index, &Refusal::Unknown).into());
        };
        let who = identity(header.as_ref());
        let line = self.line_of_entries();
        let restriction = self.state.alarms.read().restriction(line);
        if let Some(status) = restriction.refuses(op, line) {
            return Err(status.into());
        }
        let is_checked = self.is_checked(run);
        if is_checked {
            check(op, &who, run)?;
        }
        match op {
            Op::Put(put) => self.apply_put(put, at, run),
            Op::DeleteRange(delete) => self.apply_delete(delete, at, run),
            Op::Txn(txn) => self.apply_txn(txn, at, is_checked.then_some(&who), run),
            Op::Compaction(compaction) => self.apply_compaction(compaction, run),
            Op::LeaseGrant(grant) => self.apply_grant(grant, run),
            Op::LeaseRevoke(revoke) => self.apply_revoke(revoke, run),
            Op::LeaseCheckpoint(checkpoint) => Ok(self.apply_checkpoint(checkpoint, run)),
            Op::Alarm(request) => self.apply_alarm(request, at, run),
            Op::Range(_) => Ok(Outcome::Done),
            // Applied before this.
            Op::ClusterVersionSet(_)
            | Op::ClusterMemberAttrSet(_)
            | Op::DowngradeInfoSet(_)
            | Op::DowngradeVersionTest(_) => Ok(Outcome::Done),
            // Refused before this.
            Op::V2(_) => Err(refuse(at.index, &Refusal::Unknown).into()),
            op => self.apply_auth(op, at, run),
        }
    }
}

impl Machine {
    /// Refuses a request of which one operation is root's, though not the one that is performed.
    /// No member writes such a request.
    fn check_root<H>(&self, request: &Logged, run: &Run<'_, H>) -> Result<(), Status> {
        let is_about_members = membership::entry::is_about_members(request.op.as_ref())
            || matches!(request.op, Some(Op::DowngradeVersionTest(_)));
        let is_asked = !is_about_members || self.line_of_entries().has(Feature::RootBeforeMembers);
        if !(request.has_several() && request.is_of_root() && is_asked && self.is_checked(run)) {
            return Ok(());
        }
        let who = identity(request.header.as_ref());
        run.users
            .read(|users| users.check_admin(&who))
            .map_err(Status::from)
    }
}

/// Checks what a request needs. A transaction is checked where it is run.
fn check<H>(op: &Op, who: &auth::Identity, run: &Run<'_, H>) -> Result<(), Status> {
    if matches!(op, Op::Txn(_)) {
        return Ok(());
    }
    let lessor = &run.lessor;
    run.users
        .read(|users| users.check_op(who, Some(lessor), op))
        .map_err(Status::from)
}

/// The user in a request's header.
fn identity(header: Option<&RequestHeader>) -> auth::Identity {
    header.map_or_else(auth::Identity::default, |header| auth::Identity {
        user: header.username.clone(),
        revision: header.auth_revision,
    })
}
