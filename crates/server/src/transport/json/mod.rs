//! JSON as etcd's gateway reads it: what Go's `encoding/json` and then `protojson` take, and their
//! words for what they do not.
//!
//! | file | what it holds |
//! |---|---|
//! | `scanner.rs` | where a value ends, byte by byte |
//! | `value.rs` | a text as a list of its values |
//! | `transcode.rs` | a text as the bytes of a message |
//! | `number.rs` | integers in numbers |
//! | `base64.rs` | bytes in strings |

mod base64;
mod number;
mod scanner;
mod transcode;
mod value;

pub(super) use scanner::Finder;
pub(super) use transcode::transcode;

#[cfg(test)]
mod tests;
