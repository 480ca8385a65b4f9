//! The registry of etcd 3.6: keys of another cluster.
//!
//! | key | value |
//! |---|---|
//! | `/_etcd/registry/<token>/_config/size` | how many members found the cluster; put there by the operator |
//! | `/_etcd/registry/<token>/members/<id>` | `name=url,…`, put there by each member |

use std::{sync::Arc, time::Duration};

use client::{Client, Credentials, Endpoint};
use membership::MemberId;
use proto::etcdserverpb::{PutRequest, RangeRequest, WatchCreateRequest};

use super::founders::{self, Backoff, Failure, Registration, Standing};
use crate::config::Registry;

const ROOT: &str = "/_etcd/registry";

/// Registers this member and waits for the others.
pub(super) fn join(settings: &Registry, own: MemberId, contents: &str) -> Result<String, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Other(error.to_string()))?;
    runtime.block_on(async {
        let client = connect(settings).await?;
        let mut book = Book {
            keys: Keys::new(&settings.token),
            client,
            own: own.to_string(),
            backoff: Backoff::default(),
        };
        book.join(contents).await
    })
}

async fn connect(settings: &Registry) -> Result<Client, Failure> {
    let other = |error: &dyn std::fmt::Display| Failure::Other(error.to_string());
    let endpoints = settings
        .endpoints
        .iter()
        .map(|endpoint| Endpoint::parse(endpoint))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| other(&error))?;
    let mut config = client::Config::new(endpoints);
    config.dial_timeout = settings.dial_timeout;
    config.command_timeout = Some(settings.request_timeout);
    config.keepalive_time = settings.keepalive_time;
    config.keepalive_timeout = settings.keepalive_timeout;
    config.credentials = settings
        .credentials
        .clone()
        .map(|(name, password)| Credentials { name, password });
    let secure = settings.identity.is_some()
        || settings.trusted_ca.is_some()
        || !settings.insecure_transport
        || settings.skip_verify;
    if secure {
        let connector = tls::Connector::new(tls::ClientOptions {
            identity: settings.identity.clone(),
            trusted_ca: settings.trusted_ca.clone(),
            skip_verify: settings.skip_verify,
            alpn: vec![b"h2".to_vec()],
            ..tls::ClientOptions::default()
        })
        .map_err(|error| other(&error))?;
        config.tls = Some(Arc::new(connector));
        config.tls_by_default = true;
    }
    Client::connect(config).await.map_err(|error| other(&error))
}

/// The keys of one cluster.
pub(super) struct Keys {
    pub(super) size: String,
    /// Without the final slash.
    pub(super) members: String,
}

impl Keys {
    /// The token is a path below the root: empty parts and dots in it are
    /// resolved, as etcd does.
    pub(super) fn new(token: &str) -> Keys {
        let mut parts: Vec<&str> = ROOT.split('/').skip(1).collect();
        for part in token.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        let cluster = parts.join("/");
        Keys {
            size: format!("/{cluster}/_config/size"),
            members: format!("/{cluster}/members"),
        }
    }
}

/// What the registry holds at one revision.
struct Page {
    size: usize,
    members: Vec<Registration>,
    revision: i64,
}

/// After a lost watch, before the next look.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

struct Book {
    client: Client,
    keys: Keys,
    own: String,
    backoff: Backoff,
}

impl Book {
    async fn join(&mut self, contents: &str) -> Result<String, Failure> {
        // A full cluster is not registered with.
        self.look().await?;
        self.register(contents).await;
        loop {
            let page = self.look().await?;
            match founders::standing(page.members, page.size, &self.own) {
                Standing::Full => return Err(Failure::FullCluster),
                Standing::Complete(all) => {
                    tracing::info!(
                        clusterSize = page.size,
                        "found-peers" = all.len(),
                        "found all needed peers from discovery service"
                    );
                    return founders::cluster(&all);
                }
                Standing::Waiting(found) => {
                    tracing::info!(
                        clusterSize = page.size,
                        "found-peers" = found,
                        "waiting for peers from discovery service"
                    );
                    self.wait_change(page.revision).await;
                }
            }
        }
    }

