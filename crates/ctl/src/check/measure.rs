//! Latencies and failures of a load, summed up as they come, so that a long
//! load needs no more memory than a short one.

use std::{collections::BTreeMap, time::Duration};

/// What a load did so far; parts of a load add up.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Measure {
    /// Writes that succeeded.
    pub(super) done: u64,
    seconds: f64,
    seconds_squared: f64,
    /// The slowest write in seconds.
    pub(super) slowest: f64,
    /// Failures by what they said.
    pub(super) failures: BTreeMap<String, u64>,
}

impl Measure {
    /// One write that succeeded after this time.
    pub(super) fn success(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        self.done += 1;
        self.seconds += seconds;
        self.seconds_squared += seconds * seconds;
        self.slowest = self.slowest.max(seconds);
    }

    /// One write that failed.
    pub(super) fn failure(&mut self, why: String) {
        *self.failures.entry(why).or_default() += 1;
    }

    /// Adds what another part of the load did.
    pub(super) fn add(&mut self, other: Self) {
        self.done += other.done;
        self.seconds += other.seconds;
        self.seconds_squared += other.seconds_squared;
        self.slowest = self.slowest.max(other.slowest);
        for (why, count) in other.failures {
            *self.failures.entry(why).or_default() += count;
        }
    }

    /// The standard deviation of the latencies in seconds.
    pub(super) fn deviation(&self) -> f64 {
        if self.done == 0 {
            return 0.0;
        }
        let count = self.done as f64;
        let mean = self.seconds / count;
        (self.seconds_squared / count - mean * mean).max(0.0).sqrt()
    }

    /// Prints the failures, if there are any.
    pub(super) fn tell_failures(&self) -> bool {
        if self.failures.is_empty() {
            return false;
        }
        println!("FAIL: too many errors");
        for (why, count) in &self.failures {
            println!("FAIL: ERROR({why}) -> {count}");
        }
        true
    }
}
