//! `--line`: which line a member speaks. An existing directory keeps the line of its cluster, so
//! that the release it came from can always continue with it; a line may be asked for within one
//! minor of that.

use semver::Version;

use crate::{
    change::Kept,
    lines::Line,
    versions::{below, minor},
};

/// What an operator asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The line of the cluster; [`Line::DEFAULT`] for a new one.
    #[default]
    Auto,
    /// This line.
    Fixed(Line),
}

impl Choice {
    /// The words of the flag.
    pub const WORDS: [&'static str; 4] = ["auto", "3.5", "3.6", "3.7"];

    /// What is left of what a member keeps: a change that does not lead to the line that is asked
    /// for is not continued.
    pub fn leave(self, kept: Kept) -> Kept {
        match (kept, self) {
            (Kept::Change(change), Choice::Fixed(line)) if line != change.to => Kept::Nothing,
            _ => kept,
        }
    }

    /// The highest line that a member can follow its cluster to while it runs. One that was not
    /// told a line would find the higher one at its next start; another one ends first.
    pub fn highest(self, spoken: Line) -> Line {
        match self {
            Choice::Auto => Line::NEWEST,
            Choice::Fixed(_) => spoken,
        }
    }

    /// Reads a word of the flag.
    pub fn parse(word: &str) -> Option<Choice> {
        match word {
            "auto" => Some(Choice::Auto),
            _ => Line::parse(word).map(Choice::Fixed),
        }
    }

    /// The line of a cluster that is founded with this.
    pub fn of_new_cluster(self) -> Line {
        match self {
            Choice::Auto => Line::DEFAULT,
            Choice::Fixed(line) => line,
        }
    }

    /// The line to speak where this is known of the cluster.
    ///
    /// # Errors
    /// No line here fits, or not the one that is asked for.
    pub fn resolve(self, known: &Known) -> Result<Line, Unfit> {
        let Some(cluster) = known.newest() else {
            return Ok(match self {
                Choice::Auto => match known.kept {
                    Kept::Founded(line) => line,
                    Kept::Nothing | Kept::Change(_) => Line::DEFAULT,
                },
                Choice::Fixed(line) => line,
            });
        };
        if minor(cluster) > minor(&Line::NEWEST.cluster_version()) {
            return Err(Unfit::TooNew {
                found: cluster.clone(),
            });
        }
        match self {
            // Before 3.5 there is no line of one's own: members of 3.5 serve such clusters.
            Choice::Auto => Ok(Line::of(cluster).unwrap_or(Line::V3_5)),
            Choice::Fixed(line) if !line.takes_part_in(cluster) => Err(Unfit::Newer {
                found: cluster.clone(),
                asked: line,
            }),
            Choice::Fixed(line) if is_far_above(line, cluster) => Err(Unfit::Older {
                found: cluster.clone(),
                asked: line,
            }),
            Choice::Fixed(line) => Ok(line),
        }
    }
}

/// Whether the cluster would have to skip a minor version. Every version before 3.5 is one that a
/// member of 3.5 serves.
pub fn is_far_above(line: Line, cluster: &Version) -> bool {
    line > Line::V3_5
        && below(&line.cluster_version()).is_some_and(|below| minor(cluster) < minor(&below))
}

/// What is known of a cluster before a member speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The cluster version, wherever it was found: the newest of them counts, for an entry that
    /// raises it may be in the log and not yet in the database.
    pub cluster: Vec<Version>,
    /// The version of the database's schema, if it says so.
    pub storage: Option<Version>,
    /// What this member keeps of its line.
    pub kept: Kept,
}

impl Known {
    /// The newest version that a member must know. A schema that is one minor above its cluster
    /// is on its way down, and counts as far as no line here knows it.
    fn newest(&self) -> Option<&Version> {
        let unknown = |version: &&Version| minor(version) > minor(&Line::NEWEST.cluster_version());
        let cluster = self.cluster.iter().max();
        let storage = self.storage.as_ref();
        match cluster {
            Some(cluster) => Some(storage.filter(unknown).unwrap_or(cluster)),
            None => storage,
        }
    }
}

/// Why a line cannot be spoken. The texts say what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The cluster is newer than every line.
    #[error(
        "invalid downgrade; server version is lower than determined cluster version: the data directory belongs to a \
         cluster of version {found}, which is newer than {}; downgrade the cluster first, or start a newer server",
        Line::NEWEST.release()
    )]
    TooNew {
        /// The version that was found.
        found: Version,
    },
    /// The cluster is newer than the line that is asked for.
    #[error(
        "invalid downgrade; server version is lower than determined cluster version: the data directory belongs to a \
         cluster of version {found}, which is newer than {}; downgrade the cluster first, or start with --line={} or \
         --line=auto",
        asked.release(), line_of(found)
    )]
    Newer {
        /// The version that was found.
        found: Version,
        /// The line that is asked for.
        asked: Line,
    },
    /// The cluster is more than one minor version older than the line that is asked for.
    #[error(
        "--line={asked} is more than one minor version above the cluster, whose version is {found}: a cluster goes up one \
         minor version at a time; start with --line={} or --line=auto first",
        next_above(found)
    )]
    Older {
        /// The version that was found.
        found: Version,
        /// The line that is asked for.
        asked: Line,
    },
}

fn line_of(version: &Version) -> Line {
    Line::of(version).unwrap_or(Line::DEFAULT)
}

/// The line that a cluster of this version can go up to.
fn next_above(version: &Version) -> Line {
    let next = Version::new(version.major, version.minor + 1, 0);
    Line::of(&next).unwrap_or(Line::V3_5)
}
