//! The lease under which this proxy has its leasing keys, and the watch by which it hears that
//! someone wants one back. Without either, it has none.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use proto::{
    etcdserverpb::{
        DeleteRangeRequest, LeaseGrantRequest, LeaseGrantResponse, LeaseRevokeRequest,
        LeaseRevokeResponse, TxnRequest, WatchCreateRequest, WatchResponse,
        compare::{CompareResult, CompareTarget},
        request_op::Request,
    },
    mvccpb::{Event, event::EventType},
};
use server::{rpc::Method, status::Status};
use tokio::time::Instant;

use super::{
    super::{
        operation::{Keys, op},
        upstream::{Asker, Who, status},
    },
    Leasing, REVOKE, compare,
};

/// As etcd's sessions, seconds.
const TTL: i64 = 60;
/// A lease is certain to last for this part of its time after a renewal was heard of: that had at
/// most as long to arrive.
const CERTAIN_PART: u32 = 2;
/// Between two attempts.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);

impl Leasing {
    /// Keeps a session, for ever.
    pub(in super::super) async fn keep(self: Rc<Self>) {
        loop {
            if let Err(error) = self.session().await {
                tracing::warn!(error = %error, "the session of the leasing keys has ended");
            }
            self.entries.borrow_mut().end();
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// One session, to its end.
    async fn session(self: &Rc<Self>) -> Result<(), Status> {
        let upstream = &self.plain.upstream;
        let watcher = upstream.watcher_of(&Who::default())?;
        let mut keys = Keys {
            key: self.prefix.clone(),
            end: client::prefix_end(&self.prefix),
        };
        if let Some(namespace) = &self.plain.namespace {
            keys = namespace.inside(&keys);
        }
        let request = WatchCreateRequest {
            key: keys.key,
            range_end: keys.end,
            ..WatchCreateRequest::default()
        };
        let mut watch = watcher.lock().await.watch_created(request).await;
        // From here on it misses nothing, and the first leasing key comes later.
        watch.message().await.map_err(status)?;
        let asker = Asker::own(PATIENCE);
        let request = LeaseGrantRequest { ttl: TTL, id: 0 };
        let lease: LeaseGrantResponse = upstream.ask(&asker, Method::LeaseGrant, &request).await?;
        let mut renewals = upstream.client().keep_alive(lease.id);
        let ended = loop {
            tokio::select! {
                renewal = renewals.message() => match renewal {
                    Ok(Some(renewal)) => {
                        let ttl = Duration::from_secs(renewal.ttl.unsigned_abs());
                        let until = Instant::now() + ttl / CERTAIN_PART;
                        self.entries.borrow_mut().lasts(lease.id, until);
                    }
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(status(error)),
                },
                news = watch.message() => match news {
                    Ok(Some(news)) if !news.canceled => self.hear(news),
                    Ok(_) => break Ok(()),
                    Err(error) => break Err(status(error)),
                },
            }
        };
        self.entries.borrow_mut().end();
        // If no one hears of it, it ends by itself.
        let revoke = LeaseRevokeRequest { id: lease.id };
        let _: Result<LeaseRevokeResponse, Status> = upstream
            .ask(&Asker::own(PATIENCE), Method::LeaseRevoke, &revoke)
            .await;
        ended
    }

    /// Looks at what has become of leasing keys.
    fn hear(self: &Rc<Self>, news: WatchResponse) {
        for event in &news.events {
            let Some(key) = self.key_of(event) else {
                continue;
            };
            let kv = event.kv.as_ref();
            let (lease, value, revision) = kv.map_or((0, &b""[..], 0), |kv| {
                (kv.lease, &*kv.value, kv.mod_revision)
            });
            if event.r#type() == EventType::Delete {
                // By this proxy it is no news; by another, there is no right to it any more.
                self.entries.borrow_mut().wanted_back(&key, revision);
                let (_, since) = self.entries.borrow().begin(&key);
                if since != 0 && since < revision {
                    self.entries.borrow_mut().give_up(&key);
                }
            } else if value == REVOKE && self.entries.borrow().is_own(lease) {
                self.entries.borrow_mut().wanted_back(&key, revision);
                let since = self.entries.borrow_mut().give_up(&key);
                if since <= revision {
                    tokio::task::spawn_local(self.clone().rescind(key, revision));
                }
            }
        }
    }

    /// The key that an event's leasing key is for.
    fn key_of(&self, event: &Event) -> Option<Bytes> {
        let mut kv = event.kv.clone()?;
        if let Some(namespace) = &self.plain.namespace {
            namespace.strip(&mut kv);
        }
        let is_leasing_key = kv.key.starts_with(&self.prefix);
        is_leasing_key.then(|| kv.key.slice(self.prefix.len()..))
    }

    /// Deletes a leasing key that someone wants gone: one from before this revision.
    pub(super) async fn rescind(self: Rc<Self>, key: Bytes, revision: i64) {
        let leasing_key = self.leasing_key(&key);
        let before = compare(
            &leasing_key,
            CompareTarget::Create,
            CompareResult::Less,
            revision,
        );
        let delete = DeleteRangeRequest {
            key: leasing_key,
            ..DeleteRangeRequest::default()
        };
        let txn = TxnRequest {
            compare: vec![before],
            success: vec![op(Request::RequestDeleteRange(delete))],
            failure: Vec::new(),
        };
        loop {
            let asker = Asker::own(PATIENCE);
            if self.transact(&asker, txn.clone()).await.is_ok() {
                return;
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}
