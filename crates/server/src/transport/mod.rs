//! Bytes in, bytes out: listeners, connections, HTTP/1.1 and HTTP/2 on one port,
//! gRPC framing, the plain HTTP pages and the JSON gateway. Below this module
//! nobody sees a type of hyper.

mod admission;
mod authority;
mod body;
mod compression;
mod connection;
mod frames;
mod gateway;
mod gather;
mod grpc;
mod head;
mod health;
mod json;
mod listener;
mod messages;
mod pages;
mod peer;
mod pings;
mod secure;
mod streams;

pub use admission::{Admission, Seats};
pub use body::{Body, Source, append_message, frame_bytes, frame_message};
pub use connection::Surface;
pub use listener::{Endpoint, Listeners};
pub use messages::MessageStream;
pub use secure::{PeerTls, Security};
