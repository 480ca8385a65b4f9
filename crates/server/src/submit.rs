//! From an operation to its entry in the log, and to what came of it.

use std::{rc::Rc, sync::atomic::Ordering, time::Instant};

use auth::Identity;
use bytes::Bytes;
use line::Feature;
use member::{Outcome, propose};
use prost::Message as _;
use proto::{
    etcdserverpb::{InternalRaftRequest, RequestHeader, internal_raft_request::Op},
    raftpb::ConfChange,
    wire::{self, Nested},
};

use crate::{
    runtime::{Pending, Runtime},
    spans,
    status::{Code, Status, errors},
};

impl Runtime {
    /// Refuses an operation that would be refused when it is applied, so that no other is in the
    /// log. This member may be behind with users and roles; a refusal by old ones would be wrong.
    async fn check(&self, who: &Identity, op: &Op) -> Result<(), Status> {
        let check = || {
            let lessor = auth::names_lease(op).then(|| self.core.state.lessor.read());
            let users = self.core.state.auth.read();
            users.check_op(who, lessor.as_deref(), op)
        };
        if check().is_ok() {
            return Ok(());
        }
        let line = self.core.line();
        let restriction = self.core.state.alarms.read().restriction(line);
        if let Some(status) = restriction.refuses(op, line) {
            return Err(status);
        }
        self.linearizable().await?;
        Ok(check()?)
    }

    /// Puts an operation of a user through the log and waits until it is applied here.
    ///
    /// # Errors
    /// The user may not do this; nothing is taken for now; it was refused when it was applied.
    pub async fn submit(self: &Rc<Self>, who: Identity, op: Op) -> Result<Outcome, Status> {
        // First of all: what an operation holds must not be dropped level by level.
        let request = self.request(who, op);
        if self.core.is_auth_enabled() {
            let (header, op) = (request.header.as_ref(), request.op.as_ref());
            if let (Some(header), Some(op)) = (header, op) {
                let who = Identity {
                    user: header.username.clone(),
                    revision: header.auth_revision,
                };
                self.check(&who, op).await?;
            }
        }
        let (id, data) = encode(&request);
        propose::admit(
            self.core.raft.status.commit.load(Ordering::Acquire),
            self.core.state.applied.load(Ordering::Acquire),
            data.len(),
            self.core.config.max_request_bytes,
            self.has_priority(&request),
        )?;
        let requests = &self.core.metrics.requests;
        let timer = requests.timer(request.op.as_ref(), Instant::now());
        drop(request);
        // Waiting is rare, and kept out of the future of a call.
        let room = match self.try_room(data.len())? {
            Some(room) => room,
            None => Box::pin(self.room(data.len(), timer.began())).await?,
        };
        // Until it is applied here.
        let _span = spans::inside("raft");
        let deadline = timer.began() + self.core.config.request_timeout();
        let result = self.propose(id, data, deadline).within(room).await;
        let begin = timer.began();
        timer.stop(result.is_ok());
        match result {
            Err(status) if status == errors::TIMEOUT => {
                self.core.metrics.proposals_failed.inc();
                Err(self.why_late(begin))
            }
            result => result,
        }
    }

    /// Whether a request is taken where others are refused: revoking a lease, in lines that know
    /// of it and where the gate is on.
    fn has_priority(&self, request: &InternalRaftRequest) -> bool {
        self.core.config.priority_request
            && self.core.line().has(Feature::PriorityRequest)
            && matches!(request.op, Some(Op::LeaseRevoke(_)))
    }

    /// Puts operations that the leader of `term` alone may ask for through the log, with one
    /// step; each result is awaited on its own. They are made as root.
    ///
    /// # Errors
    /// Another term has begun, or nothing is taken for now: nothing was proposed.
    pub fn submit_as_leader(
        self: &Rc<Self>,
        term: u64,
        ops: impl IntoIterator<Item = Op>,
    ) -> Result<Vec<Pending>, consensus::ProposeError> {
        let revision = self.core.state.auth.read().revision();
        let root = Identity {
            user: auth::ROOT.into(),
            revision,
        };
        let as_whom = if self.core.is_auth_enabled() {
            root
        } else {
            Identity::default()
        };
        let requests = ops
            .into_iter()
            .map(|op| encode(&self.request(as_whom.clone(), op)))
            .collect();
        self.propose_as_leader(term, requests, self.core.config.request_timeout())
    }

