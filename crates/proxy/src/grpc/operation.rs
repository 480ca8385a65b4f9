//! The operations on keys, whichever method brings them.

use prost::Message as _;
use proto::etcdserverpb::{
    self as api, RequestOp, ResponseHeader, request_op::Request, response_op::Response,
};
use server::{
    rpc::Method,
    status::{Code, Status},
};

use super::upstream::{Asker, Upstream};

/// A range of keys: one key where the end is empty, all from the first where it is a zero byte.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Keys {
    pub(super) key: bytes::Bytes,
    pub(super) end: bytes::Bytes,
}

/// The end of a range that has none.
const TO_THE_LAST: &[u8] = b"\0";

impl Keys {
    pub(super) fn new(key: &bytes::Bytes, end: &bytes::Bytes) -> Keys {
        Keys {
            key: key.clone(),
            end: end.clone(),
        }
    }

    /// Whether a key is in it.
    pub(super) fn holds(&self, key: &[u8]) -> bool {
        match &*self.end {
            b"" => *key == *self.key,
            TO_THE_LAST => *key >= *self.key,
            end => *key >= *self.key && key < end,
        }
    }

    /// Whether some key may be in both.
    pub(super) fn meets(&self, other: &Keys) -> bool {
        self.begins_before_the_end_of(other) && other.begins_before_the_end_of(self)
    }

    fn begins_before_the_end_of(&self, other: &Keys) -> bool {
        match &*other.end {
            b"" => self.key <= other.key,
            TO_THE_LAST => true,
            end => *self.key < *end,
        }
    }

    /// Whether it can be watched.
    pub(super) fn is_range(&self) -> bool {
        self.end.is_empty() || self.end > self.key || *self.end == *TO_THE_LAST
    }
}

/// Makes an operation as a call of its own; the answer has its header.
pub(super) async fn send(
    upstream: &Upstream,
    asker: &Asker,
    request: &Request,
) -> Result<Response, Status> {
    Ok(match request {
        Request::RequestRange(range) => {
            Response::ResponseRange(upstream.ask(asker, Method::Range, range).await?)
        }
        Request::RequestPut(put) => {
            Response::ResponsePut(upstream.ask(asker, Method::Put, put).await?)
        }
        Request::RequestDeleteRange(delete) => {
            Response::ResponseDeleteRange(upstream.ask(asker, Method::DeleteRange, delete).await?)
        }
        Request::RequestTxn(txn) => {
            Response::ResponseTxn(upstream.ask(asker, Method::Txn, txn).await?)
        }
    })
}

/// The header of an answer.
pub(super) fn header(response: &Response) -> Option<&ResponseHeader> {
    match response {
        Response::ResponseRange(range) => range.header.as_ref(),
        Response::ResponsePut(put) => put.header.as_ref(),
        Response::ResponseDeleteRange(delete) => delete.header.as_ref(),
        Response::ResponseTxn(txn) => txn.header.as_ref(),
    }
}

/// The same answer under another header: answers in a transaction have none of their own.
pub(super) fn under(mut response: Response, header: Option<ResponseHeader>) -> Response {
    let place = match &mut response {
        Response::ResponseRange(range) => &mut range.header,
        Response::ResponsePut(put) => &mut put.header,
        Response::ResponseDeleteRange(delete) => &mut delete.header,
        Response::ResponseTxn(txn) => &mut txn.header,
    };
    *place = header;
    response
}

/// The revision of an answer; 0 without a header.
pub(super) fn revision(response: &Response) -> i64 {
    header(response).map_or(0, |header| header.revision)
}

/// The message of an answer, encoded.
pub(super) fn encoded(response: &Response) -> Vec<u8> {
    match response {
        Response::ResponseRange(range) => range.encode_to_vec(),
        Response::ResponsePut(put) => put.encode_to_vec(),
        Response::ResponseDeleteRange(delete) => delete.encode_to_vec(),
        Response::ResponseTxn(txn) => txn.encode_to_vec(),
    }
}

/// All operations of a transaction but the transactions in it, whose own are there instead.
pub(super) fn leaves(txn: &api::TxnRequest) -> Vec<&Request> {
    let mut leaves = Vec::new();
    let mut open: Vec<&api::TxnRequest> = vec![txn];
    while let Some(txn) = open.pop() {
        for request in requests(&txn.success).chain(requests(&txn.failure)) {
            match request {
                Request::RequestTxn(inner) => open.push(inner),
                leaf => leaves.push(leaf),
            }
        }
    }
    leaves
}

/// What was done in a transaction: each operation with its answer, those of nested ones included.
pub(super) fn done<'a>(
    txn: &'a api::TxnRequest,
    answer: &'a api::TxnResponse,
) -> Vec<(&'a Request, &'a Response)> {
    let mut done = Vec::new();
    let mut open = vec![(txn, answer)];
    while let Some((txn, answer)) = open.pop() {
        let branch = match answer.succeeded {
            true => &txn.success,
            false => &txn.failure,
        };
        let responses = answer.responses.iter().map(|op| op.response.as_ref());
        for (request, response) in branch.iter().map(|op| op.request.as_ref()).zip(responses) {
            match (request, response) {
                (Some(Request::RequestTxn(txn)), Some(Response::ResponseTxn(answer))) => {
                    open.push((txn, answer));
                }
                (Some(request), Some(response)) => done.push((request, response)),
                _ => {}
            }
        }
    }
    done
}

/// The operations of a branch.
pub(super) fn requests(branch: &[RequestOp]) -> impl Iterator<Item = &Request> {
    branch.iter().filter_map(|op| op.request.as_ref())
}

/// An operation of a transaction.
pub(super) fn op(request: Request) -> RequestOp {
    RequestOp {
        request: Some(request),
    }
}

/// An answer of another kind than was asked for: no server sends one.
pub(super) fn unexpected() -> Status {
    Status::fixed(Code::Internal, "the member answered what was not asked")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(key: &'static str, end: &'static str) -> Keys {
        Keys::new(&key.into(), &end.into())
    }

    #[test]
    fn ranges_meet_where_they_share_a_key() {
        for (one, other, meet) in [
            (keys("a", ""), keys("a", ""), true),
            (keys("a", ""), keys("b", ""), false),
            (keys("a", "c"), keys("b", ""), true),
            (keys("a", "c"), keys("c", ""), false),
            (keys("a", "c"), keys("b", "d"), true),
            (keys("a", "b"), keys("b", "c"), false),
            (keys("b", "\0"), keys("a", ""), false),
            (keys("b", "\0"), keys("z", ""), true),
            (keys("b", "\0"), keys("a", "b"), false),
            (keys("b", "\0"), keys("a", "c"), true),
            (keys("b", "\0"), keys("c", "\0"), true),
        ] {
            assert_eq!(one.meets(&other), meet, "{one:?} {other:?}");
            assert_eq!(other.meets(&one), meet, "{other:?} {one:?}");
        }
    }
}
