//! From a data directory to the parts of a member.
//!
//! | module | what it is |
//! |---|---|
//! | `log` | the log, and the newest snapshot that it knows |
//! | `start` | what is checked and finished, in which order, until the parts are there |
//! | `database` | the database file, and what is built from it in memory |
//! | `membership` | the copies of the membership, compared |
//! | `promotions` | what is logged of promotions that the database may have missed |
//! | `force_new_cluster` | what `--force-new-cluster` makes of a directory |
//! | `v2_keys` | keys of API version 2, and how they are given up |

mod database;
mod force_new_cluster;
mod log;
mod membership;
mod promotions;
mod start;
mod v2_keys;

pub use database::Database;
pub use log::{Dirs, Founding, Log};
pub use membership::{
    Adopted, MembershipCheck, Stored, Verdict, buckets_rule, check_version,
    compare as compare_members, is_serious,
};
pub use start::{Parts, Setup, holds_database, start};
