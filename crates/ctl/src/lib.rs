//! `etcdctl`: the command line client. It reads the command line as etcdctl
//! does, talks through `client`, and prints what etcdctl prints, because
//! scripts read it. It must never send anything before the whole command line
//! has been understood, and never pretend to a command that is not built.
//!
//! - [`main`], [`main_os`]: the program
//! - `spec`: the commands and their flags, as data
//! - `flags`, `global`, `help`: how they are read, resolved, shown
//! - `kv`, `txn`, `watch`, `lease`, `endpoint`, `member`, `maintenance`,
//!   `snapshot`: the commands
//! - `output`: the formats simple, json, fields, table, protobuf
//! - `text`: Go's forms of numbers, strings and durations

use std::ffi::OsString;

mod endpoint;
mod failure;
mod flags;
mod global;
mod help;
mod kv;
mod lease;
mod maintenance;
mod member;
mod output;
mod program;
mod snapshot;
mod spec;
mod terminal;
mod text;
mod txn;
mod watch;

/// Runs `etcdctl` with the arguments after the program name; returns its exit
/// code. Keys and values that are not UTF-8 need [`main_os`].
#[must_use]
pub fn main(args: Vec<String>) -> i32 {
    program::run(args.into_iter().map(String::into_bytes).collect())
}

/// As [`main`], for arguments that may be any bytes.
#[must_use]
pub fn main_os(args: Vec<OsString>) -> i32 {
    use std::os::unix::ffi::OsStringExt;
    program::run(args.into_iter().map(OsString::into_vec).collect())
}

#[cfg(test)]
mod tests;
