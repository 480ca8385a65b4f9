//! Single questions to another member's HTTP side. Must run inside a `LocalSet`
//! or the main task of a current-thread runtime.

use std::{cell::RefCell, collections::HashMap, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use tokio::sync::Semaphore;

use crate::{
    Connect,
    dial::{self, RequestBody},
    headers,
};

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// The cluster that the answering member says it belongs to.
    pub cluster_id: Option<u64>,
    /// Its body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The member cannot be reached, or hung up.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What it said is not HTTP.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// Its answer is longer than any answer is.
    #[error("the answer is unreasonably long, or broke off")]
    Body,
    /// It took too long.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// No page of a member is longer.
const BODY_MAX: usize = 16 << 20;

/// Asks the member at `url` within `timeout`.
///
/// # Errors
/// There is no answer; an answer of any status is none.
pub async fn call(
    connect: &Arc<dyn Connect>,
    url: &str,
    request: Request<Bytes>,
    timeout: Duration,
) -> Result<Reply, AskError> {
    let local = tokio::task::LocalSet::new();
    let exchange = local.run_until(async {
        let mut link = dial::open(connect, url, timeout, timeout).await?;
        exchange(&mut link, url, request).await
    });
    tokio::time::timeout(timeout, exchange)
        .await
        .unwrap_or(Err(AskError::Timeout(timeout)))
}

type Link = http1::SendRequest<RequestBody>;

/// One question and its answer.
async fn exchange(
    link: &mut Link,
    url: &str,
    mut request: Request<Bytes>,
) -> Result<Reply, AskError> {
    if let Ok(host) = HeaderValue::from_str(&dial::authority(url)) {
        request.headers_mut().insert(header::HOST, host);
    }
    let request = request.map(|body| {
        Full::new(body)
            .map_err(|never| match never {})
            .boxed_unsync()
    });
    link.ready().await?;
    let response = link.send_request(request).await?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, BODY_MAX)
        .collect()
        .await
        .map_err(|_| AskError::Body)?;
    Ok(Reply {
        status: head.status,
        cluster_id: headers::hex(&head.headers, headers::CLUSTER_ID),
        body: body.to_bytes(),
    })
}

/// Questions under way at once, hence connections that are kept for the next ones.
const LINKS_MAX: usize = 32;

/// Keeps connections between questions, for those who ask often: a connection for each would
/// cost a TLS handshake, and a port for a minute. Must be used inside a `LocalSet`.
pub struct Links {
    idle: RefCell<HashMap<String, Vec<Link>>>,
    places: Semaphore,
}

impl Default for Links {
    fn default() -> Links {
        Links {
            idle: RefCell::default(),
            places: Semaphore::new(LINKS_MAX),
        }
    }
}

impl Links {
    /// As [`call`], for a question that may reach the member twice: a connection that was kept
    /// may have been closed by the other side meanwhile.
    ///
    /// # Errors
    /// There is no answer; an answer of any status is none.
    pub async fn call(
        &self,
        connect: &Arc<dyn Connect>,
        url: &str,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> Result<Reply, AskError> {
        let work = async {
            // It is never closed; an error would mean no more than that there is no bound.
            let _place = self.places.acquire().await;
            while let Some(mut link) = self.take(url) {
                match exchange(&mut link, url, request.clone()).await {
                    Err(AskError::Http(_)) => {}
                    answer => return self.keep(url, link, answer),
                }
            }
            let mut link = dial::open(connect, url, timeout, timeout).await?;
            let answer = exchange(&mut link, url, request.clone()).await;
            self.keep(url, link, answer)
        };
        tokio::time::timeout(timeout, work)
            .await
            .unwrap_or(Err(AskError::Timeout(timeout)))
    }

    fn take(&self, url: &str) -> Option<Link> {
        self.idle.borrow_mut().get_mut(url)?.pop()
    }

    /// Keeps a connection on which a question was answered to its end.
    fn keep(
        &self,
        url: &str,
        link: Link,
        answer: Result<Reply, AskError>,
    ) -> Result<Reply, AskError> {
        if answer.is_ok() {
            let mut idle = self.idle.borrow_mut();
            // Links of members that are gone are dropped.
            idle.retain(|_, links| {
                links.retain(|link| !link.is_closed());
                !links.is_empty()
            });
            idle.entry(url.to_owned()).or_default().push(link);
        }
        answer
    }
}

#[cfg(test)]
mod tests;