    /// Reads the registry, however long that takes.
    ///
    /// # Errors
    /// It is not prepared, or full without this member.
    async fn look(&mut self) -> Result<Page, Failure> {
        loop {
            match self.read().await {
                Ok(page) => {
                    self.backoff.reset();
                    let page = page?;
                    let all = page.members.clone();
                    if founders::standing(all, page.size, &self.own) == Standing::Full {
                        return Err(Failure::FullCluster);
                    }
                    return Ok(page);
                }
                Err(error) => {
                    tracing::warn!(error = %error, "failed to get cluster members from discovery service");
                    self.pause("cluster status check").await;
                }
            }
        }
    }

    async fn read(&self) -> Result<Result<Page, Failure>, client::Error> {
        let size = self
            .client
            .range(RangeRequest {
                key: self.keys.size.clone().into(),
                ..RangeRequest::default()
            })
            .await?;
        let size = match size.kvs.first() {
            None => return Ok(Err(Failure::SizeNotFound)),
            Some(kv) => match founders::size(&String::from_utf8_lossy(&kv.value)) {
                Ok(size) => size,
                Err(error) => return Ok(Err(error)),
            },
        };
        let prefix = format!("{}/", self.keys.members);
        let found = self
            .client
            .range(RangeRequest {
                range_end: client::prefix_end(prefix.as_bytes()),
                key: prefix.clone().into(),
                ..RangeRequest::default()
            })
            .await?;
        let members = found.kvs.iter().filter_map(|kv| {
            let key = String::from_utf8_lossy(&kv.key).trim().to_owned();
            let contents = String::from_utf8_lossy(&kv.value).trim().to_owned();
            if !contents.contains('=') {
                tracing::warn!(
                    memberKey = key,
                    memberInfo = contents,
                    "invalid peer info returned from discovery service"
                );
                return None;
            }
            tracing::info!(
                memberKey = key,
                memberInfo = contents,
                "found peer from discovery service"
            );
            Some(Registration {
                id: key.strip_prefix(&prefix)?.to_owned(),
                contents,
                created: kv.create_revision.unsigned_abs(),
            })
        });
        Ok(Ok(Page {
            size,
            members: members.collect(),
            revision: found.header.map_or(0, |header| header.revision),
        }))
    }

    async fn register(&mut self, contents: &str) {
        let key = format!("{}/{}", self.keys.members, self.own);
        loop {
            let request = PutRequest {
                key: key.clone().into(),
                value: contents.to_owned().into(),
                ..PutRequest::default()
            };
            match self.client.put(request).await {
                Ok(_) => {
                    self.backoff.reset();
                    tracing::info!(
                        memberKey = key,
                        memberInfo = contents,
                        "register member itself successfully"
                    );
                    return;
                }
                Err(error) => {
                    tracing::warn!(memberKey = key, error = %error, "failed to register members itself to the discovery service");
                    self.pause("register member itself").await;
                }
            }
        }
    }

    /// Until something is written among the members after `revision`. What it
    /// is, the next look tells.
    async fn wait_change(&self, revision: i64) {
        let prefix = format!("{}/", self.keys.members);
        let mut watcher = self.client.watcher();
        let mut watch = watcher
            .watch(WatchCreateRequest {
                range_end: client::prefix_end(prefix.as_bytes()),
                key: prefix.into(),
                start_revision: revision + 1,
                ..WatchCreateRequest::default()
            })
            .await;
        loop {
            match watch.message().await {
                Ok(Some(response)) if !response.events.is_empty() => return,
                Ok(Some(response)) if !response.canceled => {}
                _ => return tokio::time::sleep(WATCH_PAUSE).await,
            }
        }
    }

    async fn pause(&mut self, reason: &str) {
        let pause = self.backoff.next();
        tracing::warn!(reason = reason, backoff = ?pause, "retry connecting to discovery service");
        tokio::time::sleep(pause).await;
    }
}
