//! Single requests to another member, for what finds no stream.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
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
    shared::Shared,
};

/// Requests under way at once, each on a connection of its own: to a member, and to a stranger,
/// who is given less because anyone on the peer port can become one.
const WORKERS: usize = 4;
const WORKERS_FOR_STRANGER: usize = 1;

/// Starts the workers of a member, or of a stranger.
pub(crate) fn start(
    shared: &Arc<Shared>,
    channel: &Arc<Channel>,
    queue: mpsc::Receiver<Message>,
    is_member: bool,
) {
    let queue = Arc::new(Mutex::new(queue));
    let workers = if is_member {
        WORKERS
    } else {
        WORKERS_FOR_STRANGER
    };
    for _ in 0..workers {
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
            let body = Bytes::from(message.encode_to_vec());
            match post(&shared, &channel, &url, &mut connection, body).await {
                Ok(()) => channel.activate(),
                Err(error) => {
                    channel.deactivate(&error);
                    channel.give_up(&url);
                    shared.unreachable(&channel);
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

/// Posts a message, by the connection of the last one if there is one. The other
/// side closes what was silent for 5 s, perhaps at this very moment: that one is
/// gone says nothing, and raft does not mind a message that comes twice.
async fn post(
    shared: &Shared,
    channel: &Channel,
    url: &str,
    connection: &mut Option<(String, SendRequest<RequestBody>)>,
    body: Bytes,
) -> io::Result<()> {
    let len = body.len() as u64;
    let kept = connection.take();
    let kept = kept.filter(|(to, sender)| to == url && !sender.is_closed());
    let mut outcome = None;
    if let Some((_, mut sender)) = kept
        && let Ok(answer) = exchange(shared, url, &mut sender, body.clone()).await
    {
        outcome = Some((sender, answer));
    }
    let (sender, (status, text)) = match outcome {
        Some(outcome) => outcome,
        None => {
            let connect = &shared.config.connect;
            let timeout = shared.dial_timeout();
            let mut sender = dial::open(connect, url, timeout, shared.config.write_timeout).await?;
            let answer = exchange(shared, url, &mut sender, body).await?;
            (sender, answer)
        }
    };
    check(shared, status, &text)?;
    channel
        .counters
        .sent_bytes
        .fetch_add(len, Ordering::Relaxed);
    *connection = Some((url.to_owned(), sender));
    Ok(())
}

async fn exchange(
    shared: &Shared,
    url: &str,
    sender: &mut SendRequest<RequestBody>,
    body: Bytes,
) -> io::Result<(StatusCode, String)> {
    let body = Full::new(body).map_err(|never| match never {});
    let request = headers::sign(Request::post("/raft"), &shared.config)
        .header(header::HOST, dial::authority(url))
        .header(header::CONTENT_TYPE, "application/protobuf")
        .body(body.boxed_unsync())
        .map_err(io::Error::other)?;
    let timeout = shared.config.read_timeout;
    let response = async {
        sender.ready().await?;
        sender.send_request(request).await
    };
    let response = tokio::time::timeout(timeout, response)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
        .map_err(io::Error::other)?;
    let status = response.status();
    Ok((
        status,
        dial::short_text(response.into_body(), timeout).await,
    ))
}

/// What the answer to a message means. A member that was removed learns it from
/// 403 only if the answer says so: no release of etcd is known to send it, so a
/// bare one comes from something between the members and must not end the process.
pub(crate) fn check(shared: &Shared, status: StatusCode, text: &str) -> io::Result<()> {
    match status {
        StatusCode::NO_CONTENT => Ok(()),
        StatusCode::FORBIDDEN if text.contains("removed member") => {
            shared.host.removed();
            Err(io::Error::other(
                "the member has been permanently removed from the cluster",
            ))
        }
        status => Err(io::Error::other(format!(
            "unexpected http status {status}: {text}"
        ))),
    }
}
