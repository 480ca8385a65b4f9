//! `etcdutl`: tools for the files of a member that is not running. It reads the
//! command line as etcdutl does and prints what etcdutl prints, because scripts
//! read it. It must never change a file it was only asked to look at, and never
//! leave half a result that looks like a complete one.
//!
//! - [`main`]: the program
//! - `command`: the commands and their flags, as data, and how they are read
//! - `snapshot`: `snapshot status`, `snapshot restore`
//! - `migrate`: `migrate`, between the storage of etcd 3.5, 3.6 and 3.7
//! - `backup`: a copy of a member's directory without its cluster
//! - `defrag`, `hashkv`, `check`, `v2store`: the other commands
//! - `newest`: the snapshot that a member would start from
//! - `cluster_flags`: what `--initial-cluster` and its relatives must look like
//! - `output`, `log`, `progress`: formats, log lines, the bar of a long read

#![forbid(unsafe_code)]

mod backup;
mod check;
mod cluster_flags;
mod command;
mod defrag;
mod failure;
mod hashkv;
mod log;
mod migrate;
mod newest;
mod output;
mod program;
mod progress;
mod snapshot;
mod v2store;

/// Runs `etcdutl`; `args[0]` is the name it was called by. Returns the exit
/// code: 0, 1 for an error, 4 for an output format that does not exist, 128 for
/// wrong arguments.
#[must_use]
pub fn main(args: Vec<String>) -> i32 {
    program::run(
        program::Called::by(args.first().map_or("", String::as_str)),
        args.get(1..).unwrap_or_default(),
    )
}

/// The hash of all keys up to `revision` in a database file that no server uses,
/// as a member would answer it.
///
/// # Errors
/// The file is no database, or does not reach to that revision; a sentence for people.
pub fn hash_kv(path: &std::path::Path, revision: i64) -> Result<u32, String> {
    let db = snapshot::status::open(path).map_err(|failure| failure.message)?;
    let found = hashkv::hash_kv(&db.begin_read(), path, revision);
    found.map(|h| h.hash).map_err(|failure| failure.message)
}

/// The program, for its manual page and completions.
pub fn manual() -> cli::manual::Manual {
    let about = "offline tools for data directories and snapshots";
    cli::manual::Manual::of(
        "etcdutl",
        about,
        command::PROGRAM.commands,
        command::PROGRAM.global,
    )
}

#[cfg(test)]
mod tests;
