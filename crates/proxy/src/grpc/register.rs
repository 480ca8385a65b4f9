//! `--resolver-prefix`: the proxy registers itself under a lease of `--resolver-ttl` seconds, and
//! watches who else has. Keys and values are those of etcd's naming, so that proxies of etcd are in
//! the same list.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use proto::{
    etcdserverpb::{
        LeaseGrantRequest, LeaseGrantResponse, PutRequest, RangeRequest, TxnRequest,
        WatchCreateRequest, request_op::Request, response_op::Response,
    },
    mvccpb::{KeyValue, event::EventType},
};
use serde_json::Value;
use server::{rpc::Method, status::Status};

use super::{
    cluster::{Proxy, Registered, host_name},
    kv::Kv,
    operation::{Keys, op, revision},
    plain::Plain,
    upstream::{Asker, Who, status},
};

/// Between two attempts.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);

/// What registers.
pub(super) struct Registrar {
    pub(super) kv: Rc<Kv>,
    pub(super) plain: Rc<Plain>,
    /// `--resolver-prefix`
    pub(super) prefix: String,
    /// `--advertise-client-url`
    pub(super) address: String,
    /// `--resolver-ttl`, seconds
    pub(super) ttl: i64,
    pub(super) registered: Rc<Registered>,
}

impl Registrar {
    /// Keeps this proxy registered, for ever.
    pub(super) async fn register(self: Rc<Self>) {
        loop {
            match self.session().await {
                Err(error) => {
                    tracing::warn!(error = %error, "failed to create a session");
                }
                Ok(lease) => {
                    tracing::info!(
                        addr = self.address,
                        "lease-ttl" = self.ttl,
                        "registered session with lease"
                    );
                    let client = self.plain.upstream.client();
                    let mut session = client.keep_alive(lease);
                    while let Ok(Some(_)) = session.message().await {}
                    tracing::warn!("session expired; possible network partition or server restart");
                    tracing::warn!("creating a new session to rejoin");
                }
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// A lease, and this proxy's key under it.
    async fn session(&self) -> Result<i64, Status> {
        let asker = Asker::own(PATIENCE);
        let request = LeaseGrantRequest {
            ttl: self.ttl,
            id: 0,
        };
        let upstream = &self.plain.upstream;
        let lease: LeaseGrantResponse = upstream.ask(&asker, Method::LeaseGrant, &request).await?;
        let metadata = serde_json::json!({ "name": host_name() }).to_string();
        // In the order in which etcd writes them.
        let value = format!(
            "{{\"Op\":0,\"Addr\":{},\"Metadata\":{}}}",
            Value::from(self.address.as_str()),
            Value::from(metadata)
        );
        let put = PutRequest {
            key: format!("{}/{}", self.prefix, self.address).into(),
            value: value.into(),
            lease: lease.id,
            ..PutRequest::default()
        };
        let txn = TxnRequest {
            success: vec![op(Request::RequestPut(put))],
            ..TxnRequest::default()
        };
        self.kv.run(&asker, Request::RequestTxn(txn)).await?;
        Ok(lease.id)
    }

    /// Follows who is registered, for ever.
    pub(super) async fn follow(self: Rc<Self>) {
        loop {
            if let Err(error) = self.look().await {
                tracing::warn!(
                    prefix = self.prefix,
                    error = %error,
                    "failed to establish endpoint watch"
                );
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Reads who is registered, and watches from there on.
    async fn look(&self) -> Result<(), Status> {
        let below = Bytes::from(format!("{}/", self.prefix));
        let keys = Keys {
            end: client::prefix_end(&below),
            key: below,
        };
        let range = RangeRequest {
            key: keys.key.clone(),
            range_end: keys.end.clone(),
            serializable: true,
            ..RangeRequest::default()
        };
        let asker = Asker::own(PATIENCE);
        let response = self.kv.run(&asker, Request::RequestRange(range)).await?;
        let next = revision(&response) + 1;
        if let Response::ResponseRange(range) = response {
            *self.registered.borrow_mut() = range.kvs.into_iter().filter_map(proxy).collect();
        }
        let namespace = self.plain.namespace.as_ref();
        let keys = namespace.map_or(keys.clone(), |namespace| namespace.inside(&keys));
        let watcher = self.plain.upstream.watcher_of(&Who::default())?;
        let request = WatchCreateRequest {
            key: keys.key,
            range_end: keys.end,
            start_revision: next,
            ..WatchCreateRequest::default()
        };
        let mut watch = watcher.lock().await.watch(request).await;
        while let Some(news) = watch.message().await.map_err(status)? {
            for event in news.events {
                let is_put = event.r#type() == EventType::Put;
                let Some(mut kv) = event.kv else { continue };
                if let Some(namespace) = namespace {
                    namespace.strip(&mut kv);
                }
                if !is_put {
                    self.registered.borrow_mut().remove(&kv.key);
                } else if let Some((key, proxy)) = proxy(kv) {
                    self.registered.borrow_mut().insert(key, proxy);
                }
            }
        }
        tracing::info!("endpoints watch channel closed");
        Ok(())
    }
}

/// What is registered under a key; `None` for what is no registration.
fn proxy(kv: KeyValue) -> Option<(Bytes, Proxy)> {
    let value: Value = match serde_json::from_slice(&kv.value) {
        Ok(value) => value,
        Err(error) => {
            let key = String::from_utf8_lossy(&kv.key).into_owned();
            tracing::warn!(key, error = %error, "unmarshal endpoint update failed");
            return None;
        }
    };
    let address = value
        .get("Addr")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let metadata = value
        .get("Metadata")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let metadata: Option<Value> = serde_json::from_str(metadata).ok();
    let name = metadata.map(|metadata| {
        let name = metadata.get("name").and_then(Value::as_str);
        name.unwrap_or_default().to_owned()
    });
    Some((
        kv.key,
        Proxy {
            name,
            address: address.to_owned(),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_of_etcd_is_read() {
        let kv = |value: &'static str| KeyValue {
            key: "p/a:1".into(),
            value: value.into(),
            ..KeyValue::default()
        };
        let of_etcd = r#"{"Op":0,"Addr":"a:1","Metadata":"{\"name\":\"m\"}"}"#;
        let (key, read) = proxy(kv(of_etcd)).expect("one");
        assert_eq!((&*key, &*read.address), (&b"p/a:1"[..], "a:1"));
        assert_eq!(read.name.as_deref(), Some("m"));
        assert!(proxy(kv("no json")).is_none());
        assert_eq!(proxy(kv("{}")).expect("empty").1.name, None);
    }
}
