//! Carries a plan out, step by step, with a journal on disk: killed at any point
//! it goes on where it was, or goes back. Each step can be done twice. Before
//! and after every one the cluster is looked at, and the first deviation stops
//! the run with the cluster still serving. It must never put old raft state back
//! into a live cluster: members go back by their binary, on the same directory.

mod awaited;
mod begin;
mod check;
mod cluster;
mod commands;
mod deviation;
mod downgrade;
mod driver;
mod engine;
mod exchange;
mod forward;
mod found;
mod from_file;
mod journal;
mod lines;
mod look;
mod place;
mod poll;
mod raise;
mod rebuilt;
mod rehearse;
mod restart;
mod rollback;
mod safety;
mod settling;
mod static_pod;
mod stock;
mod turn;
mod view;
mod watched;

pub(crate) use begin::{Allow, refusal};
pub(crate) use cluster::{CallError, Cluster, Lock};
pub(crate) use driver::{Driver, Launch, Managed};
pub(crate) use engine::{Engine, Stop};
pub(crate) use found::Way;
pub(crate) use from_file::FromFile;
pub(crate) use journal::Journal;
pub(crate) use poll::{Attempt, until};
pub(crate) use rehearse::{Rehearsal, rehearse};
pub(crate) use rollback::NOTHING_TO_TAKE_BACK;
pub(crate) use safety::{Purpose, Refusal, may_stop};
pub(crate) use view::{Named, look_around, one_look};
pub(crate) use watched::{InHand, Watched};

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
