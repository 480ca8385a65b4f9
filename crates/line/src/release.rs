//! What is known of other releases by what their members announce: from before the lines here, and
//! between the patches of a line.

use semver::Version;

use crate::versions::{is_same_minor, minor};

/// The first release of each line in which `member update` changes URLs only, and does not say
/// again whether the member is a learner.
const UPDATE_KEEPS_THE_VOTE: [Version; 2] = [Version::new(3, 5, 31), Version::new(3, 6, 12)];

/// What a member runs that says nothing of it.
pub const BEFORE_THE_HEADER: Version = Version::new(2, 0, 0);

/// Whether a member has the streams of today.
pub fn has_streams(version: &Version) -> bool {
    minor(version) >= (2, 1)
}

/// Whether all members of a cluster of this version know of downgrades: those before end where
/// they find the beginning of one in their log.
pub fn knows_downgrades(cluster: &Version) -> bool {
    minor(cluster) >= (3, 5)
}

/// Whether a member that runs this release takes `member update` for one of URLs only.
pub fn update_keeps_the_vote(version: &Version) -> bool {
    has(version, &UPDATE_KEEPS_THE_VOTE)
}

/// Whether a release has what came with `first` into the lines named there: lines before them
/// never had it, lines after them always.
fn has(version: &Version, first: &[Version]) -> bool {
    let of_its_line = first.iter().find(|of| is_same_minor(of, version));
    match (of_its_line, first.last()) {
        (Some(of), _) => version >= of,
        (None, Some(last)) => version > last,
        (None, None) => false,
    }
}
