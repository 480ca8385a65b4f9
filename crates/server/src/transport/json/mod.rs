//! JSON as etcd's gateway reads it: what Go's `encoding/json` and then `protojson` take, and their
//! words for what they do not. And the one answer that a client nests.
//!
//! | file | what it holds |
//! |---|---|
//! | `scanner.rs` | where a value ends, byte by byte |
//! | `text.rs` | the content of strings |
//! | `value.rs` | a text as a list of its values |
//! | `transcode.rs` | a text as the bytes of a message |
//! | `number.rs` | integers in numbers |
//! | `base64.rs` | bytes in strings |
//! | `txn.rs` | the answer to a transaction as a text |

mod base64;
mod number;
mod scanner;
mod text;
mod transcode;
mod txn;
mod value;

pub(super) use scanner::Finder;
pub(super) use transcode::transcode;
pub(super) use txn::txn_to_json;

#[cfg(test)]
mod tests;
