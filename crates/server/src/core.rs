//! What all threads of the server share. Fields are either immutable, atomic,
//! or behind a lock that is held for microseconds; only the apply thread
//! changes the state of the cluster, of leases and of keys.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Instant,
};

use auth::Identity;
use bytes::Bytes;
use member::{Outcome, State, propose};
use prost::Message as _;
use proto::{
    etcdserverpb::{InternalRaftRequest, RequestHeader, ResponseHeader, internal_raft_request::Op},
    raftpb::ConfChange,
    wire::{self, Nested},
};
use tokio::sync::{Notify, Semaphore, watch};

use crate::{
    config::Config,
    fatal::Fatal,
    metrics::Metrics,
    node::Raft,
    peers::SnapshotsOut,
    runtime::{Inbox, Pending, Runtime},
    status::{Status, errors},
    transport::{Admission, Surface},
};

/// The state shared by every thread.
pub struct Core {
    /// How the server was told to run.
    pub config: Config,
    /// From the head of the log.
    pub cluster_id: u64,
    /// From the head of the log.
    pub member_id: u64,
    /// What is applied.
    pub state: Arc<State>,
    /// Woken when leases have ended, or their lessor has become primary or ceased to be.
    pub leases_changed: Notify,
    /// Consensus.
    pub raft: Arc<Raft>,
    /// Sent again and again while this member has known no leader for long: what ends the streams
    /// of clients that asked for one.
    pub leader_lost: watch::Sender<()>,
    /// How other members are dialled.
    pub peer_connect: Arc<dyn peer::Connect>,
    /// Mailboxes of the runtimes; the last one's serves the other members.
    pub inboxes: Vec<Arc<Inbox>>,
    /// Watchers on all runtimes.
    pub watchers: AtomicI64,
    /// Watch streams on all runtimes.
    pub watch_streams: AtomicI64,
    /// Watchers that read history, on all runtimes.
    pub slow_watchers: AtomicI64,
    /// Places for those that hash or compare passwords.
    pub hashing: Arc<Semaphore>,
    /// Who may hold a connection, and how many do.
    pub admission: Admission,
    /// Request ids.
    pub ids: membership::RequestIds,
    /// Series of `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Database snapshots on their way to other members.
    pub snapshots_out: SnapshotsOut,
    /// Tells this process's read requests from those of the one before it.
    pub nonce: u64,
    /// Becomes true when this member takes part in the cluster. Until then it answers
    /// questions of other members, and nothing of raft's.
    pub joined: watch::Sender<bool>,
    /// Becomes true when this member was removed from the cluster.
    pub removed: watch::Sender<bool>,
    /// True while a defragmentation is to keep clients away.
    pub paused: watch::Sender<bool>,
    /// Becomes true when the server is to stop: clients are sent away, and what
    /// they have asked is still answered.
    pub stop: watch::Sender<bool>,
    /// Becomes true when that is done: from here on other members are alone.
    pub over: watch::Sender<bool>,
    /// Where an I/O error of the log or the database goes.
    pub fatal: Fatal,
    /// The zero of [`Core::now_ms`].
    pub started: Instant,
}

impl Core {
    /// The store of this moment, for one short use.
    #[inline]
    pub fn store(&self) -> arc_swap::Guard<Arc<mvcc::Store>> {
        self.state.store.load()
    }

    /// The line that this member speaks.
    pub fn line(&self) -> line::Line {
        self.state.line()
    }

    /// The database file of this moment.
    pub fn backend(&self) -> Arc<mvcc::backend::Backend> {
        self.state.store.load().backend().clone()
    }

    /// What ends the connections of a listener. Other members are needed as long
    /// as clients wait for answers.
    pub fn end_of(&self, surface: Surface) -> watch::Receiver<bool> {
        match surface {
            Surface::Peer => self.over.subscribe(),
            _ => self.stop.subscribe(),
        }
    }

    /// Milliseconds since this process started, the clock of leases.
    pub fn now_ms(&self) -> u64 {
        self.ms_at(Instant::now())
    }

