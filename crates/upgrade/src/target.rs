//! Where an upgrade leads. Kubernetes names no etcd version in its own number, so
//! a table says which one kubeadm deploys; it must never be read backwards: what
//! a member runs is asked of the member.

use std::fmt;

use line::Line;
use semver::{Prerelease, Version};

/// Why a text names no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A version of Kubernetes that the table lacks.
    #[error(
        "{given}: known are kubernetes:1.{first} to kubernetes:1.{last}; for another one name the etcd version that it deploys"
    )]
    Kubernetes {
        /// As it was given.
        given: String,
        /// The first minor version that is known.
        first: u64,
        /// The last one.
        last: u64,
    },
    /// A release of etcd that is older or newer than those known here.
    #[error("etcd {0} is not known here; 3.4 to 3.7 are, and 3.8.0-alpha.0")]
    Unknown(Version),
    /// Pintle at a line that it does not have.
    #[error("{0}: Pintle has the lines 3.5, 3.6 and 3.7")]
    NoLine(String),
    /// Not the version of a release.
    #[error("{0:?} is no release of etcd")]
    NoRelease(String),
    /// The tag of an image, or a build of a distribution.
    #[error("{text:?} is no release of etcd: {release} is, and the rest is of a tag or a build")]
    Build {
        /// As it was given.
        text: String,
        /// The release in it.
        release: Version,
    },
    /// None of the forms of a target.
    #[error(
        "{given:?} is no target: {why}; give an etcd version like 3.6.14, kubernetes:1.34, pintle, or pintle:3.6"
    )]
    NoTarget {
        /// As it was given.
        given: String,
        /// Why it is no release either.
        why: Box<Error>,
    },
}

/// What is to run afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The etcd release, or the one that the line of Pintle stands for.
    pub version: Version,
    /// Whether it is Pintle that will run.
    pub is_pintle: bool,
    /// As it was given.
    pub given: String,
}

/// The etcd that a Kubernetes minor deploys: kubeadm's choice at its first
/// release, and the newest patch known for it.
const KUBERNETES: [(u64, &str, &str); 11] = [
    (28, "3.5.9", "3.5.15"),
    (29, "3.5.10", "3.5.16"),
    (30, "3.5.12", "3.5.15"),
    (31, "3.5.15", "3.5.24"),
    (32, "3.5.16", "3.5.24"),
    (33, "3.5.21", "3.5.24"),
    (34, "3.6.4", "3.6.5"),
    (35, "3.6.6", "3.6.6"),
    (36, "3.6.8", "3.6.8"),
    (37, "3.7.0", "3.7.0"),
    (38, "3.7.1", "3.7.1"),
];

/// The newest etcd that is known to go with a Kubernetes minor version.
pub fn kubernetes_deploys(minor: u64) -> Option<Version> {
    let row = KUBERNETES.iter().find(|(known, _, _)| *known == minor)?;
    Version::parse(row.2).ok()
}

/// How Pintle is named; with `:3.6` after it at that line, else at the line of the cluster.
const PINTLE: &str = "pintle";
/// How a version of Kubernetes is named.
const KUBERNETES_OF: &str = "kubernetes:";

/// Whether Pintle answers this as its version at one of its lines.
pub fn is_of_pintle(version: &Version) -> bool {
    let mut lines = Line::ALL.into_iter();
    lines.any(|line| line.release_version() == *version)
}

impl Target {
    /// Pintle at a line.
    fn pintle(line: Line, given: &str) -> Target {
        Target {
            version: line.release_version(),
            is_pintle: true,
            given: given.to_owned(),
        }
    }

    /// Pintle at a line, as the command line names it.
    pub(crate) fn pintle_at(line: Line) -> Target {
        Target::pintle(line, &format!("{PINTLE}:{line}"))
    }

    /// A release of etcd.
    pub(crate) fn etcd(version: Version) -> Target {
        Target {
            given: version.to_string(),
            version,
            is_pintle: false,
        }
    }

    /// What goes with a version of Kubernetes where all members run Pintle: the line of the etcd
    /// that it deploys.
    pub(crate) fn of_pintles(&self) -> Target {
        let is_kubernetes = self.given.starts_with(KUBERNETES_OF);
        match Line::of(&self.version).filter(|_| is_kubernetes) {
            Some(line) => Target::pintle(line, &self.given),
            None => self.clone(),
        }
    }

    /// The same where Pintle is named without a line: at the one that it finds in `cluster`.
    pub fn on(&self, cluster: Option<&Version>) -> Target {
        match cluster.and_then(Line::of) {
            Some(line) if self.given == PINTLE => Target::pintle(line, PINTLE),
            _ => self.clone(),
        }
    }

