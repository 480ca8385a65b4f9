//! What members decide when an entry is applied: changes of the membership, alarms, leases,
//! compaction. In a cluster of both programs each entry is proposed through each member, also
//! where every API would refuse it; afterwards all members list the same members, hold the
//! same keys, and count votes by the same configuration. docs/evidence/apply-checks.md is the
//! table of the rules.

use std::{collections::BTreeSet, fmt, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use peers::{
    api,
    cluster::{Cluster, Plan, Role, WITHIN, until},
    mixes,
    peer::{self, Program},
};
use prost::Message as _;
use proto::{
    etcdserverpb::{alarm_request::AlarmAction, *},
    raftpb::{ConfChange, ConfChangeType, Entry, EntryType, Message, MessageType},
};

/// The programs of one cluster, and what is asked of it.
#[derive(Clone)]
struct Case {
    programs: Vec<Program>,
    leader: usize,
    updated_by: usize,
    promoted_by: usize,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.programs.iter().map(Program::to_string).collect();
        write!(
            f,
            "{}, m{} leads, updated by m{}, promoted by m{}",
            names.join(" + "),
            self.leader,
            self.updated_by,
            self.promoted_by
        )
    }
}

/// Voters and learners as the database of a stopped member has them.
fn conf_state(cluster: &Cluster, place: usize) -> Result<[BTreeSet<u64>; 2]> {
    let path = cluster.members()[place].dir.join("member/snap/db");
    let options = bolt::Options {
        read_only: true,
        ..bolt::Options::default()
    };
    let db = bolt::Db::open(&path, options)?;
    let tx = db.begin_read();
    let meta = tx.bucket(b"meta")?.context("no bucket meta")?;
    let record = meta.get(b"confState")?.context("no confState")?;
    let record: serde_json::Value = serde_json::from_slice(record)?;
    let ids = |name: &str| {
        let listed = record[name].as_array().into_iter().flatten();
        listed.filter_map(serde_json::Value::as_u64).collect()
    };
    Ok([ids("voters"), ids("learners")])
}

/// Stops all members; they must agree before, and count votes alike after.
async fn finish(mut cluster: Cluster) -> Result<()> {
    let agreed = cluster.agree().await?;
    cluster.end().await?;
    let listed: [BTreeSet<u64>; 2] = [false, true].map(|is_learner| {
        let of_kind = agreed.members.iter().filter(|m| m.4 == is_learner);
        of_kind.map(|m| m.0).collect()
    });
    for place in cluster.places() {
        if cluster.members()[place].program.minor() < (3, 5) {
            // etcd 3.4 keeps no copy of its configuration in the database.
            continue;
        }
        let counted = conf_state(&cluster, place)?;
        ensure!(
            counted == listed,
            "m{place} counts by {counted:x?}; {listed:x?} are listed"
        );
    }
    Ok(())
}

async fn update_and_promote(case: Case) -> Result<String> {
    let mut cluster = Plan::of(&case.programs).start().await?;
    cluster.move_leader(case.leader).await?;
    let learner = cluster
        .add(&case.programs[0].clone(), Role::Learner, case.leader)
        .await?;
    let request = MemberUpdateRequest {
        id: cluster.members()[learner].id,
        peer_ur_ls: vec![cluster.members()[learner].peer_url.clone()],
    };
    cluster.api(case.updated_by).member_update(request).await?;
    // As long as the update is all that the members know, releases up to 3.5.30 take
    // the learner for a voter, and refuse to promote it.
    let (id, api) = (
        cluster.members()[learner].id,
        cluster.api(case.promoted_by).clone(),
    );
    until("promotion", WITHIN, async || {
        Ok(api.member_promote(MemberPromoteRequest { id }).await?)
    })
    .await?;
    cluster.member(learner).is_learner = false;
    cluster.settled().await?;
    for n in 0..cluster.places().len() {
        cluster.api(n).put(api::put(format!("k{n}"), "v")).await?;
    }
    finish(cluster).await?;
    Ok("4 voters everywhere".to_owned())
}

