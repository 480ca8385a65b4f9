//! What probes measure.

use std::time::Duration;

/// Upper bounds of the buckets of `etcd_network_peer_round_trip_time_seconds`:
/// this many, from 0.1 ms on, each twice the one before.
pub const ROUND_TRIP_BUCKETS: usize = 16;

/// What probes have measured of the way to a member and back.
#[derive(Clone, Debug, Default)]
pub struct RoundTrips {
    /// Probes per bucket, not cumulated; the last one is for what is beyond all bounds.
    pub buckets: [u64; ROUND_TRIP_BUCKETS + 1],
    /// All of them together, in seconds.
    pub sum_seconds: f64,
    /// The last one; `None` before the first.
    pub last: Option<Duration>,
}

impl RoundTrips {
    pub(crate) fn add(&mut self, took: Duration) {
        let mut bound = 0.0001;
        let mut bucket = 0;
        while bucket < ROUND_TRIP_BUCKETS && took.as_secs_f64() > bound {
            bucket += 1;
            bound *= 2.0;
        }
        self.buckets[bucket] += 1;
        self.sum_seconds += took.as_secs_f64();
        self.last = Some(took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_falls_into_the_bucket_that_holds_it() {
        let mut trips = RoundTrips::default();
        trips.add(Duration::from_micros(90));
        trips.add(Duration::from_micros(150));
        trips.add(Duration::from_secs(600));
        assert_eq!((trips.buckets[0], trips.buckets[1]), (1, 1));
        assert_eq!(trips.buckets[ROUND_TRIP_BUCKETS], 1);
        assert_eq!(trips.last, Some(Duration::from_secs(600)));
    }
}
