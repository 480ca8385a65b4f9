//! `etcdctl`: the command line client. It reads the command line as etcdctl
//! does, talks through `client`, and prints what etcdctl prints, because
//! scripts read it. It must never send anything before the whole command line
//! has been understood.
//!
//! - [`main`], [`main_os`]: the program
//! - `spec`: the commands and their flags, as data
//! - `global`, `help`: how flags are resolved, how commands are shown
//! - `discovery`: endpoints from the DNS
//! - `kv`, `txn`, `watch`, `lease`: the commands on keys
//! - `lock`, `elect`: those that hold a key; `session`: how
//! - `alarm`, `endpoint`, `member`, `move_leader`, `downgrade`, `line`,
//!   `maintenance`, `snapshot`, `check`, `mirror`: the commands on members and clusters
//! - `user`, `role`: the commands on authentication
//! - `output`: the formats simple, json, fields, table, protobuf

#![forbid(unsafe_code)]

use std::ffi::OsString;

mod alarm;
mod check;
mod child;
mod discovery;
mod downgrade;
mod elect;
mod endpoint;
mod failure;
mod global;
mod help;
mod kv;
mod lease;
mod line;
mod lock;
mod maintenance;
mod member;
mod mirror;
mod move_leader;
mod output;
mod program;
mod role;
mod session;
mod snapshot;
mod spec;
mod terminal;
mod txn;
mod user;
mod watch;

pub use program::{Called, Offline};

/// Runs `etcdctl` with the arguments after the program name; returns its exit
/// code. Keys and values that are not UTF-8 need [`main_os`].
#[must_use]
pub fn main(called: Called, args: Vec<String>, offline: Offline) -> i32 {
    let words = args.into_iter().map(String::into_bytes).collect();
    program::run(called, words, offline)
}

/// As [`main`], for arguments that may be any bytes.
#[must_use]
pub fn main_os(called: Called, args: Vec<OsString>, offline: Offline) -> i32 {
    use std::os::unix::ffi::OsStringExt;
    let words = args.into_iter().map(OsString::into_vec).collect();
    program::run(called, words, offline)
}

/// The program, for its manual page and completions.
pub fn manual() -> cli::manual::Manual {
    let about = "the command line client of etcd and Pintle";
    cli::manual::Manual::of("etcdctl", about, spec::COMMANDS, spec::GLOBAL)
}

#[cfg(test)]
mod tests;
