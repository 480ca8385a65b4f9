//! A line as it is written, and what the journal is told besides.

pub(super) struct Line {
    pub(super) level: String,
    pub(super) caller: String,
    pub(super) text: String,
}
