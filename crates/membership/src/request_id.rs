//! Request ids: 16 bits of the member, then milliseconds at start and a counter.

use std::sync::atomic::{AtomicU64, Ordering};

/// Hands out ids that no other member, and no earlier run of this one, hands out.
#[derive(Debug)]
pub struct RequestIds {
    prefix: u64,
    suffix: AtomicU64,
}

impl RequestIds {
    /// Ids of `member_id`, in a process that started at `unix_ms`.
    pub fn new(member_id: u64, unix_ms: u64) -> RequestIds {
        RequestIds {
            prefix: member_id << 48,
            suffix: AtomicU64::new((unix_ms & ((1 << 40) - 1)) << 8),
        }
    }

    /// The next id. The counter carries over into the time on purpose.
    pub fn next(&self) -> u64 {
        let n = self.suffix.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        self.prefix | (n & ((1 << 48) - 1))
    }
}
