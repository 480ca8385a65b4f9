//! etcd's advisories of 2025 and 2026 about authorization, replayed one by one at both servers: a
//! user that may use the keys from `a` to `b` tries each path around that. What it is refused must
//! have had no effect either.

use anyhow::{Context as _, Result, ensure};
use peers::{
    api,
    cluster::{WITHIN, until},
    peer,
    users::{self, Call, Pair, call},
};
use prost::Message as _;
use proto::etcdserverpb::{
    AlarmRequest, AlarmResponse, CompactionRequest, Compare, DefragmentRequest, DeleteRangeRequest,
    DowngradeRequest, HashKvRequest, HashRequest, LeaseGrantRequest, LeaseKeepAliveRequest,
    LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, MemberListRequest,
    MoveLeaderRequest, PutRequest, RangeRequest, RangeResponse, RequestOp, SnapshotRequest,
    StatusRequest, TxnRequest, WatchCreateRequest, WatchRequest, WatchResponse,
    watch_request::RequestUnion,
};
use tonic::Code;

const DENIED: (Code, &str) = (Code::PermissionDenied, "etcdserver: permission denied");
const NO_ONE: (Code, &str) = (Code::InvalidArgument, "etcdserver: user name is empty");
/// A release in which all of them are fixed.
const FIXED: &str = "3.6.14";

/// root, and `u`: it may use `a` to `b`, write `w` to `x` and read nothing there; the key `z` is
/// root's, and so is the lease 7 with it.
async fn prepare(pair: &mut Pair) -> Result<()> {
    let lease = LeaseGrantRequest { ttl: 5000, id: 7 };
    let leased = PutRequest {
        lease: 7,
        ..api::put("z", "secret")
    };
    let setup = [
        users::add_user("u"),
        users::add_role("r"),
        users::allow("r", 2, "a", "b"),
        users::allow("r", 1, "w", "x"),
        users::grant("u", "r"),
        call("/etcdserverpb.Lease/LeaseGrant", &lease),
        call("/etcdserverpb.KV/Put", &leased),
        users::put("w"),
    ];
    pair.accept("", &setup).await?;
    pair.accept("", &users::enable()).await?;
    pair.login("root").await?;
    pair.login("u").await
}

/// A body of one of these tests, at Pintle and at a release of etcd.
fn replay(version: &str, body: impl AsyncFnOnce(&Pair) -> Result<()>) {
    let (Some(pintle), Some(etcd)) = (peer::subject(), peer::etcd(version)) else {
        return;
    };
    peers::run(120, async {
        let temp = tempfile::tempdir()?;
        let mut pair = Pair::start([&pintle, &etcd], temp.path(), &[]).await?;
        prepare(&mut pair).await?;
        body(&pair).await?;
        untouched(&pair).await?;
        pair.stop().await
    });
}

/// What is not the user's is as it was.
async fn untouched(pair: &Pair) -> Result<()> {
    for side in &pair.sides {
        let answer = side.ask("root", &users::range("w", "zz")).await?;
        let kvs = RangeResponse::decode(answer)?.kvs;
        let kept: Vec<_> = kvs.iter().map(|kv| (&kv.key[..], &kv.value[..])).collect();
        let expected: [(&[u8], &[u8]); 2] = [(b"w", b"v"), (b"z", b"secret")];
        ensure!(kept == expected, "{kvs:?}");
    }
    Ok(())
}

async fn denied(pair: &Pair, call: &Call) -> Result<()> {
    pair.refuse("u", call, DENIED.0, DENIED.1).await
}

/// Neither someone without a token nor the user may do this.
async fn for_root_alone(pair: &Pair, call: &Call) -> Result<()> {
    pair.refuse("", call, NO_ONE.0, NO_ONE.1).await?;
    denied(pair, call).await
}

fn txn(success: Vec<RequestOp>) -> TxnRequest {
    TxnRequest {
        success,
        ..TxnRequest::default()
    }
}

fn transact(request: &TxnRequest) -> Call {
    call("/etcdserverpb.KV/Txn", request)
}

/// An operation in a transaction, and in transactions in it, in the branch that runs and in the
/// one that does not.
fn everywhere(op: &RequestOp) -> Vec<TxnRequest> {
    let fine = api::op_put(api::put("a/fine", "v"));
    let mut all = Vec::new();
    let mut inner = op.clone();
    for _ in 0..4 {
        all.push(txn(vec![fine.clone(), inner.clone()]));
        all.push(TxnRequest {
            failure: vec![inner.clone()],
            ..txn(vec![fine.clone()])
        });
        inner = api::op_txn(txn(vec![inner]));
    }
    all
}

