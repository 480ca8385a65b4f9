//! The line that a running member speaks.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use crate::lines::Line;

/// A line that all parts of a member see. None may keep a copy: it changes while they run.
#[derive(Clone, Debug)]
pub struct Spoken(Arc<AtomicU8>);

impl Spoken {
    /// A member that speaks `line`.
    pub fn new(line: Line) -> Spoken {
        Spoken(Arc::new(AtomicU8::new(line as u8)))
    }

    /// From now on the member speaks `line`. For the apply machine alone, between two entries: what
    /// an entry does depends on it.
    pub fn speak(&self, line: Line) {
        self.0.store(line as u8, Ordering::Release);
    }

    /// The line as of now.
    pub fn line(&self) -> Line {
        match self.0.load(Ordering::Acquire) {
            0 => Line::V3_5,
            1 => Line::V3_6,
            _ => Line::V3_7,
        }
    }
}
