//! The one source of chance of a run. Must never be fed from anything but the
//! seed.

use wal::sim::Seed;

/// A stream of choices.
#[derive(Clone, Debug)]
pub struct Random(pub(crate) Seed);

impl Random {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Random {
        let mut first = Seed(seed ^ 0x7069_6e74_6c65_5f73);
        Random(Seed(first.next()))
    }

    /// A stream of its own for one purpose, so that more choices there change
    /// none here.
    pub fn branch(&mut self) -> Random {
        Random::new(self.0.next())
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.next()
    }

    /// A number below `n`; 0 for 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0.below(n)
    }

    /// A number from `from` on and below `to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from))
    }

    /// True `n` times out of a thousand.
    pub fn chance(&mut self, n: u64) -> bool {
        self.below(1000) < n
    }

    /// One of `from`, if there is any.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        from.get(self.below(from.len() as u64) as usize).copied()
    }
}
