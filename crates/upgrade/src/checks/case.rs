//! One check at work: what it sees, what it found, what it lacked.

use super::{
    finding::{Finding, Level},
    given::Given,
};
use crate::{facts::Facts, target::Target};

/// What a check could not be made without, human-readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lacks(pub(super) String);

impl From<String> for Lacks {
    fn from(lacks: String) -> Lacks {
        Lacks(lacks)
    }
}

impl From<&str> for Lacks {
    fn from(lacks: &str) -> Lacks {
        Lacks(lacks.to_owned())
    }
}

/// Collects what one check finds.
pub(super) struct Case<'a> {
    pub(super) members: &'a [Facts],
    pub(super) target: &'a Target,
    pub(super) given: &'a Given,
    pub(super) id: &'static str,
    pub(super) findings: Vec<Finding>,
}

impl Case<'_> {
    pub(super) fn find(
        &mut self,
        level: Level,
        member: impl Into<String>,
        seen: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.findings.push(Finding {
            check: self.id,
            level,
            member: member.into(),
            seen: seen.into(),
            why: why.into(),
            fix: fix.into(),
        });
    }
}
