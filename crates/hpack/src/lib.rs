//! Header compression of HTTP/2 (RFC 7541): the fields of a block as they are written, without a
//! table, and a decoder with one. It must never trust a length from the wire, recurse, or allocate
//! more than a block justifies.

#![forbid(unsafe_code)]

mod decoder;
mod field;
mod huffman;
mod malformed;
mod tables;
#[cfg(test)]
mod tests;

pub use decoder::Decoder;
pub use field::{Field, Name, Text, put_integer, put_text};
pub use malformed::Malformed;
pub use tables::{DEFAULT_TABLE_SIZE, ENTRY_OVERHEAD, static_name};
