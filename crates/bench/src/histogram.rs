//! Latencies in buckets that grow with their value, so that every quantile is
//! known within 0.8 % and a record costs one addition. It must never drop a
//! value: the whole range of 64 bits has a bucket.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::time::Duration;

/// Buckets of each power of two. 128 bound the error to 1/128.
const SUB: usize = 128;
const SUB_BITS: u32 = 7;
const BUCKETS: usize = (64 - SUB_BITS as usize + 1) * SUB;

/// A set of durations, in nanoseconds.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    sum: u128,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
            sum: 0,
            max: 0,
        }
    }
}

impl Histogram {
    /// Adds one duration.
    pub(crate) fn record(&mut self, value: Duration) {
        let nanos = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
        self.sum += u128::from(nanos);
        self.max = self.max.max(nanos);
    }

    /// How many durations were recorded.
    pub(crate) fn len(&self) -> u64 {
        self.total
    }

    /// The duration that `quantile` (0 to 1) of all do not exceed, within
    /// 0.8 %; zero when empty. Never above the largest one recorded.
    pub(crate) fn quantile(&self, quantile: f64) -> Duration {
        let rank = ((quantile * self.total as f64).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(highest(index).min(self.max));
            }
        }
        Duration::ZERO
    }

    /// The arithmetic mean; zero when empty.
    pub(crate) fn mean(&self) -> Duration {
        Duration::from_nanos((self.sum / u128::from(self.total.max(1))) as u64)
    }

    /// The largest duration, exactly.
    pub(crate) fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// One line for each power of two that holds something: its upper bound,
    /// its share and a bar of at most 40 signs.
    pub(crate) fn bars(&self) -> String {
        let mut powers: Vec<(u64, u64)> = Vec::new();
        for (index, &count) in self
            .counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
        {
            let bound = highest(index)
                .checked_next_power_of_two()
                .unwrap_or(u64::MAX);
            match powers.last_mut() {
                Some((last, sum)) if *last == bound => *sum += count,
                _ => powers.push((bound, count)),
            }
        }
        let peak = powers.iter().map(|(_, count)| *count).max().unwrap_or(1);
        let mut out = String::new();
        for (bound, count) in powers {
            let width = (count * 40).div_ceil(peak) as usize;
            let share = count as f64 * 100.0 / self.total as f64;
            let bound = short(Duration::from_nanos(bound));
            let _ = writeln!(out, "  <= {bound:>8} {share:>6.2} % {}", "#".repeat(width));
        }
        out
    }
}

/// A duration for people: three significant digits and a unit.
pub(crate) fn short(value: Duration) -> String {
    let micros = value.as_nanos() as f64 / 1e3;
    match micros {
        m if m < 10.0 => format!("{m:.2}us"),
        m if m < 100.0 => format!("{m:.1}us"),
        m if m < 1e3 => format!("{m:.0}us"),
        m if m < 1e4 => format!("{:.2}ms", m / 1e3),
        m if m < 1e5 => format!("{:.1}ms", m / 1e3),
        m if m < 1e6 => format!("{:.0}ms", m / 1e3),
        m => format!("{:.2}s", m / 1e6),
    }
}

fn bucket(value: u64) -> usize {
    if value < SUB as u64 {
        return value as usize;
    }
    let shift = 63 - SUB_BITS - value.leading_zeros();
    (shift as usize + 1) * SUB + (value >> shift) as usize - SUB
}

/// The largest value that falls into bucket `index`.
fn highest(index: usize) -> u64 {
    if index < SUB {
        return index as u64;
    }
    let shift = index / SUB - 1;
    let first = (index % SUB + SUB) as u64;
    (first << shift) + ((1u64 << shift) - 1)
}
