//! Which version the database's schema has, and what stands against a lower one.

use line::Line;
use semver::Version;

/// Which version the schema has, and what stands against a lower one.
pub(super) struct Storage {
    /// The line of the schema: 3.5 where the database does not say.
    pub(super) line: Line,
    /// For each line, the last entry that no earlier one reads.
    demands: [u64; Line::ALL.len()],
    /// A downgrade waits for a snapshot, which has been said.
    pub(super) waits: bool,
}

impl Storage {
    /// As the database has it.
    pub(super) fn new(stored: Option<&Version>) -> Storage {
        Storage {
            line: stored.and_then(Line::of).unwrap_or(Line::V3_5),
            demands: [0; Line::ALL.len()],
            waits: false,
        }
    }

    /// The entry at `index` is to be read by this version at least. etcd's own tests write such
    /// entries, and nothing else does.
    pub(super) fn demand(&mut self, version: &str, index: u64) {
        let line = Version::parse(version).map_or(Line::NEWEST, |version| {
            let newest = Line::of(&version).unwrap_or(Line::NEWEST);
            newest.max(Line::V3_6)
        });
        self.demands[line as usize] = index;
    }

    /// Whether an entry after the snapshot at `index` asks for a reader above `line`.
    pub(super) fn is_held_up(&self, line: Line, index: u64) -> bool {
        let newer = Line::ALL.into_iter().filter(|newer| *newer > line);
        newer.map(|newer| self.demands[newer as usize]).max() > Some(index)
    }
}
