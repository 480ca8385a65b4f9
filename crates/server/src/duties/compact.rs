//! Automatic compaction.

use std::{collections::VecDeque, rc::Rc, sync::atomic::Ordering, time::Duration};

use proto::etcdserverpb::{CompactionRequest, internal_raft_request::Op};
use tokio::time::{Instant, sleep};

use super::steady::steady;
use crate::{
    config::AutoCompaction,
    runtime::Runtime,
    status::{Status, errors},
};

/// Starts it on this runtime, as configured.
pub(super) fn start(rt: &Rc<Runtime>) {
    match rt.core.config.auto_compaction {
        AutoCompaction::Off => {}
        AutoCompaction::Periodic(retention) => drop(tokio::task::spawn_local(
            compact_periodically(rt.clone(), retention),
        )),
        AutoCompaction::Revision(keep) => drop(tokio::task::spawn_local(compact_revisions(
            rt.clone(),
            keep,
        ))),
    }
}

async fn compact(rt: &Rc<Runtime>, revision: i64) -> Result<(), Status> {
    rt.submit(
        auth::Identity::default(),
        Op::Compaction(CompactionRequest {
            revision,
            physical: false,
        }),
    )
    .await
    .map(drop)
}

/// Every tenth of the interval the revision is noted; what was current one
/// retention ago is compacted once per interval.
async fn compact_periodically(rt: Rc<Runtime>, retention: Duration) {
    let interval = retention.min(Duration::from_secs(3600));
    let step = interval / 10;
    let keep = (retention.as_nanos() / step.as_nanos().max(1)) as usize;
    let mut revisions = VecDeque::new();
    let mut rounds = steady(step);
    let mut last = Instant::now();
    loop {
        rounds.tick().await;
        revisions.push_back(rt.core.store().revision());
        while revisions.len() > keep + 1 {
            revisions.pop_front();
        }
        if revisions.len() <= keep
            || last.elapsed() < interval
            || !rt.core.raft.status.is_leader.load(Ordering::Acquire)
        {
            continue;
        }
        let revision = revisions[0];
        tracing::info!(revision, "compact-period" = ?retention, "starting auto periodic compaction");
        match compact(&rt, revision).await {
            Ok(()) => {
                last = Instant::now();
                tracing::info!(revision, "completed auto periodic compaction");
            }
            Err(error) if error == errors::COMPACTED => last = Instant::now(),
            Err(error) => {
                tracing::warn!(revision, error = %error, "failed auto periodic compaction")
            }
        }
    }
}

const REVISION_PERIOD: Duration = Duration::from_secs(300);

async fn compact_revisions(rt: Rc<Runtime>, keep: i64) {
    let mut done = 0;
    loop {
        sleep(REVISION_PERIOD).await;
        let revision = rt.core.store().revision() - keep;
        if revision <= 0
            || revision == done
            || !rt.core.raft.status.is_leader.load(Ordering::Acquire)
        {
            continue;
        }
        tracing::info!(
            revision,
            "revision-compaction-retention" = keep,
            "starting auto revision compaction"
        );
        match compact(&rt, revision).await {
            Ok(()) => {
                done = revision;
                tracing::info!(revision, "completed auto revision compaction");
            }
            Err(error) if error == errors::COMPACTED => done = revision,
            Err(error) => {
                tracing::warn!(revision, error = %error, "failed auto revision compaction")
            }
        }
    }
}
