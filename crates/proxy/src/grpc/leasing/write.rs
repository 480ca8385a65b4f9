//! Writes. One goes through only if no other proxy answers for its keys: the transaction that makes
//! it says so. If one does, it is asked to give them up, and the write waits until it has.

use std::rc::Rc;

use bytes::Bytes;
use proto::{
    etcdserverpb::{
        Compare, PutRequest, RangeRequest, RequestOp, TxnRequest, TxnResponse, WatchCreateRequest,
        compare::{CompareResult, CompareTarget},
        range_request::{SortOrder, SortTarget},
        request_op::Request,
        response_op::Response,
    },
    mvccpb::{KeyValue, event::EventType},
};
use server::status::Status;

use super::{
    super::{
        operation::{self, Keys, leaves, op, under},
        upstream::{Asker, status},
    },
    Leasing, REVOKE, compare,
    entries::Writing,
};

impl Leasing {
    /// A put or a deletion as a call of its own.
    pub(super) async fn write(&self, asker: &Asker, write: Request) -> Result<Response, Status> {
        // Without a key it is refused, as it would be without leasing.
        let Request::RequestPut(PutRequest { key, .. }) = &write else {
            return self.write_by_txn(asker, write).await;
        };
        if key.is_empty() {
            return self.plain.run(asker, write).await;
        }
        self.write_by_txn(asker, write).await
    }

    async fn write_by_txn(&self, asker: &Asker, write: Request) -> Result<Response, Status> {
        if matches!(&write, Request::RequestDeleteRange(delete) if delete.key.is_empty()) {
            return self.plain.run(asker, write).await;
        }
        let txn = TxnRequest {
            success: vec![op(write)],
            ..TxnRequest::default()
        };
        let answer = self.guarded(asker, &txn, txn.success.clone()).await?;
        let response = answer.responses.into_iter().find_map(|op| op.response);
        let response = response.ok_or_else(operation::unexpected)?;
        Ok(under(response, answer.header))
    }

    /// A client's transaction.
    pub(super) async fn txn(&self, asker: &Asker, txn: TxnRequest) -> Result<Response, Status> {
        let writes = |leaf: &Request| !matches!(leaf, Request::RequestRange(_));
        if !leaves(&txn).into_iter().any(writes) {
            return self.plain.run(asker, Request::RequestTxn(txn)).await;
        }
        let whole = vec![op(Request::RequestTxn(txn.clone()))];
        let answer = self.guarded(asker, &txn, whole).await?;
        let response = answer.responses.into_iter().find_map(|op| op.response);
        match response {
            Some(inner @ Response::ResponseTxn(_)) => Ok(under(inner, answer.header)),
            _ => Err(operation::unexpected()),
        }
    }

    /// Makes `made`, whose writes are those of `txn`, once no one else answers for their keys.
    async fn guarded(
        &self,
        asker: &Asker,
        txn: &TxnRequest,
        made: Vec<RequestOp>,
    ) -> Result<TxnResponse, Status> {
        let writes: Vec<Keys> = leaves(txn).into_iter().filter_map(written).collect();
        loop {
            let guards = self.guards(asker, &writes).await?;
            // Reads of these keys wait for what comes of it.
            let _writing = self.begin(&writes);
            let attempt = TxnRequest {
                compare: guards,
                success: made.clone(),
                failure: writes
                    .iter()
                    .map(|keys| op(self.leasing_keys(keys)))
                    .collect(),
            };
            let answer = match self.transact(asker, attempt).await {
                Ok(answer) => answer,
                Err(error) => {
                    // It may have been made, or not.
                    let mut entries = self.entries.borrow_mut();
                    writes.iter().for_each(|keys| entries.give_up_all(keys));
                    return Err(error);
                }
            };
            if answer.succeeded {
                self.made(txn, &answer);
                return Ok(answer);
            }
            drop(_writing);
            for response in answer.responses.into_iter().filter_map(|op| op.response) {
                if let Response::ResponseRange(range) = response {
                    self.ask_back(asker, range.kvs).await?;
                }
            }
        }
    }

    fn begin(&self, writes: &[Keys]) -> Vec<Writing> {
        let entries = self.entries.borrow();
        let begin = |keys: &Keys| match keys.end.is_empty() {
            true => entries.begin(&keys.key).0.into_iter().collect(),
            false => entries.begin_all(keys),
        };
        writes.iter().flat_map(begin).collect()
    }

    /// What must hold for a write: for each key that its leasing key is not there, or is this
    /// proxy's own; for a range, that no other has come since those that were there were given up.
    async fn guards(&self, asker: &Asker, writes: &[Keys]) -> Result<Vec<Compare>, Status> {
        let mut guards = Vec::new();
        for keys in writes {
            let newest = match keys.end.is_empty() {
                true => self.entries.borrow().begin(&keys.key).1,
                false => self.ask_range_back(asker, keys).await?,
            };
            let Request::RequestRange(leasing) = self.leasing_keys(keys) else {
                continue;
            };
            let mut guard = compare(
                &leasing.key,
                CompareTarget::Create,
                CompareResult::Less,
                newest + 1,
            );
            guard.range_end = leasing.range_end;
            if !guards.contains(&guard) {
                guards.push(guard);
            }
        }
        Ok(guards)
    }

    /// A read of the leasing keys of a range.
    fn leasing_keys(&self, keys: &Keys) -> Request {
        let end = match &*keys.end {
            b"" => Bytes::new(),
            b"\0" => client::prefix_end(&self.prefix),
            end => self.leasing_key(end),
        };
        Request::RequestRange(RangeRequest {
            key: self.leasing_key(&keys.key),
            range_end: end,
            ..RangeRequest::default()
        })
    }

