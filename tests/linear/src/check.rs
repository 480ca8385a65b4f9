//! The exact checker. etcd numbers every change of its store, and watchers
//! from the first revision on tell all of them: that gives the one order in
//! which the writes of a run took effect, and what is left is to hold every
//! answer against the store at the revision it names, and that order against
//! real time. No search, so the check takes as long as reading the history.
//! Calls without an answer are settled by whether their value, unlike any
//! other, shows up. It must never pass a history whose order it does not know
//! from end to end.

mod answers;
mod findings;
mod leases;
mod order;
mod timeline;
mod watches;
mod writes;

use crate::history::History;

pub use findings::{Kind, Violation};
pub use leases::LEASE_TOLERANCE;
pub use timeline::Timeline;

use findings::Findings;

/// Everything wrong with a history; nothing for a good one.
pub fn check(history: &History) -> Vec<Violation> {
    let mut found = Findings::default();
    let timeline = Timeline::of(history, &mut found);
    watches::check(history, &timeline, &mut found);
    let writers = writes::check(history, &timeline, &mut found);
    answers::check(history, &timeline, &mut found);
    order::check(history, &timeline, &writers, &mut found);
    leases::check(history, &timeline, &writers, &mut found);
    found.0
}
