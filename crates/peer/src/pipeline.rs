//! Single requests to another member, for what finds no stream.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use prost::Message as _;
use proto::raftpb::Message;
use tokio::sync::{Mutex, mpsc};

use crate::{
    channel::Channel,
    dial::{self, RequestBody},
    headers,
    transport::Shared,
};

/// Requests under way at once.
const WORKERS: usize = 4;
/// A request without answer is given up after this long.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Starts the workers of a member.
pub(crate) fn start(shared: &Arc<Shared>, channel: &Arc<Channel>, queue: mpsc::Receiver<Message>) {
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..WORKERS {
        tokio::task::spawn_local(work(shared.clone(), channel.clone(), queue.clone()));
    }
}

async fn work(
    shared: Arc<Shared>,
    channel: Arc<Channel>,
    queue: Arc<Mutex<mpsc::Receiver<Message>>>,
) {
    let posts = async {
        let mut connection = None;
        while let Some(message) = next(&queue).await {
            let url = channel.url();
            match post(&shared, &channel, &url, &mut connection, &message).await {
                Ok(()) => channel.activate(),
                Err(error) => {
                    connection = None;
                    channel.deactivate(&error);
                    channel.give_up(&url);
                    shared.host.report_unreachable(channel.id);
                }
            }
        }
    };
    tokio::select! {
        () = posts => {}
        () = channel.stopped() => {}
    }
}

async fn next(queue: &Mutex<mpsc::Receiver<Message>>) -> Option<Message> {
    queue.lock().await.recv().await
}

async fn post(
    shared: &Shared,
    channel: &Channel,
    url: &str,
    connection: &mut Option<SendRequest<RequestBody>>,
    message: &Message,
) -> io::Result<()> {
    let config = &shared.config;
    let mut sender = match connection.take() {
        Some(sender) if !sender.is_closed() => sender,
        _ => dial::open(&config.connect, url, shared.dial_timeout()).await?,
    };
    let body = Bytes::from(message.encode_to_vec());
    let len = body.len() as u64;
    let request = headers::sign(Request::post("/raft"), config)
        .header(header::HOST, dial::authority(url))
        .header(header::CONTENT_TYPE, "application/protobuf")
        .body(
            Full::new(body)
                .map_err(|never| match never {})
                .boxed_unsync(),
        )
        .map_err(io::Error::other)?;
    let exchange = async {
        sender.ready().await.map_err(io::Error::other)?;
        let response = sender
            .send_request(request)
            .await
            .map_err(io::Error::other)?;
        let status = response.status();
        let body = response.into_body().collect().await;
        let body = body.map_err(io::Error::other)?.to_bytes();
        Ok::<_, io::Error>((status, body))
    };
    let (status, body) = tokio::time::timeout(TIMEOUT, exchange)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    check(shared, status, &body)?;
    channel.sent_bytes.fetch_add(len, Ordering::Relaxed);
    *connection = Some(sender);
    Ok(())
}

/// What the answer to a message means.
pub(crate) fn check(shared: &Shared, status: StatusCode, body: &[u8]) -> io::Result<()> {
    match status {
        StatusCode::NO_CONTENT => Ok(()),
        StatusCode::FORBIDDEN => {
            shared.host.removed();
            Err(io::Error::other(
                "the member has been permanently removed from the cluster",
            ))
        }
        status => {
            let text = String::from_utf8_lossy(&body[..body.len().min(200)]);
            Err(io::Error::other(format!(
                "unexpected http status {status}: {}",
                text.trim()
            )))
        }
    }
}
