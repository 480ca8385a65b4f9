//! A new leader restarts every lease at once, so leases granted over hours
//! would all end in the same second and their revocations would fill the log.
//! This moves some of them later, never earlier.

/// Ends allowed in any one second: three quarters of the rate at which leases
/// can be revoked, so that ordinary expiry still finds room.
pub(crate) const ENDS_PER_SECOND: usize = 750;

/// Below this many leases the revoke rate alone is enough.
pub(crate) const SPREAD_FROM: usize = 1000;

/// Moves `ends` (milliseconds, ascending) later where needed, so that no window
/// of one second has more than [`ENDS_PER_SECOND`] of them. Keeps the order.
pub(crate) fn spread(ends: &mut [u64]) {
    for i in ENDS_PER_SECOND..ends.len() {
        ends[i] = ends[i].max(ends[i - ENDS_PER_SECOND].saturating_add(1000));
    }
}
