//! Findings, and whom they are about.

use proto::pintlepb::{Finding, MemberLine};

/// A finding about the cluster.
pub fn of_cluster(kind: &str, text: impl Into<String>) -> Finding {
    Finding {
        kind: kind.to_owned(),
        text: text.into(),
        ..Finding::default()
    }
}

/// A finding about a member.
pub fn of_member(member: &MemberLine, kind: &str, text: impl Into<String>) -> Finding {
    Finding {
        member_id: member.id,
        name: member.name.clone(),
        kind: kind.to_owned(),
        text: text.into(),
    }
}