/// CVE-2026-33343, GHSA-rfx7-8w68-q57q: what is nested was not looked at.
#[test]
fn nothing_nested_in_a_transaction_passes_unseen() {
    replay(peer::REFERENCE, async |pair| {
        let delete = DeleteRangeRequest {
            key: "z".into(),
            ..DeleteRangeRequest::default()
        };
        let compare = TxnRequest {
            compare: vec![Compare {
                key: "z".into(),
                ..Compare::default()
            }],
            ..TxnRequest::default()
        };
        for op in [
            api::op_put(api::put("z", "stolen")),
            api::op_range(api::get("z")),
            api::op_range(api::all()),
            api::op_delete(delete),
            api::op_txn(compare),
        ] {
            for request in everywhere(&op) {
                denied(pair, &transact(&request)).await?;
            }
        }
        for request in everywhere(&api::op_range(api::get("a"))) {
            pair.accept("u", &[transact(&request)]).await?;
        }
        Ok(())
    });
}

/// CVE-2026-44283: a put in a transaction answered with a previous value that its user may not
/// read.
#[test]
fn a_put_in_a_transaction_shows_no_previous_value() {
    replay(peer::REFERENCE, async |pair| {
        let put = |prev_kv| PutRequest {
            prev_kv,
            ..api::put("w", "v")
        };
        let look = call("/etcdserverpb.KV/Put", &put(true));
        denied(pair, &look).await?;
        for request in everywhere(&api::op_put(put(true))) {
            denied(pair, &transact(&request)).await?;
        }
        for request in everywhere(&api::op_put(put(false))) {
            pair.accept("u", &[transact(&request)]).await?;
        }
        let delete = DeleteRangeRequest {
            key: "w".into(),
            prev_kv: true,
            ..DeleteRangeRequest::default()
        };
        for request in everywhere(&api::op_delete(delete)) {
            denied(pair, &transact(&request)).await?;
        }
        Ok(())
    });
}

/// CVE-2026-44283: a put in a transaction attached a key to a lease of someone else.
#[test]
fn a_put_in_a_transaction_joins_no_lease_of_others() {
    replay(peer::REFERENCE, async |pair| {
        let put = PutRequest {
            lease: 7,
            ..api::put("a", "v")
        };
        denied(pair, &call("/etcdserverpb.KV/Put", &put)).await?;
        for request in everywhere(&api::op_put(put)) {
            denied(pair, &transact(&request)).await?;
        }
        Ok(())
    });
}

/// CVE-2026-33413, GHSA-q8m4-xhhv-38mg: members were listed for anyone.
#[test]
fn members_are_listed_for_users() {
    replay(peer::REFERENCE, async |pair| {
        for linearizable in [false, true] {
            let list = MemberListRequest { linearizable };
            let list = call("/etcdserverpb.Cluster/MemberList", &list);
            pair.refuse("", &list, NO_ONE.0, NO_ONE.1).await?;
            for side in &pair.sides {
                side.ask("u", &list).await.context("a user lists members")?;
            }
        }
        Ok(())
    });
}

/// CVE-2026-33413: alarms were raised and cleared by anyone.
#[test]
fn alarms_are_raised_and_cleared_by_root() {
    replay(peer::REFERENCE, async |pair| {
        let alarm = |action, alarm| AlarmRequest {
            action,
            alarm,
            member_id: 0,
        };
        let call = |request: AlarmRequest| call("/etcdserverpb.Maintenance/Alarm", &request);
        for kind in [0, 1, 2] {
            for action in [1, 2] {
                for_root_alone(pair, &call(alarm(action, kind))).await?;
            }
        }
        let get = call(alarm(0, 0));
        pair.refuse("", &get, NO_ONE.0, NO_ONE.1).await?;
        pair.accept("u", std::slice::from_ref(&get)).await?;
        for side in &pair.sides {
            let alarms = AlarmResponse::decode(side.ask("root", &get).await?)?.alarms;
            ensure!(alarms.is_empty(), "{alarms:?}");
        }
        Ok(())
    });
}

/// CVE-2026-33413: leases of others were renewed, looked at and listed.
#[test]
fn leases_of_others_are_left_alone() {
    replay(peer::REFERENCE, async |pair| {
        let look = |keys| LeaseTimeToLiveRequest { id: 7, keys };
        let revoke = call(
            "/etcdserverpb.Lease/LeaseRevoke",
            &LeaseRevokeRequest { id: 7 },
        );
        let renew = LeaseKeepAliveRequest { id: 7 };
        let renew = call("/etcdserverpb.Lease/LeaseKeepAlive", &renew);
        let with_keys = call("/etcdserverpb.Lease/LeaseTimeToLive", &look(true));
        let list = call("/etcdserverpb.Lease/LeaseLeases", &LeaseLeasesRequest {});
        for one in [&revoke, &renew, &with_keys, &list] {
            denied(pair, one).await?;
            let refused = pair.equal("", one).await?;
            ensure!(refused.is_some(), "{one:?} by no one");
        }
        let grant = LeaseGrantRequest { ttl: 5000, id: 8 };
        let grant = call("/etcdserverpb.Lease/LeaseGrant", &grant);
        pair.refuse("", &grant, NO_ONE.0, NO_ONE.1).await?;
        let without = call("/etcdserverpb.Lease/LeaseTimeToLive", &look(false));
        pair.refuse("", &without, NO_ONE.0, NO_ONE.1).await?;
        pair.accept("u", &[grant]).await
    });
}

