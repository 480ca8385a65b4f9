//! What etcdctl and etcdutl share: how a command line is read, and how results
//! are written. Both programs are tables of commands and flags; scripts rely on
//! Go's cobra and pflag for the grammar and on Go's text forms for the output.
//! It must never know an API or a file of etcd.
//!
//! - [`command`]: the commands as data, and which of them a line names
//! - [`flags`]: flags as data, and the two grammars of command lines
//! - [`help`]: usage pages, from the tables
//! - [`text`]: Go's forms of numbers, strings, durations and sizes
//! - [`table`]: the box of `--write-out=table`
//! - [`completion`]: completion scripts for shells, from the tables
//! - [`manual`]: a program as a manual page, as completion scripts, as a page of the documentation
//! - [`private`]: files and folders for their owner alone
//! - [`shell`]: words as a shell reads them
//! - [`interrupt`]: signals that ask a command to end

#![forbid(unsafe_code)]

pub mod command;
pub mod completion;
pub mod flags;
pub mod help;
pub mod interrupt;
pub mod manual;
pub mod near;
pub mod private;
pub mod shell;
pub mod table;
pub mod text;

#[cfg(test)]
mod tests;
