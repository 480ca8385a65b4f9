//! The transport: who the other members are, and the tasks that serve them.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};
use proto::raftpb::{Message, MessageType};
use tokio::sync::{mpsc, watch};

use crate::{
    Config, Host,
    channel::{Channel, Ends},
    codec::Kind,
    pipeline, reader, snapshot,
};

/// The way to the other members. Clones are the same transport.
#[derive(Clone)]
pub struct Transport {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) host: Arc<dyn Host>,
    /// Members, and strangers who asked something: these are answered, but no
    /// stream is opened to them.
    peers: RwLock<BTreeMap<u64, Arc<Channel>>>,
    remotes: RwLock<BTreeMap<u64, Arc<Channel>>>,
    jobs: mpsc::UnboundedSender<Job>,
    jobs_end: Mutex<Option<mpsc::UnboundedReceiver<Job>>>,
    stop: watch::Sender<bool>,
}

/// What only the transport's thread can do.
enum Job {
    /// Start the tasks of a member or, without streams, of a stranger.
    Serve(Arc<Channel>, Ends, bool),
    /// Tell raft that a message was dropped: not under the lock it was sent with.
    Unreachable(u64),
    /// Tell raft that a snapshot has nowhere to go.
    NoSnapshot(u64),
}

/// What is known of another member.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// Its id.
    pub id: u64,
    /// Where it is reached.
    pub urls: Vec<String>,
    /// Since when messages have gone through, if they do.
    pub active_since: Option<Instant>,
    /// Bytes sent to it.
    pub sent_bytes: u64,
    /// Bytes received from it.
    pub received_bytes: u64,
    /// Attempts to reach it that failed.
    pub failures: u64,
}

impl Shared {
    /// A dial may take this long.
    pub(crate) fn dial_timeout(&self) -> Duration {
        Duration::from_secs(1) + self.config.election_timeout
    }

    pub(crate) fn peer(&self, id: u64) -> Option<Arc<Channel>> {
        self.peers.read().get(&id).cloned()
    }
}

impl Transport {
    /// A transport that reaches nobody yet.
    pub fn new(config: Config, host: Arc<dyn Host>) -> Transport {
        let (jobs, jobs_end) = mpsc::unbounded_channel();
        Transport {
            shared: Arc::new(Shared {
                config,
                host,
                peers: RwLock::default(),
                remotes: RwLock::default(),
                jobs,
                jobs_end: Mutex::new(Some(jobs_end)),
                stop: watch::Sender::new(false),
            }),
        }
    }

    /// Serves the other members until [`Transport::stop`]. Once, inside a
    /// `LocalSet` of a current-thread runtime.
    pub async fn run(&self) {
        let Some(mut jobs) = self.shared.jobs_end.lock().take() else {
            return;
        };
        let mut stop = self.shared.stop.subscribe();
        loop {
            let job = tokio::select! {
                job = jobs.recv() => job,
                _ = stop.wait_for(|stop| *stop) => None,
            };
            match job {
                None => break,
                Some(Job::Serve(channel, ends, streams)) => self.serve(&channel, ends, streams),
                Some(Job::Unreachable(id)) => self.shared.host.report_unreachable(id),
                Some(Job::NoSnapshot(id)) => self.shared.host.report_snapshot(id, false),
            }
        }
        self.remove_all();
    }

    fn serve(&self, channel: &Arc<Channel>, ends: Ends, streams: bool) {
        if streams {
            tracing::info!(
                "local-member-id" = format!("{:x}", self.shared.config.member_id),
                "remote-peer-id" = format!("{:x}", channel.id),
                "remote-peer-urls" = channel.urls().join(","),
                "started remote peer"
            );
            for kind in [Kind::Message, Kind::MsgApp] {
                tokio::task::spawn_local(reader::read(self.shared.clone(), channel.clone(), kind));
            }
        }
        pipeline::start(&self.shared, channel, ends.pipeline);
        tokio::task::spawn_local(snapshot::send_all(
            self.shared.clone(),
            channel.clone(),
            ends.snapshots,
        ));
    }

