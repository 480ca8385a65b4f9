//! What every task of the transport knows: the members, their channels, and who
//! is let in.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use proto::raftpb::{Message, MessageType};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::{
    Config, Host,
    channel::{Channel, Ends},
    codec::Kind,
};

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) host: Arc<dyn Host>,
    /// Members, and strangers who asked something: these are answered, but no
    /// stream is opened to them.
    pub(crate) peers: RwLock<BTreeMap<u64, Arc<Channel>>>,
    pub(crate) remotes: RwLock<BTreeMap<u64, Arc<Channel>>>,
    /// Snapshots that may be received at once: each has a file open and a thread that writes it.
    pub(crate) receiving: Semaphore,
    pub(crate) jobs: mpsc::UnboundedSender<Job>,
    pub(crate) jobs_end: Mutex<Option<mpsc::UnboundedReceiver<Job>>>,
    pub(crate) stop: watch::Sender<bool>,
}

/// What only the transport's thread can do.
pub(crate) enum Job {
    /// Start the tasks of a member or, without streams, of a stranger.
    Serve(Arc<Channel>, Ends, bool),
    /// Tell raft that a message was dropped: not under the lock it was sent with.
    Unreachable(Arc<Channel>),
    /// Tell raft that a snapshot has nowhere to go.
    NoSnapshot(u64),
}

/// Why a message is not for raft; the text of etcd's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// Its sender was removed.
    Removed,
    /// It is for another member.
    Mismatch,
}

impl Rejected {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Rejected::Removed => "cannot process message from removed member",
            Rejected::Mismatch => "cannot process message to mismatch member",
        }
    }
}

/// Messages that a member sends to itself only. One that comes over the network
/// is ignored, as etcd ignores it; so is what is known to releases after 3.5 only.
fn is_local(message: &Message) -> bool {
    use MessageType::{MsgBeat, MsgCheckQuorum, MsgHup, MsgSnapStatus, MsgUnreachable};
    match MessageType::try_from(message.r#type) {
        Ok(kind) => matches!(
            kind,
            MsgHup | MsgBeat | MsgUnreachable | MsgSnapStatus | MsgCheckQuorum
        ),
        Err(_) => true,
    }
}

impl Shared {
    /// A dial may take this long.
    pub(crate) fn dial_timeout(&self) -> Duration {
        Duration::from_secs(1) + self.config.election_timeout
    }

    pub(crate) fn peer(&self, id: u64) -> Option<Arc<Channel>> {
        self.peers.read().get(&id).cloned()
    }

    /// Is the message from a member and for this one? `false` for one that is to
    /// be ignored without a word to the sender.
    pub(crate) fn admit(&self, message: &Message) -> Result<bool, Rejected> {
        let local = || format!("{:x}", self.config.member_id);
        if self.host.is_removed(message.from) {
            tracing::warn!(
                "local-member-id" = local(),
                "removed-member-id" = format!("{:x}", message.from),
                "rejected Raft message from removed member"
            );
            return Err(Rejected::Removed);
        }
        if message.to != self.config.member_id {
            tracing::warn!(
                "local-member-id" = local(),
                "mismatch-member-id" = format!("{:x}", message.to),
                "rejected Raft message to mismatch member"
            );
            return Err(Rejected::Mismatch);
        }
        Ok(!is_local(message))
    }

    /// Something for the member was dropped: raft is told, on the transport's
    /// thread, where no lock is held.
    pub(crate) fn unreachable(&self, channel: &Arc<Channel>) {
        let failures = &channel.counters.sent_failures;
        failures.fetch_add(1, Ordering::Relaxed);
        if channel.is_news() {
            let _ = self.jobs.send(Job::Unreachable(channel.clone()));
        }
    }

    /// A stream to the member has ended, and none has taken its place.
    pub(crate) fn lost_stream(&self, channel: &Channel, kind: Kind, why: &str) {
        tracing::warn!(
            "stream-writer-type" = kind.log_name(),
            "local-member-id" = format!("{:x}", self.config.member_id),
            "remote-peer-id" = format!("{:x}", channel.id),
            error = why,
            "lost TCP streaming connection with remote peer"
        );
        channel.deactivate(&why);
    }

    /// Gives up streams into which nothing can be written any more.
    pub(crate) fn drop_stalled(&self) {
        let channels: Vec<Arc<Channel>> = self.peers.read().values().cloned().collect();
        for channel in channels {
            for kind in [Kind::Message, Kind::MsgApp] {
                if let Some(queue) = channel.detach_stalled(kind) {
                    self.lost_stream(&channel, kind, "nothing could be written for 5 s");
                    queue.close();
                    self.unreachable(&channel);
                }
            }
        }
    }
}
