//! A normal entry speaks one of two languages: InternalRaftRequest, or the bare
//! v2 request that etcd up to 3.5 writes for its own membership. Nothing on the
//! wire tells them apart; this rule does.

use bytes::Bytes;
use prost::{DecodeError, Message as _};
use proto::{
    etcdserverpb::{InternalRaftRequest, Request, internal_raft_request::Op},
    raftpb::{Entry, EntryType},
};

/// What an entry asks for.
#[derive(Debug)]
pub enum Payload {
    /// The leader's first entry of a term.
    Empty,
    /// A v2 request, bare or wrapped.
    V2(Request),
    /// A v3 request.
    Internal(InternalRaftRequest),
}

/// True for the v2 requests that etcd up to 3.5 writes for itself: a member's
/// attributes, the cluster version. Any other in the log ends etcd 3.6.
pub fn is_membership(request: &Request) -> bool {
    let attributes =
        request.path.starts_with("/0/members/") && request.path.ends_with("/attributes");
    request.method == "PUT" && (attributes || request.path == "/0/version")
}

/// False for entries that say nothing of members and are no request of the v2
/// API: keys, leases, alarms. What cannot be decoded may say anything.
pub fn is_of_interest(entry: &Entry) -> bool {
    if entry.r#type != EntryType::EntryNormal as i32 {
        return true;
    }
    match decode_entry(&entry.data.clone().unwrap_or_default()) {
        Ok(Payload::Empty) => false,
        Ok(Payload::Internal(request)) => matches!(
            request.op,
            Some(Op::ClusterMemberAttrSet(_) | Op::ClusterVersionSet(_) | Op::DowngradeInfoSet(_))
        ),
        Ok(Payload::V2(_)) | Err(_) => true,
    }
}

/// The methods a v2 request can have.
const METHODS: [&[u8]; 5] = [b"PUT", b"POST", b"DELETE", b"QGET", b"SYNC"];

/// Decodes the payload of a normal entry.
pub fn decode_entry(data: &Bytes) -> Result<Payload, DecodeError> {
    if data.is_empty() {
        return Ok(Payload::Empty);
    }
    if is_bare_v2(data) {
        return Request::decode(data.clone()).map(Payload::V2);
    }
    let mut request = match InternalRaftRequest::decode(data.clone()) {
        Ok(request) => request,
        // etcd tries the other language too. The method shows that it is one.
        Err(error) => match Request::decode(data.clone()) {
            Ok(v2) if METHODS.contains(&v2.method.as_bytes()) => return Ok(Payload::V2(v2)),
            _ => return Err(error),
        },
    };
    match request.op.take() {
        Some(Op::V2(v2)) => Ok(Payload::V2(v2)),
        op => {
            request.op = op;
            Ok(Payload::Internal(request))
        }
    }
}

/// A bare v2 request starts with an id, then a method that no embedded message
/// could be mistaken for.
fn is_bare_v2(data: &[u8]) -> bool {
    // 08: field 1, varint. An InternalRaftRequest leaves its ID out when it is 0.
    let rest = match data.split_first() {
        Some((0x08, rest)) => {
            let len = rest
                .iter()
                .take(10)
                .position(|b| b & 0x80 == 0)
                .map(|n| n + 1);
            match len.and_then(|n| rest.get(n..)) {
                Some(rest) => rest,
                None => return false,
            }
        }
        _ => data,
    };
    // 12: field 2, length-delimited.
    let [0x12, len, rest @ ..] = rest else {
        return false;
    };
    let Some(method) = rest.get(..usize::from(*len)) else {
        return false;
    };
    if !METHODS.contains(&method) {
        return false;
    }
    match &rest[usize::from(*len)..] {
        [0x1a, 0, ..] => method == b"SYNC",
        [0x1a, _, b'/', ..] => true,
        // A path of 128 bytes or more has a longer length.
        [0x1a, len, _, b'/', ..] => len & 0x80 != 0,
        _ => false,
    }
}
