//! What a member does without being asked.
//!
//! | module | what it is |
//! |---|---|
//! | [`announce`] | this member's name and client URLs |
//! | [`leadership`] | handed on when this member stops |
//! | [`tick`] | ticks, the first election, the loss of the leader |
//! | [`lease`] | the leader's expiry and checkpoints of leases |
//! | [`compact`] | automatic compaction |
//! | [`purge`] | old snapshots and log segments |
//! | [`snapshot`] | a snapshot where the log would stop a newer release |
//! | [`version`] | the cluster version |
//! | [`line`] | this member's part of a change of the line |
//! | [`corruption`] | comparing hashes with other members |

mod announce;
mod compact;
pub mod corruption;
mod leadership;
pub mod lease;
mod line;
mod purge;
mod snapshot;
mod steady;
mod tick;
pub mod version;

use std::rc::Rc;

pub use announce::announce;
pub use leadership::give_up_leadership;

use crate::{runtime::Runtime, spans};

/// Starts, on runtime 0, all of it that needs no answer of other members.
pub fn start(rt: &Rc<Runtime>) {
    if let Some(tracing) = &rt.core.config.tracing
        && let Err(error) = spans::start(tracing)
    {
        tracing::warn!(error = %error, "failed to set up distributed tracing");
    }
    tick::start(rt);
    lease::start(rt);
    tokio::task::spawn_local(purge::purge(rt.clone()));
    tokio::task::spawn_local(snapshot::snapshot_for_newer_releases(rt.clone()));
    compact::start(rt);
}

/// Starts the rest on the runtime of the other members.
pub fn start_with_members(rt: &Rc<Runtime>) {
    version::start(rt);
    corruption::start(rt);
    tokio::task::spawn_local(line::follow_change(rt.clone()));
}
