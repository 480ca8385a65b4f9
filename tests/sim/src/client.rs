//! What clients and an operator ask for: a few keys that all of them fight
//! over, leases that end while they are held, and members that come and go.

use bytes::Bytes;
use membership::{Cluster, Member, conf_change};
use proto::{
    etcdserverpb::{
        CompactionRequest, Compare, DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest,
        PutRequest, RangeRequest, RequestOp, TxnRequest,
        compare::{CompareResult, CompareTarget, TargetUnion},
        internal_raft_request::Op,
        request_op::Request,
    },
    membershippb::{Attributes, ClusterMemberAttrSetRequest},
    raftpb::ConfState,
};

use crate::{member::Ask, model::Model, random::Random};

const KEYS: u64 = 8;
const LEASES: u64 = 5;

fn key(random: &mut Random) -> Bytes {
    format!("k{}", random.below(KEYS)).into()
}

fn span(random: &mut Random) -> (Bytes, Bytes) {
    match random.below(4) {
        0 => (Bytes::from_static(&[0]), Bytes::from_static(&[0])),
        1 => ("k2".into(), "k6".into()),
        _ => (key(random), Bytes::new()),
    }
}

fn lease(random: &mut Random) -> i64 {
    1 + random.below(LEASES) as i64
}

fn put(random: &mut Random, request: u64) -> PutRequest {
    // Now and then one that fills pages and segments.
    let len = match random.below(20) {
        0 => random.below(3000),
        _ => random.below(60),
    };
    let mut value = request.to_be_bytes().to_vec();
    value.resize(8 + len as usize, b'.');
    PutRequest {
        key: key(random),
        value: value.into(),
        lease: if random.chance(200) { lease(random) } else { 0 },
        prev_kv: random.chance(200),
        ..PutRequest::default()
    }
}

fn range(random: &mut Random, serializable: bool, model: &Model) -> RangeRequest {
    let (key, range_end) = span(random);
    let past = random.chance(100) && model.revision > 10;
    RangeRequest {
        key,
        range_end,
        serializable,
        revision: if past {
            model.revision - random.below(8) as i64
        } else {
            0
        },
        ..RangeRequest::default()
    }
}

fn delete(random: &mut Random) -> DeleteRangeRequest {
    let (key, range_end) = match random.below(8) {
        0 => ("k3".into(), "k5".into()),
        _ => (key(random), Bytes::new()),
    };
    DeleteRangeRequest {
        key,
        range_end,
        prev_kv: false,
    }
}

fn op(request: Request) -> RequestOp {
    RequestOp {
        request: Some(request),
    }
}

fn txn(random: &mut Random, request: u64, model: &Model) -> TxnRequest {
    let compared = key(random);
    let known = model.range(&compared, &Bytes::new(), i64::MAX);
    let known = known.first();
    let (target, given) = match random.below(3) {
        0 => {
            let version = known.map_or(0, |kv| kv.version);
            (CompareTarget::Version, TargetUnion::Version(version))
        }
        1 => {
            let revision = known.map_or(0, |kv| kv.modified);
            (CompareTarget::Mod, TargetUnion::ModRevision(revision))
        }
        _ => {
            let value = known.map_or(Bytes::new(), |kv| kv.value.clone());
            (CompareTarget::Value, TargetUnion::Value(value))
        }
    };
    let result = match random.below(4) {
        0 => CompareResult::NotEqual,
        1 => CompareResult::Less,
        _ => CompareResult::Equal,
    };
    let mut first = put(random, request);
    first.key = compared.clone();
    let mut second = put(random, request);
    second.key = format!("t{}", random.below(3)).into();
    let read = RangeRequest {
        key: Bytes::from_static(&[0]),
        range_end: Bytes::from_static(&[0]),
        ..RangeRequest::default()
    };
    TxnRequest {
        compare: vec![Compare {
            result: result as i32,
            target: target as i32,
            key: compared.clone(),
            target_union: Some(given),
            ..Compare::default()
        }],
        success: vec![
            op(Request::RequestPut(first)),
            op(Request::RequestPut(second)),
            op(Request::RequestRange(read.clone())),
        ],
        failure: vec![
            op(Request::RequestRange(read)),
            op(Request::RequestDeleteRange(DeleteRangeRequest {
                key: format!("t{}", random.below(3)).into(),
                ..DeleteRangeRequest::default()
            })),
        ],
    }
}

