//! Transactions: read and written with a list of what is open in place of the
//! stack, in time and memory that follow the number of bytes.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::{Message as _, encoding};

use super::{Malformed, Nest, Nested, Read, fields::Fields, messages::read_into};
use crate::etcdserverpb::{
    Compare, RequestOp, ResponseOp, TxnRequest, TxnResponse, request_op::Request,
    response_op::Response,
};

/// A transaction that is being read, and the operation in it that is.
struct Open<'a> {
    txn: Nested<TxnRequest>,
    rest: Fields<'a>,
    op: Option<OpenOp<'a>>,
}

struct OpenOp<'a> {
    is_success: bool,
    request: Option<Request>,
    rest: Fields<'a>,
}

impl<'a> Open<'a> {
    fn new(txn: TxnRequest, rest: Fields<'a>) -> Open<'a> {
        Open {
            txn: Nested::new(txn),
            rest,
            op: None,
        }
    }
}

impl Drop for OpenOp<'_> {
    fn drop(&mut self) {
        self.set(None);
    }
}

impl OpenOp<'_> {
    /// What came before, where a field of `number` adds to it.
    fn before(&mut self, number: i32) -> Option<Request> {
        let grows = self.rest.unions_grow();
        self.request.take_if(|request| {
            let theirs = match request {
                Request::RequestRange(_) => 1,
                Request::RequestPut(_) => 2,
                Request::RequestDeleteRange(_) => 3,
                Request::RequestTxn(_) => 4,
            };
            grows && theirs == number
        })
    }

    /// The last one counts. What it replaces may be deep.
    fn set(&mut self, request: Option<Request>) {
        if let Some(Request::RequestTxn(old)) = std::mem::replace(&mut self.request, request) {
            drop(Nested::new(old));
        }
    }
}

/// What comes next while transactions are read.
enum Next<'a> {
    /// Another field.
    Go,
    /// A transaction begins inside the one at hand, or continues.
    Enter(TxnRequest, Fields<'a>),
    /// The one at hand is complete.
    Leave,
}

fn step<'a>(open: &mut Open<'a>) -> Result<Next<'a>, Malformed> {
    let Some(op) = &mut open.op else {
        match open.rest.next()? {
            None => return Ok(Next::Leave),
            Some(tag) => {
                let content = match tag.number {
                    1..=3 => open.rest.message(tag),
                    _ => return open.rest.skip(tag).map(|()| Next::Go),
                };
                let read = content.and_then(|content| {
                    if tag.number == 1 {
                        let mut compare = Compare::default();
                        let read = compare.fill(content);
                        open.txn.compare.push(compare);
                        return read;
                    }
                    open.op = Some(OpenOp {
                        is_success: tag.number == 2,
                        request: None,
                        rest: content,
                    });
                    Ok(())
                });
                open.rest.or_skip(tag, read)?;
            }
        }
        return Ok(Next::Go);
    };
    match op.rest.next()? {
        None => {
            let (is_success, request) = (op.is_success, op.request.take());
            open.op = None;
            let ops = match is_success {
                true => &mut open.txn.success,
                false => &mut open.txn.failure,
            };
            ops.push(RequestOp { request });
        }
        Some(tag) => {
            let content = match tag.number {
                1..=4 => op.rest.message(tag),
                _ => return op.rest.skip(tag).map(|()| Next::Go),
            };
            let content = match content {
                Ok(content) => content,
                Err(error) => return op.rest.or_skip(tag, Err(error)).map(|()| Next::Go),
            };
            use Request::{RequestDeleteRange, RequestPut, RequestRange, RequestTxn};
            let request = match (tag.number, op.before(tag.number)) {
                (1, Some(RequestRange(one))) => RequestRange(read_into(Some(one), content)?),
                (1, _) => RequestRange(read_into(None, content)?),
                (2, Some(RequestPut(one))) => RequestPut(read_into(Some(one), content)?),
                (2, _) => RequestPut(read_into(None, content)?),
                (3, Some(RequestDeleteRange(one))) => {
                    RequestDeleteRange(read_into(Some(one), content)?)
                }
                (3, _) => RequestDeleteRange(read_into(None, content)?),
                (_, Some(RequestTxn(txn))) => return Ok(Next::Enter(txn, content)),
                _ => return Ok(Next::Enter(TxnRequest::default(), content)),
            };
            op.set(Some(request));
        }
    }
    Ok(Next::Go)
}

impl Read for TxnRequest {
    fn fill(&mut self, from: Fields<'_>) -> Result<(), Malformed> {
        let mut outer = Vec::new();
        let mut open = Open::new(std::mem::take(self), from);
        loop {
            match step(&mut open)? {
                Next::Go => {}
                Next::Enter(txn, fields) => {
                    outer.push(std::mem::replace(&mut open, Open::new(txn, fields)));
                }
                Next::Leave => match outer.pop() {
                    None => {
                        *self = open.txn.into_inner();
                        return Ok(());
                    }
                    Some(around) => {
                        let inner = std::mem::replace(&mut open, around).txn.into_inner();
                        match &mut open.op {
                            Some(op) => op.set(Some(Request::RequestTxn(inner))),
                            // It was entered from an operation.
                            None => drop(Nested::new(inner)),
                        }
                    }
                },
            }
        }
    }
}

