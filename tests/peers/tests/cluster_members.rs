//! Who belongs: learners of each kind are added, promoted and removed; a
//! removed member's process ends and says why; what would cost the quorum is
//! refused; strangers and releases that are too old do not get in.

use std::{fmt, time::Duration};

use anyhow::{Context as _, Result, ensure};
use peers::{
    api,
    cluster::{Plan, Role, until},
    mixes,
    peer::{self, Program},
};
use proto::etcdserverpb::{
    MemberAddRequest, MemberPromoteRequest, MemberRemoveRequest, RangeRequest,
};
use tonic::Code;

/// The kind that is there and the kind that comes.
#[derive(Clone)]
struct Pair {
    there: Program,
    comes: Program,
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} comes to {}", self.comes, self.there)
    }
}

fn cases(few: &[&str]) -> Vec<Pair> {
    mixes::pairs(few)
        .into_iter()
        .map(|[there, comes]| Pair { there, comes })
        .collect()
}

/// Those who can come: no one comes to a cluster of a minor version that it does not
/// know yet (see "too old").
fn newcomers(few: &[&str]) -> Vec<Pair> {
    let mut pairs = cases(few);
    pairs.retain(|pair| pair.comes.minor() >= pair.there.minor());
    pairs
}

async fn learner(pair: Pair) -> Result<String> {
    let mut cluster = Plan::of(&vec![pair.there.clone(); 3]).start().await?;
    let leader = cluster.leader().await?;
    let follower = (leader + 1) % 3;
    cluster.api(0).put(api::put("k", "1")).await?;

    let place = cluster
        .announce(&pair.comes, Role::Learner, follower)
        .await?;
    let id = cluster.members()[place].id;
    // Before it ever started it is not in sync.
    let early = cluster
        .api(follower)
        .member_promote(MemberPromoteRequest { id })
        .await;
    let early = early
        .err()
        .context("a learner that never started was promoted")?;
    ensure!(
        early.message()
            == "etcdserver: can only promote a learner member which is in sync with leader",
        "promoting a learner that never started: {early:?}"
    );
    // One learner is the most.
    let second = MemberAddRequest {
        peer_ur_ls: vec!["http://127.0.0.1:1".to_owned()],
        is_learner: true,
    };
    let second = cluster.api(leader).member_add(second).await;
    let second = second.err().context("a second learner was added")?;
    ensure!(
        second.message() == "etcdserver: too many learner members in cluster",
        "a second learner: {second:?}"
    );

    cluster.start(place).await?;
    let put = cluster
        .api(place)
        .put(api::put("k", "at the learner"))
        .await;
    let put = put.err().context("a learner took a put")?;
    let code = match pair.comes.minor() >= (3, 6) {
        true => Code::FailedPrecondition,
        false => Code::Unavailable,
    };
    ensure!(
        put.code() == code && put.message() == "etcdserver: rpc not supported for learner",
        "a put at a learner: {put:?}"
    );
    let read = RangeRequest {
        serializable: true,
        ..api::get("k")
    };
    until(
        "the learner has the key",
        Duration::from_secs(20),
        async || {
            let read = cluster.api(place).range(read.clone()).await?;
            ensure!(read.kvs.len() == 1, "not yet");
            Ok(())
        },
    )
    .await?;
    cluster.agree().await.context("with a learner")?;

    cluster.promote(place, follower).await?;
    cluster.settled().await?;
    cluster.agree().await.context("with the promoted member")?;
    cluster
        .move_leader(place)
        .await
        .context("the promoted member can lead")?;
    cluster.api(place).put(api::put("k", "2")).await?;
    // It knows that it votes after a restart as well.
    cluster.stop(place).await?;
    cluster.start(place).await?;
    cluster
        .agree()
        .await
        .context("after a restart of the promoted member")?;

    cluster.remove(place, leader).await?;
    let again = cluster
        .api(leader)
        .member_remove(MemberRemoveRequest { id })
        .await;
    let again = again.err().context("a member was removed twice")?;
    ensure!(
        again.code() == Code::NotFound && again.message() == "etcdserver: member not found",
        "removing a member again: {again:?}"
    );
    cluster.finish().await?;
    Ok("added, promoted, led, removed".to_owned())
}

async fn unpromoted_learner(pair: Pair) -> Result<String> {
    let mut cluster = Plan::of(&vec![pair.there.clone(); 3])
        .snapshots(20, 5)
        .start()
        .await?;
    let place = cluster.add(&pair.comes, Role::Learner, 0).await?;
    for i in 0..60 {
        cluster
            .api(i % 3)
            .put(api::put(format!("k{i}"), "v"))
            .await?;
    }
    cluster.stop(place).await?;
    cluster
        .start(place)
        .await
        .context("a learner starts again")?;
    cluster.agree().await?;
    cluster.remove(place, 1).await?;
    // Started again, it hears that it is gone.
    cluster.spawn(place)?;
    let server = cluster.member(place).server()?;
    server
        .wait_log(
            "the member has been permanently removed from the cluster",
            Duration::from_secs(30),
        )
        .await
        .context("a removed member that is started again")?;
    server.wait_exit(Duration::from_secs(30)).await?;
    cluster.drop_process(place);
    cluster.finish().await?;
    Ok("removed as a learner, and refused when it came back".to_owned())
}

