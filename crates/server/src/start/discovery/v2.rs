//! The registry of etcd up to 3.5: a directory of another cluster, or of a
//! public service, through the v2 keys API. The URL ends with the token:
//!
//! | key below the URL | value |
//! |---|---|
//! | `_config/size` | how many members found the cluster |
//! | `<id>` | `name=url,…`, created by each member, once |

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, header};
use membership::MemberId;
use serde::Deserialize;

use super::founders::{self, Backoff, Failure, Registration, Standing};
use crate::transport::PeerTls;

/// For one answer, but not for the news of a change.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for news before looking again.
const NEWS_TIMEOUT: Duration = Duration::from_secs(60);
/// Before the next look when news cannot be had.
const NEWS_PAUSE: Duration = Duration::from_secs(1);

/// Code of the v2 API.
const NODE_EXISTS: u32 = 105;

/// Registers this member and waits for the others.
pub(super) fn join(
    url: &str,
    proxy: Option<&str>,
    own: MemberId,
    contents: &str,
) -> Result<String, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Other(error.to_string()))?;
    let mut directory = Directory::new(url, proxy, own)?;
    runtime.block_on(directory.join(contents))
}

/// An answer of the keys API; an error has a code, and no node.
#[derive(Deserialize)]
struct Answer {
    node: Option<Node>,
    #[serde(rename = "errorCode", default)]
    code: u32,
    #[serde(default)]
    message: String,
    #[serde(default)]
    cause: String,
    #[serde(default)]
    index: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    #[serde(default)]
    key: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    nodes: Vec<Node>,
    #[serde(default)]
    created_index: u64,
    #[serde(default)]
    modified_index: u64,
}

/// Why there is no answer: patience may help, or not.
enum Trouble {
    Passing(String),
    Lasting(Failure),
}

struct Directory {
    /// Without the final slash.
    url: String,
    /// Whom to dial: the service, or the proxy.
    dialled: String,
    connect: Arc<dyn peer::Connect>,
    proxied: bool,
    own: String,
    backoff: Backoff,
}

struct Page {
    size: usize,
    members: Vec<Registration>,
    /// The newest index seen in the directory.
    index: u64,
}

