//! One row for each line.

use std::fmt;

use semver::Version;

use crate::{
    lines::Line,
    versions::{is_same_minor, minor},
};

/// What a line does in its own way.
#[derive(Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its minor version.
    minor: u64,
    /// The release that its members announce: in `/version`, in `Status`, to each other.
    pub release: &'static str,
    /// Which copy of the membership is the authority when a directory is opened.
    pub truth: Truth,
    /// How a member writes its attributes and the cluster version into the log.
    pub own_entries: OwnEntries,
    /// What a `.snap` file has in place of data.
    pub snapshot_data: SnapshotData,
    /// Whether the database says which version its schema has (`meta/storageVersion`), as soon as
    /// the cluster version is one of such a line.
    pub stores_version: bool,
    /// Whether the cluster version comes down as soon as a downgrade is enabled, with members of
    /// this line in the cluster. Otherwise it waits for the other members: those of such a line
    /// end for good when they read a lower version.
    pub lowers_at_once: bool,
    /// `--snapshot-count` of a member that is not told another: entries between two snapshots.
    pub snapshot_count: u64,
}

/// Which copy of the membership is the authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// The v2 tree of the newest `.snap`, with the log after it.
    V2Store,
    /// The buckets of the database.
    V3Store,
}

/// How a member writes its attributes and the cluster version into the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnEntries {
    /// As requests of the v2 API, raw: every release up to 3.6 reads them, and 3.7 ends on them.
    V2Requests,
    /// As v3 requests, on which releases before 3.5 end.
    V3Requests,
}

/// What a `.snap` file has in place of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotData {
    /// The v2 tree as every entry since the first has left it.
    Tree,
    /// A tree made anew of the members as of the snapshot.
    Members,
}

// versions.toml has them, too.
const RELEASE_3_5: &str = "3.5.30";
const RELEASE_3_6: &str = "3.6.16";
const RELEASE_3_7: &str = "3.7.3";

/// The rows, the oldest line first.
static FACTS: [Facts; 3] = [
    Facts {
        minor: 5,
        release: RELEASE_3_5,
        truth: Truth::V2Store,
        own_entries: OwnEntries::V2Requests,
        snapshot_data: SnapshotData::Tree,
        stores_version: false,
        lowers_at_once: false,
        snapshot_count: 100_000,
    },
    Facts {
        minor: 6,
        release: RELEASE_3_6,
        truth: Truth::V3Store,
        own_entries: OwnEntries::V3Requests,
        snapshot_data: SnapshotData::Members,
        stores_version: true,
        lowers_at_once: true,
        snapshot_count: 10_000,
    },
    Facts {
        minor: 7,
        release: RELEASE_3_7,
        truth: Truth::V3Store,
        own_entries: OwnEntries::V3Requests,
        snapshot_data: SnapshotData::Members,
        stores_version: true,
        lowers_at_once: true,
        snapshot_count: 10_000,
    },
];

impl Line {
    /// The line of a name, like `3.6`; `None` for any other text.
    pub fn parse(name: &str) -> Option<Line> {
        Line::ALL.into_iter().find(|line| line.to_string() == name)
    }

    /// The line of a version; `None` for one that no line here has.
    pub fn of(version: &Version) -> Option<Line> {
        let line = |line: &Line| is_same_minor(&line.cluster_version(), version);
        Line::ALL.into_iter().find(line)
    }

    /// What it does in its own way.
    pub fn facts(self) -> &'static Facts {
        match self {
            Line::V3_5 => &FACTS[0],
            Line::V3_6 => &FACTS[1],
            Line::V3_7 => &FACTS[2],
        }
    }

    /// The release that a member of this line announces.
    pub fn release(self) -> &'static str {
        self.facts().release
    }

    /// [`Line::release`], parsed.
    pub fn release_version(self) -> Version {
        // The table's own text, which a test parses.
        Version::parse(self.release()).unwrap_or(Version::new(0, 0, 0))
    }

    /// The cluster version that a cluster of such members decides on.
    pub fn cluster_version(self) -> Version {
        Version::new(3, self.facts().minor, 0)
    }

    /// Whether a member of this line may be in a cluster of a version: not in one that is newer
    /// than it.
    pub fn takes_part_in(self, cluster: &Version) -> bool {
        minor(cluster) <= minor(&self.cluster_version())
    }
}

/// `3.6`
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "3.{}", self.facts().minor)
    }
}
