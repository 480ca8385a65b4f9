//! What can be wrong with a history.

use std::fmt;

/// What kind of wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A revision that no one told, though a later one exists.
    Gap,
    /// Two watchers tell one revision differently.
    Disagreement,
    /// An event's counters or previous pair do not follow from what was before.
    BadEvent,
    /// An acknowledged write is not in the order of writes.
    LostWrite,
    /// Two acknowledged writes name one revision.
    SharedRevision,
    /// A value was written twice.
    DoubledWrite,
    /// A value no one wrote, or a delete no one asked for.
    FromNowhere,
    /// A write that was refused took effect.
    RefusedWrite,
    /// A transaction took effect in part, or with the wrong branch.
    BrokenTxn,
    /// An answer differs from the store at the revision it names.
    WrongAnswer,
    /// A read saw a state older than what was known before it began.
    StaleRead,
    /// A write took effect before one that had ended when it began.
    ReorderedWrite,
    /// A write was seen before it was asked for.
    FromFuture,
    /// One process answered with an older state than it had answered before.
    WentBack,
    /// A revision was read after it was compacted.
    CompactedRead,
    /// A watcher missed an event.
    MissingEvent,
    /// A watcher was told an event again.
    DoubledEvent,
    /// A watcher was told events out of order.
    UnorderedEvent,
    /// A watcher was told what it did not ask for.
    ForeignEvent,
    /// A progress notice, or a header, came before the events it covers.
    EarlyProgress,
    /// A lease ended before its time.
    EarlyExpiry,
    /// A lease's end left keys, or took them in more than one revision.
    PartialExpiry,
    /// A lease that had ended took a key or was renewed.
    RisenLease,
}

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Kind::Gap => "a revision that no one told",
            Kind::Disagreement => "watchers disagree",
            Kind::BadEvent => "an event does not follow from the state before it",
            Kind::LostWrite => "an acknowledged write is lost",
            Kind::SharedRevision => "two writes share a revision",
            Kind::DoubledWrite => "a write took effect twice",
            Kind::FromNowhere => "a change that no one asked for",
            Kind::RefusedWrite => "a refused write took effect",
            Kind::BrokenTxn => "a transaction is not atomic",
            Kind::WrongAnswer => "an answer differs from the state at its revision",
            Kind::StaleRead => "a stale read",
            Kind::ReorderedWrite => "writes in the wrong order",
            Kind::FromFuture => "a write seen before it was asked for",
            Kind::WentBack => "a member went back in time",
            Kind::CompactedRead => "a compacted revision was read",
            Kind::MissingEvent => "a watcher missed an event",
            Kind::DoubledEvent => "a watcher was told an event twice",
            Kind::UnorderedEvent => "a watcher was told events out of order",
            Kind::ForeignEvent => "a watcher was told what it did not ask for",
            Kind::EarlyProgress => "progress ahead of events",
            Kind::EarlyExpiry => "a lease ended early",
            Kind::PartialExpiry => "a lease did not end in one revision",
            Kind::RisenLease => "a lease is used after its end",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The kind.
    pub kind: Kind,
    /// The calls and revisions.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.text)
    }
}

/// Where the parts of the checker put what they find.
#[derive(Debug, Default)]
pub(super) struct Findings(pub(super) Vec<Violation>);

impl Findings {
    pub(super) fn add(&mut self, kind: Kind, text: impl Into<String>) {
        let text = text.into();
        self.0.push(Violation { kind, text });
    }
}
