//! The consensus node as the server runs it: a monitor around
//! [`consensus::Node`] that any thread may enter with an event, the thread of the log
//! writer next to it, and the queue to the apply thread.
//!
//! Whoever brings an event (proposals of a runtime, a finished sync, a tick)
//! steps the core itself, in about a microsecond, and hands the work that came
//! out to the two queues while it still holds the monitor, so that both see it
//! in log order. That saves two thread hand-overs per batch compared with a
//! raft thread of its own; nothing inside the monitor ever waits for the disk.

mod log_thread;
mod monitor;
mod queue;
mod ticks;

pub use log_thread::{Applier, LogThread};
pub use monitor::{Proposal, Raft, RaftStatus};
pub use queue::Queue;
pub use ticks::Ticks;
