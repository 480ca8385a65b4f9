//! etcd's own end-to-end suites, built from the Go module `go.etcd.io/etcd/tests/v3` as it is
//! published, and run with Pintle in the place of its programs. Nothing of that module is in this
//! repository: only names of tests, and why one fails or is skipped.
//!
//! | module | what it is |
//! |---|---|
//! | [`suite`] | a package of one release of the module, and how it is built |
//! | [`programs`] | who is etcd, etcdctl and etcdutl |
//! | [`run`] | one test in a process, a folder and a network of its own |
//! | [`report`] | the table of a run, next to that of another |
//!
//! Needs Go, a network or a filled module cache, and `unshare`; says so where it skips.

#![forbid(unsafe_code)]

pub mod programs;
pub mod report;
pub mod run;
pub mod suite;

pub use programs::{Programs, Role};
pub use report::Report;
pub use run::{Outcome, Verdict};
pub use suite::Suite;
