//! A member on a bare machine: a temporary directory, no network, no server. Every step of a
//! member is made by hand here, so that a test says in which order.

mod apply;
mod bench;
mod forwarded;
mod install;
mod log;
mod recovery;
