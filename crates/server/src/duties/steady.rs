//! Rounds at a steady pace.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

/// Rounds of this period. One that comes late does not hurry those after it.
pub(super) fn steady(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
