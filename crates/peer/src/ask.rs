//! Single questions to another member's HTTP side. Must run inside a `LocalSet`
//! or the main task of a current-thread runtime.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};

use crate::{Connect, dial, headers};

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
        let mut sender = dial::open(connect, url, timeout, timeout).await?;
        let mut request = request;
        if let Ok(host) = HeaderValue::from_str(&dial::authority(url)) {
            request.headers_mut().insert(header::HOST, host);
        }
        let request = request.map(|body| {
            Full::new(body)
                .map_err(|never| match never {})
                .boxed_unsync()
        });
        let response = sender.send_request(request).await?;
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
    });
    tokio::time::timeout(timeout, exchange)
        .await
        .unwrap_or(Err(AskError::Timeout(timeout)))
}
