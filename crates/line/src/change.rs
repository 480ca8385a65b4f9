//! A change of the line of a running cluster, as each of its members keeps it until it is over.

use std::fmt;

use semver::Version;

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

    /// Whether it is one step, which is all that a cluster goes at a time.
    pub fn is_one_step(self) -> bool {
        (self.from as u8).abs_diff(self.to as u8) == 1
    }

    /// Whether it is decided in the log, by the downgrade with this target: no member takes it back
    /// alone from there, for it would be left behind.
    pub fn is_decided(self, downgrade: Option<&str>) -> bool {
        !self.is_up() && leads_to(downgrade, self.to)
    }

    /// Whether a cluster of this version has arrived: what is left of the change ends by itself.
    pub fn is_over_at(self, version: &Version) -> bool {
        let to = self.to.cluster_version();
        match self.is_up() {
            true => *version >= to,
            false => *version <= to,
        }
    }
}

/// Whether the downgrade with this target leads to a line.
pub fn leads_to(downgrade: Option<&str>, line: Line) -> bool {
    let target = downgrade.and_then(|text| Version::parse(text).ok());
    target.and_then(|target| Line::of(&target)) == Some(line)
}

/// What a member keeps of its line, in words that etcd does not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kept {
    /// Nothing: the cluster version says it.
    #[default]
    Nothing,
    /// The line that it was founded with. It counts until the member hears of its cluster.
    Founded(Line),
    /// A change that is under way. It says nothing about the line at a start: the cluster may have
    /// moved since, or the change been given up.
    Change(Change),
}

impl Kept {
    /// Reads what [`Kept`] is written as; `None` for anything else.
    pub fn parse(text: &str) -> Option<Kept> {
        match text.trim().split_once(" from ") {
            None => Line::parse(text.trim()).map(Kept::Founded),
            Some((to, from)) => {
                let (from, to) = (Line::parse(from)?, Line::parse(to)?);
                let change = Change { from, to };
                change.is_one_step().then_some(Kept::Change(change))
            }
        }
    }

    /// The change that blocks another one, in a cluster of this version.
    pub fn blocks(self, change: Change, version: Option<&Version>) -> Option<Change> {
        match self {
            Kept::Change(other) if other != change => {
                let is_over = version.is_some_and(|version| other.is_over_at(version));
                (!is_over).then_some(other)
            }
            _ => None,
        }
    }
}

/// `3.6 from 3.5`
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.to, self.from)
    }
}