/// Releases on both sides of the one that changed `member update`, beside the subject.
fn update_cases() -> Vec<Case> {
    let Some(subject) = peer::subject() else {
        return Vec::new();
    };
    let mut cases = Vec::new();
    for version in ["3.5.30", "3.5.33", "3.6.14"] {
        let Some(etcd) = peer::etcd(version) else {
            continue;
        };
        let programs = vec![etcd, subject.clone(), subject.clone()];
        for (leader, updated_by, promoted_by) in [(0, 0, 1), (1, 0, 1), (1, 0, 0), (0, 1, 0)] {
            cases.push(Case {
                programs: programs.clone(),
                leader,
                updated_by,
                promoted_by,
            });
        }
    }
    cases
}

#[test]
fn an_updated_learner_is_promoted_by_every_member() {
    mixes::each(
        "an_updated_learner_is_promoted_by_every_member",
        180,
        update_cases(),
        update_and_promote,
    );
}

/// Has `via` propose an entry without any check of an API: the leader appends it itself, any
/// other member forwards it as raft does.
async fn propose(cluster: &Cluster, via: usize, entry: Entry) -> Result<()> {
    let leader = cluster.leader().await?;
    let members = cluster.members();
    let from = if via == leader {
        members.iter().find(|m| m.id != members[leader].id)
    } else {
        members.get(via)
    };
    let message = Message {
        r#type: MessageType::MsgProp as i32,
        from: from.context("a lone member")?.id,
        to: members[leader].id,
        entries: vec![entry],
        ..Message::default()
    };
    let status = cluster.api(leader).status(StatusRequest {}).await?;
    let cluster_id = status.header.context("no header")?.cluster_id;
    let connect: std::sync::Arc<dyn peer_protocol::Connect> =
        std::sync::Arc::new(peer_protocol::NoTls);
    let request = http::Request::post("/raft")
        .header("x-server-from", format!("{:x}", message.from))
        .header("x-server-version", "3.5.30")
        .header("x-min-cluster-version", "3.0.0")
        .header("x-etcd-cluster-id", format!("{cluster_id:x}"))
        .body(Bytes::from(message.encode_to_vec()))?;
    let url = format!("http://127.0.0.1:{}", members[leader].peer_port);
    let reply = peer_protocol::ask::call(&connect, &url, request, Duration::from_secs(10)).await?;
    ensure!(reply.status == 204, "POST /raft: {}", reply.status);
    Ok(())
}

use ::peer as peer_protocol;

fn change(kind: ConfChangeType, id: u64, context: &str) -> Entry {
    let change = ConfChange {
        id: 0,
        r#type: kind as i32,
        node_id: id,
        context: (!context.is_empty()).then(|| Bytes::copy_from_slice(context.as_bytes())),
    };
    Entry {
        r#type: EntryType::EntryConfChange as i32,
        data: Some(change.encode_to_vec().into()),
        ..Entry::default()
    }
}

/// Changes that no member may carry out, besides the last two, which all must: a learner, and
/// its removal.
fn changes(cluster: &Cluster, removed: u64, n: u64) -> Vec<Entry> {
    use ConfChangeType::*;
    let one = &cluster.members()[0];
    let other = cluster.members()[1].peer_url.clone();
    let member = |id: u64, url: &str| format!("{{\"id\":{id},\"peerURLs\":[\"{url}\"]}}");
    let learner = |id: u64| {
        format!("{{\"id\":{id},\"peerURLs\":[\"http://127.0.0.1:{id}\"],\"isLearner\":true}}")
    };
    let promote = |id: u64| format!("{{\"id\":{id},\"peerURLs\":null,\"isPromote\":true}}");
    let (stranger, first, second) = (900 + n, 100 + n, 200 + n);
    vec![
        change(
            ConfChangeAddNode,
            one.id,
            &member(one.id, "http://127.0.0.1:7"),
        ),
        change(ConfChangeAddNode, stranger, &member(stranger, &other)),
        change(
            ConfChangeAddNode,
            removed,
            &member(removed, "http://127.0.0.1:8"),
        ),
        change(ConfChangeAddNode, one.id, &promote(one.id)),
        change(ConfChangeAddNode, stranger, &promote(stranger)),
        change(ConfChangeRemoveNode, stranger, ""),
        change(ConfChangeRemoveNode, removed, ""),
        change(
            ConfChangeUpdateNode,
            stranger,
            &member(stranger, "http://127.0.0.1:9"),
        ),
        change(
            ConfChangeUpdateNode,
            removed,
            &member(removed, "http://127.0.0.1:9"),
        ),
        change(ConfChangeUpdateNode, one.id, &member(one.id, &other)),
        change(ConfChangeAddLearnerNode, first, &learner(first)),
        change(ConfChangeAddLearnerNode, second, &learner(second)),
        change(ConfChangeRemoveNode, first, ""),
    ]
}