impl Directory {
    fn new(url: &str, proxy: Option<&str>, own: MemberId) -> Result<Directory, Failure> {
        let parsed = url::Url::parse(url).map_err(|_| Failure::InvalidUrl)?;
        if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
            return Err(Failure::InvalidUrl);
        }
        let secure = parsed.scheme() == "https";
        let dialled = match proxy {
            None => parsed[..url::Position::AfterPort].to_owned(),
            Some(_) if secure => {
                return Err(Failure::Other(
                    "--discovery-proxy with an https discovery URL is not built into Pintle"
                        .to_owned(),
                ));
            }
            Some(proxy) if proxy.starts_with("http://") => proxy.to_owned(),
            Some(proxy) if proxy.contains("://") => {
                return Err(Failure::Other(format!(
                    "invalid proxy address {proxy:?}: only http:// is built into Pintle"
                )));
            }
            Some(proxy) => format!("http://{proxy}"),
        };
        if proxy.is_some() {
            tracing::info!("proxy-url" = dialled, "running proxy with discovery");
        }
        let connect: Arc<dyn peer::Connect> = if secure {
            let connector = tls::Connector::new(tls::ClientOptions::default())
                .map_err(|error| Failure::Other(error.to_string()))?;
            Arc::new(PeerTls(Arc::new(connector)))
        } else {
            Arc::new(peer::NoTls)
        };
        Ok(Directory {
            url: url.trim_end_matches('/').to_owned(),
            dialled,
            connect,
            proxied: proxy.is_some(),
            own: own.to_string(),
            backoff: Backoff::default(),
        })
    }

    async fn join(&mut self, contents: &str) -> Result<String, Failure> {
        self.look().await?;
        self.register(contents).await?;
        loop {
            let page = self.look().await?;
            match founders::standing(page.members, page.size, &self.own) {
                Standing::Full => return Err(Failure::FullCluster),
                Standing::Complete(all) => {
                    tracing::info!(
                        "discovery-url" = self.url,
                        "found-peers" = all.len(),
                        "found all needed peers from discovery server"
                    );
                    return founders::cluster(&all);
                }
                Standing::Waiting(found) => {
                    tracing::info!(
                        "discovery-url" = self.url,
                        "found-peers" = found,
                        "needed-peers" = page.size - found,
                        "found peers from discovery server; waiting for more"
                    );
                    self.wait_change(page.index).await;
                }
            }
        }
    }

    async fn look(&mut self) -> Result<Page, Failure> {
        loop {
            match self.read().await {
                Ok(page) => {
                    self.backoff.reset();
                    let all = page.members.clone();
                    if founders::standing(all, page.size, &self.own) == Standing::Full {
                        return Err(Failure::FullCluster);
                    }
                    return Ok(page);
                }
                Err(Trouble::Lasting(failure)) => return Err(failure),
                Err(Trouble::Passing(error)) => {
                    tracing::warn!(
                        "discovery-url" = self.url,
                        error = error,
                        "failed to get from discovery server"
                    );
                    let pause = self.backoff.next();
                    tracing::info!(url = self.url, reason = "cluster status check", backoff = ?pause, "retry connecting to discovery service");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn read(&self) -> Result<Page, Trouble> {
        let answer = self
            .ask(Method::GET, "/_config/size", "", ANSWER_TIMEOUT)
            .await?;
        let size = founders::size(&node(answer)?.value).map_err(Trouble::Lasting)?;
        let directory = node(self.ask(Method::GET, "", "", ANSWER_TIMEOUT).await?)?;
        let index = directory.nodes.iter().map(|node| node.modified_index);
        Ok(Page {
            size,
            index: index.max().unwrap_or(0),
            members: directory
                .nodes
                .into_iter()
                .filter_map(|node| {
                    let id = node.key.rsplit('/').next().unwrap_or_default().to_owned();
                    (id != "_config").then_some(Registration {
                        id,
                        contents: node.value,
                        created: node.created_index,
                    })
                })
                .collect(),
        })
    }

    /// Once only: a second answer could mean a second member.
    async fn register(&self, contents: &str) -> Result<(), Failure> {
        let path = format!("/{}?prevExist=false", self.own);
        let body: String = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("value", contents)
            .finish();
        match self.ask(Method::PUT, &path, &body, ANSWER_TIMEOUT).await {
            Ok(answer) if answer.code == NODE_EXISTS => Err(Failure::DuplicateId),
            Ok(answer) => match node(answer) {
                Ok(_) => Ok(()),
                Err(Trouble::Passing(error)) => Err(Failure::Other(error)),
                Err(Trouble::Lasting(failure)) => Err(failure),
            },
            Err(Trouble::Passing(error)) => Err(Failure::Other(error)),
            Err(Trouble::Lasting(failure)) => Err(failure),
        }
    }

    /// Until something is written in the directory after `index`, or for a
    /// while; what it is, the next look tells.
    async fn wait_change(&self, index: u64) {
        let path = format!("?wait=true&recursive=true&waitIndex={}", index + 1);
        match self.ask(Method::GET, &path, "", NEWS_TIMEOUT).await {
            Ok(answer) if answer.node.is_some() => {}
            _ => tokio::time::sleep(NEWS_PAUSE).await,
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: &str,
        timeout: Duration,
    ) -> Result<Answer, Trouble> {
        let url = format!("{}{path}", self.url);
        let from = if self.proxied {
            0
        } else {
            // A server takes the path, a proxy the whole URL.
            url.find("://")
                .and_then(|at| url[at + 3..].find('/').map(|slash| at + 3 + slash))
                .unwrap_or(url.len())
        };
        let target = if from == url.len() { "/" } else { &url[from..] };
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Bytes::copy_from_slice(body.as_bytes()))
            .map_err(|_| Trouble::Lasting(Failure::InvalidUrl))?;
        let reply = peer::ask::call(&self.connect, &self.dialled, request, timeout)
            .await
            .map_err(|error| Trouble::Passing(error.to_string()))?;
        if reply.status.is_server_error() {
            return Err(Trouble::Passing(format!(
                "the discovery server answered {}",
                reply.status
            )));
        }
        serde_json::from_slice(&reply.body).map_err(|_| Trouble::Lasting(Failure::BadEndpoint))
    }
}

/// The node, or the error as etcd words it: a token that nobody prepared is
/// a key that is not found.
fn node(answer: Answer) -> Result<Node, Trouble> {
    let Answer {
        node,
        code,
        message,
        cause,
        index,
    } = answer;
    node.ok_or_else(|| {
        Trouble::Lasting(Failure::Other(format!(
            "{code}: {message} ({cause}) [{index}]"
        )))
    })
}
