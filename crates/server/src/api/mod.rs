//! The methods of the public API, free of transport types: serialized request in, framed answer
//! out. [`dispatch`] has the gate that every call passes first, and finds the method.

mod auth;
mod call;
mod caller;
pub mod cluster;
mod dispatch;
pub mod downgrade;
pub mod election;
mod frames;
mod health;
mod keep_alive;
pub mod kv;
pub mod lease;
mod lines;
pub mod lock;
pub mod maintenance;
mod metered;
mod turn;
pub mod watch;

pub use call::Call;
pub use caller::Caller;
pub use dispatch::{stream, unary};
