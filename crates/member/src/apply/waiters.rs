//! The calls that await results, by request id. A proposal may be lost on its way
//! to the leader, and its call then ends by its deadline without a word here: such
//! a one is forgotten once many have gathered. Never forgets a call that waits.

use rustc_hash::FxHashMap;

use super::command::Waiter;

/// How many may gather before those that no longer wait are removed.
const GATHER: usize = 100_000;

/// See the module's page. How many wait is bounded where calls begin.
pub(super) struct Waiters {
    by_id: FxHashMap<u64, Waiter>,
    /// The size at which the next sweep comes. It doubles with what was kept, so that
    /// the cost of a sweep is spread over as many calls.
    sweep_at: usize,
}

impl Default for Waiters {
    fn default() -> Waiters {
        Waiters {
            by_id: FxHashMap::default(),
            sweep_at: GATHER,
        }
    }
}

impl Waiters {
    /// The results of these requests are awaited; the clock says `now_ms`.
    pub(super) fn register(&mut self, run: Vec<(u64, Waiter)>, now_ms: impl FnOnce() -> u64) {
        if self.by_id.len() >= self.sweep_at {
            let now = now_ms();
            self.by_id.retain(|_, waiter| waiter.deadline_ms > now);
            self.sweep_at = GATHER.max(2 * self.by_id.len());
        }
        self.by_id.extend(run);
    }

    /// Whether a call of this member brought the request in.
    pub(super) fn contains(&self, id: u64) -> bool {
        self.by_id.contains_key(&id)
    }

    /// Who awaits the result of this request.
    pub(super) fn take(&mut self, id: u64) -> Option<Waiter> {
        self.by_id.remove(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(slot: u32, deadline_ms: u64) -> Waiter {
        Waiter {
            runtime: 0,
            slot,
            generation: 1,
            deadline_ms,
        }
    }

    #[test]
    fn a_call_that_waits_is_never_forgotten() {
        let (now, later) = (1000, 3_600_000);
        let mut waiters = Waiters::default();
        let live: Vec<_> = (0..150_000).map(|id| (id, waiter(1, later))).collect();
        for run in live.chunks(1000) {
            waiters.register(run.to_vec(), || now);
        }
        // Many more whose time is over come and go.
        for id in 150_000..900_000 {
            waiters.register(vec![(id, waiter(2, now))], || now);
        }
        assert!(waiters.by_id.len() < 400_000, "{}", waiters.by_id.len());
        for id in 0..150_000 {
            assert!(waiters.take(id).is_some(), "{id}");
            assert_eq!(waiters.take(id), None);
        }
    }
}
