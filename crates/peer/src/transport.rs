//! The transport: who the other members are, and the tasks that serve them.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};
use proto::raftpb::{Message, MessageType};
use semver::Version;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::MissedTickBehavior,
};

use crate::{
    Config, Host,
    channel::{Channel, Ends},
    codec::Kind,
    pipeline, probe, reader,
    round_trips::RoundTrips,
    shared::{Job, Shared},
    snapshot,
};

/// Strangers that are answered. Whoever has the cluster's id can become one by
/// asking, so there is an end to it: each may cost a connection that the process has to have a
/// file descriptor for.
const REMOTES_MAX: usize = 16;
/// A leader sends one snapshot at a time; more than two senders are leaders of the past.
const RECEIVED_AT_ONCE: usize = 4;
/// Between two looks for streams that have come to a halt.
const STALL_CHECK: Duration = Duration::from_secs(1);

/// The way to the other members. Clones are the same transport.
#[derive(Clone)]
pub struct Transport {
    pub(crate) shared: Arc<Shared>,
}

/// What is known of another member. Counters start with the process, or when the
/// member was added.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// Its id.
    pub id: u64,
    /// Where it is reached.
    pub urls: Vec<String>,
    /// What it runs, once it has said so.
    pub version: Option<Version>,
    /// Since when messages have gone through, if they do.
    pub active_since: Option<Instant>,
    /// Bytes of messages sent to it, databases excepted.
    pub sent_bytes: u64,
    /// Bytes of messages received from it, databases excepted.
    pub received_bytes: u64,
    /// Messages and streams that could not be sent, and messages that were dropped.
    pub sent_failures: u64,
    /// Streams from it that broke.
    pub received_failures: u64,
    /// How often it went from active to inactive.
    pub disconnects: u64,
    /// Snapshots that it has accepted.
    pub snapshots_sent: u64,
    /// Snapshots that did not arrive.
    pub snapshots_failed: u64,
    /// Snapshots of which it was the sender, and that were stored.
    pub snapshots_received: u64,
    /// What probes have measured.
    pub round_trips: RoundTrips,
}

