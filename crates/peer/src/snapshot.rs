//! Snapshots: a message, and behind it a whole database, streamed out of a
//! consistent view and into a file. Never more of it in memory than a few
//! pieces, whatever its size.

mod pace;
mod receive;
mod send;

pub(crate) use receive::{ReceiveError, receive};
pub(crate) use send::send_all;