/// A cluster of both kinds loses a member of each: a follower and the leader.
async fn removal(pair: Pair) -> Result<String> {
    let programs = [
        &pair.there,
        &pair.there,
        &pair.comes,
        &pair.comes,
        &pair.comes,
    ]
    .map(Clone::clone);
    let mut cluster = Plan::of(&programs).start().await?;
    cluster.move_leader(0).await?;
    cluster
        .remove(2, 3)
        .await
        .context("a follower is removed")?;
    cluster.api(1).put(api::put("a", "1")).await?;
    cluster.agree().await?;
    cluster
        .remove(0, 1)
        .await
        .context("the leader is removed")?;
    cluster.leader().await?;
    cluster.api(3).put(api::put("b", "1")).await?;
    cluster.agree().await?;
    // A voter joins directly, too.
    let place = cluster
        .add(&pair.there, Role::Voter, 3)
        .await
        .context("a voter is added")?;
    cluster.settled().await?;
    cluster.move_leader(place).await?;
    cluster.api(place).put(api::put("c", "1")).await?;
    cluster.finish().await?;
    Ok("a follower and the leader removed, a voter added".to_owned())
}

/// What strict-reconfig-check refuses.
async fn quorum(pair: Pair) -> Result<String> {
    let programs = [&pair.there, &pair.comes, &pair.comes].map(Clone::clone);
    let mut cluster = Plan::of(&programs).start().await?;
    cluster.move_leader(0).await?;
    cluster.stop(2).await?;
    let add = MemberAddRequest {
        peer_ur_ls: vec!["http://127.0.0.1:1".to_owned()],
        is_learner: false,
    };
    let add = cluster.api(0).member_add(add).await;
    let add = add
        .err()
        .context("a member was added while one of three is down")?;
    ensure!(
        add.code() == Code::Unavailable && add.message() == "etcdserver: unhealthy cluster",
        "adding while one is down: {add:?}"
    );
    let id = cluster.members()[1].id;
    let remove = cluster
        .api(0)
        .member_remove(MemberRemoveRequest { id })
        .await;
    let remove = remove
        .err()
        .context("a running member was removed while one of three is down")?;
    ensure!(
        remove.code() == Code::Unavailable && remove.message() == "etcdserver: unhealthy cluster",
        "removing while one is down: {remove:?}"
    );
    // The dead one may go.
    cluster.remove(2, 0).await?;
    cluster.api(1).put(api::put("k", "v")).await?;
    cluster.finish().await?;
    Ok("refused what costs the quorum, removed the dead one".to_owned())
}

/// A member that formed another cluster with the same addresses.
async fn stranger(pair: Pair) -> Result<String> {
    let mut cluster = Plan::of(&vec![pair.there.clone(); 3]).start().await?;
    let place = cluster.announce(&pair.comes, Role::Voter, 0).await?;
    cluster.refit(
        place,
        &pair.comes,
        &[
            "--initial-cluster-token=another",
            "--initial-cluster-state=new",
        ],
    );
    cluster.spawn(place)?;
    let leader = cluster.leader_among(&[0, 1, 2]).await?;
    let server = cluster.member(leader).server()?;
    server
        .wait_log("request cluster ID mismatch", Duration::from_secs(30))
        .await
        .context("the leader says that a stranger came")?;
    let newcomer = cluster.member(place).server()?;
    newcomer
        .wait_log("cluster ID mismatch", Duration::from_secs(30))
        .await
        .context("the stranger hears that it is one")?;
    cluster.drop_process(place);
    cluster.api(0).put(api::put("k", "v")).await?;
    cluster.remove(place, 0).await?;
    cluster.drop_process(place);
    cluster.finish().await?;
    Ok("refused for its cluster id".to_owned())
}

#[test]
fn learners_come_vote_and_go() {
    mixes::each("learner", 150, newcomers(&["3.5.30"]), learner);
}

#[test]
fn a_learner_that_never_voted_is_removed() {
    mixes::each(
        "unpromoted learner",
        120,
        newcomers(&["3.5.30"]),
        unpromoted_learner,
    );
}

#[test]
fn members_are_removed() {
    mixes::each("removal", 150, cases(&["3.5.30"]), removal);
}

#[test]
fn the_quorum_is_guarded() {
    mixes::each("quorum", 120, cases(&["3.5.30"]), quorum);
}

#[test]
fn strangers_stay_out() {
    mixes::each("stranger", 120, cases(&["3.5.30"]), stranger);
}

/// A release below the cluster version does not join.
#[test]
fn a_release_too_old_stays_out() {
    let Some((subject, old)) = peer::subject().zip(peer::etcd(peer::BEFORE)) else {
        return;
    };
    let pair = Pair {
        there: subject,
        comes: old,
    };
    mixes::each("too old", 90, vec![pair], async |pair: Pair| {
        let mut cluster = Plan::of(&vec![pair.there.clone(); 3]).start().await?;
        let place = cluster.announce(&pair.comes, Role::Learner, 0).await?;
        cluster.spawn(place)?;
        let server = cluster.member(place).server()?;
        let status = server.wait_exit(Duration::from_secs(30)).await?;
        let text = server.log_text();
        ensure!(!status.success(), "it ended with success");
        ensure!(
            text.contains("incompatible with current running cluster"),
            "it does not say why it ended\n{}",
            server.tail()
        );
        cluster.drop_process(place);
        cluster.remove(place, 0).await?;
        cluster.drop_process(place);
        cluster.finish().await?;
        Ok("refused for its version".to_owned())
    });
}
