//! The same calls through etcd's grpc-proxy and Pintle's, in front of etcd and of Pintle: answers,
//! errors and their codes.

use std::fmt::Debug;

use anyhow::{Result, ensure};
use futures_util::{StreamExt as _, stream};
use peers::{
    api::{self, Api, delete, get, op_delete, op_put, op_range, op_txn, prefix_end, put},
    peer::{self, Program},
    ports,
    server::Launch,
};
use proto::{
    etcdserverpb::*,
    v3electionpb::{CampaignRequest, LeaderRequest, ResignRequest},
    v3lockpb::{LockRequest, UnlockRequest},
};
use tempfile::TempDir;
use tonic::{Code, Status};

use crate::programs::{GRPC_READY, proxy, started};

/// Answers one after another, in a form that two clusters share.
struct Answers(Vec<String>);

impl Answers {
    fn add<T: Debug>(&mut self, call: &str, answer: Result<T, Status>) {
        let text = match answer {
            Ok(answer) => format!("{answer:?}"),
            Err(status) => format!("{:?} {}", status.code(), status.message()),
        };
        self.0.push(format!("{call}: {}", masked(&text)));
    }
}

/// Without what two clusters need not share: ids, terms, sizes.
fn masked(text: &str) -> String {
    const FREE: &[&str] = &[
        "cluster_id: ",
        "member_id: ",
        "raft_term: ",
        "leader: ",
        "raft_index: ",
        "raft_applied_index: ",
        "db_size: ",
        "db_size_in_use: ",
        "version: \"",
        "hash: ",
    ];
    let mut text = text.to_owned();
    for field in FREE {
        let mut parts = text.split(field);
        let mut kept = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            kept.push_str(field);
            kept.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.'));
        }
        text = kept;
    }
    text
}

fn serializable(key: &'static str) -> RangeRequest {
    RangeRequest {
        serializable: true,
        ..get(key)
    }
}

async fn keys(to: &Api, answers: &mut Answers) {
    answers.add("put", to.put(put("a", "1")).await);
    answers.add("get", to.range(get("a")).await);
    answers.add("cached", to.range(serializable("a")).await);
    let previous = PutRequest {
        prev_kv: true,
        ..put("a", "2")
    };
    answers.add("put with the previous", to.put(previous).await);
    answers.add("no longer cached", to.range(serializable("a")).await);
    answers.add("put", to.put(put("b", "1")).await);
    let all = RangeRequest {
        range_end: prefix_end(b""),
        sort_order: range_request::SortOrder::Descend.into(),
        sort_target: range_request::SortTarget::Mod.into(),
        limit: 1,
        ..get("\0")
    };
    answers.add("sorted", to.range(all).await);
    let old = RangeRequest {
        revision: 2,
        ..get("a")
    };
    answers.add("old", to.range(old.clone()).await);
    let inner = TxnRequest {
        success: vec![op_put(put("c", "1")), op_range(get("c"))],
        ..TxnRequest::default()
    };
    let txn = TxnRequest {
        compare: vec![Compare {
            key: "a".into(),
            target: compare::CompareTarget::Version.into(),
            target_union: Some(compare::TargetUnion::Version(2)),
            ..Compare::default()
        }],
        success: vec![op_txn(inner), op_delete(delete("b"))],
        failure: vec![op_range(get("a"))],
    };
    answers.add("txn", to.txn(txn.clone()).await);
    answers.add("txn", to.txn(txn).await);
    let many = DeleteRangeRequest {
        range_end: "z".into(),
        prev_kv: true,
        ..delete("a")
    };
    answers.add("delete", to.delete_range(many).await);
    answers.add("gone", to.range(serializable("a")).await);
    let compact = CompactionRequest {
        revision: 4,
        physical: true,
    };
    answers.add("compact", to.compact(compact).await);
    answers.add("compact again", to.compact(compact).await);
    answers.add("compacted", to.range(old.clone()).await);
    let old = RangeRequest {
        serializable: true,
        ..old
    };
    answers.add("compacted, perhaps cached", to.range(old).await);
    let future = RangeRequest {
        revision: 1_000,
        ..get("a")
    };
    answers.add("future", to.range(future).await);
    answers.add("no key", to.put(put("", "1")).await);
    let no_lease = PutRequest {
        lease: 77,
        ..put("a", "1")
    };
    answers.add("no lease", to.put(no_lease).await);
    let twice = TxnRequest {
        success: vec![op_put(put("a", "1")), op_put(put("a", "1"))],
        ..TxnRequest::default()
    };
    answers.add("twice", to.txn(twice).await);
    answers.add(
        "too large",
        to.put(put("a", vec![1; 2 << 20]))
            .await
            .map_err(without_size),
    );
}

