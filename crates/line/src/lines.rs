//! The names of the lines.

/// A release line of etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Line {
    /// etcd 3.5: the v2 tree is the authority on membership.
    V3_5,
    /// etcd 3.6: the database is, and it knows its own version.
    V3_6,
    /// etcd 3.7: there is no v2 tree.
    V3_7,
}

impl Line {
    /// Every line, the oldest first.
    pub const ALL: [Line; 3] = [Line::V3_5, Line::V3_6, Line::V3_7];

    /// The line that a new cluster has if nothing is asked for.
    pub const DEFAULT: Line = Line::V3_5;

    /// The newest line.
    pub const NEWEST: Line = Line::V3_7;
}
