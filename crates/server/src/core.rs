//! What all threads of the server share. Fields are either immutable, atomic,
//! or behind a lock that is held for microseconds; only the apply thread
//! changes the state of the cluster, of leases and of keys.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use member::State;
use proto::etcdserverpb::ResponseHeader;
use tokio::sync::{Notify, Semaphore, watch};

use crate::{
    config::Config,
    fatal::Fatal,
    lines::LineKept,
    metrics::Metrics,
    node::Raft,
    snapshots_out::SnapshotsOut,
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
    /// What this member keeps of its line.
    pub line_kept: LineKept,
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
    /// When the log last said that a read index is asked for again, by [`Core::now_ms`].
    pub retry_said_ms: AtomicU64,
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

    /// Whether this runtime is to say in the log that it asks again: a line every `pause` is
    /// enough for all of them, as on etcd.
    pub fn says_retry(&self, pause: Duration) -> bool {
        let now = self.now_ms();
        let due = |said: u64| now >= said + pause.as_millis() as u64;
        self.retry_said_ms
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |said| {
                due(said).then_some(now)
            })
            .is_ok()
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

    /// The period of the consensus core's clock.
    pub fn heartbeat_ms(&self) -> u64 {
        u64::try_from(self.config.heartbeat.as_millis()).unwrap_or(u64::MAX)
    }

    /// The term that this member leads, while it need not ask a quorum for what etcd's leader
    /// knows by itself: its clock runs steadily, and all that it knows to be committed is applied.
    pub fn leads_steadily(&self) -> Option<u64> {
        let ticks = &self.raft.status.ticks;
        // In one look: what is published of a role and of its term are two words.
        let node = self.raft.inspect(|node| node.status());
        let steadily = node.role == consensus::Role::Leader
            && node.commit <= self.applied()
            && ticks.are_steady(self.now_ms(), self.heartbeat_ms());
        steadily.then_some(node.term)
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
}