/// CVE-2026-33413: compaction, and what else a member does for whoever asks.
#[test]
fn maintenance_is_for_root() {
    replay(peer::REFERENCE, async |pair| {
        let compact = CompactionRequest {
            revision: 2,
            physical: false,
        };
        let downgrade = DowngradeRequest {
            action: 0,
            version: "3.4".into(),
        };
        let lead = MoveLeaderRequest { target_id: 1 };
        for one in [
            call("/etcdserverpb.KV/Compact", &compact),
            call("/etcdserverpb.Maintenance/MoveLeader", &lead),
            call("/etcdserverpb.Maintenance/Downgrade", &downgrade),
            call("/etcdserverpb.Maintenance/Status", &StatusRequest {}),
        ] {
            for_root_alone(pair, &one).await?;
        }
        // The errors of these are not translated by etcd.
        for one in [
            call(
                "/etcdserverpb.Maintenance/HashKV",
                &HashKvRequest { revision: 0 },
            ),
            call("/etcdserverpb.Maintenance/Hash", &HashRequest {}),
            call(
                "/etcdserverpb.Maintenance/Defragment",
                &DefragmentRequest {},
            ),
            call("/etcdserverpb.Maintenance/Snapshot", &SnapshotRequest {}),
        ] {
            for user in ["", "u"] {
                let refused = pair.equal(user, &one).await?;
                ensure!(refused.is_some(), "{user}: {one:?}");
            }
        }
        Ok(())
    });
}

/// GHSA-xg4h-6gfc-h4m8: who may read the first key of a watch to the last one saw all of them.
#[test]
fn a_watch_from_a_key_on_needs_all_keys() {
    replay(FIXED, async |pair| {
        for (key, range_end, is_allowed) in [
            ("a", "\0", false),
            ("a/1", "\0", false),
            ("\0", "\0", false),
            ("", "\0", false),
            ("a", "c", false),
            ("z", "", false),
            ("a", "b", true),
            ("a", "", true),
        ] {
            let create = WatchCreateRequest {
                key: key.to_owned().into(),
                range_end: range_end.to_owned().into(),
                start_revision: 1,
                watch_id: 5,
                ..WatchCreateRequest::default()
            };
            let request = WatchRequest {
                request_union: Some(RequestUnion::CreateRequest(create)),
            };
            let watch = call("/etcdserverpb.Watch/Watch", &request);
            for side in &pair.sides {
                let answer = WatchResponse::decode(side.ask("u", &watch).await?)?;
                ensure!(
                    answer.canceled != is_allowed,
                    "{key:?} {range_end:?}: {answer:?}"
                );
                ensure!(
                    is_allowed || answer.cancel_reason.ends_with(DENIED.1),
                    "{key:?} {range_end:?}: {answer:?}"
                );
            }
            pair.equal("u", &watch).await?;
        }
        Ok(())
    });
}

/// GHSA-6vch-q96h-7gc3: what was put by a nested transaction did not count against the quota.
#[test]
fn a_nested_put_counts_against_the_quota() {
    let (Some(pintle), Some(etcd)) = (peer::subject(), peer::etcd(FIXED)) else {
        return;
    };
    peers::run(120, async {
        let temp = tempfile::tempdir()?;
        let quota = ["--quota-backend-bytes=1000000"];
        let pair = Pair::start([&pintle, &etcd], temp.path(), &quota).await?;
        let large = api::op_put(api::put("a", vec![b'v'; 1_200_000]));
        let full = (
            Code::ResourceExhausted,
            "etcdserver: mvcc: database space exceeded",
        );
        for inner in [large.clone(), api::op_txn(txn(vec![large]))] {
            for request in [
                txn(vec![api::op_txn(txn(vec![inner.clone()]))]),
                TxnRequest {
                    failure: vec![api::op_txn(txn(vec![inner]))],
                    ..TxnRequest::default()
                },
            ] {
                pair.refuse("", &transact(&request), full.0, full.1).await?;
            }
        }
        let get = call("/etcdserverpb.Maintenance/Alarm", &AlarmRequest::default());
        for side in &pair.sides {
            until("the alarm", WITHIN, async || {
                let alarms = AlarmResponse::decode(side.ask("", &get).await?)?.alarms;
                ensure!(alarms.len() == 1, "{alarms:?}");
                Ok(())
            })
            .await?;
        }
        let read = RangeRequest {
            key: "a".into(),
            ..RangeRequest::default()
        };
        pair.accept("", &[call("/etcdserverpb.KV/Range", &read)])
            .await?;
        pair.stop().await
    });
}
