//! Proposals of other members.

use bytes::Bytes;
use member::{forwarded, propose};
use prost::Message as _;
use proto::{
    etcdserverpb::{
        AlarmRequest, DeleteRangeRequest, InternalRaftRequest, RangeRequest, Request, RequestOp,
        TxnRequest, alarm_request::AlarmAction, internal_raft_request::Op, request_op,
    },
    membershippb::{
        Attributes, ClusterMemberAttrSetRequest, ClusterVersionSetRequest, DowngradeInfoSetRequest,
    },
    raftpb::{Entry, Message, MessageType},
};

use crate::bench::{Bench, put};

fn message(data: impl Into<Bytes>) -> Message {
    Message {
        r#type: MessageType::MsgProp as i32,
        entries: vec![Entry {
            data: Some(data.into()),
            ..Entry::default()
        }],
        ..Message::default()
    }
}

fn internal(op: Op) -> Vec<u8> {
    InternalRaftRequest {
        id: 1,
        op: Some(op),
        ..InternalRaftRequest::default()
    }
    .encode_to_vec()
}

fn v2(path: &str, val: &str) -> Vec<u8> {
    Request {
        id: 1,
        method: "PUT".into(),
        path: path.into(),
        val: val.into(),
        ..Request::default()
    }
    .encode_to_vec()
}

fn attributes(member_id: u64) -> Vec<u8> {
    internal(Op::ClusterMemberAttrSet(ClusterMemberAttrSetRequest {
        member_id,
        member_attributes: Some(Attributes::default()),
    }))
}

fn version(ver: &str) -> Vec<u8> {
    internal(Op::ClusterVersionSet(ClusterVersionSetRequest {
        ver: ver.into(),
    }))
}

fn downgrade(enabled: bool, ver: &str) -> Vec<u8> {
    let ver = ver.into();
    internal(Op::DowngradeInfoSet(DowngradeInfoSetRequest {
        enabled,
        ver,
    }))
}

fn unknown_alarm(action: AlarmAction) -> Vec<u8> {
    internal(Op::Alarm(AlarmRequest {
        action: action as i32,
        member_id: 1,
        alarm: 10,
    }))
}

fn txn(ops: impl IntoIterator<Item = Op>) -> Vec<u8> {
    let success = ops.into_iter().map(|op| RequestOp {
        request: match op {
            Op::Put(put) => Some(request_op::Request::RequestPut(put)),
            Op::DeleteRange(delete) => Some(request_op::Request::RequestDeleteRange(delete)),
            Op::Range(range) => Some(request_op::Request::RequestRange(range)),
            Op::Txn(txn) => Some(request_op::Request::RequestTxn(txn)),
            _ => None,
        },
    });
    internal(Op::Txn(TxnRequest {
        success: success.collect(),
        ..TxnRequest::default()
    }))
}

fn delete(key: &'static str) -> Op {
    Op::DeleteRange(DeleteRangeRequest {
        key: key.into(),
        ..DeleteRangeRequest::default()
    })
}

fn sorted_by(sort_target: i32) -> RangeRequest {
    RangeRequest {
        key: "a".into(),
        sort_target,
        ..RangeRequest::default()
    }
}

#[test]
fn a_forwarded_proposal_that_would_end_members_is_refused() {
    let bench = Bench::leading();
    let judge = |data: Vec<u8>| forwarded::judge(&message(data), &bench.state, || true);
    let own = bench
        .state
        .cluster
        .load()
        .members()
        .next()
        .expect("a member")
        .id
        .0;
    let path = |id: &str| format!("/0/members/{id}/attributes");
    let sound = [
        internal(put("a", "1")),
        attributes(own),
        v2(&path(&format!("{own:x}")), "{}"),
        v2("/0/version", "3.4.0"),
        v2("/0/version", "3.5.0"),
        version("3.5.0"),
        downgrade(true, "3.4.0"),
        downgrade(false, ""),
        unknown_alarm(AlarmAction::Deactivate),
        txn([delete("a"), put("b", "1"), Op::Range(sorted_by(4))]),
        // Of an API that etcd up to 3.5 can have.
        v2("/1/a", "b"),
    ];
    for (n, data) in sound.into_iter().enumerate() {
        assert_eq!(judge(data), Ok(()), "sound {n}");
    }
    let deadly = [
        vec![0xff],
        attributes(99),
        v2(&path("63"), "{}"),
        v2(&path("zz"), "{}"),
        v2(&path(&format!("{own:x}")), "{bad"),
        v2("/0/version", "9.9.9"),
        v2("/0/version", "3.6.0"),
        version("4.0.0"),
        downgrade(true, "x"),
        unknown_alarm(AlarmAction::Activate),
        txn([delete("a"), put("a", "1")]),
        txn([Op::Range(sorted_by(9))]),
        txn([Op::Txn(TxnRequest {
            failure: vec![RequestOp {
                request: Some(request_op::Request::RequestRange(sorted_by(9))),
            }],
            ..TxnRequest::default()
        })]),
    ];
    for (n, data) in deadly.into_iter().enumerate() {
        assert!(judge(data).is_err(), "deadly {n}");
    }
    assert!(propose::adds_entries(&message(vec![0xff])));
}

/// Who has just joined publishes itself to a leader that may know of it from its log alone.
#[test]
fn a_member_that_is_in_the_log_may_publish_itself() {
    let bench = Bench::leading();
    let joined = message(attributes(99));
    assert_eq!(forwarded::judge(&joined, &bench.state, || false), Ok(()));
}