/// A message that holds others of its own kind, each in an operation.
pub trait Tree: prost::Message + Nest + Sized {
    /// What holds a nested message, field 4 of it.
    type Op: prost::Message;
    /// The message without its operations, which come last.
    fn flat(&self) -> Self;
    /// Its operations and the number of the field that each is in.
    fn ops(&self) -> impl Iterator<Item = (u32, &Self::Op)>;
    /// What an operation holds.
    fn nested(op: &Self::Op) -> Option<&Self>;
}

impl Tree for TxnRequest {
    type Op = RequestOp;

    fn flat(&self) -> TxnRequest {
        TxnRequest {
            compare: self.compare.clone(),
            ..TxnRequest::default()
        }
    }

    fn ops(&self) -> impl Iterator<Item = (u32, &RequestOp)> {
        let success = self.success.iter().map(|op| (2, op));
        success.chain(self.failure.iter().map(|op| (3, op)))
    }

    fn nested(op: &RequestOp) -> Option<&TxnRequest> {
        match &op.request {
            Some(Request::RequestTxn(txn)) => Some(txn),
            _ => None,
        }
    }
}

impl Tree for TxnResponse {
    type Op = ResponseOp;

    fn flat(&self) -> TxnResponse {
        TxnResponse {
            header: self.header,
            succeeded: self.succeeded,
            responses: Vec::new(),
        }
    }

    fn ops(&self) -> impl Iterator<Item = (u32, &ResponseOp)> {
        self.responses.iter().map(|op| (3, op))
    }

    fn nested(op: &ResponseOp) -> Option<&TxnResponse> {
        match &op.response {
            Some(Response::ResponseTxn(txn)) => Some(txn),
            _ => None,
        }
    }
}

/// Field of an operation that a nested message is in, in requests and answers.
const NESTED: u32 = 4;

/// The tag and the length of a field, and its content.
fn framed_len(number: u32, len: usize) -> usize {
    encoding::key_len(number) + encoding::encoded_len_varint(len as u64) + len
}

fn put_head(number: u32, len: usize, out: &mut BytesMut) {
    encoding::encode_key(number, encoding::WireType::LengthDelimited, out);
    encoding::encode_varint(len as u64, out);
}

/// A message, its length on the wire, and where those nested in it begin in the
/// list of all. Those of one message stand together, after it.
struct Sized_<'a, T> {
    message: &'a T,
    parent: Option<(usize, u32)>,
    children: usize,
    len: usize,
}

/// Every message of the tree, outermost first, with its length.
fn measure<T: Tree>(root: &T) -> Vec<Sized_<'_, T>> {
    let entry = |message, parent| Sized_ {
        message,
        parent,
        children: 0,
        len: 0,
    };
    let mut all = vec![entry(root, None)];
    let mut at = 0;
    while at < all.len() {
        all[at].children = all.len();
        let message = all[at].message;
        let nested = message.ops().filter_map(|(number, op)| {
            T::nested(op).map(|nested| entry(nested, Some((at, number))))
        });
        all.extend(nested.collect::<Vec<_>>());
        at += 1;
    }
    // What is nested comes after what it is nested in.
    for at in (0..all.len()).rev() {
        let message = all[at].message;
        let own: usize = message
            .ops()
            .filter(|(_, op)| T::nested(op).is_none())
            .map(|(number, op)| framed_len(number, op.encoded_len()))
            .sum();
        all[at].len += message.flat().encoded_len() + own;
        if let Some((parent, number)) = all[at].parent {
            let op = framed_len(NESTED, all[at].len);
            all[parent].len += framed_len(number, op);
        }
    }
    all
}

/// Writes a message and all that is nested in it, as prost would.
pub fn encode_nested<T: Tree>(root: &T) -> Bytes {
    if root.ops().all(|(_, op)| T::nested(op).is_none()) {
        return root.encode_to_vec().into();
    }
    let all = measure(root);
    let mut out = BytesMut::with_capacity(all[0].len);
    out.put(&root.flat().encode_to_vec()[..]);
    let mut open = vec![(root.ops(), all[0].children)];
    while let Some((ops, next)) = open.last_mut() {
        let Some((number, op)) = ops.next() else {
            open.pop();
            continue;
        };
        match T::nested(op) {
            None => {
                put_head(number, op.encoded_len(), &mut out);
                out.put(&op.encode_to_vec()[..]);
            }
            Some(nested) => {
                let Sized_ { len, children, .. } = all[*next];
                *next += 1;
                put_head(number, framed_len(NESTED, len), &mut out);
                put_head(NESTED, len, &mut out);
                out.put(&nested.flat().encode_to_vec()[..]);
                open.push((nested.ops(), children));
            }
        }
    }
    out.freeze()
}