impl Transport {
    /// A transport that reaches no one yet.
    pub fn new(config: Config, host: Arc<dyn Host>) -> Transport {
        let (jobs, jobs_end) = mpsc::unbounded_channel();
        Transport {
            shared: Arc::new(Shared {
                config,
                host,
                peers: RwLock::default(),
                remotes: RwLock::default(),
                receiving: Semaphore::new(RECEIVED_AT_ONCE),
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
        let mut stall = tokio::time::interval(STALL_CHECK);
        stall.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let job = tokio::select! {
                job = jobs.recv() => job,
                _ = stall.tick() => {
                    self.shared.drop_stalled();
                    continue;
                }
                _ = stop.wait_for(|stop| *stop) => None,
            };
            match job {
                None => break,
                Some(Job::Serve(channel, ends, streams)) => self.serve(&channel, ends, streams),
                Some(Job::Unreachable(channel)) => {
                    channel.is_told();
                    self.shared.host.report_unreachable(channel.id);
                }
                Some(Job::NoSnapshot(id)) => self.shared.host.report_snapshot(id, false),
            }
        }
        self.remove_all();
    }

    fn serve(&self, channel: &Arc<Channel>, ends: Ends, streams: bool) {
        let local = format!("{:x}", self.shared.config.member_id);
        let id = format!("{:x}", channel.id);
        tracing::info!(
            "local-member-id" = local,
            "remote-peer-id" = id,
            "started HTTP pipelining with remote peer"
        );
        pipeline::start(&self.shared, channel, ends.pipeline, streams);
        let snapshots = snapshot::send_all(self.shared.clone(), channel.clone(), ends.snapshots);
        tokio::task::spawn_local(snapshots);
        if streams {
            tokio::task::spawn_local(probe::watch(self.shared.clone(), channel.clone()));
            for kind in [Kind::Message, Kind::MsgApp] {
                tracing::info!(
                    "stream-reader-type" = kind.log_name(),
                    "local-member-id" = local,
                    "remote-peer-id" = id,
                    "started stream reader with remote peer"
                );
                tokio::task::spawn_local(reader::read(self.shared.clone(), channel.clone(), kind));
            }
            tracing::info!("remote-peer-id" = id, "started remote peer");
        }
    }

    /// Ends [`Transport::run`].
    pub fn stop(&self) {
        self.shared.stop.send_replace(true);
    }

    /// Hands on messages; those to no one are dropped. Never waits, and calls
    /// nothing of the host. What goes to one stream leaves with one wake-up.
    pub fn send(&self, messages: Vec<Message>) {
        let peers = self.shared.peers.read();
        for message in messages {
            let to = message.to;
            let remote;
            let channel = match peers.get(&to) {
                Some(channel) => channel,
                None => {
                    remote = self.shared.remotes.read().get(&to).cloned();
                    match &remote {
                        Some(channel) => channel,
                        None if message.r#type == MessageType::MsgSnap as i32 => {
                            let _ = self.shared.jobs.send(Job::NoSnapshot(to));
                            continue;
                        }
                        None => continue,
                    }
                }
            };
            if message.r#type == MessageType::MsgSnap as i32 {
                if channel.snapshots.try_send(message).is_err() {
                    self.shared.unreachable(channel);
                    let _ = self.shared.jobs.send(Job::NoSnapshot(to));
                }
            } else if !channel.send(message) {
                self.shared.unreachable(channel);
            }
        }
        for channel in peers.values() {
            channel.wake();
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
        if map.contains_key(&id) || (!streams && map.len() >= REMOTES_MAX) {
            return;
        }
        let (channel, ends) = Channel::new(id, urls);
        map.insert(id, channel.clone());
        // If no one runs the transport any more there is no one to serve.
        let _ = self.shared.jobs.send(Job::Serve(channel, ends, streams));
        drop(map);
        tracing::info!(
            "local-member-id" = format!("{:x}", self.shared.config.member_id),
            "remote-peer-id" = format!("{id:x}"),
            "remote-peer-urls" = urls.join(","),
            "{}",
            if streams {
                "added remote peer"
            } else {
                "added new remote peer"
            }
        );
        if streams && let Some(remote) = self.shared.remotes.write().remove(&id) {
            remote.close();
        }
    }

    /// A member to talk to. One that is known stays as it is.
    pub fn add_peer(&self, id: u64, urls: &[String]) {
        self.add(id, urls, true);
    }

    /// Someone who may be a member, though the log does not say so yet: what is
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
            channel.close();
            tracing::info!(
                "local-member-id" = format!("{:x}", self.shared.config.member_id),
                "removed-remote-peer-id" = format!("{id:x}"),
                "removed remote peer"
            );
        }
    }

    /// No one is a member.
    pub fn remove_all(&self) {
        for (_, channel) in std::mem::take(&mut *self.shared.peers.write()) {
            channel.close();
        }
        for (_, channel) in std::mem::take(&mut *self.shared.remotes.write()) {
            channel.close();
        }
    }

    /// What is known of the members.
    pub fn peers(&self) -> Vec<PeerStatus> {
        let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let peers = self.shared.peers.read();
        peers
            .values()
            .map(|channel| PeerStatus {
                id: channel.id,
                urls: channel.urls(),
                version: channel.version(),
                active_since: channel.active_since(),
                sent_bytes: load(&channel.counters.sent_bytes),
                received_bytes: load(&channel.counters.received_bytes),
                sent_failures: load(&channel.counters.sent_failures),
                received_failures: load(&channel.counters.received_failures),
                disconnects: load(&channel.counters.disconnects),
                snapshots_sent: load(&channel.counters.snapshots_sent),
                snapshots_failed: load(&channel.counters.snapshots_failed),
                snapshots_received: load(&channel.counters.snapshots_received),
                round_trips: channel.round_trips.lock().clone(),
            })
            .collect()
    }

    /// A member has said what it runs, elsewhere than on a stream: those that are open say what it
    /// ran when they were opened.
    pub fn learned(&self, id: u64, version: Version) {
        if let Some(channel) = self.shared.peer(id) {
            channel.runs(Some(version));
        }
    }

    /// Since when messages have gone through to a member, if they do.
    pub fn active_since(&self, id: u64) -> Option<Instant> {
        self.shared.peer(id)?.active_since()
    }
}
