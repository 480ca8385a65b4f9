//! One check at work: what it sees, what it found, what it lacked.

use super::{
    finding::{Finding, Level},
    given::Given,
};
use crate::{facts::Facts, target::Target};

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
