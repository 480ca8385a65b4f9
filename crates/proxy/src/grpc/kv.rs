//! The service of keys. From a client to the cluster an operation passes the cache, leasing, the
//! namespace and the order of revisions, as far as each is there.

use std::{cell::RefCell, rc::Rc};

use bytes::Bytes;
use proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, PutRequest, RangeRequest,
    RangeResponse, TxnRequest, request_op::Request, response_op::Response,
};
use server::{
    rpc::{Method, decode},
    status::{Status, errors},
};

use super::{
    cache::{Cache, Look},
    leasing::Leasing,
    metrics::Metrics,
    operation::{self, Keys, encoded, leaves, revision},
    ordering::Ordering,
    plain::Plain,
    upstream::{Asker, without_code},
};

/// The service.
pub(super) struct Kv {
    plain: Rc<Plain>,
    leasing: Option<Rc<Leasing>>,
    cache: RefCell<Cache>,
    metrics: Rc<Metrics>,
}

impl Kv {
    pub(super) fn new(plain: Rc<Plain>, leasing: Option<Rc<Leasing>>, metrics: Rc<Metrics>) -> Kv {
        Kv {
            plain,
            leasing,
            cache: RefCell::default(),
            metrics,
        }
    }

    /// A method of the service; the encoded answer.
    pub(super) async fn call(
        &self,
        asker: &Asker,
        method: Method,
        message: Bytes,
    ) -> Result<Bytes, Status> {
        let answered = match method {
            Method::Range => self.range(asker, decode(message)?).await,
            Method::Put => self.put(asker, decode(message)?).await,
            Method::DeleteRange => self.delete(asker, decode(message)?).await,
            Method::Txn => self.txn(asker, decode(message)?).await,
            _ => {
                return self
                    .compact(asker, decode(message)?)
                    .await
                    .map_err(without_code);
            }
        };
        let cached = self.cache.borrow().len();
        self.metrics
            .cache_keys
            .set(i64::try_from(cached).unwrap_or(i64::MAX));
        answered
    }

    /// Makes an operation, without a look at the cache.
    pub(super) async fn run(&self, asker: &Asker, request: Request) -> Result<Response, Status> {
        match &self.leasing {
            Some(leasing) => leasing.run(asker, request).await,
            None => self.plain.run(asker, request).await,
        }
    }

    /// Makes an operation of a client, whose refusal has etcd's text alone.
    async fn ask(&self, asker: &Asker, request: Request) -> Result<Response, Status> {
        self.run(asker, request).await.map_err(without_code)
    }

    async fn range(&self, asker: &Asker, range: RangeRequest) -> Result<Bytes, Status> {
        let token = asker.who.token.as_ref();
        if range.serializable {
            let newest = self.plain.ordering.as_ref().map_or(0, Ordering::seen);
            match self.cache.borrow_mut().look(token, &range, newest) {
                Look::Answer(answer) => {
                    self.metrics.cache_hits.inc();
                    return Ok(answer);
                }
                Look::Compacted => {
                    self.metrics.cache_hits.inc();
                    return Err(errors::COMPACTED);
                }
                Look::Nothing => self.metrics.cache_misses.inc(),
            }
        }
        let response = self
            .ask(asker, Request::RequestRange(range.clone()))
            .await?;
        if let Response::ResponseRange(answer) = &response {
            self.keep(asker, &range, answer);
        }
        Ok(encoded(&response).into())
    }

    fn keep(&self, asker: &Asker, range: &RangeRequest, answer: &RangeResponse) {
        let token = asker.who.token.as_ref();
        self.cache.borrow_mut().add(token, range, answer);
    }

    fn written(&self, keys: &Keys, revision: i64) {
        self.cache.borrow_mut().written(keys, revision);
    }

    async fn put(&self, asker: &Asker, put: PutRequest) -> Result<Bytes, Status> {
        let keys = Keys::new(&put.key, &Bytes::new());
        self.write(asker, keys, Request::RequestPut(put)).await
    }

    async fn delete(&self, asker: &Asker, delete: DeleteRangeRequest) -> Result<Bytes, Status> {
        let keys = Keys::new(&delete.key, &delete.range_end);
        self.write(asker, keys, Request::RequestDeleteRange(delete))
            .await
    }

    /// Answers that a write changes are gone when it begins, for its end may never be heard of; and
    /// those of reads that it overtook are, when it has ended.
    async fn write(&self, asker: &Asker, keys: Keys, request: Request) -> Result<Bytes, Status> {
        self.written(&keys, 0);
        let response = self.ask(asker, request).await?;
        self.written(&keys, revision(&response));
        Ok(encoded(&response).into())
    }

    async fn txn(&self, asker: &Asker, txn: TxnRequest) -> Result<Bytes, Status> {
        for written in leaves(&txn).into_iter().filter_map(written) {
            self.written(&written, 0);
        }
        let response = self.ask(asker, Request::RequestTxn(txn.clone())).await?;
        let Response::ResponseTxn(answer) = &response else {
            return Err(operation::unexpected());
        };
        // What a comparison names may have changed without this proxy.
        for compare in &txn.compare {
            self.written(&Keys::new(&compare.key, &compare.range_end), 0);
        }
        let done = operation::done(&txn, answer);
        for written in done.iter().filter_map(|(request, _)| written(request)) {
            self.written(&written, revision(&response));
        }
        // Reads of a transaction that writes may be from its middle.
        if done.iter().all(|(request, _)| written(request).is_none()) {
            for (request, read) in done {
                if let (Request::RequestRange(range), Response::ResponseRange(read)) =
                    (request, read)
                {
                    let mut read = read.clone();
                    read.header = answer.header;
                    self.keep(asker, range, &read);
                }
            }
        }
        Ok(encoded(&response).into())
    }

    async fn compact(&self, asker: &Asker, request: CompactionRequest) -> Result<Bytes, Status> {
        let upstream = &self.plain.upstream;
        let answer: CompactionResponse = upstream.ask(asker, Method::Compact, &request).await?;
        self.cache.borrow_mut().compacted(request.revision);
        Ok(prost::Message::encode_to_vec(&answer).into())
    }
}

/// The keys that an operation writes.
fn written(request: &Request) -> Option<Keys> {
    match request {
        Request::RequestPut(put) => Some(Keys::new(&put.key, &Bytes::new())),
        Request::RequestDeleteRange(delete) => Some(Keys::new(&delete.key, &delete.range_end)),
        Request::RequestRange(_) | Request::RequestTxn(_) => None,
    }
}
