//! The two proxies of etcd: `gateway`, which passes TCP connections on to members, and
//! `grpc-proxy`, which answers clients itself. They hold no data: all that they say comes from a
//! cluster, and they must never answer what it would refuse.
//!
//! | module | what it is |
//! |---|---|
//! | `command` | commands and flags as data, and how a line is read |
//! | `help` | how they are shown |
//! | `program` | from a command line to an exit code |
//! | `discovery` | members found by SRV records |
//! | `gateway` | the TCP proxy |
//! | `grpc` | the proxy that answers by itself |
//! | `goes` | addresses and errors as Go reads and words them |

#![forbid(unsafe_code)]

mod command;
mod discovery;
mod gateway;
mod goes;
mod grpc;
mod help;
mod program;

pub use program::{is_proxy, main};
