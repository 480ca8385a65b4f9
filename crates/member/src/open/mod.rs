//! What a data directory holds, read and checked before anything in it is written.
//!
//! | module | what it is |
//! |---|---|
//! | `database` | the database file, and what is built from it in memory |
//! | `membership` | the copies of the membership, compared |
//! | `auth` | what shows that a directory needs authentication, which is refused |

mod auth;
mod database;
mod membership;

pub use auth::{Auth, refuse_file};
pub use database::Database;
pub use membership::{MembershipCheck, Stored, Verdict, check_version, compare as compare_members};
