//! Versions as `migrate` reads, compares and shows them. Must never take text
//! for a version that etcdutl would not.

use std::fmt;

use cli::text::{parse_int, quote};

/// A release, or with patch 0 the storage that the releases of a line share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) major: i64,
    pub(crate) minor: i64,
    pub(crate) patch: i64,
}

/// The first whose storage can be distinguished from that of others.
pub(crate) const V3_5: Version = Version::line(3, 5);
/// The first that stores its version.
pub(crate) const V3_6: Version = Version::line(3, 6);
/// The first that knows no request of API version 2.
pub(crate) const V3_7: Version = Version::line(3, 7);

impl Version {
    pub(crate) const fn line(major: i64, minor: i64) -> Self {
        Self {
            major,
            minor,
            patch: 0,
        }
    }

    /// Reads `X.Y.Z`; what follows a `-` or `+` decides nothing here.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.split(['+', '-']).next().unwrap_or_default();
        let parts: Vec<&str> = text.splitn(3, '.').collect();
        let [major, minor, patch] = parts[..] else {
            return Err(format!("{text} is not in dotted-tri format"));
        };
        let number = |part| parse_int(part, 10).map_err(|e| e.to_string());
        Ok(Self {
            major: number(major)?,
            minor: number(minor)?,
            patch: number(patch)?,
        })
    }

    /// Reads `--target-version`, with etcdutl's errors.
    pub(crate) fn target(text: &str) -> Result<Self, String> {
        if text.matches('.').count() != 1 {
            return Err(format!(
                "wrong target version format, expected \"X.Y\", got {}",
                quote(text.as_bytes())
            ));
        }
        let target = Self::parse(&format!("{text}.0"))
            .map_err(|reason| format!("failed to parse target version: {reason}"))?;
        if target < V3_5 {
            return Err(format!(
                "target version \"{}\" not supported. Minimal \"3.5\"",
                target.short()
            ));
        }
        Ok(target)
    }

    /// `X.Y`.
    pub(crate) fn short(self) -> String {
        format!("{}.{}", self.major, self.minor)
    }

    /// With patch 0.
    pub(crate) fn trimmed(self) -> Self {
        Self::line(self.major, self.minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}