/// Each client has its own words for its own limits.
fn without_size(status: Status) -> Status {
    Status::new(status.code(), "")
}

/// A renewal on a stream that stays open: etcd's proxy may end one whose requests have ended before
/// it has answered.
async fn kept_alive(to: &Api) -> Result<LeaseKeepAliveResponse, Status> {
    let requests = stream::iter([LeaseKeepAliveRequest { id: 7 }]).chain(stream::pending());
    let mut answers = to.lease().lease_keep_alive(requests).await?.into_inner();
    let answer = answers.message().await?;
    answer.ok_or_else(|| Status::unknown("an end"))
}

async fn leases(to: &Api, answers: &mut Answers) {
    let grant = LeaseGrantRequest { ttl: 1_000, id: 7 };
    answers.add("grant", to.lease_grant(grant).await);
    answers.add("grant again", to.lease_grant(grant).await);
    let attached = PutRequest {
        lease: 7,
        ..put("leased", "1")
    };
    answers.add("put", to.put(attached).await);
    answers.add("keep alive", kept_alive(to).await);
    let time = |id| LeaseTimeToLiveRequest { id, keys: true };
    let left = to.lease_time_to_live(time(7)).await.map(|mut left| {
        // It has just been renewed; a second may have gone by.
        left.ttl = i64::from(left.ttl > 900);
        left
    });
    answers.add("left", left);
    answers.add("leases", to.lease_leases(LeaseLeasesRequest {}).await);
    answers.add(
        "revoke",
        to.lease_revoke(LeaseRevokeRequest { id: 7 }).await,
    );
    answers.add(
        "revoke again",
        to.lease_revoke(LeaseRevokeRequest { id: 7 }).await,
    );
    answers.add("left", to.lease_time_to_live(time(7)).await);
    answers.add("its key", to.range(get("leased")).await);
}

