//! Where the releases of etcd disagree about a vote. `member update` of a learner makes it a
//! voter in the lists of etcd up to 3.5.30, which then refuse its promotion when it is applied
//! and count it no more among the learners; later releases keep it a learner. The raft
//! configurations of such members part ways for good with the next change.
//!
//! Pintle follows both ([`Cluster::is_disputed`]), judges as the other members do, and ends
//! the dispute: another update, with the vote in it that raft counts by, brings the older
//! releases back to what the later ones have, and changes nothing there. Until that is applied
//! it makes no change that would be judged differently.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use http::{Method, StatusCode};
use membership::{
    Cluster, Member, MemberId,
    conf_change::{self, Rules},
};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    ask,
    core::Core,
    runtime::{Runtime, Task},
    status::{Status, errors},
};

fn keeps_the_vote(peer: &peer::PeerStatus) -> bool {
    let version = peer.version.as_ref();
    version.is_some_and(line::release::update_keeps_the_vote)
}

/// By whose rules the other members judge. Where both kinds are there etcd itself comes apart,
/// and the later one is followed.
pub fn rules(core: &Core) -> Rules<'static> {
    let peers = core.raft.peers().map(|peers| peers.peers());
    let peers = peers.unwrap_or_default();
    let own = || line::release::update_keeps_the_vote(&core.line().release_version());
    let newer = match peers.is_empty() {
        true => own(),
        // While the line changes this member may be the only one that speaks it yet.
        false => peers.iter().any(keeps_the_vote) || core.line_kept.change().is_some() && own(),
    };
    if newer { Rules::Newer } else { Rules::Older }
}

/// True if every other member is known to take an update for one of URLs only. A dispute that
/// all of them are on the same side of need not be ended, and the update that would end it
/// could push a change of a client out of the log.
fn is_unanimous(core: &Core) -> bool {
    let peers = core.raft.peers().map(|peers| peers.peers());
    peers.is_some_and(|peers| !peers.is_empty() && peers.iter().all(keeps_the_vote))
}

/// What an update that began a dispute asks of this member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The releases disagree, and another update ends that.
    Settle,
    /// It came from a member that counts another vote than this one: their configurations
    /// differ already, and an answer to the update would be answered in turn, for ever.
    Contradicted,
    /// Which side raft is on is not known, as in directories that were in dispute before: no
    /// update would end it everywhere.
    Leave,
}

/// Only releases that take the vote from the update name a voter where there is a learner. One
/// that names a learner where there is a voter was written by a member that counts by it.
fn verdict(is_learner: bool, raft_has_learner: bool) -> Verdict {
    match (is_learner, raft_has_learner) {
        (true, true) => Verdict::Settle,
        (false, false) => Verdict::Contradicted,
        _ => Verdict::Leave,
    }
}

/// Follows an update after which `member` is disputed.
pub fn follow(core: &Core, member: &Member, raft_has_learner: bool) -> Option<Task> {
    match verdict(member.is_learner, raft_has_learner) {
        Verdict::Settle if !is_unanimous(core) => {
            let id = member.id;
            Some(Box::new(move |rt| {
                tokio::task::spawn_local(settle(rt.clone(), id));
            }))
        }
        Verdict::Contradicted => {
            tracing::error!(
                "member-id" = %member.id,
                "another member counts this one as a learner, and here it has a vote: the raft \
                 configurations of the members differ; compare the endpoints' member lists, \
                 remove the member that differs from the others, and add it again with an \
                 empty data directory"
            );
            None
        }
        Verdict::Settle | Verdict::Leave => None,
    }
}

/// A proposal may be lost on its way, or come while another change is under way.
const FIRST_ATTEMPT: Duration = Duration::from_millis(100);
const LAST_ATTEMPT: Duration = Duration::from_secs(2);

/// Ends the dispute about a member. Every Pintle does that: the first one does it for all.
async fn settle(rt: Rc<Runtime>, id: MemberId) {
    let core = &rt.core;
    let mut attempt = FIRST_ATTEMPT;
    loop {
        let cluster = core.state.cluster.load_full();
        let Some(member) = cluster.member(id).filter(|_| cluster.is_disputed(id)) else {
            return;
        };
        tracing::warn!(
            "member-id" = %id,
            "is-learner" = member.is_learner,
            "releases of etcd disagree about this member's vote since its last update; updating it again"
        );
        let request = core.next_request_id();
        let change = conf_change::update(request, id, &member.peer_urls, member.is_learner);
        let begin = Instant::now();
        let done = timeout(attempt, rt.submit_conf_change(&change)).await;
        if let Ok(Err(error)) = done {
            tracing::warn!("member-id" = %id, error = %error, "failed to update the member again");
            sleep(attempt.saturating_sub(begin.elapsed())).await;
        }
        attempt = (attempt * 2).min(LAST_ATTEMPT);
    }
}

/// Between two looks at what the members say.
const POLL: Duration = Duration::from_millis(20);

/// Waits until no vote is disputed, or all members are on the same side.
///
/// # Errors
/// That did not come about within the time of a request.
pub async fn settled(rt: &Rc<Runtime>) -> Result<(), Status> {
    let core = &rt.core;
    let deadline = Instant::now() + core.config.request_timeout();
    while core.state.cluster.load().disputed().next().is_some() && !is_unanimous(core) {
        if Instant::now() >= deadline {
            return Err(errors::VOTE_DISPUTED);
        }
        sleep(POLL).await;
    }
    Ok(())
}

/// How long members may take to apply what this one has applied, and to say so.
const AGREE_WITHIN: Duration = Duration::from_secs(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Makes sure that every member that answers takes `id` for a learner: one that does not would
/// refuse its promotion when it is applied.
///
/// # Errors
/// There is such a member.
pub async fn all_take_for_learner(
    rt: &Rc<Runtime>,
    cluster: &Cluster,
    id: MemberId,
) -> Result<(), Status> {
    let deadline = Instant::now() + AGREE_WITHIN;
    loop {
        let others = cluster.members().filter(|m| m.id.0 != rt.core.member_id);
        let answers = others.map(|member| takes_for_learner(rt, member, id));
        let answers = futures_util::future::join_all(answers).await;
        if !answers.contains(&Some(false)) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(errors::VOTE_DISPUTED);
        }
        sleep(POLL).await;
    }
}

/// `None` if it does not answer, or does not know the member.
async fn takes_for_learner(rt: &Rc<Runtime>, member: &Member, id: MemberId) -> Option<bool> {
    let question = ask::member(rt, member, Method::GET, "/members", Bytes::new());
    let reply = timeout(ANSWER_WITHIN, question).await.ok()?.ok()?;
    if reply.status != StatusCode::OK {
        return None;
    }
    let listed: Vec<Member> = serde_json::from_slice(&reply.body).ok()?;
    let learner = listed.into_iter().find(|listed| listed.id == id)?;
    if !learner.is_learner {
        tracing::warn!(
            "member-id" = %id,
            "remote-peer-id" = %member.id,
            "another member does not take this one for a learner"
        );
    }
    Some(learner.is_learner)
}

#[cfg(test)]
mod tests {
    use super::{Verdict, verdict};

    #[test]
    fn only_the_side_of_a_learner_is_settled() {
        assert_eq!(verdict(true, true), Verdict::Settle);
        assert_eq!(verdict(false, false), Verdict::Contradicted);
        assert_eq!(verdict(true, false), Verdict::Leave);
        assert_eq!(verdict(false, true), Verdict::Leave);
    }
}