/// Waits until every member has applied as much as the first one, and nothing more comes.
async fn caught_up(cluster: &Cluster) -> Result<u64> {
    until("all members applied the same", WITHIN, async || {
        let mut applied = BTreeSet::new();
        for place in cluster.places() {
            let status = cluster.members()[place].status().await?;
            applied.insert((status.raft_index, status.raft_applied_index));
        }
        match applied.first() {
            Some((index, done)) if applied.len() == 1 && index == done => Ok(*index),
            _ => bail!("{applied:?}"),
        }
    })
    .await
}

/// Proposes an entry and waits until all members have applied it.
async fn carry_out(cluster: &Cluster, via: usize, entry: Entry) -> Result<()> {
    let before = caught_up(cluster).await?;
    propose(cluster, via, entry).await?;
    until("the entry is applied", WITHIN, async || {
        let now = caught_up(cluster).await?;
        ensure!(now > before, "still at {now}");
        Ok(())
    })
    .await
}

fn request(id: u64, op: internal_raft_request::Op) -> Entry {
    let request = InternalRaftRequest {
        header: Some(RequestHeader {
            id,
            ..RequestHeader::default()
        }),
        op: Some(op),
        ..InternalRaftRequest::default()
    };
    Entry {
        data: Some(request.encode_to_vec().into()),
        ..Entry::default()
    }
}

const LIFTED: &str = "lifted";

/// Alarms in every order, with writes between them that they forbid or allow, leases and
/// compactions that hold and that do not. After each member `n` has proposed it the alarms
/// are all gone.
fn requests(n: u64) -> Vec<internal_raft_request::Op> {
    use internal_raft_request::Op;
    let alarm = |action: AlarmAction, member_id: u64, kind: AlarmType| {
        Op::Alarm(AlarmRequest {
            action: action as i32,
            member_id,
            alarm: kind as i32,
        })
    };
    let put = |key: &str, lease: i64| {
        Op::Put(PutRequest {
            lease,
            ..api::put(format!("{key}{n}"), "v")
        })
    };
    let grant = |id: i64, ttl: i64| Op::LeaseGrant(LeaseGrantRequest { ttl, id });
    let revoke = |id: i64| Op::LeaseRevoke(LeaseRevokeRequest { id });
    let compact = |revision: i64| {
        Op::Compaction(CompactionRequest {
            revision,
            physical: false,
        })
    };
    let checkpoint = |ids: &[i64]| {
        let checkpoints = ids.iter().map(|id| LeaseCheckpoint {
            id: *id,
            remaining_ttl: 77,
        });
        Op::LeaseCheckpoint(LeaseCheckpointRequest {
            checkpoints: checkpoints.collect(),
        })
    };
    let (raise, clear) = (AlarmAction::Activate, AlarmAction::Deactivate);
    let (full, corrupt) = (AlarmType::Nospace, AlarmType::Corrupt);
    let lease = 1000 + n as i64;
    vec![
        put("plain", 0),
        // The restriction ends with the last alarm of its kind, not with any.
        alarm(raise, 1, full),
        alarm(raise, 2, full),
        put("full-by-two", 0),
        alarm(clear, 1, full),
        put("full-by-one", 0),
        grant(lease, 600),
        Op::DeleteRange(api::delete(format!("plain{n}"))),
        alarm(clear, 1, full),
        alarm(clear, 2, full),
        put("free", 0),
        // One more of a kind that is active does not take the place of the other kind.
        alarm(raise, 1, full),
        alarm(raise, 1, corrupt),
        alarm(raise, 3, full),
        Op::DeleteRange(api::delete(format!("free{n}"))),
        put("corrupt", 0),
        compact(2),
        revoke(lease),
        alarm(raise, 2, corrupt),
        alarm(clear, 1, corrupt),
        put("corrupt-by-one", 0),
        alarm(clear, 2, corrupt),
        // Up to 3.5 full, but nothing is forbidden; from 3.6 on puts are.
        put(LIFTED, 0),
        alarm(clear, 1, full),
        alarm(clear, 3, full),
        alarm(clear, 9, AlarmType::None),
        put("after", 0),
        grant(lease, 600),
        grant(lease, 700),
        grant(lease + 500, 9_000_000_001),
        grant(lease + 600, -5),
        put("leased", lease),
        put("unleased", lease + 900),
        checkpoint(&[lease + 900, lease]),
        revoke(lease + 900),
        revoke(lease),
        put("late", lease),
        compact(3 + n as i64),
        compact(3 + n as i64),
        compact(1_000_000),
        compact(-3),
    ]
}

