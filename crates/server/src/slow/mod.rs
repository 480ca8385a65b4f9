//! What took too long, in etcd's log lines: requests that were slow to apply or to read
//! (`--warning-apply-duration`), and unary calls (`--warning-unary-request-duration`). Values and
//! passwords never get into a line. Nothing is put into words before it is known to be slow.

mod lines;
mod stats;
mod text;

pub use lines::{applied, read_range, read_txn};
pub use stats::Stats;
