//! The workshop of sick data directories. It makes, with real etcd releases,
//! the histories after which an upgrade fails, starts the next release on the
//! directory as an operator would, and records what really happens. It must
//! never call a row tested that did not run: a row that lacks a release is
//! printed as `SKIP:` with the reason.
//!
//! | module | what it holds |
//! |---|---|
//! | [`rows`] | the table: one script per row, and what it ends in |
//! | [`script`] | the words a script is made of |
//! | [`workshop`] | performs a script on real processes; keeps every directory as it was before a start |
//! | [`case`] | one start on one directory, and what it ended in |
//! | [`reality`] | what a start ended in, read from exit status, log and member list |
//! | [`bucket`] | the membership in the database file: read, and made sick by hand |
//! | [`predict`] | the seam for a program that predicts the outcome, and its judge |
//! | [`tool`] | `pintle upgrade check` as the one that predicts |
//! | [`operated`] | runs of `pintle upgrade run`, killed in every step, and writers beside them |
//! | [`proxy`] | a proxy that is cut and joined again |
//! | [`scripted`] | clusters whose members scripts stop and start |
//! | [`certificates`] | certificates for clusters with TLS |
//! | [`report`] | the table as Markdown |

#![forbid(unsafe_code)]

pub mod background;
pub mod bucket;
pub mod case;
pub mod certificates;
pub mod operated;
pub mod predict;
pub mod proxy;
pub mod reality;
pub mod report;
pub mod rows;
pub mod script;
pub mod scripted;
pub mod tool;
pub mod workshop;

pub use case::Case;
pub use predict::Predict;
pub use reality::{Ends, Reality};
pub use rows::Row;
pub use workshop::{EXTRA, Record};
