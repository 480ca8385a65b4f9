//! The way from one storage version to another, one minor version at a time.
//! Must never lead through a version whose storage is not known.
//!
//! | between | what changes in bucket `meta` |
//! |---|---|
//! | 3.5 and 3.6 | `storageVersion` appears, or goes |
//! | 3.6 and 3.7 | the value of `storageVersion` |
//!
//! Everything else, `term` and `confState` among it, is the same in all three.

use super::version::{V3_6, V3_7, Version};

/// The versions that are reached step by step; empty if there is nothing to do.
pub(crate) fn plan(from: Version, to: Version) -> Result<Vec<Version>, String> {
    let (mut at, to) = (from.trimmed(), to.trimmed());
    if at.major != to.major {
        return Err("changing major storage version is not supported".into());
    }
    let mut steps = Vec::new();
    while at != to {
        let up = at.minor < to.minor;
        // What a step changes came with the higher of its two versions.
        let higher = if up {
            Version::line(at.major, at.minor + 1)
        } else {
            at
        };
        if higher < V3_6 || higher > V3_7 {
            return Err(format!("version \"{higher}\" is not supported"));
        }
        at = if up {
            higher
        } else {
            Version::line(at.major, at.minor - 1)
        };
        steps.push(at);
    }
    Ok(steps)
}
