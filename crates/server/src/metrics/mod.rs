//! `/metrics`: etcd's names for what exists here. Hot counters are resolved once
//! and kept; gauges that mirror state are set when the page is asked for.

mod applies;
mod by_line;
mod calls;
mod compaction;
mod idle;
mod maker;
mod mirrors;
mod network;
mod page;
mod process;
mod requests;
mod series;
mod tally;
mod text;

pub use applies::Applies;
pub use calls::CallTimer;
pub use compaction::Compaction;
pub use page::page;
pub use series::Metrics;
