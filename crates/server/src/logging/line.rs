//! A line as it is written, and what the journal is told besides.

#[derive(Clone)]
pub(super) struct Line {
    pub(super) level: String,
    pub(super) caller: String,
    pub(super) text: String,
}

impl Line {
    /// Whether the process ends after it.
    pub(super) fn is_fatal(&self) -> bool {
        self.level == "fatal"
    }
}
