//! More than one learner, with etcd 3.6's flag, in a cluster of both programs.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use peers::{
    cluster::{Cluster, Plan, Role},
    peer::{self, Program},
};
use proto::etcdserverpb::MemberAddRequest;

/// A learner that no one starts is refused with etcd's words.
async fn one_more_is_refused(cluster: &Cluster, via: usize) -> Result<()> {
    let request = MemberAddRequest {
        peer_ur_ls: vec!["http://127.0.0.1:1".to_owned()],
        is_learner: true,
    };
    let refused = cluster.api(via).member_add(request).await;
    let refused = refused.err().context("a learner too many was added")?;
    ensure!(
        refused.message() == "etcdserver: too many learner members in cluster",
        "{refused:?}"
    );
    Ok(())
}

async fn two_learners(programs: [Program; 3]) -> Result<()> {
    let mut cluster = Plan::of(&programs)
        .flag("--max-learners=2")
        .snapshots(20, 5)
        .start()
        .await?;
    let first = cluster.add(&programs[0], Role::Learner, 1).await?;
    let second = cluster.add(&programs[1], Role::Learner, 0).await?;
    for via in 0..3 {
        one_more_is_refused(&cluster, via).await?;
    }
    cluster.agree().await.context("with two learners")?;
    // A snapshot holds both of them; a restart from it must take them.
    for n in 0..60 {
        cluster
            .api(n % 3)
            .put(peers::api::put(format!("k{n}"), "v"))
            .await?;
    }
    cluster.stop(0).await?;
    cluster.start(0).await?;
    cluster.agree().await.context("after a restart")?;

    // With the limit of before it does not start, and says why.
    cluster.stop(0).await?;
    let program = programs[0].clone();
    cluster.refit(0, &program, &["--max-learners=1"]);
    cluster.spawn(0)?;
    let server = cluster.member(0).server()?;
    let status = server.wait_exit(Duration::from_secs(20)).await?;
    let text = server.log_text();
    ensure!(
        status.code() == Some(1)
            && text.contains("membership: too many learner members in cluster"),
        "{status}\n{text}"
    );
    cluster.drop_process(0);
    cluster.refit(0, &program, &[]);
    cluster.start(0).await?;
    cluster.promote(first, 1).await?;
    cluster.promote(second, 0).await?;
    cluster.settled().await?;
    cluster.finish().await?;
    Ok(())
}

#[test]
fn two_learners_live_in_a_cluster_of_both_programs() {
    peers::run(200, async {
        let (Some(subject), Some(etcd)) = (peer::subject(), peer::etcd("3.6.14")) else {
            return Ok(());
        };
        two_learners([subject.clone(), etcd.clone(), subject.clone()])
            .await
            .context("Pintle, etcd, Pintle")?;
        two_learners([etcd.clone(), subject, etcd])
            .await
            .context("etcd, Pintle, etcd")
    });
}