/// What a client asks next.
pub fn next(random: &mut Random, request: u64, model: &Model) -> Ask {
    let write = match random.below(100) {
        0..30 => Op::Put(put(random, request)),
        30..36 => Op::DeleteRange(delete(random)),
        36..48 => Op::Txn(txn(random, request, model)),
        48..74 => return Ask::Read(range(random, false, model)),
        74..84 => return Ask::Read(range(random, true, model)),
        84..89 => Op::LeaseGrant(LeaseGrantRequest {
            id: lease(random),
            ttl: random.between(1, 4) as i64,
        }),
        89..96 => return Ask::Renew(lease(random)),
        96..98 => Op::LeaseRevoke(LeaseRevokeRequest { id: lease(random) }),
        _ => Op::Compaction(CompactionRequest {
            revision: model.revision - random.below(30) as i64,
            physical: false,
        }),
    };
    Ask::Write(write)
}

fn added(random: &mut Random, number: u64, is_learner: bool) -> Member {
    let peer_urls = vec![format!("http://10.0.0.{}:2380", 10 + number)];
    Member {
        id: membership::cluster::member_id_at(&peer_urls, random.below(1 << 40)),
        peer_urls,
        is_learner,
        ..Member::default()
    }
}

/// One voter less, down to one. Of two, the one that does not lead: the other would not be sure to
/// learn that the removal is committed, and could not be elected without it.
pub fn shrink(
    random: &mut Random,
    request: u64,
    conf_state: &ConfState,
    leader: u64,
) -> Option<Ask> {
    let voters = conf_state.voters.iter().copied();
    let others: Vec<u64> = voters.filter(|voter| *voter != leader).collect();
    let may_be_removed = match conf_state.voters.len() {
        0 | 1 => return None,
        2 if leader == 0 => return None,
        2 => &others,
        _ => &conf_state.voters,
    };
    let some = random.pick(may_be_removed)?;
    Some(Ask::Change(conf_change::remove(request, some.into())))
}

/// What the operator asks next, who looks at `cluster`; `number` is unused.
pub fn operate(
    random: &mut Random,
    request: u64,
    number: u64,
    cluster: &Cluster,
    conf_state: &ConfState,
    voters_min: u64,
) -> Option<Ask> {
    let learner = cluster.members().find(|m| m.is_learner).map(|m| m.id);
    let voters = conf_state.voters.len() as u64;
    let some = random.pick(&conf_state.voters)?;
    let change = match random.below(10) {
        0..3 if learner.is_some() => conf_change::promote(request, learner?),
        4 if learner.is_some() => conf_change::remove(request, learner?),
        0..3 if voters < 5 => conf_change::add(request, &added(random, number, true)),
        3..5 if voters < 5 => conf_change::add(request, &added(random, number, false)),
        5..7 if voters > voters_min => conf_change::remove(request, some.into()),
        7 => {
            let urls = vec![format!("http://10.1.0.{}:2380", random.below(200))];
            conf_change::update(request, some.into(), &urls, false)
        }
        // Two that do not hold: who votes cannot be promoted, and no two members have one URL.
        8 if number.is_multiple_of(2) => conf_change::promote(request, some.into()),
        8 => {
            let mut member = added(random, number, false);
            member.peer_urls = cluster.member(some)?.peer_urls.clone();
            conf_change::add(request, &member)
        }
        _ => {
            return Some(Ask::Write(Op::ClusterMemberAttrSet(
                ClusterMemberAttrSetRequest {
                    member_id: some,
                    member_attributes: Some(Attributes {
                        name: format!("m{}", random.below(100)),
                        client_urls: vec![format!("http://10.2.0.{}:2379", random.below(200))],
                    }),
                },
            )));
        }
    };
    Some(Ask::Change(change))
}
