//! A change of the line of a running cluster, as each of its members keeps it until it is over.

use std::fmt;

use crate::lines::Line;

/// From one line to a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The line of the cluster when it began.
    pub from: Line,
    /// The line that it is to have.
    pub to: Line,
}

impl Change {
    /// Whether the cluster goes up.
    pub fn is_up(self) -> bool {
        self.to > self.from
    }
}

/// What a member keeps of its line, in words that etcd does not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kept {
    /// Nothing: the cluster version says it.
    #[default]
    Nothing,
    /// The line that it was founded with. It counts until the member hears of its cluster.
    Founded(Line),
    /// A change that is under way. It counts as long as the cluster has the version from which it
    /// began: one that was left undone by a cluster that has moved since is none.
    Change(Change),
}

impl Kept {
    /// Reads what [`Kept`] is written as; `None` for anything else.
    pub fn parse(text: &str) -> Option<Kept> {
        Some(match text.trim().split_once(" from ") {
            None => Kept::Founded(Line::parse(text.trim())?),
            Some((to, from)) => Kept::Change(Change {
                from: Line::parse(from)?,
                to: Line::parse(to)?,
            }),
        })
    }
}

/// `3.6 from 3.5`
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.to, self.from)
    }
}
