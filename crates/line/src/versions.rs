//! How versions are compared: by their minor.

use semver::Version;

/// The oldest cluster version that a member takes part in, in every line: how far apart members
/// may be is a matter of the cluster version, which follows the oldest of them.
pub const MIN_CLUSTER_VERSION: Version = Version::new(3, 0, 0);

/// Major and minor, which is what versions of clusters, storages and lines are compared by.
pub fn minor(version: &Version) -> (u64, u64) {
    (version.major, version.minor)
}

/// Whether two versions are of one line.
pub fn is_same_minor(one: &Version, other: &Version) -> bool {
    minor(one) == minor(other)
}

/// A version without its patch.
pub fn trimmed(version: &Version) -> Version {
    Version::new(version.major, version.minor, 0)
}

/// The version one minor below, which is the only one that a cluster can be downgraded to. `None`
/// below the first minor.
pub fn below(version: &Version) -> Option<Version> {
    let minor = version.minor.checked_sub(1)?;
    Some(Version::new(version.major, minor, 0))
}
