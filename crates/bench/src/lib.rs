//! A load generator for any etcd. It measures from outside: latencies at its
//! own sockets, and the server's CPU time and memory as the kernel counts
//! them, so that two servers can be compared. It must never
//! hide an error of the server, and must cost little itself, since it shares
//! the machine with what it measures.
//!
//! - [`main`]: from a command line to an exit code; `command`: the commands and flags as data
//! - `workload`: what is asked of the server, and the checks of its answers
//! - `compare`, `restart`, `server`: several runs, several servers
//! - `closed`: requests outstanding, one after the other
//! - `net`, `http2`, `header`, `grpc`, `wire`: the lean client below
//! - `histogram`, `process`, `report`: what is measured, and how it is reported

#![forbid(unsafe_code)]

mod cli;
mod closed;
mod command;
mod compare;
mod grpc;
mod header;
mod histogram;
mod http2;
mod keys;
mod net;
mod options;
mod process;
mod report;
mod restart;
mod server;
mod wire;
mod workload;

pub use cli::main;

/// The program, for its manual page and completions.
pub fn manual() -> ::cli::manual::Manual {
    let about = "a load generator for any etcd";
    let program = &command::PROGRAM;
    ::cli::manual::Manual::of(program.name, about, program.commands, program.global)
}
