//! What names an entry of the log.

/// Index and term of an entry: together they name it in every member's log. A pair of bare numbers
/// would be in one order here and in the other there, as `.snap` files and log segments are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EntryId {
    /// The entry's place in the log, from 1; 0 is before the first.
    pub index: u64,
    /// The term of the leader that proposed it.
    pub term: u64,
}

impl EntryId {
    /// Before the first entry.
    pub const ZERO: EntryId = EntryId { index: 0, term: 0 };
}
