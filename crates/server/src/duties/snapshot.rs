//! A snapshot where the log would stop a newer release.

use std::{rc::Rc, time::Duration};

use super::steady::steady;
use crate::runtime::Runtime;

/// Soon after the start, when everybody has published itself, and from then on
/// whenever a member that speaks the v2 language has.
const NEWER_RELEASE_PERIOD: Duration = Duration::from_secs(5);

/// Keeps what lies on disk fit for releases to come, also where the process is killed.
pub(super) async fn snapshot_for_newer_releases(rt: Rc<Runtime>) {
    let mut rounds = steady(NEWER_RELEASE_PERIOD);
    rounds.tick().await;
    loop {
        rounds.tick().await;
        rt.core.raft.apply.push(member::Command::SnapshotIfBlocking);
    }
}
