//! Distributed tracing (`--experimental-enable-distributed-tracing`): spans of gRPC calls, of their
//! way through raft, of syncs of the log and of what is applied, sent to a collector.
//!
//! A call belongs to the trace that its client names (W3C `traceparent`), or begins one; its client,
//! or else the sampling rate, decides whether it is recorded. Nothing here waits: a span that finds
//! the queue full is dropped and counted. While tracing is off, all of this is one load of a
//! pointer.

mod context;
mod export;
mod span;
mod stream;

pub use context::Context;
pub use export::start;
pub use span::{Span, call, event, inside, within};
pub use stream::stream;
