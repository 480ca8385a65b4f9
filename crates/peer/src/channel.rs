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
use tokio::sync::{mpsc, watch};

use crate::codec::Kind;

/// Messages that wait for a stream, and for the pipeline.
pub(crate) const STREAM_QUEUE: usize = 4096;
pub(crate) const PIPELINE_QUEUE: usize = 64;

/// A stream that the member opened, for what we send.
struct Outgoing {
    number: u64,
    sender: mpsc::Sender<Message>,
}

/// One other member.
pub(crate) struct Channel {
    pub(crate) id: u64,
    urls: Mutex<Urls>,
    streams: [Mutex<Option<Outgoing>>; 2],
    pipeline: mpsc::Sender<Message>,
    pub(crate) snapshots: mpsc::UnboundedSender<Message>,
    /// Becomes true when the member is no longer to be talked to.
    pub(crate) stop: watch::Sender<bool>,
    active_since: Mutex<Option<Instant>>,
    /// Raft has been told, and need not be told again before something arrives.
    unreachable: AtomicBool,
    numbers: AtomicU64,
    pub(crate) sent_bytes: AtomicU64,
    pub(crate) received_bytes: AtomicU64,
    pub(crate) failures: AtomicU64,
}

struct Urls {
    all: Vec<String>,
    picked: usize,
}

/// The ends of a channel's queues, for its tasks.
pub(crate) struct Ends {
    pub(crate) pipeline: mpsc::Receiver<Message>,
    pub(crate) snapshots: mpsc::UnboundedReceiver<Message>,
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
        let (snapshots, snapshots_end) = mpsc::unbounded_channel();
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
            numbers: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            failures: AtomicU64::new(0),
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
        let stream = self.streams[place(kind)].lock();
        match &*stream {
            Some(outgoing) => match outgoing.sender.try_send(message) {
                Ok(()) => Ok(true),
                Err(mpsc::error::TrySendError::Full(_)) => Ok(false),
                Err(mpsc::error::TrySendError::Closed(message)) => Err(message),
            },
            None => Err(message),
        }
    }

    /// A stream that the member has opened takes the place of an older one.
    pub(crate) fn attach(&self, kind: Kind) -> (u64, mpsc::Receiver<Message>) {
        let (sender, receiver) = mpsc::channel(STREAM_QUEUE);
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        *self.streams[place(kind)].lock() = Some(Outgoing { number, sender });
        (number, receiver)
    }

    /// The stream has ended, unless a newer one has taken its place.
    pub(crate) fn detach(&self, kind: Kind, number: u64) -> bool {
        let mut stream = self.streams[place(kind)].lock();
        let own = stream.as_ref().is_some_and(|s| s.number == number);
        if own {
            *stream = None;
        }
        own
    }

    pub(crate) fn active_since(&self) -> Option<Instant> {
        *self.active_since.lock()
    }

    /// Something went through.
    pub(crate) fn activate(&self) {
        self.unreachable.store(false, Ordering::Relaxed);
        let mut since = self.active_since.lock();
        if since.is_none() {
            *since = Some(Instant::now());
            tracing::info!("peer-id" = format!("{:x}", self.id), "peer became active");
        }
    }

    /// Something did not go through.
    pub(crate) fn deactivate(&self, why: &dyn std::fmt::Display) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        if self.active_since.lock().take().is_some() {
            tracing::warn!(
                "peer-id" = format!("{:x}", self.id),
                error = %why,
                "peer became inactive (message send to peer failed)"
            );
        }
    }

    /// True the first time something was dropped since something last arrived.
    pub(crate) fn dropped(&self) -> bool {
        !self.unreachable.swap(true, Ordering::Relaxed)
    }

    /// Waits for the end of the member.
    pub(crate) async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        let _ = stop.wait_for(|stop| *stop).await;
    }
}
