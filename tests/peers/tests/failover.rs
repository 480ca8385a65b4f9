//! How long no one can write after the leader was killed: from SIGKILL to the
//! first acknowledged put at one of the two that are left. A measurement, not an
//! assertion; `PINTLE_FAILOVER=20` kills so many leaders of each kind of cluster.

use std::{
    env,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use peers::{
    api,
    cluster::Plan,
    peer::{self, Program},
};

/// A put that is not answered by then is given up and tried elsewhere.
const PATIENCE: Duration = Duration::from_millis(250);

async fn kills(program: &Program, count: usize) -> Result<Vec<Duration>> {
    let programs = vec![program.clone(); 3];
    let mut cluster = Plan::of(&programs).start().await?;
    let mut took = Vec::new();
    for n in 0..count {
        let leader = cluster.leader().await?;
        let others: Vec<usize> = cluster.places().filter(|p| *p != leader).collect();
        for i in 0..20 {
            let put = api::put(format!("before/{n}/{i}"), b"v".to_vec());
            cluster.api(leader).put(put).await?;
        }
        let began = Instant::now();
        cluster.kill(leader).await?;
        for turn in 0.. {
            let at = cluster.api(others[turn % others.len()]);
            let put = api::put(format!("after/{n}"), b"v".to_vec());
            if let Ok(Ok(_)) = tokio::time::timeout(PATIENCE, at.put(put)).await {
                took.push(began.elapsed());
                break;
            }
        }
        cluster.start(leader).await?;
        cluster.agree().await?;
    }
    cluster.finish().await?;
    took.sort();
    Ok(took)
}

#[test]
fn writes_come_back_after_the_leader_was_killed() {
    let count = env::var("PINTLE_FAILOVER")
        .ok()
        .and_then(|n| n.parse().ok());
    let count: usize = count.unwrap_or(1);
    let Some((pintle, etcd)) = peer::pair() else {
        return;
    };
    let limit = 60 + 30 * count as u64;
    peers::run(limit, async move {
        for program in [&etcd, &pintle] {
            let took = kills(program, count).await?;
            let ms = |at: usize| took.get(at).map_or(0, Duration::as_millis);
            let last = took.len().checked_sub(1).context("no kill")?;
            peer::say(&format!(
                "RAN: leader killed, first write, {count} times: {program}: median {} ms, {} to {} ms",
                ms(last / 2),
                ms(0),
                ms(last)
            ));
        }
        Ok(())
    });
}