    /// Asks for all leasing keys of a range back; returns the newest revision at which one of this
    /// proxy's own was created, or one that was asked for.
    async fn ask_range_back(&self, asker: &Asker, keys: &Keys) -> Result<i64, Status> {
        let Request::RequestRange(mut range) = self.leasing_keys(keys) else {
            return Err(operation::unexpected());
        };
        range.sort_target = SortTarget::Create.into();
        range.sort_order = SortOrder::Descend.into();
        let leasing = self.get(asker, range).await?;
        let newest = leasing.kvs.first().map_or(0, |kv| kv.create_revision);
        self.ask_back(asker, leasing.kvs).await?;
        Ok(newest)
    }

    /// Asks for leasing keys back, and waits until they are gone; its own may stay.
    async fn ask_back(&self, asker: &Asker, leasing: Vec<KeyValue>) -> Result<(), Status> {
        for kv in leasing {
            if !self.entries.borrow().is_own(kv.lease) {
                self.ask_one_back(asker, &kv).await?;
            } else if self.entries.borrow().begin(&self.key_below(&kv.key)).1 == 0 {
                // Acquired and given up: no one knows it by now.
                let leasing = Rc::new(kv);
                self.forget(asker, &leasing).await?;
            }
        }
        Ok(())
    }

    fn key_below(&self, leasing_key: &Bytes) -> Bytes {
        leasing_key.slice(self.prefix.len().min(leasing_key.len())..)
    }

    /// Deletes a leasing key of this proxy's own for which it has no answer.
    async fn forget(&self, asker: &Asker, leasing: &KeyValue) -> Result<(), Status> {
        let same = compare(
            &leasing.key,
            CompareTarget::Create,
            CompareResult::Equal,
            leasing.create_revision,
        );
        let delete = proto::etcdserverpb::DeleteRangeRequest {
            key: leasing.key.clone(),
            ..Default::default()
        };
        let txn = TxnRequest {
            compare: vec![same],
            success: vec![op(Request::RequestDeleteRange(delete))],
            failure: Vec::new(),
        };
        self.transact(asker, txn).await.map(drop)
    }

    async fn ask_one_back(&self, asker: &Asker, leasing: &KeyValue) -> Result<(), Status> {
        let there = compare(
            &leasing.key,
            CompareTarget::Create,
            CompareResult::Equal,
            leasing.create_revision,
        );
        let wanted = PutRequest {
            key: leasing.key.clone(),
            value: Bytes::from_static(REVOKE),
            ignore_lease: true,
            ..PutRequest::default()
        };
        let txn = TxnRequest {
            compare: vec![there],
            success: vec![op(Request::RequestPut(wanted))],
            failure: Vec::new(),
        };
        let answer = self.transact(asker, txn).await?;
        if !answer.succeeded {
            return Ok(());
        }
        let since = answer.header.map_or(0, |header| header.revision);
        let waiting = self.gone(asker, &leasing.key, since + 1);
        let Some(timeout) = asker.timeout() else {
            return waiting.await;
        };
        let waited = tokio::time::timeout(timeout, waiting).await;
        waited.unwrap_or_else(|_| Err(status(client::Error::Deadline { last: None })))
    }

    /// Waits for the deletion of a leasing key.
    async fn gone(&self, asker: &Asker, leasing_key: &Bytes, since: i64) -> Result<(), Status> {
        let mut keys = Keys::new(leasing_key, &Bytes::new());
        if let Some(namespace) = &self.plain.namespace {
            keys = namespace.inside(&keys);
        }
        let watcher = self.plain.upstream.watcher_of(&asker.who)?;
        let request = WatchCreateRequest {
            key: keys.key,
            start_revision: since,
            ..WatchCreateRequest::default()
        };
        let mut watch = watcher.lock().await.watch(request).await;
        drop(watcher);
        // A watch that is canceled has missed the end of a revision that is compacted.
        while let Some(news) = watch.message().await.map_err(status)? {
            let deleted = |event: &proto::mvccpb::Event| event.r#type() == EventType::Delete;
            if news.canceled || news.events.iter().any(deleted) {
                break;
            }
        }
        Ok(())
    }

    /// Brings the answers of this proxy up to what was written.
    fn made(&self, txn: &TxnRequest, answer: &TxnResponse) {
        let inner = answer.responses.iter().find_map(|op| match &op.response {
            Some(Response::ResponseTxn(inner)) => Some(inner),
            _ => None,
        });
        let done = operation::done(txn, inner.unwrap_or(answer));
        let mut entries = self.entries.borrow_mut();
        for (request, _) in done {
            match request {
                // What it is now under a lease, or was, is not said here.
                Request::RequestPut(put) if is_plain(put) => {
                    entries.put(&put.key, &put.value, answer.header);
                }
                Request::RequestPut(put) => drop(entries.give_up(&put.key)),
                Request::RequestDeleteRange(delete) => {
                    let keys = Keys::new(&delete.key, &delete.range_end);
                    entries.deleted(&keys, answer.header);
                }
                Request::RequestRange(_) | Request::RequestTxn(_) => {}
            }
        }
    }
}

fn is_plain(put: &PutRequest) -> bool {
    put.lease == 0 && !put.ignore_lease && !put.ignore_value
}

fn written(request: &Request) -> Option<Keys> {
    match request {
        Request::RequestPut(put) => Some(Keys::new(&put.key, &Bytes::new())),
        Request::RequestDeleteRange(delete) => Some(Keys::new(&delete.key, &delete.range_end)),
        Request::RequestRange(_) | Request::RequestTxn(_) => None,
    }
}