    /// An operation as it goes into the log, under a request id of its own.
    fn request(&self, who: Identity, op: Op) -> Nested<InternalRaftRequest> {
        Nested::new(InternalRaftRequest {
            id: 0,
            header: Some(RequestHeader {
                id: self.core.next_request_id(),
                username: who.user,
                auth_revision: who.revision,
            }),
            op: Some(op),
        })
    }

    /// What most likely kept a request from its answer.
    fn why_late(&self, begin: Instant) -> Status {
        let elected = *self.core.raft.status.elected.lock();
        let lost = |at: Instant| at.checked_sub(2 * self.core.config.election);
        if elected.is_some_and(|at| begin < at && lost(at).is_none_or(|lost| begin > lost)) {
            return errors::TIMEOUT_LEADER_FAIL;
        }
        let since = |id: u64| {
            let active = || self.core.raft.peers()?.active_since(id);
            id == self.core.member_id || active().is_some_and(|at| at <= begin)
        };
        let connected = match self.core.leader() {
            0 => true,
            id if id == self.core.member_id => {
                let cluster = self.core.state.cluster.load();
                let count = cluster.members().count();
                cluster.members().filter(|m| since(m.id.0)).count() > count / 2
            }
            leader => since(leader),
        };
        if connected {
            errors::TIMEOUT
        } else {
            errors::TIMEOUT_CONNECTION_LOST
        }
    }

    /// Puts a configuration change through the log and waits until it is applied
    /// here; returns the members after it.
    ///
    /// # Errors
    /// It was refused, or not applied within the time of a request.
    pub async fn submit_conf_change(
        self: &Rc<Self>,
        change: &ConfChange,
    ) -> Result<Vec<membership::Member>, Status> {
        let data: Bytes = change.encode_to_vec().into();
        if !self.has_room(data.len()) {
            return Err(errors::TOO_MANY_REQUESTS);
        }
        let timeout = self.core.config.request_timeout();
        match self.propose_conf_change(change.id, data, timeout).await? {
            Outcome::Members(members) => Ok(members),
            _ => Err(mixed_up()),
        }
    }

    /// Puts a request of this member itself through the log, as [`Runtime::insist`] does.
    ///
    /// # Errors
    /// It was refused, or not applied within the time of a request.
    pub async fn submit_again(self: &Rc<Self>, op: Op) -> Result<Outcome, Status> {
        let encode = |id| {
            let request = InternalRaftRequest {
                id: 0,
                header: Some(RequestHeader {
                    id,
                    ..RequestHeader::default()
                }),
                op: Some(op.clone()),
            };
            request.encode_to_vec().into()
        };
        self.insist(encode).await
    }

    /// Proposes what `encode` makes for a request id until a proposal is applied here: one that
    /// was on its way to another member when a connection or the leader was lost is lost with
    /// it, and no one reports that. For requests that may be applied more than once.
    ///
    /// # Errors
    /// It was refused, or not applied within the time of a request.
    pub async fn insist(self: &Rc<Self>, encode: impl Fn(u64) -> Bytes) -> Result<Outcome, Status> {
        let deadline = Instant::now() + self.core.config.request_timeout();
        loop {
            let id = self.core.next_request_id();
            let until = deadline.min(Instant::now() + self.core.config.election);
            let attempt = self.propose(id, encode(id), until);
            match attempt.await {
                Err(error) if error == errors::TIMEOUT && Instant::now() < deadline => {}
                result => return result,
            }
        }
    }
}

/// A request's id and bytes.
fn encode(request: &Nested<InternalRaftRequest>) -> (u64, Bytes) {
    let id = request.header.as_ref().map_or(0, |header| header.id);
    (id, wire::encode_internal(request))
}

/// The apply machine answered with another operation's result: a defect here, not the client's.
pub(crate) fn mixed_up() -> Status {
    Status::fixed(Code::Internal, "the result does not belong to the request")
}
