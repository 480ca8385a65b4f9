//! What `lock` and `elect` are built on: a lease that is kept alive, and a place in
//! the queue of keys `<name>/<lease>` under one prefix. Whose key was created
//! first has the turn. Clients of every language build the same keys, so they
//! must never look otherwise.

use bytes::Bytes;
use client::{Client, Error, KeepAlive, prefix_end};
use proto::{
    etcdserverpb::{
        self as api, compare, range_request, request_op::Request, response_op::Response,
    },
    mvccpb::event::EventType,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::{EXIT_ERROR, Failure, Outcome};

/// The lease of a session that names none, in seconds.
pub(crate) const TTL: i64 = 60;

/// A lease kept alive while this lives. It is not revoked at the end: the keys
/// on it are deleted one by one, so that a turn that was handed on stays so.
pub(crate) struct Session {
    pub(crate) lease: i64,
    renewals: KeepAlive,
}

impl Session {
    /// Grants a lease of `ttl` seconds; [`TTL`] if that is not positive.
    pub(crate) async fn open(client: &Client, ttl: i64) -> Result<Self, Error> {
        let ttl = if ttl > 0 { ttl } else { TTL };
        let request = api::LeaseGrantRequest { ttl, id: 0 };
        let lease = client.lease_grant(request).await?.id;
        Ok(Self {
            lease,
            renewals: client.keep_alive(lease),
        })
    }

    /// Waits until the lease is lost.
    pub(crate) async fn ended(&mut self) {
        while let Ok(Some(_)) = self.renewals.message().await {}
    }
}

/// The prefix of all keys for `name`.
pub(crate) fn prefix(name: &[u8]) -> Bytes {
    [name, b"/"].concat().into()
}

/// A place in a queue.
pub(crate) struct Turn {
    prefix: Bytes,
    pub(crate) key: Bytes,
    /// The revision at which the key was created.
    created: i64,
    /// The store's revision when the place was taken.
    pub(crate) revision: i64,
}

impl Turn {
    /// Takes the last place in the queue of `name`.
    pub(crate) async fn take(
        client: &Client,
        name: &[u8],
        lease: i64,
        value: Bytes,
    ) -> Result<Self, Error> {
        let prefix = prefix(name);
        let key: Bytes = [&prefix[..], format!("{lease:x}").as_bytes()]
            .concat()
            .into();
        let absent = api::Compare {
            result: compare::CompareResult::Equal.into(),
            target: compare::CompareTarget::Create.into(),
            key: key.clone(),
            range_end: Bytes::new(),
            target_union: Some(compare::TargetUnion::CreateRevision(0)),
        };
        let put = Request::RequestPut(api::PutRequest {
            key: key.clone(),
            value,
            lease,
            ..Default::default()
        });
        let get = Request::RequestRange(range(key.clone(), Bytes::new()));
        let request = api::TxnRequest {
            compare: vec![absent],
            success: vec![operation(put)],
            failure: vec![operation(get)],
        };
        let response = client.txn(request).await?;
        let revision = response.header.unwrap_or_default().revision;
        let existing = response
            .responses
            .into_iter()
            .find_map(|op| match op.response {
                Some(Response::ResponseRange(range)) => range.kvs.into_iter().next(),
                _ => None,
            });
        Ok(Self {
            prefix,
            key,
            created: existing.map_or(revision, |kv| kv.create_revision),
            revision,
        })
    }

    /// Waits until no older key is left.
    pub(crate) async fn wait(&mut self, client: &Client) -> Result<(), Error> {
        let mut waited = false;
        loop {
            let request = api::RangeRequest {
                max_create_revision: self.created - 1,
                sort_order: range_request::SortOrder::Descend.into(),
                ..by_creation(self.prefix.clone())
            };
            let response = client.range(request).await?;
            let revision = response.header.unwrap_or_default().revision;
            let Some(before) = response.kvs.into_iter().next() else {
                if waited {
                    self.revision = revision;
                }
                return Ok(());
            };
            waited = true;
            // The one right before: its end wakes one waiter, not all.
            deleted(client, before.key, revision).await?;
        }
    }

    /// The key as it is now; no `kvs` when the lease took it along.
    pub(crate) async fn look(&self, client: &Client) -> Result<api::RangeResponse, Error> {
        client.range(range(self.key.clone(), Bytes::new())).await
    }

    /// Gives the place up. A key that is another's by now stays.
    pub(crate) async fn give_up(&self, client: &Client) -> Result<(), Error> {
        let mine = api::Compare {
            result: compare::CompareResult::Equal.into(),
            target: compare::CompareTarget::Create.into(),
            key: self.key.clone(),
            range_end: Bytes::new(),
            target_union: Some(compare::TargetUnion::CreateRevision(self.created)),
        };
        let delete = Request::RequestDeleteRange(api::DeleteRangeRequest {
            key: self.key.clone(),
            ..Default::default()
        });
        let request = api::TxnRequest {
            compare: vec![mine],
            success: vec![operation(delete)],
            failure: Vec::new(),
        };
        client.txn(request).await.map(drop)
    }
}

fn operation(request: Request) -> api::RequestOp {
    api::RequestOp {
        request: Some(request),
    }
}

fn range(key: Bytes, range_end: Bytes) -> api::RangeRequest {
    api::RangeRequest {
        key,
        range_end,
        ..Default::default()
    }
}

/// The key under `prefix` that was created first.
pub(crate) fn by_creation(prefix: Bytes) -> api::RangeRequest {
    let end = prefix_end(&prefix);
    api::RangeRequest {
        limit: 1,
        sort_order: range_request::SortOrder::Ascend.into(),
        sort_target: range_request::SortTarget::Create.into(),
        ..range(prefix, end)
    }
}

/// Waits until `key`, which was there at `revision`, is deleted.
async fn deleted(client: &Client, key: Bytes, revision: i64) -> Result<(), Error> {
    let request = api::WatchCreateRequest {
        key,
        start_revision: revision,
        ..Default::default()
    };
    let mut watch = client.watcher().watch(request).await;
    while let Some(response) = watch.message().await? {
        let mut events = response.events.iter();
        if events.any(|event| event.r#type() == EventType::Delete) {
            return Ok(());
        }
    }
    Err(Error::StreamEnded("watch"))
}

/// The signals that ask a command to end.
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// Catches them from now on.
    pub(crate) fn catch() -> Outcome<Self> {
        let catch = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(EXIT_ERROR, format!("cannot wait for signals: {error}"))
            })
        };
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
        })
    }

    /// Waits for one.
    pub(crate) async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// What a command says that was interrupted before it got what it waited for.
pub(crate) fn canceled() -> Failure {
    Failure::new(EXIT_ERROR, "context canceled")
}
