//! The request in the log. etcd has a field for every operation and, should
//! several be set, performs one; the messages here hold that one alone.

use bytes::{Bytes, BytesMut};
use prost::{Message as _, encoding};

use super::{Malformed, Nested, Read, fields::Fields, txn};
use crate::etcdserverpb::{InternalRaftRequest, internal_raft_request::Op};

/// The order in which etcd 3.5 looks for an operation. What has no effect on those
/// who did not ask comes before what has: they pass over the whole request.
const ORDER: [i32; 31] = [
    2, 3, 1102, 1202, 1013, 1300, 1301, 1302, 4, 5, 6, 7, 8, 9, 11, 10, 1012, 1000, 1011, 1100,
    1101, 1103, 1104, 1105, 1200, 1203, 1204, 1201, 1106, 1107, 9900,
];

fn rank(number: i32) -> usize {
    ORDER
        .iter()
        .position(|n| *n == number)
        .unwrap_or(ORDER.len())
}

/// An operation that was read, with what remains of a transaction in good hands.
struct Found {
    number: i32,
    op: Op,
}

impl Drop for Found {
    fn drop(&mut self) {
        if let Op::Txn(txn) = &mut self.op {
            super::Nest::flatten(txn);
        }
    }
}

macro_rules! operations {
    ($($number:literal => $variant:ident,)*) => {
        /// Reads an operation, into the one of the same kind that came before.
        fn operation(
            number: i32,
            before: Option<Op>,
            from: Fields<'_>,
        ) -> Result<Found, Malformed> {
            match number {
                $($number => {
                    let mut message = match before {
                        Some(Op::$variant(message)) => message,
                        _ => Default::default(),
                    };
                    Read::fill(&mut message, from)?;
                    Ok(Found { number, op: Op::$variant(message) })
                })*
                _ => Err(Malformed::Tag),
            }
        }

        fn is_operation(number: i32) -> bool {
            matches!(number, $($number)|*)
        }
    };
}

operations! {
    2 => V2,
    3 => Range,
    4 => Put,
    5 => DeleteRange,
    6 => Txn,
    7 => Compaction,
    8 => LeaseGrant,
    9 => LeaseRevoke,
    10 => Alarm,
    11 => LeaseCheckpoint,
    1000 => AuthEnable,
    1011 => AuthDisable,
    1012 => Authenticate,
    1013 => AuthStatus,
    1100 => AuthUserAdd,
    1101 => AuthUserDelete,
    1102 => AuthUserGet,
    1103 => AuthUserChangePassword,
    1104 => AuthUserGrantRole,
    1105 => AuthUserRevokeRole,
    1106 => AuthUserList,
    1107 => AuthRoleList,
    1200 => AuthRoleAdd,
    1201 => AuthRoleDelete,
    1202 => AuthRoleGet,
    1203 => AuthRoleGrantPermission,
    1204 => AuthRoleRevokePermission,
    1300 => ClusterVersionSet,
    1301 => ClusterMemberAttrSet,
    1302 => DowngradeInfoSet,
    9900 => DowngradeVersionTest,
}

impl Found {
    fn into_op(mut self) -> Op {
        std::mem::replace(&mut self.op, Op::AuthStatus(Default::default()))
    }
}

impl Read for InternalRaftRequest {
    fn fill(&mut self, mut from: Fields<'_>) -> Result<(), Malformed> {
        from = from.used();
        // What ranks lower is read, since it may be malformed, and let go.
        let mut best: Option<Found> = None;
        while let Some(tag) = from.next()? {
            match tag.number {
                1 => self.id = from.varint(tag)?,
                100 => self
                    .header
                    .get_or_insert_default()
                    .fill(from.message(tag)?)?,
                number if is_operation(number) => {
                    let content = from.message(tag)?;
                    let before = match &best {
                        Some(one) if one.number == number => best.take().map(Found::into_op),
                        _ => None,
                    };
                    let found = operation(number, before, content)?;
                    if best
                        .as_ref()
                        .is_none_or(|one| rank(number) < rank(one.number))
                    {
                        best = Some(found);
                    }
                }
                _ => from.skip(tag)?,
            }
        }
        self.op = best.map(Found::into_op);
        Ok(())
    }
}

/// The field of a transaction in the request.
const TXN: u32 = 6;

/// Writes a request as prost would, without recursion.
pub fn encode_internal(request: &Nested<InternalRaftRequest>) -> Bytes {
    let Some(Op::Txn(txn)) = &request.op else {
        return request.encode_to_vec().into();
    };
    let around = |id, header| InternalRaftRequest {
        id,
        header,
        op: None,
    };
    let head = around(request.id, None).encode_to_vec();
    let tail = around(0, request.header.clone()).encode_to_vec();
    let txn = txn::encode_nested(txn);
    let mut out = BytesMut::with_capacity(head.len() + txn.len() + tail.len() + 12);
    out.extend_from_slice(&head);
    encoding::encode_key(TXN, encoding::WireType::LengthDelimited, &mut out);
    encoding::encode_varint(txn.len() as u64, &mut out);
    out.extend_from_slice(&txn);
    out.extend_from_slice(&tail);
    out.freeze()
}