    /// Ends [`Transport::run`].
    pub fn stop(&self) {
        self.shared.stop.send_replace(true);
    }

    /// Hands on messages; those to nobody are dropped. Never waits, and calls
    /// nothing of the host.
    pub fn send(&self, messages: Vec<Message>) {
        let peers = self.shared.peers.read();
        for message in messages {
            let to = message.to;
            let is_snapshot = message.r#type == MessageType::MsgSnap as i32;
            let channel = match peers.get(&to) {
                Some(channel) => Some(channel.clone()),
                None => self.shared.remotes.read().get(&to).cloned(),
            };
            let Some(channel) = channel else {
                if is_snapshot {
                    let _ = self.shared.jobs.send(Job::NoSnapshot(to));
                }
                continue;
            };
            if is_snapshot {
                // Its task ends with the member only.
                let _ = channel.snapshots.send(message);
            } else if !channel.send(message) && channel.dropped() {
                let _ = self.shared.jobs.send(Job::Unreachable(to));
            }
        }
    }

    fn add(&self, id: u64, urls: &[String], streams: bool) {
        if id == self.shared.config.member_id || self.shared.peer(id).is_some() {
            return;
        }
        let map = if streams {
            &self.shared.peers
        } else {
            &self.shared.remotes
        };
        let mut map = map.write();
        if map.contains_key(&id) {
            return;
        }
        let (channel, ends) = Channel::new(id, urls);
        map.insert(id, channel.clone());
        // If nobody runs the transport any more there is nobody to serve.
        let _ = self.shared.jobs.send(Job::Serve(channel, ends, streams));
        drop(map);
        if streams && let Some(remote) = self.shared.remotes.write().remove(&id) {
            remote.stop.send_replace(true);
        }
    }

    /// A member to talk to. One that is known stays as it is.
    pub fn add_peer(&self, id: u64, urls: &[String]) {
        self.add(id, urls, true);
    }

    /// Somebody who may be a member, though the log does not say so yet: what is
    /// for it goes by single requests.
    pub fn add_remote(&self, id: u64, urls: &[String]) {
        self.add(id, urls, false);
    }

    /// The member is reached elsewhere.
    pub fn update_peer(&self, id: u64, urls: &[String]) {
        if let Some(channel) = self.shared.peer(id) {
            channel.set_urls(urls);
            tracing::info!(
                "remote-peer-id" = format!("{id:x}"),
                "updated-remote-peer-urls" = urls.join(","),
                "updated remote peer"
            );
        }
    }

    /// The member is no longer one.
    pub fn remove_peer(&self, id: u64) {
        if let Some(channel) = self.shared.peers.write().remove(&id) {
            channel.stop.send_replace(true);
            tracing::info!(
                "local-member-id" = format!("{:x}", self.shared.config.member_id),
                "removed-remote-peer-id" = format!("{id:x}"),
                "removed remote peer"
            );
        }
    }

    /// Nobody is a member.
    pub fn remove_all(&self) {
        for (_, channel) in std::mem::take(&mut *self.shared.peers.write()) {
            channel.stop.send_replace(true);
        }
        for (_, channel) in std::mem::take(&mut *self.shared.remotes.write()) {
            channel.stop.send_replace(true);
        }
    }

    /// What is known of the members.
    pub fn peers(&self) -> Vec<PeerStatus> {
        use std::sync::atomic::Ordering::Relaxed;
        let peers = self.shared.peers.read();
        peers
            .values()
            .map(|channel| PeerStatus {
                id: channel.id,
                urls: channel.urls(),
                active_since: channel.active_since(),
                sent_bytes: channel.sent_bytes.load(Relaxed),
                received_bytes: channel.received_bytes.load(Relaxed),
                failures: channel.failures.load(Relaxed),
            })
            .collect()
    }

    /// Since when messages have gone through to a member, if they do.
    pub fn active_since(&self, id: u64) -> Option<Instant> {
        self.shared.peer(id)?.active_since()
    }
}
