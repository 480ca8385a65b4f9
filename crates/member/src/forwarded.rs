//! Proposals that other members forward. Once in the log, an entry is there for every member, so
//! what would end them is refused before. It must never refuse what a sound member of any release
//! proposes.

use membership::{Cluster, Payload, Refusal, entry};
use proto::{
    etcdserverpb::{Request, internal_raft_request::Op},
    raftpb::{Entry, Message, MessageType},
};
use semver::Version;

use crate::state::State;

/// Judges what another member wants in the log. `is_settled` says whether the members are those
/// that were applied: this member leads, and no change of them is on its way. A request costs one
/// more decoding.
///
/// # Errors
/// Which of the message's entries is refused, and why.
pub fn judge(
    message: &Message,
    state: &State,
    is_settled: impl Fn() -> bool,
) -> Result<(), (usize, Refusal)> {
    if message.r#type != MessageType::MsgProp as i32 {
        return Ok(());
    }
    let mut entries = message.entries.iter().enumerate();
    entries.try_for_each(|(at, entry)| {
        judge_entry(entry, state, &is_settled).map_err(|refusal| (at, refusal))
    })
}

fn judge_entry(
    entry: &Entry,
    state: &State,
    is_settled: &impl Fn() -> bool,
) -> Result<(), Refusal> {
    let payload = entry::judge_proposal(entry, state.line())?;
    match &payload {
        Some(Payload::V2(request)) => judge_v2(request, state, is_settled),
        Some(Payload::Internal(request)) => match &request.op {
            Some(Op::ClusterVersionSet(set)) => judge_version(&set.ver, state),
            Some(Op::ClusterMemberAttrSet(set)) => judge_member(set.member_id, state, is_settled),
            Some(Op::Alarm(alarm)) if entry::raises_unknown_alarm(alarm) => judge_alarm(state),
            // etcd ends on a put that needs what a deletion of the same transaction took.
            Some(Op::Txn(txn)) => {
                mvcc::validate::changes_once(txn).map_err(|_| Refusal::Invalid("transaction"))
            }
            _ => Ok(()),
        },
        Some(Payload::Empty) | None => Ok(()),
    }
}

fn judge_v2(
    request: &Request,
    state: &State,
    is_settled: &impl Fn() -> bool,
) -> Result<(), Refusal> {
    if !entry::is_membership(request) {
        return Ok(());
    }
    match entry::attributes_of(request) {
        Some(id) => judge_member(id, state, is_settled),
        None => judge_version(&request.val, state),
    }
}

/// A member ends when its cluster becomes newer than it is. No one proposes that: the version of a
/// cluster is that of its oldest member.
fn judge_version(version: &str, state: &State) -> Result<(), Refusal> {
    match Version::parse(version) {
        Ok(version) if state.line().takes_part_in(&version) => Ok(()),
        _ => Err(Refusal::Invalid("cluster version")),
    }
}

/// A member of 3.5 ends on an alarm of a kind that it does not know, and there can be one as long as
/// the version of the cluster does not exclude it.
fn judge_alarm(state: &State) -> Result<(), Refusal> {
    match state.takes_any_alarm() {
        true => Ok(()),
        false => Err(Refusal::Invalid("kind of alarm")),
    }
}

/// etcd ends on the attributes of a member that it does not know. One that has just joined may be
/// in the log only.
fn judge_member(id: u64, state: &State, is_settled: &impl Fn() -> bool) -> Result<(), Refusal> {
    let is_known =
        |cluster: &Cluster| cluster.member(id).is_some() || cluster.is_removed(id.into());
    // Asked first: what is applied in between is known afterwards.
    let is_settled = !is_known(&state.cluster.load()) && is_settled();
    if is_settled && !is_known(&state.cluster.load()) {
        return Err(Refusal::Invalid("member"));
    }
    Ok(())
}
