//! What the command line allows a plan beyond the ordinary.

use cli::flags::Parsed;

use crate::{command, run::Allow};

/// The flags as [`Allow`].
pub(super) fn allow(parsed: &Parsed) -> Allow {
    Allow {
        lower_patch: parsed.bool(command::ALLOW_LOWER.name),
        new_build: parsed.bool(command::NEW_BUILD.name),
    }
}