    /// What [`Core::now_ms`] says at that time.
    pub fn ms_at(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.started).as_millis() as u64
    }

    /// Member id of the leader; 0 when unknown.
    pub fn leader(&self) -> u64 {
        self.raft.status.leader.load(Ordering::Acquire)
    }

    /// This member is no longer one: it stops a moment later, so that others
    /// still hear from it that the change is applied.
    pub fn leave(&self) {
        self.removed.send_replace(true);
    }

    /// A response header at `revision`.
    pub fn header(&self, revision: i64) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.cluster_id,
            member_id: self.member_id,
            revision,
            raft_term: self.raft.status.term.load(Ordering::Acquire),
        }
    }

    /// Completes a header that so far has only the revision, as of the entry that it answers.
    pub fn complete_header(&self, header: &mut Option<ResponseHeader>) {
        let revision = header.as_ref().map_or(0, |header| header.revision);
        *header = Some(self.header(revision));
    }

    /// True if local state may answer a linearizable read as it is.
    pub fn reads_are_local(&self) -> bool {
        self.state.sole_leader.load(Ordering::Acquire)
    }

    /// True while authentication is on.
    pub fn is_auth_enabled(&self) -> bool {
        self.state.auth.read().is_enabled()
    }

    /// Index of the last applied entry.
    pub fn applied(&self) -> u64 {
        self.state.applied.load(Ordering::Acquire)
    }

    /// Refuses an operation that would be refused when it is applied, so that no other is in the
    /// log. This member may be behind with users and roles; a refusal by old ones would be wrong.
    async fn check(&self, rt: &Rc<Runtime>, who: &Identity, op: &Op) -> Result<(), Status> {
        let check = || {
            let lessor = auth::names_lease(op).then(|| self.state.lessor.read());
            let users = self.state.auth.read();
            users.check_op(who, lessor.as_deref(), op)
        };
        if check().is_ok() {
            return Ok(());
        }
        if let Some(status) = self.state.alarms.read().restriction().refuses(op) {
            return Err(status);
        }
        rt.linearizable().await?;
        Ok(check()?)
    }

    /// A fresh request id.
    pub fn next_request_id(&self) -> u64 {
        self.ids.next()
    }

    /// Entries proposed and not yet applied, roughly.
    pub fn in_flight(&self) -> u64 {
        self.raft
            .status
            .last_index
            .load(Ordering::Relaxed)
            .saturating_sub(self.state.applied.load(Ordering::Relaxed))
    }

    /// Puts an operation of a user through the log and waits until it is applied here.
    ///
    /// # Errors
    /// The user may not do this; nothing is taken for now; it was refused when it was applied.
    pub async fn submit(&self, rt: &Rc<Runtime>, who: Identity, op: Op) -> Result<Outcome, Status> {
        // First of all: what an operation holds must not be dropped level by level.
        let request = self.request(who, op);
        if self.is_auth_enabled() {
            let (header, op) = (request.header.as_ref(), request.op.as_ref());
            if let (Some(header), Some(op)) = (header, op) {
                let who = Identity {
                    user: header.username.clone(),
                    revision: header.auth_revision,
                };
                self.check(rt, &who, op).await?;
            }
        }
        let (id, data) = encode(&request);
        propose::admit(
            self.raft.status.commit.load(Ordering::Acquire),
            self.state.applied.load(Ordering::Acquire),
            data.len(),
            self.config.max_request_bytes,
        )?;
        if self.raft.is_congested() || !rt.has_room(data.len()) {
            return Err(errors::TOO_MANY_REQUESTS);
        }
        let begin = Instant::now();
        let result = rt.propose(id, data, self.config.request_timeout()).await;
        match result {
            Err(status) if status == errors::TIMEOUT => {
                self.metrics.proposals_failed.inc();
                Err(self.why_late(begin))
            }
            result => result,
        }
    }

    /// Puts operations that the leader of `term` alone may ask for through the log, with one
    /// step; each result is awaited on its own. They are made as root.
    ///
    /// # Errors
    /// Another term has begun, or nothing is taken for now: nothing was proposed.
    pub fn submit_as_leader(
        &self,
        rt: &Rc<Runtime>,
        term: u64,
        ops: impl IntoIterator<Item = Op>,
    ) -> Result<Vec<Pending>, consensus::ProposeError> {
        let revision = self.state.auth.read().revision();
        let root = Identity {
            user: auth::ROOT.to_owned(),
            revision,
        };
        let as_whom = if self.is_auth_enabled() {
            root
        } else {
            Identity::default()
        };
        let requests = ops
            .into_iter()
            .map(|op| encode(&self.request(as_whom.clone(), op)))
            .collect();
        rt.propose_as_leader(term, requests, self.config.request_timeout())
    }

    /// An operation as it goes into the log, under a request id of its own.
    fn request(&self, who: Identity, op: Op) -> Nested<InternalRaftRequest> {
        Nested::new(InternalRaftRequest {
            id: 0,
            header: Some(RequestHeader {
                id: self.next_request_id(),
                username: who.user,
                auth_revision: who.revision,
            }),
            op: Some(op),
        })
    }

    /// What most likely kept a request from its answer.
    fn why_late(&self, begin: Instant) -> Status {
        let elected = *self.raft.status.elected.lock();
        let lost = |at: Instant| at.checked_sub(2 * self.config.election);
        if elected.is_some_and(|at| begin < at && lost(at).is_none_or(|lost| begin > lost)) {
            return errors::TIMEOUT_LEADER_FAIL;
        }
        let since = |id: u64| {
            let active = || self.raft.peers()?.active_since(id);
            id == self.member_id || active().is_some_and(|at| at <= begin)
        };
        let connected = match self.leader() {
            0 => true,
            id if id == self.member_id => {
                let cluster = self.state.cluster.load();
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
    /// here; gives the members after it.
    pub async fn submit_conf_change(
        &self,
        rt: &Rc<Runtime>,
        change: &ConfChange,
    ) -> Result<Vec<membership::Member>, Status> {
        let data: Bytes = change.encode_to_vec().into();
        if !rt.has_room(data.len()) {
            return Err(errors::TOO_MANY_REQUESTS);
        }
        let timeout = self.config.request_timeout();
        match rt.propose_conf_change(change.id, data, timeout).await? {
            Outcome::Members(members) => Ok(members),
            _ => Err(crate::api::kv::mixed_up()),
        }
    }

    /// Puts a request of this member itself through the log, as [`Core::insist`] does.
    ///
    /// # Errors
    /// It was refused, or not applied within the time of a request.
    pub async fn submit_again(&self, rt: &Rc<Runtime>, op: Op) -> Result<Outcome, Status> {
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
        self.insist(rt, encode).await
    }

    /// Proposes what `encode` makes for a request id until a proposal is applied here: one that
    /// was on its way to another member when a connection or the leader was lost is lost with
    /// it, and no one reports that. For requests that may be applied more than once.
    ///
    /// # Errors
    /// It was refused, or not applied within the time of a request.
    pub async fn insist(
        &self,
        rt: &Rc<Runtime>,
        encode: impl Fn(u64) -> Bytes,
    ) -> Result<Outcome, Status> {
        let deadline = Instant::now() + self.config.request_timeout();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let id = self.next_request_id();
            let attempt = rt.propose(id, encode(id), left.min(self.config.election));
            match attempt.await {
                Err(error) if error == errors::TIMEOUT && Instant::now() < deadline => {}
                result => return result,
            }
        }
    }

    /// Waits for the parts of a compaction its caller asked to wait for.
    pub async fn wait_compaction(&self, ticket: Option<mvcc::CompactionTicket>, physical: bool) {
        let Some(ticket) = ticket else { return };
        if physical {
            // The wait ends with the background removal; a stop of the server ends it too.
            let _ = tokio::task::spawn_blocking(move || ticket.wait()).await;
        }
    }
}

/// A request's id and bytes.
fn encode(request: &Nested<InternalRaftRequest>) -> (u64, Bytes) {
    let id = request.header.as_ref().map_or(0, |header| header.id);
    (id, wire::encode_internal(request))
}
