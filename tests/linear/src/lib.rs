//! Whether clusters of real processes, Pintle and etcd in any mix, answer as
//! one store would: clients write, read, watch and hold leases while members
//! are killed, paused, cut off, replaced and given wrong clocks; everything
//! asked and answered is recorded, and an exact checker reads the record. It
//! must never call a history good that it has not read whole, and never blame
//! a server for what the record leaves open.
//!
//! | module | what it holds |
//! |---|---|
//! | [`history`] | what was asked and answered, when, on one clock |
//! | [`model`] | the store that all answers are compared with |
//! | [`check`] | the exact checker, on etcd's revisions |
//! | [`wgl`] | a general checker of registers, which trusts no revision |
//! | [`generate`] | valid histories, for tests of the checkers |
//! | [`rng`] | numbers from a seed |
//! | [`load`] | clients that record |
//! | [`nemesis`] | faults, by seed |
//! | [`run`] | one run: a cluster, load, faults, verdict |

#![forbid(unsafe_code)]

pub mod check;
pub mod generate;
pub mod history;
pub mod load;
pub mod model;
pub mod nemesis;
pub mod rng;
pub mod run;
pub mod wgl;
