//! Bytes in, bytes out: listeners, connections, HTTP/1.1 and HTTP/2 on one port,
//! gRPC framing, the plain HTTP pages and the JSON gateway. Below this module
//! nobody sees a type of hyper.

mod admission;
mod body;
mod channel;
mod compression;
mod connection;
mod gateway;
mod gateway_body;
mod gather;
mod grpc;
mod head;
mod health;
mod http1;
mod intake;
mod json;
mod listener;
mod messages;
mod pages;
mod peer;
mod plain;
mod profiles;
mod program;
mod secure;
mod streams;
mod surface;

pub use admission::{Admission, Seats};
pub use body::Body;
pub use connection::{Limits, serve_by};
pub use grpc::Messages;
pub use listener::{Endpoint, Listeners};
pub use messages::MessageStream;
pub use plain::{not_found, plain, unsniffed};
pub use profiles::{is_page as is_profile, profile};
pub use program::{answer_call, is_call};
pub use secure::{PeerTls, Security, peer_connect};
pub use surface::Surface;
