//! What a member proposes for itself while it starts, and what becomes of it when the way to
//! the leader breaks just then: a received snapshot is put in place.

use anyhow::{Result, ensure};
use futures_util::{StreamExt as _, stream};
use peers::{
    api,
    cluster::{Cluster, Plan},
    peer,
};

async fn puts(cluster: &Cluster, round: u64) -> Result<()> {
    let api = cluster.api(0);
    let mut answers = stream::iter(0..2000)
        .map(|i| async move {
            api.put(api::put(format!("{round}/{i:06}"), vec![b'x'; 200]))
                .await
        })
        .buffer_unordered(64);
    while let Some(answer) = answers.next().await {
        answer?;
    }
    Ok(())
}

/// It is ready when it has made itself known; a proposal that was lost is not waited for as
/// long as a client would be.
#[test]
fn a_member_that_receives_a_snapshot_at_its_start_keeps_its_connections() {
    peers::run(240, async {
        let Some(program) = peer::subject().filter(|p| p.is_pintle) else {
            return Ok(());
        };
        let programs = [program.clone(), program.clone(), program];
        let mut cluster = Plan::of(&programs).snapshots(1000, 100).start().await?;
        cluster.move_leader(0).await?;
        cluster.kill(2).await?;
        puts(&cluster, 0).await?;
        cluster.spawn(2)?;
        // Load while it starts.
        puts(&cluster, 1).await?;
        cluster.serving(2).await?;
        let log = cluster.member(2).server()?.log_text();
        ensure!(
            log.contains("\"applied snapshot\""),
            "it did not receive a snapshot\n{log}"
        );
        let begun = log.matches("\"started remote peer\"").count();
        ensure!(begun == 2, "it began to reach {begun} members");
        let failed = log.contains("failed to publish local member");
        ensure!(!failed, "it waited for a lost proposal\n{log}");
        cluster.finish().await?;
        Ok(())
    });
}
