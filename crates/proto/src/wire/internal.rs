//! The request in the log. etcd has a field for every operation and, should
//! several be set, performs one; the messages here hold that one alone.

use std::{
    cell::Cell,
    ops::{Deref, DerefMut},
};

use bytes::{Bytes, BytesMut};
use prost::{Message as _, encoding};

use super::{
    Malformed, Nested, Read,
    fields::{Fields, Rules},
    txn,
};
use crate::etcdserverpb::{InternalRaftRequest, internal_raft_request::Op};

/// How members of a line read requests: by whose rules, and which of several operations they
/// perform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// etcd 3.5: one that came with another hides the version of 9900, which it does not know.
    V3_5,
    /// etcd 3.6: the version of 9900 comes before what changes keys, leases and users.
    V3_6,
    /// etcd 3.7: as 3.6, and it knows no request of the v2 API.
    V3_7,
}

/// The order among operations of the same rank.
const DISPATCH: [i32; 31] = [
    2, 3, 1102, 1202, 1013, 1300, 1301, 1302, 9900, 4, 5, 6, 7, 8, 9, 11, 10, 1012, 1000, 1011,
    1100, 1101, 1103, 1104, 1105, 1200, 1203, 1204, 1201, 1106, 1107,
];

/// Of these, etcd lets root alone make any. It asks for root before it picks the operation, so one
/// of these makes the whole request root's.
const OF_ROOT: [i32; 13] = [
    1000, 1011, 1100, 1101, 1103, 1104, 1105, 1200, 1201, 1203, 1204, 1106, 1107,
];

impl Order {
    /// The lowest is performed. What has no effect on those who did not ask comes before what has:
    /// they pass over the whole request. What a line does not know comes last: it counts if it
    /// comes alone.
    fn rank(self, number: i32) -> (u8, usize) {
        let rank = match number {
            _ if self.lacks(number) => 5,
            2 => 0,
            3 | 1102 | 1202 | 1013 => 1,
            1300..=1302 => 2,
            9900 => 3,
            _ => 4,
        };
        (rank, place(number))
    }

    /// How its members read messages.
    pub fn rules(self) -> Rules {
        match self {
            Order::V3_5 | Order::V3_6 => Rules::Gogo,
            Order::V3_7 => Rules::Golang,
        }
    }

    /// Whether the line has no such operation: its members skip the field, whatever is in it.
    fn lacks(self, number: i32) -> bool {
        match self {
            Order::V3_5 => number == 9900,
            Order::V3_6 => false,
            Order::V3_7 => number == V2,
        }
    }
}

fn place(number: i32) -> usize {
    let place = DISPATCH.iter().position(|n| *n == number);
    place.unwrap_or(DISPATCH.len())
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

/// A request in the log, as the members of a line read it.
#[derive(Clone, Debug)]
pub struct Logged {
    request: Nested<InternalRaftRequest>,
    of_root: bool,
    has_several: bool,
    has_text_only: bool,
}

impl Logged {
    /// Reads a whole request.
    ///
    /// # Errors
    /// etcd could not read it either.
    pub fn read(data: &Bytes, order: Order) -> Result<Logged, Malformed> {
        let are_texts = Cell::new(true);
        let mut reader = Reader::new(order);
        let fields = Fields::new(data).used().watched(&are_texts);
        reader.fill(fields.by(order.rules()))?;
        Ok(Logged {
            has_text_only: are_texts.get(),
            ..reader.finish()?
        })
    }

    /// Whether all text in it is UTF-8, that of operations too that are not performed. Members up
    /// to 3.6 take any bytes, and those of 3.7 end where such an entry is applied.
    pub fn has_text_only(&self) -> bool {
        self.has_text_only
    }

    /// Whether one of its operations is root's, performed or not.
    pub fn is_of_root(&self) -> bool {
        self.of_root
    }

    /// Whether it names more operations than the one that is performed.
    pub fn has_several(&self) -> bool {
        self.has_several
    }

    /// Gives up all but the request.
    pub fn into_request(self) -> Nested<InternalRaftRequest> {
        self.request
    }
}

impl Deref for Logged {
    type Target = Nested<InternalRaftRequest>;

    fn deref(&self) -> &Nested<InternalRaftRequest> {
        &self.request
    }
}

impl DerefMut for Logged {
    fn deref_mut(&mut self) -> &mut Nested<InternalRaftRequest> {
        &mut self.request
    }
}

/// A request while it is read.
struct Reader {
    order: Order,
    request: InternalRaftRequest,
    /// The operation to be performed, of those read so far.
    best: Option<Found>,
    /// A bit for each place in [`DISPATCH`] whose operation was read.
    seen: u32,
    of_root: bool,
    /// What is wrong with an operation that the line does not know.
    unread: Option<Malformed>,
}

impl Reader {
    fn new(order: Order) -> Reader {
        Reader {
            order,
            request: InternalRaftRequest::default(),
            best: None,
            seen: 0,
            of_root: false,
            unread: None,
        }
    }

    fn fill(&mut self, mut from: Fields<'_>) -> Result<(), Malformed> {
        while let Some(tag) = from.next()? {
            let read = match tag.number {
                1 => from.varint(tag).map(|id| self.request.id = id),
                100 => from.message(tag).and_then(|content| {
                    let header = self.request.header.get_or_insert_default();
                    header.fill(content)
                }),
                number if is_operation(number) => match from.message(tag) {
                    Ok(content) => self.operation(number, content),
                    Err(error) if self.order.lacks(number) => {
                        self.unread = Some(error);
                        from.skip(tag)
                    }
                    Err(error) => Err(error),
                },
                _ => from.skip(tag),
            };
            from.or_skip(tag, read)?;
        }
        Ok(())
    }

    /// What ranks lower is read, since it may be malformed, and let go.
    fn operation(&mut self, number: i32, content: Fields<'_>) -> Result<(), Malformed> {
        self.seen |= 1 << place(number);
        self.of_root |= OF_ROOT.contains(&number);
        let before = match &self.best {
            Some(one) if one.number == number => self.best.take().map(Found::into_op),
            _ => None,
        };
        let found = match operation(number, before, content) {
            Ok(found) => found,
            Err(error) if self.order.lacks(number) => {
                self.unread = Some(error);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let rank = |number| self.order.rank(number);
        let is_first = |one: &Found| rank(number) < rank(one.number);
        if self.best.as_ref().is_none_or(is_first) {
            self.best = Some(found);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Logged, Malformed> {
        // Members of the line see no operation at all; those before it could not read it.
        if let (None, Some(error)) = (&self.best, self.unread) {
            return Err(error);
        }
        self.request.op = self.best.map(Found::into_op);
        Ok(Logged {
            request: Nested::new(self.request),
            of_root: self.of_root,
            has_several: self.seen.count_ones() > 1,
            has_text_only: true,
        })
    }
}

/// The field of a request of the v2 API.
const V2: i32 = 2;

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
