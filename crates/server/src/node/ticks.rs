//! Whether the clock of the consensus core runs steadily. A leader whose process was paused, or
//! whose threads hung, does not know that the others may have gone on without it: until a quorum
//! has confirmed it once more, it must not answer for the cluster out of its own knowledge. One
//! that is merely cut off finds out by itself, within an election timeout.

use std::sync::atomic::{AtomicU64, Ordering};

/// Periods without a tick after which a leader asks, as etcd's does.
const MISSED_MAX: u64 = 3;

/// When the core ticked, and what was missed.
#[derive(Debug, Default)]
pub struct Ticks {
    last_ms: AtomicU64,
    /// Pauses that a tick ended.
    pauses: AtomicU64,
    /// As many of them as there were when a quorum last answered a question asked after them.
    confirmed: AtomicU64,
}

impl Ticks {
    /// The core ticks now, as it does every `period_ms`. One thread alone calls this.
    pub fn tick(&self, now_ms: u64, period_ms: u64) {
        let last = self.last_ms.load(Ordering::Relaxed);
        if now_ms.saturating_sub(last) > MISSED_MAX * period_ms {
            self.pauses.fetch_add(1, Ordering::AcqRel);
        }
        // Last, as it is what others look at first: who sees that the clock runs again also sees
        // the pause before, though this thread be stopped between the two.
        self.last_ms.store(now_ms, Ordering::Release);
    }

    /// The number of pauses so far, to [`confirm`](Self::confirm) what is asked from now on.
    pub fn pauses(&self) -> u64 {
        self.pauses.load(Ordering::Acquire)
    }

    /// A quorum has answered a question asked when there had been that many pauses.
    pub fn confirm(&self, pauses: u64) {
        self.confirmed.fetch_max(pauses, Ordering::AcqRel);
    }

    /// True if no pause is under way, and none is unconfirmed.
    pub fn are_steady(&self, now_ms: u64, period_ms: u64) -> bool {
        let last = self.last_ms.load(Ordering::Acquire);
        now_ms.saturating_sub(last) <= MISSED_MAX * period_ms
            && self.confirmed.load(Ordering::Acquire) == self.pauses()
    }
}

#[cfg(test)]
mod tests {
    use super::Ticks;

    #[test]
    fn a_pause_counts_until_it_is_confirmed() {
        let ticks = Ticks::default();
        ticks.tick(100, 100);
        assert!(ticks.are_steady(400, 100));
        assert!(!ticks.are_steady(401, 100), "a pause is under way");
        let before = ticks.pauses();
        ticks.tick(500, 100);
        assert!(
            !ticks.are_steady(500, 100),
            "it is over, and no one was asked"
        );
        ticks.confirm(before);
        assert!(!ticks.are_steady(500, 100), "asked before it ended");
        ticks.confirm(ticks.pauses());
        assert!(ticks.are_steady(500, 100));
    }
}
