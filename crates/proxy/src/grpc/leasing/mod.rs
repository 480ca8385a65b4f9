//! `--experimental-leasing-prefix`: keys that this proxy may answer for without a question to the
//! cluster. For each there is a leasing key, the prefix and the key, under the lease of the proxy
//! that has it. Whoever writes a key must first see its leasing key gone, or own it; the protocol is
//! that of etcd's leasing client, so that all of them can share a cluster.
//!
//! An answer is only given while the lease is certain to last, and the one watch on the leasing keys
//! is there: what it does not see cannot be taken back. Reads with a token go to the members, who
//! decide what it may see.
//!
//! - [`entries`]: the answers
//! - [`session`]: the lease, and the watch on what others ask for
//! - [`write`]: writes that others must have agreed to

mod entries;
mod session;
mod write;

use std::{cell::RefCell, rc::Rc};

use bytes::{Bytes, BytesMut};
use proto::etcdserverpb::{
    Compare, PutRequest, RangeRequest, RangeResponse, TxnRequest, TxnResponse,
    compare::{CompareResult, CompareTarget, TargetUnion},
    request_op::Request,
    response_op::Response,
};
use server::status::Status;

use self::entries::Entries;
use super::{
    operation::{self, op, under},
    plain::Plain,
    upstream::Asker,
};

/// What a leasing key becomes when someone wants it gone.
const REVOKE: &[u8] = b"REVOKE";

/// The keys that this proxy answers for.
pub(super) struct Leasing {
    plain: Rc<Plain>,
    prefix: Bytes,
    entries: RefCell<Entries>,
}

impl Leasing {
    pub(super) fn new(plain: Rc<Plain>, prefix: &str) -> Rc<Leasing> {
        Rc::new(Leasing {
            plain,
            prefix: Bytes::copy_from_slice(prefix.as_bytes()),
            entries: RefCell::default(),
        })
    }

    /// Makes an operation.
    pub(super) async fn run(&self, asker: &Asker, request: Request) -> Result<Response, Status> {
        match request {
            Request::RequestRange(range) => self.read(asker, range).await,
            Request::RequestTxn(txn) => self.txn(asker, txn).await,
            write => self.write(asker, write).await,
        }
    }

    fn leasing_key(&self, key: &[u8]) -> Bytes {
        let mut leasing = BytesMut::with_capacity(self.prefix.len() + key.len());
        leasing.extend_from_slice(&self.prefix);
        leasing.extend_from_slice(key);
        leasing.freeze()
    }

    async fn read(&self, asker: &Asker, range: RangeRequest) -> Result<Response, Status> {
        let is_one = range.revision <= 0 && range.range_end.is_empty() && !range.key.is_empty();
        if !is_one || asker.who.token.is_some() {
            return self.plain.run(asker, Request::RequestRange(range)).await;
        }
        // A write that is under way decides what there is to read.
        loop {
            let busy = self.entries.borrow().busy(&range.key);
            match busy {
                Some(busy) => busy.idle().await,
                None => break,
            }
        }
        if let Some(answer) = self.entries.borrow().answer(&range) {
            return Ok(Response::ResponseRange(answer));
        }
        let may_acquire = self.entries.borrow().may_acquire(&range.key);
        match may_acquire {
            Some(lease) if !range.serializable => self.acquire(asker, lease, range).await,
            _ => self.plain.run(asker, Request::RequestRange(range)).await,
        }
    }

    /// Reads a key, and takes its leasing key in the same transaction if no one has it. A key under
    /// a lease is left alone: it would end without a word.
    async fn acquire(
        &self,
        asker: &Asker,
        lease: i64,
        range: RangeRequest,
    ) -> Result<Response, Status> {
        let leasing_key = self.leasing_key(&range.key);
        let get = |key: &Bytes| {
            op(Request::RequestRange(RangeRequest {
                key: key.clone(),
                ..RangeRequest::default()
            }))
        };
        let own = PutRequest {
            key: leasing_key.clone(),
            lease,
            ..PutRequest::default()
        };
        let txn = TxnRequest {
            compare: vec![
                compare(&leasing_key, CompareTarget::Create, CompareResult::Equal, 0),
                compare(&range.key, CompareTarget::Lease, CompareResult::Equal, 0),
            ],
            success: vec![get(&range.key), op(Request::RequestPut(own))],
            failure: vec![get(&range.key), get(&leasing_key)],
        };
        let _acquiring = entries::Acquiring::of(&self.entries, &range.key);
        let answer = self.transact(asker, txn).await?;
        let header = answer.header;
        let mut responses = answer.responses.into_iter().filter_map(|op| op.response);
        let read = responses.next().map(|read| under(read, header));
        let Some(Response::ResponseRange(read)) = read else {
            return Err(operation::unexpected());
        };
        let is_own = |response| match response {
            Response::ResponseRange(leasing) => {
                leasing.kvs.first().is_some_and(|kv| kv.lease == lease)
            }
            _ => false,
        };
        if answer.succeeded || responses.next().is_some_and(is_own) {
            self.entries.borrow_mut().add(lease, &range.key, &read);
        }
        Ok(Response::ResponseRange(entries::shown(&read, &range)))
    }

    /// A transaction of this proxy's own.
    async fn transact(&self, asker: &Asker, txn: TxnRequest) -> Result<TxnResponse, Status> {
        match self.plain.run(asker, Request::RequestTxn(txn)).await? {
            Response::ResponseTxn(answer) => Ok(answer),
            _ => Err(operation::unexpected()),
        }
    }

    async fn get(&self, asker: &Asker, range: RangeRequest) -> Result<RangeResponse, Status> {
        match self.plain.run(asker, Request::RequestRange(range)).await? {
            Response::ResponseRange(answer) => Ok(answer),
            _ => Err(operation::unexpected()),
        }
    }
}

/// A condition on a key's number.
fn compare(key: &Bytes, target: CompareTarget, result: CompareResult, number: i64) -> Compare {
    let union = match target {
        CompareTarget::Create => TargetUnion::CreateRevision(number),
        CompareTarget::Mod => TargetUnion::ModRevision(number),
        CompareTarget::Version => TargetUnion::Version(number),
        CompareTarget::Lease | CompareTarget::Value => TargetUnion::Lease(number),
    };
    Compare {
        result: result.into(),
        target: target.into(),
        key: key.clone(),
        target_union: Some(union),
        ..Compare::default()
    }
}
