//! The service of watches. Watches of one range share one watch in the cluster, whoever makes them.
//! Each has a revision from which on it gets events, and its own filters.
//!
//! ```text
//!   client ── Stream ── Watcher ─┐
//!   client ── Stream ── Watcher ─┼─ Broadcast ── one watch in the cluster
//!                    ── Watcher ─┘
//! ```
//!
//! A watcher joins a broadcast that has not passed its revision; where there is none, it gets one of
//! its own, which merges with another one once the other is not ahead of its watchers. A client that
//! does not read falls behind: its watchers leave, and join again from where they were when it has
//! taken what waited for it. So nothing is lost, no one waits for anyone, and what is kept for a
//! client is bounded.
//!
//! - [`hub`]: which watch in the cluster has the events of which watch of a client
//! - [`broadcast`]: who gets the events of one watch in the cluster
//! - [`watcher`]: one watch of a client
//! - [`stream`]: what waits for a client
//! - [`requests`]: what a client asks for

mod broadcast;
mod hub;
mod requests;
mod stream;
mod watcher;

pub(super) use hub::Hub;
pub(super) use requests::serve;
