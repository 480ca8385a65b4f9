//! The line that a running member speaks.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU8, Ordering},
};

use semver::Version;

use crate::lines::Line;

/// A line that all parts of a member see. None may keep a copy: it changes while they run.
#[derive(Clone, Debug)]
pub struct Spoken(Arc<Cell>);

#[derive(Debug)]
struct Cell {
    line: AtomicU8,
    is_in_change: AtomicBool,
}

impl Spoken {
    /// A member that speaks `line`.
    pub fn new(line: Line) -> Spoken {
        Spoken(Arc::new(Cell {
            line: AtomicU8::new(line as u8),
            is_in_change: AtomicBool::new(false),
        }))
    }

    /// From now on the member speaks `line`. For the apply machine alone, between two entries: what
    /// an entry does depends on it.
    pub fn speak(&self, line: Line) {
        self.0.line.store(line as u8, Ordering::Release);
    }

    /// The line as of now.
    pub fn line(&self) -> Line {
        match self.0.line.load(Ordering::Acquire) {
            0 => Line::V3_5,
            1 => Line::V3_6,
            _ => Line::V3_7,
        }
    }

    /// A change of the line of the cluster is under way here, or is no more.
    pub fn set_in_change(&self, is_in_change: bool) {
        self.0.is_in_change.store(is_in_change, Ordering::Release);
    }

    /// The line by which an entry is applied in a cluster of this version.
    ///
    /// The members of a cluster whose line changes speak the new one at different entries, but know
    /// the cluster version at the same one: within a change it decides what entries do. Members
    /// that were started at a line above their cluster apply entries as etcd of that line does.
    pub fn of_entries(&self, cluster: Option<&Version>) -> Line {
        let spoken = self.line();
        match cluster.and_then(Line::of) {
            Some(line) if self.0.is_in_change.load(Ordering::Acquire) => line.min(spoken),
            _ => spoken,
        }
    }
}
