//! What is kept on disk: old snapshots and log segments go.

use std::{rc::Rc, time::Duration};

use super::steady::steady;
use crate::runtime::Runtime;

const PURGE_PERIOD: Duration = Duration::from_secs(30);

/// Removes snapshot files and log segments beyond the number to keep. A segment
/// that is still needed is locked by the log writer and stays.
pub(super) async fn purge(rt: Rc<Runtime>) {
    let mut rounds = steady(PURGE_PERIOD);
    loop {
        rounds.tick().await;
        let config = &rt.core.config;
        let jobs = [
            (config.snap_dir(), ".snap", config.max_snapshots),
            (config.snap_dir(), ".snap.db", config.max_snapshots),
            (config.wal_path(), ".wal", config.max_wals),
        ];
        let done = tokio::task::spawn_blocking(move || {
            for (dir, suffix, keep) in jobs {
                if keep == 0 {
                    continue;
                }
                match wal::purge::purge(&dir, suffix, keep) {
                    Ok(files) => {
                        for file in files {
                            tracing::info!(path = %file.display(), "purged");
                        }
                    }
                    Err(error) => {
                        tracing::warn!(path = %dir.display(), error = %error, "failed to purge")
                    }
                }
            }
        });
        let _ = done.await;
    }
}
