//! What a call is made of, for those who serve it, carry it and count it: the methods by name, their
//! messages, and the frames of these. It knows neither what a method does nor how bytes travel.

mod message;
mod method;

pub use message::{
    Answer, GRPC_OVERHEAD, Source, append_message, decode, decode_as, decode_used_as, frame_bytes,
    frame_message,
};
pub use method::Method;