    /// Reads `3.6.14`, `v3.6.14`, `kubernetes:1.34`, `pintle` or `pintle:3.6`.
    ///
    /// # Errors
    /// It is none of these; the text says what is.
    pub fn parse(text: &str) -> Result<Target, Error> {
        let given = text.trim();
        if given == PINTLE {
            return Ok(Target::pintle(Line::V3_5, given));
        }
        let asked = given
            .strip_prefix(PINTLE)
            .and_then(|rest| rest.strip_prefix(':'));
        if let Some(word) = asked {
            let line = Line::ALL.into_iter().find(|line| line.to_string() == word);
            let line = line.ok_or_else(|| Error::NoLine(given.to_owned()))?;
            return Ok(Target::pintle(line, given));
        }
        if let Some(kubernetes) = given.strip_prefix(KUBERNETES_OF) {
            let minor = kubernetes.strip_prefix('v').unwrap_or(kubernetes);
            let minor = minor.strip_prefix("1.").unwrap_or_default();
            let minor = minor.split('.').next().unwrap_or_default();
            let row = KUBERNETES
                .iter()
                .find(|(known, _, _)| minor.parse() == Ok(*known));
            let Some((_, _, newest)) = row else {
                let (first, last) = (KUBERNETES[0].0, KUBERNETES[KUBERNETES.len() - 1].0);
                return Err(Error::Kubernetes {
                    given: given.to_owned(),
                    first,
                    last,
                });
            };
            let version =
                Version::parse(newest).map_err(|_| Error::NoRelease((*newest).to_owned()))?;
            return Ok(Target {
                version,
                is_pintle: false,
                given: given.to_owned(),
            });
        }
        let version = release(given).map_err(|why| Error::NoTarget {
            given: given.to_owned(),
            why: Box::new(why),
        })?;
        let is_line = version.major == 3 && (4..=7).contains(&version.minor);
        if !is_line && !is_known_before_release(&version) {
            return Err(Error::Unknown(version));
        }
        Ok(Target {
            version,
            is_pintle: false,
            given: given.to_owned(),
        })
    }

    /// True for 3.6 and later.
    pub fn reads_database(&self) -> bool {
        !self.is_pintle && (self.minor() >= 6 || self.version == Version::new(3, 5, 0))
    }

    /// Whether it is published for trials alone.
    pub fn is_pre_release(&self) -> bool {
        !self.version.pre.is_empty()
    }

    /// The minor version.
    pub fn minor(&self) -> u64 {
        self.version.minor
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_kubernetes = self.given.starts_with(KUBERNETES_OF);
        match (self.is_pintle, is_kubernetes) {
            (true, false) => write!(f, "pintle (etcd {})", self.version),
            (true, true) => write!(
                f,
                "pintle (etcd {}), the line of {}",
                self.version, self.given
            ),
            (false, false) => write!(f, "etcd {}", self.version),
            (false, true) => write!(f, "etcd {}, which {} deploys", self.version, self.given),
        }
    }
}

/// Reads the version of a release, `3.6.14` or `v3.6.14`, and nothing that only looks
/// like one: tags of images and builds of distributions have more behind it, and no
/// member ever reports that.
///
/// # Errors
/// It is none.
pub fn release(text: &str) -> Result<Version, Error> {
    let plain = text.strip_prefix('v').unwrap_or(text);
    let version = Version::parse(plain).map_err(|_| Error::NoRelease(text.to_owned()))?;
    let release = Version::new(version.major, version.minor, version.patch);
    match version == release || is_known_before_release(&version) {
        true => Ok(version),
        false => Err(Error::Build {
            text: text.to_owned(),
            release,
        }),
    }
}

/// The one pre-release whose source is known here: 3.7.0 under the number of 3.8. It reads what
/// 3.7 reads, and ends on what 3.7 ends on.
fn pre_release() -> Version {
    Version {
        pre: Prerelease::new("alpha.0").unwrap_or_default(),
        ..Version::new(3, 8, 0)
    }
}

/// Whether that is it: members report it in full, as they do a release.
fn is_known_before_release(version: &Version) -> bool {
    *version == pre_release()
}

/// The oldest patch of a minor from which the next minor may be entered.
pub fn floor(from_minor: u64) -> Option<Version> {
    match from_minor {
        5 => Some(Version::new(3, 5, 26)),
        6 => Some(Version::new(3, 6, 11)),
        _ => None,
    }
}

/// The newest patch of the target's minor that is known here, if the target is newer than that:
/// there may be no such release.
pub fn unknown(target: &Target) -> Option<Version> {
    let newest = newest(target.minor());
    (!target.is_pintle && target.version > newest).then_some(newest)
}

/// The newest patch of a minor that is known here.
pub fn newest(minor: u64) -> Version {
    match minor {
        4 => Version::new(3, 4, 45),
        5 => Version::new(3, 5, 35),
        6 => Version::new(3, 6, 16),
        8 => pre_release(),
        _ => Version::new(3, 7, 3),
    }
}

/// Bugs by which a release loses or corrupts data in ordinary use: the last release
/// of 3.5 that has it, and its name.
static LOSES_DATA: [(Version, &str); 3] = [
    (
        Version::new(3, 5, 2),
        "etcd#13766, the index is saved before the data: members diverge when one is killed under load",
    ),
    (
        Version::new(3, 5, 4),
        "etcd#14370, a cluster of one member answers before its log is on disk: acknowledged writes are lost by a power failure",
    ),
    (
        Version::new(3, 5, 5),
        "etcd#14685, a crash during defragmentation: members diverge",
    ),
];

/// The bug by which a release loses or corrupts data in ordinary use, if it has one.
pub fn loses_data(version: &Version) -> Option<&'static str> {
    let is_3_5 = version.major == 3 && version.minor == 5;
    let mut bugs = LOSES_DATA
        .iter()
        .filter(|(last, _)| is_3_5 && version <= last);
    bugs.next().map(|(_, bug)| *bug)
}
