//! What clients asked, what they were answered, and when, on one monotonic
//! clock. A call without an answer may or may not have happened; only a
//! refusal that leaves no trace counts as failed. It must never hold an answer
//! that was not received.

use std::fmt;

/// Microseconds since the run began.
pub type Us = u64;

/// A key with its value, as etcd answers it.
#[derive(Clone, PartialEq, Eq)]
pub struct Kv {
    /// The key.
    pub key: String,
    /// The value; every write of a run has one of its own.
    pub value: String,
    /// Revision that made the key.
    pub create: i64,
    /// Revision that wrote this value.
    pub modified: i64,
    /// Writes since the key was made.
    pub version: i64,
    /// The lease it hangs on; 0 for none.
    pub lease: i64,
}

impl fmt::Debug for Kv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}={}@{}(create {}, version {}, lease {:x})",
            self.key, self.value, self.modified, self.create, self.version, self.lease
        )
    }
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The key has this value now; what it had before.
    Put(Kv, Option<Kv>),
    /// The key is gone since `revision`; what it had before.
    Delete {
        /// The key.
        key: String,
        /// Revision of the delete.
        revision: i64,
        /// What it had before.
        prev: Option<Kv>,
    },
}

impl Event {
    /// The key it is about.
    pub fn key(&self) -> &str {
        match self {
            Event::Put(kv, _) => &kv.key,
            Event::Delete { key, .. } => key,
        }
    }

    /// The revision that made it.
    pub fn revision(&self) -> i64 {
        match self {
            Event::Put(kv, _) => kv.modified,
            Event::Delete { revision, .. } => *revision,
        }
    }

    /// What the key had before.
    pub fn prev(&self) -> Option<&Kv> {
        match self {
            Event::Put(_, prev) | Event::Delete { prev, .. } => prev.as_ref(),
        }
    }
}

/// What a comparison of a transaction looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The number of writes since the key was made; 0 without the key.
    Version(i64),
    /// The revision that made the key; 0 without it.
    Create(i64),
    /// The revision that wrote it; 0 without it.
    Modified(i64),
    /// The value; a key that is not there has none and compares as false.
    Value(String),
}

/// `key`'s target equals this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The key.
    pub key: String,
    /// What it must equal.
    pub target: Target,
}

/// One request inside a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Writes a value.
    Put(String, String),
    /// Deletes a key.
    Delete(String),
    /// Reads a key.
    Get(String),
}

/// What was asked. Puts and deletes ask for the previous pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Writes a value.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// The lease, or 0.
        lease: i64,
    },
    /// Deletes one key.
    Delete {
        /// The key.
        key: String,
    },
    /// Reads.
    Get {
        /// One key, or all.
        key: Option<String>,
        /// Whether the member may answer from what it has.
        serializable: bool,
        /// A past revision, or 0.
        revision: i64,
    },
    /// A transaction. A branch that writes has a put with a value of its own.
    Txn {
        /// All must hold.
        compares: Vec<Compare>,
        /// If they do.
        then: Vec<Step>,
        /// If not.
        otherwise: Vec<Step>,
    },
    /// A lease of this id.
    Grant {
        /// Its id.
        lease: i64,
        /// Seconds.
        ttl: i64,
    },
    /// Ends a lease.
    Revoke {
        /// Its id.
        lease: i64,
    },
    /// Renews a lease.
    KeepAlive {
        /// Its id.
        lease: i64,
    },
    /// Forgets what was before this revision.
    Compact {
        /// The revision.
        revision: i64,
    },
}

/// What was answered, beside the revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// The pair before.
    Put(Option<Kv>),
    /// How many keys went, and their pairs.
    Delete(i64, Vec<Kv>),
    /// The pairs, in key order.
    Range(Vec<Kv>),
    /// Which branch ran, and its answers.
    Txn(bool, Vec<Body>),
    /// The seconds granted or left; 0 for a lease that is gone.
    Ttl(i64),
    /// Nothing but a revision.
    Done,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With an answer.
    Ok {
        /// `header.revision`.
        revision: i64,
        /// The rest.
        body: Body,
    },
    /// With a refusal that leaves no trace.
    Failed(String),
    /// Without an answer, or with an error that does not say whether it happened.
    Unknown(String),
}

/// One call.
#[derive(Clone, Debug)]
pub struct Op {
    /// Who asked.
    pub client: usize,
    /// The member asked.
    pub place: usize,
    /// How often that member had been started when the call began, and when it
    /// ended: both equal mean one process.
    pub starts: (u32, u32),
    /// Just before the call was sent.
    pub invoke: Us,
    /// Just after its end was known.
    pub returned: Us,
    /// What was asked.
    pub call: Call,
    /// How it ended.
    pub outcome: Outcome,
}

/// One message of a watch stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// When it came.
    pub at: Us,
    /// `header.revision`.
    pub revision: i64,
    /// The events; none means a progress notice.
    pub events: Vec<Event>,
}

/// One watch stream, from its creation to its end.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The member watched.
    pub place: usize,
    /// The first revision asked for.
    pub start: i64,
    /// What came, in order.
    pub messages: Vec<Message>,
}

/// One watcher over all its streams: each begins right after what the one
/// before has told, its progress notices included.
#[derive(Clone, Debug)]
pub struct Watcher {
    /// For messages of the checker.
    pub name: String,
    /// One key, or all.
    pub key: Option<String>,
    /// Its streams.
    pub segments: Vec<Segment>,
}

/// A recorded run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The calls, in any order.
    pub ops: Vec<Op>,
    /// The watchers.
    pub watchers: Vec<Watcher>,
    /// When a member may have led without knowing that it no longer did (it
    /// stood still, was cut off, or came back from either). etcd answers
    /// keepalives from what the member believes, so those prove nothing.
    pub doubtful: Vec<(Us, Us)>,
}
