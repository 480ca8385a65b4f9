//! Whether the disk keeps up with the work that was handed out. Counts in ticks,
//! so that the same events give the same answer. Decides nothing.

/// Work that must become durable, and how long none of it has.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// Number of the last work that must be durable.
    owed: u64,
    /// Everything up to this number is durable.
    durable: u64,
    /// `durable` as of the tick before.
    before: u64,
    /// Ticks since something became durable, while something is owed.
    ticks: usize,
}

impl Backlog {
    /// Work `number` was handed out, and must become durable.
    pub(crate) fn owe(&mut self, number: u64) {
        self.owed = number;
    }

    /// Everything up to work `number` is durable.
    pub(crate) fn pay(&mut self, number: u64) {
        self.durable = self.durable.max(number);
    }

    pub(crate) fn tick(&mut self) {
        if self.durable >= self.owed || self.durable != self.before {
            self.ticks = 0;
        } else {
            self.ticks += 1;
        }
        self.before = self.durable;
    }

    /// For how many ticks the disk has not answered, although it should have.
    pub(crate) fn stalled(&self) -> usize {
        if self.durable >= self.owed {
            0
        } else {
            self.ticks
        }
    }
}
