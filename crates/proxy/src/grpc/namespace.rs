//! `--namespace`: keys of clients are below a prefix in the cluster. Requests get it, answers lose
//! it, and a range never reaches beyond it.

use bytes::{Bytes, BytesMut};
use proto::{
    etcdserverpb::{
        RequestOp, TxnRequest, TxnResponse, request_op::Request, response_op::Response,
    },
    mvccpb::KeyValue,
};
use server::status::{Status, errors};

use super::operation::Keys;

/// The prefix.
#[derive(Clone, Debug)]
pub(super) struct Namespace(Bytes);

impl Namespace {
    /// `None` for an empty prefix.
    pub(super) fn new(prefix: &str) -> Option<Namespace> {
        (!prefix.is_empty()).then(|| Namespace(Bytes::copy_from_slice(prefix.as_bytes())))
    }

    fn below(&self, key: &[u8]) -> Bytes {
        let mut below = BytesMut::with_capacity(self.0.len() + key.len());
        below.extend_from_slice(&self.0);
        below.extend_from_slice(key);
        below.freeze()
    }

    fn end(&self, end: &[u8]) -> Bytes {
        match end {
            b"" => Bytes::new(),
            b"\0" => client::prefix_end(&self.0),
            end => self.below(end),
        }
    }

    /// A range as the cluster has it.
    pub(super) fn inside(&self, keys: &Keys) -> Keys {
        Keys {
            key: self.below(&keys.key),
            end: self.end(&keys.end),
        }
    }

    /// A key of the cluster as clients have it; `None` if it is not below the prefix.
    pub(super) fn outside(&self, key: &Bytes) -> Option<Bytes> {
        key.starts_with(&self.0).then(|| key.slice(self.0.len()..))
    }

    /// Puts the prefix before the keys of a request.
    ///
    /// # Errors
    /// It has no key.
    pub(super) fn enter(&self, request: &mut Request) -> Result<(), Status> {
        match request {
            Request::RequestTxn(txn) => {
                self.enter_txn(txn);
                return Ok(());
            }
            Request::RequestRange(range) if range.key.is_empty() => return Err(errors::EMPTY_KEY),
            Request::RequestPut(put) if put.key.is_empty() => return Err(errors::EMPTY_KEY),
            Request::RequestDeleteRange(delete) if delete.key.is_empty() => {
                return Err(errors::EMPTY_KEY);
            }
            leaf => self.enter_leaf(leaf),
        }
        Ok(())
    }

    fn enter_leaf(&self, request: &mut Request) {
        let (key, end) = match request {
            Request::RequestRange(range) => (&mut range.key, Some(&mut range.range_end)),
            Request::RequestPut(put) => (&mut put.key, None),
            Request::RequestDeleteRange(delete) => (&mut delete.key, Some(&mut delete.range_end)),
            Request::RequestTxn(_) => return,
        };
        *key = self.below(key);
        if let Some(end) = end {
            *end = self.end(end);
        }
    }

    fn enter_txn(&self, txn: &mut TxnRequest) {
        let mut open = vec![txn];
        while let Some(txn) = open.pop() {
            for compare in &mut txn.compare {
                compare.key = self.below(&compare.key);
                compare.range_end = self.end(&compare.range_end);
            }
            let ops = txn.success.iter_mut().chain(&mut txn.failure);
            for RequestOp { request } in ops {
                match request {
                    Some(Request::RequestTxn(inner)) => open.push(inner),
                    Some(leaf) => self.enter_leaf(leaf),
                    None => {}
                }
            }
        }
    }

    /// Takes the prefix off the keys of an answer.
    pub(super) fn leave(&self, response: &mut Response) {
        match response {
            Response::ResponseTxn(txn) => self.leave_txn(txn),
            leaf => self.leave_leaf(leaf),
        }
    }

    fn leave_leaf(&self, response: &mut Response) {
        match response {
            Response::ResponseRange(range) => range.kvs.iter_mut().for_each(|kv| self.strip(kv)),
            Response::ResponsePut(put) => put.prev_kv.iter_mut().for_each(|kv| self.strip(kv)),
            Response::ResponseDeleteRange(delete) => {
                delete.prev_kvs.iter_mut().for_each(|kv| self.strip(kv));
            }
            Response::ResponseTxn(_) => {}
        }
    }

    fn leave_txn(&self, txn: &mut TxnResponse) {
        let mut open = vec![txn];
        while let Some(txn) = open.pop() {
            for op in &mut txn.responses {
                match &mut op.response {
                    Some(Response::ResponseTxn(inner)) => open.push(inner),
                    Some(leaf) => self.leave_leaf(leaf),
                    None => {}
                }
            }
        }
    }

    /// Takes the prefix off a key.
    pub(super) fn strip(&self, kv: &mut KeyValue) {
        if let Some(key) = self.outside(&kv.key) {
            kv.key = key;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_stays_below_the_prefix() {
        let namespace = Namespace::new("p/").expect("a prefix");
        let inside = |key: &'static str, end: &'static str| {
            let keys = namespace.inside(&Keys::new(&key.into(), &end.into()));
            (keys.key.to_vec(), keys.end.to_vec())
        };
        assert_eq!(inside("a", ""), (b"p/a".to_vec(), vec![]));
        assert_eq!(inside("a", "b"), (b"p/a".to_vec(), b"p/b".to_vec()));
        assert_eq!(inside("a", "\0"), (b"p/a".to_vec(), b"p0".to_vec()));
        assert_eq!(inside("\0", "\0"), (b"p/\0".to_vec(), b"p0".to_vec()));
    }
}
