//! Certificate policies (RFC 5280, 6.1, as updated by RFC 9618), with any policy acceptable to us:
//! they matter only where a CA requires that there is one.

use std::collections::HashSet;

use super::{certificate::Certificate, fault::Fault};

/// anyPolicy, 2.5.29.32.0
const ANY: &[u8] = &[0x55, 0x1d, 32, 0];

/// The policies that are valid so far.
enum Valid<'a> {
    Any,
    Only(HashSet<&'a [u8]>),
}

/// Checks `chain`, the leaf first and the root last.
///
/// # Errors
/// [`Fault::Policies`]. Where a policy is required, one that is mapped to another is not followed:
/// then the chain is refused.
pub(super) fn check(chain: &[&Certificate]) -> Result<(), Fault> {
    let Some((_, below_root)) = chain.split_last() else {
        return Ok(());
    };
    // Certificates that may come before a policy must be there; more than there are is "never".
    let never = chain.len() as u64;
    let (mut explicit, mut inhibit_any) = (never, never);
    let mut valid = Some(Valid::Any);
    let mut has_mappings = false;
    for (at, certificate) in below_root.iter().enumerate().rev() {
        let policies = &certificate.policies;
        let is_self_issued = certificate.issuer == certificate.subject;
        let any_counts = inhibit_any > 0 || at > 0 && is_self_issued;
        valid = valid.and_then(|valid| step(valid, &policies.named, any_counts));
        has_mappings |= policies.has_mappings;
        if at > 0 {
            if !is_self_issued {
                explicit = explicit.saturating_sub(1);
                inhibit_any = inhibit_any.saturating_sub(1);
            }
            explicit = explicit.min(policies.require_explicit.unwrap_or(never));
            inhibit_any = inhibit_any.min(policies.inhibit_any.unwrap_or(never));
        }
    }
    explicit = explicit.saturating_sub(1);
    if chain[0].policies.require_explicit == Some(0) {
        explicit = 0;
    }
    if explicit == 0 && !below_root.is_empty() && (valid.is_none() || has_mappings) {
        return Err(Fault::Policies);
    }
    Ok(())
}

fn step<'a>(valid: Valid<'a>, named: &'a [Vec<u8>], any_counts: bool) -> Option<Valid<'a>> {
    let names_any = any_counts && named.iter().any(|policy| policy == ANY);
    let named = named
        .iter()
        .map(Vec::as_slice)
        .filter(|policy| *policy != ANY);
    let left: HashSet<&[u8]> = match valid {
        valid if names_any => return Some(valid),
        Valid::Any => named.collect(),
        Valid::Only(before) => named.filter(|policy| before.contains(policy)).collect(),
    };
    (!left.is_empty()).then_some(Valid::Only(left))
}
