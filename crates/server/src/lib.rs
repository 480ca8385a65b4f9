//! The server: a data directory and a consensus node behind etcd's API.
//!
//! | module | what it is |
//! |---|---|
//! | [`config`] | flags, variables, YAML file; one table |
//! | [`start`] | from a configuration to a server that runs, and to its end |
//! | `start_line` | the settings in the log |
//! | [`node`] | the consensus node, the log writer, the queues between threads |
//! | [`apply`] | the apply thread: drives the machine of [`member`] |
//! | [`core`] | what all threads share |
//! | [`runtime`] | a serving thread: calls in flight, read gate, watchers |
//! | [`submit`] | an operation on its way into the log |
//! | [`rpc`] | methods by name, messages and frames |
//! | [`api`] | the methods, free of transport types |
//! | [`transport`] | listeners, HTTP, gRPC framing, JSON gateway, pages |
//! | [`profile`] | where CPU time and memory of the process go |
//! | [`spans`] | distributed tracing |
//! | [`slow`] | log lines about what took too long |
//! | [`lines`] | the line of a running cluster: shown, changed |
//! | [`duties`] | what a member does without being asked |
//!
//! Architecture invariant: below [`transport`] nothing names a type of hyper.

pub mod api;
pub mod apply;
pub mod ask;
pub mod config;
pub mod core;
pub mod disputes;
pub mod duties;
pub mod fatal;
pub mod lines;
pub mod logging;
pub mod metrics;
pub mod node;
pub mod peers;
pub mod profile;
mod program;
pub mod quota;
pub mod rpc;
pub mod runtime;
pub mod slow;
pub mod snapshots_out;
pub mod spans;
pub mod start;
mod start_line;
mod submit;
pub mod transport;
pub mod version;

pub use config::manual;
pub use member::status;
pub use program::main;
