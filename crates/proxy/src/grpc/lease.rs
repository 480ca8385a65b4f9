//! The service of leases. Renewals of one lease are shared: however many clients keep it alive, it
//! is renewed in the cluster twice a second at most, and all of them hear of it.

use std::{cell::RefCell, collections::HashMap, rc::Rc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use prost::Message as _;
use proto::etcdserverpb::{
    LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};
use server::{
    rpc::{Method, Source, decode, frame_message},
    status::{Code, Status, errors},
    transport::MessageStream,
};
use tokio::sync::{mpsc, oneshot};

use super::{
    frames::Frames,
    namespace::Namespace,
    upstream::{Asker, Upstream, Who, status, without_code},
};

/// Between two renewals of a lease.
const PAUSE: Duration = Duration::from_millis(500);
/// Until a renewal that the cluster does not answer has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Requests of one stream that wait for their answer; beyond that it is not read.
const WAITING_MAX: usize = 1024;
/// Answers of one stream that the client has not taken.
const UNSENT_MAX: usize = 128;

type Renewal = Result<LeaseKeepAliveResponse, Status>;

/// Whose lease: a member decides whether they may renew it.
type Key = (Who, i64);

/// The service.
pub(super) struct Leases {
    upstream: Rc<Upstream>,
    namespace: Option<Namespace>,
    /// Leases that are being renewed, or were a moment ago, and who waits for the next time.
    renewed: RefCell<HashMap<Key, Vec<oneshot::Sender<Renewal>>>>,
}

impl Leases {
    pub(super) fn new(upstream: Rc<Upstream>, namespace: Option<Namespace>) -> Rc<Leases> {
        Rc::new(Leases {
            upstream,
            namespace,
            renewed: RefCell::default(),
        })
    }

    /// A method with one answer.
    pub(super) async fn call(
        &self,
        asker: &Asker,
        method: Method,
        message: Bytes,
    ) -> Result<Bytes, Status> {
        match method {
            Method::LeaseGrant => self.upstream.call(asker, method, message).await,
            Method::LeaseTimeToLive => {
                let answer = self.time_to_live(asker, &decode(message)?).await;
                answer
                    .map(|answer| answer.encode_to_vec().into())
                    .map_err(without_code)
            }
            _ => {
                let answer = self.upstream.call(asker, method, message).await;
                answer.map_err(without_code)
            }
        }
    }

    /// Of the keys of a lease, those outside the namespace are left out.
    async fn time_to_live(
        &self,
        asker: &Asker,
        request: &LeaseTimeToLiveRequest,
    ) -> Result<LeaseTimeToLiveResponse, Status> {
        let mut answer: LeaseTimeToLiveResponse = self
            .upstream
            .ask(asker, Method::LeaseTimeToLive, request)
            .await?;
        if let Some(namespace) = &self.namespace {
            let keys = std::mem::take(&mut answer.keys);
            answer.keys = keys
                .iter()
                .filter_map(|key| namespace.outside(key))
                .collect();
        }
        Ok(answer)
    }

    /// `LeaseKeepAlive`
    pub(super) fn keep_alive(
        self: &Rc<Self>,
        who: Who,
        messages: MessageStream,
    ) -> Box<dyn Source> {
        let (frames, source) = mpsc::channel(UNSENT_MAX);
        let leases = self.clone();
        tokio::task::spawn_local(async move {
            let ended = tokio::select! {
                ended = leases.answer(&who, messages, &frames) => ended,
                () = frames.closed() => return,
            };
            if let Err(status) = ended {
                // An error here means that the client is gone.
                let _ = frames.send(Err(status)).await;
            }
        });
        Box::new(Frames(source))
    }

    /// Answers renewals until the client closes its side.
    async fn answer(
        self: &Rc<Self>,
        who: &Who,
        mut messages: MessageStream,
        frames: &mpsc::Sender<Result<Bytes, Status>>,
    ) -> Result<(), Status> {
        let mut waiting = FuturesUnordered::new();
        let mut is_open = true;
        while is_open || !waiting.is_empty() {
            let renewal: Renewal = tokio::select! {
                message = messages.next(), if is_open && waiting.len() < WAITING_MAX => {
                    match message {
                        Some(message) => {
                            let request: LeaseKeepAliveRequest = decode(message?)?;
                            waiting.push(self.renewal(who, request.id));
                        }
                        None => is_open = false,
                    }
                    continue;
                }
                Some(renewal) = waiting.next() => renewal,
            };
            if frames.send(Ok(frame_message(&renewal?))).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// The next renewal of a lease.
    fn renewal(self: &Rc<Self>, who: &Who, id: i64) -> impl Future<Output = Renewal> + use<> {
        let (sender, receiver) = oneshot::channel();
        let key = (who.clone(), id);
        let mut renewed = self.renewed.borrow_mut();
        match renewed.get_mut(&key) {
            Some(waiting) => waiting.push(sender),
            None => {
                renewed.insert(key.clone(), vec![sender]);
                tokio::task::spawn_local(self.clone().renew_for(key));
            }
        }
        // The sender is dropped by a proxy that ends.
        receiver.map(|renewal| renewal.unwrap_or(Err(errors::STOPPED)))
    }

    /// Renews a lease for as long as someone waits for it.
    async fn renew_for(self: Rc<Self>, key: Key) {
        loop {
            let waiting = match self.renewed.borrow_mut().get_mut(&key) {
                Some(waiting) => std::mem::take(waiting),
                None => return,
            };
            if waiting.is_empty() {
                self.renewed.borrow_mut().remove(&key);
                return;
            }
            let renewal = self.renew(&key).await;
            for sender in waiting {
                // Who is gone does not hear of it.
                let _ = sender.send(renewal.clone());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn renew(&self, (who, id): &Key) -> Renewal {
        let client = self.upstream.client_of(who)?;
        let renewed = tokio::time::timeout(PATIENCE, client.keep_alive_once(*id)).await;
        match renewed {
            Ok(Ok(renewal)) => Ok(renewal),
            Ok(Err(error)) if error.is(&errors::LEASE_NOT_FOUND.message) => {
                self.gone(who, *id).await
            }
            Ok(Err(error)) => Err(status(error)),
            Err(_) => Err(Status::fixed(
                Code::Unavailable,
                "no member has answered a renewal",
            )),
        }
    }

    /// How a client hears that its lease is gone: with the time that is left of it.
    async fn gone(&self, who: &Who, id: i64) -> Renewal {
        let request = LeaseTimeToLiveRequest { id, keys: false };
        let asker = Asker::patient(who.clone());
        let left = self.time_to_live(&asker, &request).await?;
        Ok(LeaseKeepAliveResponse {
            header: left.header,
            id,
            ttl: left.ttl,
        })
    }
}
