//! The truth table of recovery: what a place in a segment means, given what is
//! known about it. Must never call a place torn that a sync had covered.
//!
//! A place is *torn* when an interrupted write explains it: the frame ends
//! past the end of the file, or one of its sectors is still zero. So does one
//! with garbage in the place of its length, as long as nothing there or after
//! looks like a record. Anything else that does not read back is *broken*, bit
//! rot or a stray write, and is never repaired.
//!
//! Even a torn-looking place may be rot. A log is written in batches, each
//! made durable as a whole before the next: entries first, the hard state last
//! (a batch with only a hard state is not synced), a snapshot record in one
//! without entries. So intact records further on can prove that the place had
//! been made durable; see [`Later`].

use crate::frame::RecordType;

/// Position of the segment in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment {
    /// Others follow; it was synced as a whole when it was cut.
    Earlier,
    /// The one being written.
    Last,
}

/// What the reader may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Only look.
    Read,
    /// Go on writing; a torn end may be repaired.
    Repair,
    /// Go on writing; a torn end is to be reported.
    Write,
}

/// What was found at a place where a frame should begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A frame, and its checksum is right.
    Whole,
    /// Nothing: end of file, or zeros.
    End,
    /// What an interrupted write leaves.
    Torn,
    /// What no write leaves.
    Broken,
}

/// What the intact records behind a torn place prove about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Later {
    /// Nothing: all of them may belong to the same interrupted write.
    Silent,
    /// A later batch follows, so a sync had covered the place.
    Durable,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Use the record and go on behind it.
    Take,
    /// Continue with the next segment.
    NextSegment,
    /// The log ends here.
    Finish,
    /// The log ends here; what follows stays as it is.
    FinishBeforeTorn,
    /// The log ends here; keep a copy of the segment and clear what follows.
    Repair,
    /// Stop: the end is torn, and the caller did not allow repair.
    RefuseTorn,
    /// Stop: durable bytes are damaged.
    RefuseCorrupt,
}

/// One row; `None` matches anything.
#[derive(Debug)]
pub struct Row {
    /// Position of the segment.
    pub segment: Option<Segment>,
    /// What was found.
    pub place: Place,
    /// What follows.
    pub later: Option<Later>,
    /// What the reader may do.
    pub access: Option<Access>,
    /// What to do.
    pub action: Action,
}

const fn row(
    segment: Option<Segment>,
    place: Place,
    later: Option<Later>,
    access: Option<Access>,
    action: Action,
) -> Row {
    Row {
        segment,
        place,
        later,
        access,
        action,
    }
}

/// The table. Exactly one row matches any input.
#[rustfmt::skip]
pub const TABLE: [Row; 9] = [
    row(None,                   Place::Whole,  None,                 None,                 Action::Take),
    row(Some(Segment::Earlier), Place::End,    None,                 None,                 Action::NextSegment),
    row(Some(Segment::Last),    Place::End,    None,                 None,                 Action::Finish),
    row(None,                   Place::Broken, None,                 None,                 Action::RefuseCorrupt),
    row(Some(Segment::Earlier), Place::Torn,   None,                 None,                 Action::RefuseCorrupt),
    row(Some(Segment::Last),    Place::Torn,   Some(Later::Durable), None,                 Action::RefuseCorrupt),
    row(Some(Segment::Last),    Place::Torn,   Some(Later::Silent),  Some(Access::Read),   Action::FinishBeforeTorn),
    row(Some(Segment::Last),    Place::Torn,   Some(Later::Silent),  Some(Access::Repair), Action::Repair),
    row(Some(Segment::Last),    Place::Torn,   Some(Later::Silent),  Some(Access::Write),  Action::RefuseTorn),
];

impl Row {
    /// Whether this row speaks about the input.
    pub fn matches(&self, segment: Segment, place: Place, later: Later, access: Access) -> bool {
        self.segment.is_none_or(|s| s == segment)
            && self.place == place
            && self.later.is_none_or(|l| l == later)
            && self.access.is_none_or(|a| a == access)
    }
}

/// Looks the input up in [`TABLE`].
pub fn decide(segment: Segment, place: Place, later: Later, access: Access) -> Action {
    TABLE
        .iter()
        .find(|row| row.matches(segment, place, later, access))
        .map_or(Action::RefuseCorrupt, |row| row.action)
}

/// Watches the intact records behind a torn place for the proof of a sync.
///
/// An entry followed by a hard state ends a batch that was synced before
/// anything else was written, and so does a snapshot record; the next entry or
/// snapshot record belongs to a later batch. Hard states prove nothing by
/// themselves, since a batch with only a hard state is not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Witness {
    entry: bool,
    batch_ended: bool,
}

impl Witness {
    /// Begins with the type of the torn record itself, if that is readable.
    pub fn new(torn: Option<RecordType>) -> Self {
        Self {
            entry: torn == Some(RecordType::Entry),
            batch_ended: torn == Some(RecordType::Snapshot),
        }
    }

    /// Takes the next intact record; tells what is proven by now.
    pub fn see(&mut self, kind: RecordType) -> Later {
        let durable = match kind {
            RecordType::Entry => self.batch_ended,
            RecordType::Snapshot => self.entry || self.batch_ended,
            RecordType::State | RecordType::Metadata | RecordType::Crc => false,
        };
        match kind {
            RecordType::Entry => self.entry = true,
            RecordType::State => self.batch_ended |= self.entry,
            RecordType::Snapshot => self.batch_ended = true,
            RecordType::Metadata | RecordType::Crc => {}
        }
        if durable {
            Later::Durable
        } else {
            Later::Silent
        }
    }
}

#[cfg(test)]
mod tests;
