//! What holds transactions within transactions, and is dropped without recursion:
//! a request of a megabyte may hold a hundred thousand, each in the one before.

use std::ops::{Deref, DerefMut};

use crate::etcdserverpb::{
    InternalRaftRequest, TxnRequest, TxnResponse, internal_raft_request::Op, request_op::Request,
    response_op::Response,
};

/// A message that may hold transactions.
pub trait Nest {
    /// Takes everything nested apart, so that what is left is dropped at once.
    fn flatten(&mut self);
}

impl Nest for TxnRequest {
    fn flatten(&mut self) {
        let mut open = Vec::new();
        let take = |txn: &mut TxnRequest, open: &mut Vec<TxnRequest>| {
            for op in txn.success.iter_mut().chain(&mut txn.failure) {
                if let Some(Request::RequestTxn(nested)) = &mut op.request {
                    open.push(std::mem::take(nested));
                }
            }
        };
        take(self, &mut open);
        while let Some(mut txn) = open.pop() {
            take(&mut txn, &mut open);
        }
    }
}

impl Nest for TxnResponse {
    fn flatten(&mut self) {
        let mut open = Vec::new();
        let take = |txn: &mut TxnResponse, open: &mut Vec<TxnResponse>| {
            for op in &mut txn.responses {
                if let Some(Response::ResponseTxn(nested)) = &mut op.response {
                    open.push(std::mem::take(nested));
                }
            }
        };
        take(self, &mut open);
        while let Some(mut txn) = open.pop() {
            take(&mut txn, &mut open);
        }
    }
}

impl Nest for InternalRaftRequest {
    fn flatten(&mut self) {
        if let Some(Op::Txn(txn)) = &mut self.op {
            txn.flatten();
        }
    }
}

/// Holds a message and flattens it when it is dropped.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Nested<T: Nest>(T);

impl<T: Nest> Nested<T> {
    /// Takes charge of a message.
    pub fn new(message: T) -> Nested<T> {
        Nested(message)
    }

    /// Gives the message up; whoever takes it sees to it that it is flattened.
    pub fn into_inner(mut self) -> T
    where
        T: Default,
    {
        std::mem::take(&mut self.0)
    }
}

impl<T: Nest> Deref for Nested<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Nest> DerefMut for Nested<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Nest> Drop for Nested<T> {
    fn drop(&mut self) {
        self.0.flatten();
    }
}