async fn every_check(programs: Vec<Program>) -> Result<String> {
    let mut cluster = Plan::of(&programs).start().await?;
    let before = cluster.announce(&programs[0], Role::Voter, 0).await?;
    // A leader of etcd drops a change while it has not applied the one before, and whoever asked
    // for it waits in vain.
    cluster.agree().await?;
    cluster.remove(before, 0).await?;
    let removed = cluster.members()[before].id;
    cluster.forget(before);
    // Nothing makes 3.5 and 3.6 agree while both kinds of alarm are active.
    let differs = programs.iter().any(|p| p.minor() >= (3, 6));
    let mut proposed = 0;
    for via in cluster.places() {
        let n = via as u64;
        for entry in changes(&cluster, removed, n) {
            carry_out(&cluster, via, entry).await?;
            proposed += 1;
        }
        for (at, op) in requests(n).into_iter().enumerate() {
            if differs
                && matches!(&op, internal_raft_request::Op::Put(p) if p.key.starts_with(LIFTED.as_bytes()))
            {
                continue;
            }
            let entry = request((n + 1) << 32 | at as u64, op.clone());
            carry_out(&cluster, via, entry).await?;
            cluster
                .hashes_equal()
                .await
                .with_context(|| format!("after {op:?} by m{via}"))?;
            proposed += 1;
        }
        cluster.agree().await?;
    }
    finish(cluster).await?;
    Ok(format!("{proposed} entries"))
}

/// Changes whose kind and context name different votes, which no API makes. An etcd leads, since
/// a Pintle appends none: all list what the context says, and count by the kind.
async fn contradictions(programs: Vec<Program>) -> Result<String> {
    use ConfChangeType::*;
    let mut cluster = Plan::of(&programs).start().await?;
    let leader = programs.iter().position(|p| !p.is_pintle);
    let leader = leader.context("no etcd")?;
    cluster.move_leader(leader).await?;
    let member = |id: u64, more: &str| {
        format!("{{\"id\":{id},\"peerURLs\":[\"http://127.0.0.1:{id}\"]{more}}}")
    };
    const LEARNER: &str = ",\"isLearner\":true";
    let promote = "{\"id\":103,\"peerURLs\":null,\"isPromote\":true}";
    let changes = [
        change(ConfChangeAddLearnerNode, 101, &member(101, "")),
        change(ConfChangeAddLearnerNode, 102, &member(102, "")),
        change(ConfChangeAddLearnerNode, 103, &member(103, LEARNER)),
        // The list has no room for a second learner, however it is counted.
        change(ConfChangeAddNode, 104, &member(104, LEARNER)),
        // Promoted in the list alone.
        change(ConfChangeAddLearnerNode, 103, promote),
        change(ConfChangeAddLearnerNode, 105, &member(105, LEARNER)),
        // Keys in letters of any case, and twice.
        change(
            ConfChangeUpdateNode,
            101,
            "{\"ID\":1,\"id\":101,\"PeerURLs\":[\"http://127.0.0.1:91\"]}",
        ),
    ];
    for (n, entry) in changes.into_iter().enumerate() {
        carry_out(&cluster, leader, entry)
            .await
            .with_context(|| format!("change {n}"))?;
        cluster
            .agree()
            .await
            .with_context(|| format!("change {n}"))?;
    }
    let listed = cluster.agree().await?.members;
    let learners: Vec<u64> = listed.iter().filter(|m| m.4).map(|m| m.0).collect();
    ensure!(learners == [105], "{learners:?} are learners");
    cluster.end().await?;
    for place in cluster.places() {
        let [voters, learners] = conf_state(&cluster, place)?;
        ensure!(
            voters.len() == programs.len() && learners == BTreeSet::from([101, 102, 103, 105]),
            "m{place} counts by {voters:x?} and {learners:?}"
        );
    }
    Ok("7 changes".to_owned())
}