async fn others(to: &Api, answers: &mut Answers) {
    let list = MemberListRequest { linearizable: true };
    let listed = to.member_list(list).await.map(|mut list| {
        for member in &mut list.members {
            // Each proxy has its own port.
            member
                .client_ur_ls
                .iter_mut()
                .for_each(|url| url.truncate("127.0.0.1:".len()));
        }
        list
    });
    answers.add("members", listed);
    let remove = MemberRemoveRequest { id: 1 };
    answers.add("remove", to.member_remove(remove).await);
    let update = MemberUpdateRequest {
        id: 1,
        peer_ur_ls: vec!["http://127.0.0.1:4".to_owned()],
    };
    answers.add("update", to.member_update(update).await);
    answers.add(
        "status",
        to.status(StatusRequest {})
            .await
            .map(|status| status.errors),
    );
    answers.add("alarms", to.alarm(AlarmRequest::default()).await);
    let hash = HashKvRequest { revision: 0 };
    answers.add("hash", to.hash_kv(hash).await.map(|hash| hash.header));
    let to_no_one = MoveLeaderRequest { target_id: 1 };
    answers.add("move", to.move_leader(to_no_one).await);
    answers.add("defragment", to.defragment(DefragmentRequest {}).await);
    let read = to.snapshot().await.map(|(bytes, _)| !bytes.is_empty());
    answers.add("snapshot", read);
    answers.add(
        "auth",
        to.auth()
            .auth_status(AuthStatusRequest {})
            .await
            .map(tonic::Response::into_inner),
    );
    let user = AuthUserGetRequest { name: "u".into() };
    answers.add(
        "user",
        to.auth()
            .user_get(user)
            .await
            .map(tonic::Response::into_inner),
    );
    let lock = LockRequest {
        name: "l".into(),
        lease: 0,
    };
    let locked = to.lock().lock(lock).await.map(tonic::Response::into_inner);
    let key = locked
        .as_ref()
        .map_or_else(|_| "none".into(), |locked| locked.key.clone());
    answers.add("lock", locked.map(|locked| locked.key.len() > 2));
    let unlock = UnlockRequest { key };
    answers.add("unlock", to.lock().unlock(unlock).await.map(|_| ()));
    let campaign = CampaignRequest {
        name: "e".into(),
        lease: 0,
        value: "v".into(),
    };
    let leads = to
        .election()
        .campaign(campaign)
        .await
        .map(tonic::Response::into_inner);
    let leader = leads.as_ref().ok().and_then(|leads| leads.leader.clone());
    answers.add("campaign", leads.map(|leads| leads.leader.is_some()));
    let who = LeaderRequest { name: "e".into() };
    let is = to
        .election()
        .leader(who)
        .await
        .map(tonic::Response::into_inner);
    answers.add("leader", is.map(|is| is.kv.map(|kv| kv.value)));
    let resign = to.election().resign(ResignRequest { leader }).await;
    answers.add("resign", resign.map(|_| ()));
    let resign = to.election().resign(ResignRequest { leader: None }).await;
    answers.add("resign from nothing", resign.map(|_| ()));
}

/// All answers through a proxy of one program in front of a server of another.
async fn through(proxying: &Program, serving: &Program) -> Result<Vec<String>> {
    let dir = TempDir::new()?;
    let server = Launch::new(serving, dir.path()).start().await?;
    let port = ports::claim()?;
    let launch = proxy(proxying, "grpc-proxy", port)
        .flag(&format!("--advertise-client-url=127.0.0.1:{port}"))
        .flag(&format!("--endpoints=127.0.0.1:{}", server.port()));
    let through = started(&launch, GRPC_READY).await?;
    let mut answers = Answers(Vec::new());
    let to = through.connect();
    keys(&to, &mut answers).await;
    leases(&to, &mut answers).await;
    others(&to, &mut answers).await;
    Ok(answers.0)
}

#[test]
fn answers_are_those_of_etcds_proxy() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(180, async {
        for serving in [&reference, &subject] {
            let own = through(&subject, serving).await?;
            let theirs = through(&reference, serving).await?;
            for (own, theirs) in own.iter().zip(&theirs) {
                ensure!(own == theirs, "before {serving}: {own}\nof etcd: {theirs}");
            }
            ensure!(own.len() == theirs.len() && !own.is_empty());
        }
        Ok(())
    });
}

/// Each of the other services has an answer whose code shows that it is there.
#[test]
fn what_proxies_do_not_serve_is_not_there() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(120, async {
        let dir = TempDir::new()?;
        let server = Launch::new(&reference, dir.path()).start().await?;
        let port = ports::claim()?;
        let launch = proxy(&subject, "grpc-proxy", port)
            .flag(&format!("--endpoints=127.0.0.1:{}", server.port()));
        let through = started(&launch, GRPC_READY).await?;
        let to = through.connect();
        for path in [
            "/etcdserverpb.KV/RangeStream",
            "/grpc.health.v1.Health/Check",
            "/no.Service/Method",
        ] {
            let refused = api::Api::raw(&to, path, "".into()).await;
            let refused = refused.expect_err("nothing is there");
            ensure!(refused.code() == Code::Unimplemented, "{path}: {refused:?}");
        }
        Ok(())
    });
}
