//! `pintle upgrade`: says before an upgrade what would go wrong with it, and how
//! to repair that. It reads all copies of the membership that a member keeps (the
//! v2 store in its `.snap`, the log, the buckets of the database), of etcd and of
//! Pintle alike, holds them against each other and predicts what the target
//! release would do at boot. It must never change what it was only asked to look
//! at, and never count a check as passed that it could not make.
//!
//! - [`main`]: the program
//! - `command`, `commands`: the commands as data, and one file for each that runs it
//! - `sources`, `hashes`, `access`: from flags to what is known of the members
//! - [`facts`]: what can be known of a member
//! - [`inspect`]: where that is read: a directory, a database file, a member that runs
//! - [`target`]: where the path leads: an etcd version, a Kubernetes version, Pintle
//! - [`predict`]: what a release does with a directory when it starts
//! - [`checks`]: the checks P1 to P25
//! - [`explain`]: what each check and prediction means, and the fix: one table
//! - [`report`]: for people, for programs, as a page
//! - [`plan`], `hops`, `steps`, `estimate`: the path from here to there, for people and for
//!   `run`, and what it costs
//! - [`repair`]: fixes the files of a member that does not run
//! - `run`: carries the steps out, rehearses them, takes them back

#![forbid(unsafe_code)]

mod access;
mod backup;
pub mod checks;
mod command;
mod commands;
mod environment;
mod estimate;
mod exit;
pub mod explain;
pub mod facts;
mod failure;
mod hashes;
mod hops;
pub mod inspect;
mod manifest;
mod next_command;
mod output;
pub mod plan;
pub mod predict;
mod program;
mod progress;
pub mod repair;
pub mod report;
mod run;
mod runtime;
mod sources;
mod steps;
pub mod target;

#[cfg(test)]
mod tests;

/// The program, for its manual page and completions.
pub fn manual() -> cli::manual::Manual {
    let about = "checks, plans, rehearses, runs and takes back upgrades of a cluster";
    cli::manual::Manual::of("pintle upgrade", about, command::COMMANDS, command::GLOBAL)
}

/// Runs `pintle upgrade`; `words` is what follows it. Returns the exit code, which
/// `pintle upgrade --help` explains.
#[must_use]
pub fn main(words: &[String]) -> i32 {
    program::run(words)
}