#[test]
fn a_vote_that_kind_and_context_disagree_about_is_listed_and_counted_as_by_etcd() {
    let mut cases = Vec::new();
    if let (Some(subject), Some(etcd)) = (peer::subject(), peer::etcd("3.5.30")) {
        cases.push(Programs(vec![etcd.clone(), subject.clone(), etcd]));
    }
    mixes::each(
        "a_vote_that_kind_and_context_disagree_about_is_listed_and_counted_as_by_etcd",
        180,
        cases,
        |case| contradictions(case.0),
    );
}

/// Changes that come before a disputed update has been settled, as fast as the leader takes
/// them. Whatever is decided is decided by all.
async fn in_dispute(programs: Vec<Program>) -> Result<String> {
    use ConfChangeType::*;
    let mut cluster = Plan::of(&programs).start().await?;
    let mut promoted = 0;
    for n in 0..10 {
        let via = n as usize % programs.len();
        let (first, second) = (100 + n, 200 + n);
        let learner = |id: u64, flag: &str| {
            format!("{{\"id\":{id},\"peerURLs\":[\"http://127.0.0.1:{id}\"]{flag}}}")
        };
        let add = |id: u64| {
            change(
                ConfChangeAddLearnerNode,
                id,
                &learner(id, ",\"isLearner\":true"),
            )
        };
        carry_out(&cluster, via, add(first)).await?;
        let before = caught_up(&cluster).await?;
        propose(
            &cluster,
            via,
            change(ConfChangeUpdateNode, first, &learner(first, "")),
        )
        .await?;
        let leader = cluster.leader().await?;
        until("the leader applied the update", WITHIN, async || {
            let status = cluster.members()[leader].status().await?;
            ensure!(status.raft_applied_index > before, "not yet");
            Ok(())
        })
        .await?;
        let context = format!("{{\"id\":{first},\"peerURLs\":null,\"isPromote\":true}}");
        let next = match n % 2 {
            0 => add(second),
            _ => change(ConfChangeAddNode, first, &context),
        };
        propose(&cluster, via, next).await?;
        let agreed = cluster
            .agree()
            .await
            .with_context(|| format!("round {n}"))?;
        promoted += agreed
            .members
            .iter()
            .filter(|m| m.0 == first && !m.4)
            .count();
        for id in [first, second] {
            if agreed.members.iter().any(|m| m.0 == id) {
                carry_out(&cluster, via, change(ConfChangeRemoveNode, id, "")).await?;
            }
        }
    }
    finish(cluster).await?;
    Ok(format!("10 rounds, {promoted} promotions held"))
}

#[test]
fn changes_in_a_dispute_are_judged_alike() {
    let mut cases = Vec::new();
    if let Some(subject) = peer::subject() {
        for version in ["3.5.30", "3.5.33", "3.6.14"] {
            if let Some(etcd) = peer::etcd(version) {
                cases.push(Programs(vec![etcd.clone(), subject.clone(), etcd.clone()]));
                cases.push(Programs(vec![subject.clone(), etcd, subject.clone()]));
            }
        }
    }
    mixes::each(
        "changes_in_a_dispute_are_judged_alike",
        200,
        cases,
        |case| in_dispute(case.0),
    );
}

#[derive(Clone)]
struct Programs(Vec<Program>);

impl fmt::Display for Programs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", mixes::Mix(self.0.clone()))
    }
}

#[test]
fn members_judge_every_entry_alike() {
    let mut cases = Vec::new();
    if let Some(subject) = peer::subject() {
        for version in ["3.4.23", "3.5.16", "3.5.30", "3.5.33", "3.6.14"] {
            if let Some(etcd) = peer::etcd(version) {
                cases.push(Programs(vec![etcd.clone(), subject.clone(), etcd]));
            }
        }
    }
    mixes::each("members_judge_every_entry_alike", 300, cases, |case| {
        every_check(case.0)
    });
}
