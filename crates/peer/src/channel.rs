//! One other member as the transport sees it: where it is, which ways to it are
//! open, and whether it is there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use parking_lot::Mutex;
use proto::raftpb::{Message, MessageType};
use semver::Version;
use tokio::sync::{mpsc, watch};

use crate::{codec::Kind, queue::Queue, round_trips::RoundTrips};

/// Messages that wait for the pipeline; etcd's number.
const PIPELINE_QUEUE: usize = 64;
/// Snapshots that wait. Raft has one under way to a member; a second follows only
/// when the first was given up.
const SNAPSHOT_QUEUE: usize = 2;

/// What has been counted of a member.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) sent_bytes: AtomicU64,
    pub(crate) received_bytes: AtomicU64,
    pub(crate) sent_failures: AtomicU64,
    pub(crate) received_failures: AtomicU64,
    pub(crate) disconnects: AtomicU64,
    pub(crate) snapshots_sent: AtomicU64,
    pub(crate) snapshots_failed: AtomicU64,
    pub(crate) snapshots_received: AtomicU64,
}

/// One other member.
pub(crate) struct Channel {
    pub(crate) id: u64,
    urls: Mutex<Urls>,
    /// The streams that the member opened, for what we send.
    streams: [Mutex<Option<Arc<Queue>>>; 2],
    pipeline: mpsc::Sender<Message>,
    pub(crate) snapshots: mpsc::Sender<Message>,
    /// Becomes true when the member is no longer to be talked to.
    stop: watch::Sender<bool>,
    active_since: Mutex<Option<Instant>>,
    /// Raft is about to be told, and need not be told twice.
    unreachable: AtomicBool,
    /// What it said that it runs, last.
    version: Mutex<Option<Version>>,
    pub(crate) counters: Counters,
    pub(crate) round_trips: Mutex<RoundTrips>,
}

struct Urls {
    all: Vec<String>,
    picked: usize,
}

/// The ends of a channel's queues, for its tasks.
pub(crate) struct Ends {
    pub(crate) pipeline: mpsc::Receiver<Message>,
    pub(crate) snapshots: mpsc::Receiver<Message>,
}

fn place(kind: Kind) -> usize {
    match kind {
        Kind::Message => 0,
        Kind::MsgApp => 1,
    }
}

impl Channel {
    pub(crate) fn new(id: u64, urls: &[String]) -> (Arc<Channel>, Ends) {
        let (pipeline, pipeline_end) = mpsc::channel(PIPELINE_QUEUE);
        let (snapshots, snapshots_end) = mpsc::channel(SNAPSHOT_QUEUE);
        let channel = Channel {
            id,
            urls: Mutex::new(Urls {
                all: urls.to_vec(),
                picked: 0,
            }),
            streams: [Mutex::new(None), Mutex::new(None)],
            pipeline,
            snapshots,
            stop: watch::Sender::new(false),
            active_since: Mutex::new(None),
            unreachable: AtomicBool::new(false),
            version: Mutex::default(),
            counters: Counters::default(),
            round_trips: Mutex::default(),
        };
        let ends = Ends {
            pipeline: pipeline_end,
            snapshots: snapshots_end,
        };
        (Arc::new(channel), ends)
    }

    /// Where the member is to be tried now.
    pub(crate) fn url(&self) -> String {
        let urls = self.urls.lock();
        urls.all.get(urls.picked).cloned().unwrap_or_default()
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.urls.lock().all.clone()
    }

    pub(crate) fn set_urls(&self, urls: &[String]) {
        *self.urls.lock() = Urls {
            all: urls.to_vec(),
            picked: 0,
        };
    }

    /// The URL did not work: another one, if there is one, is tried next.
    pub(crate) fn give_up(&self, url: &str) {
        let mut urls = self.urls.lock();
        if urls.all.get(urls.picked).is_some_and(|u| u == url) {
            urls.picked = (urls.picked + 1) % urls.all.len().max(1);
        }
    }

    /// Gives a message to the best way that is open; `false` if it was dropped.
    /// A stream takes notice of it with [`Channel::wake`].
    pub(crate) fn send(&self, message: Message) -> bool {
        let is_append = message.r#type == MessageType::MsgApp as i32;
        let message = match is_append {
            true => match self.try_stream(Kind::MsgApp, message) {
                Ok(sent) => return sent,
                Err(message) => message,
            },
            false => message,
        };
        match self.try_stream(Kind::Message, message) {
            Ok(sent) => sent,
            Err(message) => self.pipeline.try_send(message).is_ok(),
        }
    }

    /// The message comes back if there is no such stream.
    fn try_stream(&self, kind: Kind, message: Message) -> Result<bool, Message> {
        match &*self.streams[place(kind)].lock() {
            Some(queue) => queue.push(message),
            None => Err(message),
        }
    }

    /// Wakes the streams for which something waits.
    pub(crate) fn wake(&self) {
        for stream in &self.streams {
            if let Some(queue) = &*stream.lock() {
                queue.wake();
            }
        }
    }

    /// A stream that the member has opened takes the place of an older one, which
    /// is returned.
    pub(crate) fn attach(&self, kind: Kind, queue: Arc<Queue>) -> Option<Arc<Queue>> {
        let mut stream = self.streams[place(kind)].lock();
        if *self.stop.borrow() {
            queue.close();
            return None;
        }
        stream.replace(queue)
    }

    /// The stream has ended; `false` if another one has taken its place.
    pub(crate) fn detach(&self, kind: Kind, queue: &Arc<Queue>) -> bool {
        let mut stream = self.streams[place(kind)].lock();
        let own = stream.as_ref().is_some_and(|s| Arc::ptr_eq(s, queue));
        if own {
            *stream = None;
        }
        own
    }

    /// Takes away a stream into which nothing can be written any more.
    pub(crate) fn detach_stalled(&self, kind: Kind) -> Option<Arc<Queue>> {
        self.streams[place(kind)].lock().take_if(|q| q.is_stalled())
    }

    /// The member is no longer talked to: its tasks and streams end.
    pub(crate) fn close(&self) {
        self.stop.send_replace(true);
        for stream in &self.streams {
            if let Some(queue) = stream.lock().take() {
                queue.close();
            }
        }
    }

    /// What the member runs, as far as it has said so.
    pub(crate) fn version(&self) -> Option<Version> {
        self.version.lock().clone()
    }

    /// The member has said what it runs.
    pub(crate) fn runs(&self, version: Option<Version>) {
        if version.is_some() {
            *self.version.lock() = version;
        }
    }

    pub(crate) fn active_since(&self) -> Option<Instant> {
        *self.active_since.lock()
    }

    /// Something went through.
    pub(crate) fn activate(&self) {
        let mut since = self.active_since.lock();
        if since.is_none() {
            *since = Some(Instant::now());
            tracing::info!("peer-id" = format!("{:x}", self.id), "peer became active");
        }
    }

    /// Something did not go through.
    pub(crate) fn deactivate(&self, why: &dyn std::fmt::Display) {
        if self.active_since.lock().take().is_some() {
            self.counters.disconnects.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                "peer-id" = format!("{:x}", self.id),
                error = %why,
                "peer became inactive (message send to peer failed)"
            );
        }
    }

    /// True if raft is not about to be told already that the member is unreachable.
    pub(crate) fn is_news(&self) -> bool {
        !self.unreachable.swap(true, Ordering::AcqRel)
    }

    /// Raft is being told.
    pub(crate) fn is_told(&self) {
        self.unreachable.store(false, Ordering::Release);
    }

    /// Waits for the end of the member.
    pub(crate) async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        let _ = stop.wait_for(|stop| *stop).await;
    }
}
