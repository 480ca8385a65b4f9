//! The streams that we open to another member, for what it sends.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use proto::raftpb::Message;

use crate::{
    cause,
    channel::Channel,
    codec::{Decoder, Kind},
    dial, headers,
    shared::Shared,
};

/// Between two attempts to open a stream.
const RETRY: Duration = Duration::from_millis(100);

/// Bytes are gathered in pieces of this size: what a message shares with them
/// keeps little else alive.
const BUFFER: usize = 64 << 10;

/// Why a stream has ended.
enum End {
    /// The other side has closed it.
    Closed,
    /// Something is wrong with it.
    Failed(io::Error),
}

/// Keeps a stream open until the member is no longer one.
pub(crate) async fn read(shared: Arc<Shared>, channel: Arc<Channel>, kind: Kind) {
    let work = async {
        loop {
            let url = channel.url();
            match open(&shared, &channel, kind, &url).await {
                Ok(Some(body)) => {
                    channel.activate();
                    tracing::info!(
                        "stream-reader-type" = kind.log_name(),
                        "local-member-id" = format!("{:x}", shared.config.member_id),
                        "remote-peer-id" = format!("{:x}", channel.id),
                        "established TCP streaming connection with remote peer"
                    );
                    let end = follow(&shared, &channel, kind, body).await;
                    let error = match &end {
                        End::Closed => "EOF".to_owned(),
                        End::Failed(error) => error.to_string(),
                    };
                    tracing::warn!(
                        "stream-reader-type" = kind.log_name(),
                        "local-member-id" = format!("{:x}", shared.config.member_id),
                        "remote-peer-id" = format!("{:x}", channel.id),
                        error,
                        "lost TCP streaming connection with remote peer"
                    );
                    // A stream that was closed says nothing of the member: one that is
                    // gone is noticed by the next attempt.
                    if let End::Failed(error) = end {
                        let failures = &channel.counters.received_failures;
                        failures.fetch_add(1, Ordering::Relaxed);
                        channel.deactivate(&error);
                    }
                }
                // Removed: the process is about to end.
                Ok(None) => return,
                Err(error) => {
                    let failures = &channel.counters.received_failures;
                    failures.fetch_add(1, Ordering::Relaxed);
                    channel.give_up(&url);
                    channel.deactivate(&error);
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = channel.stopped() => {}
    }
}

/// Asks for a stream; `None` if this member was removed.
async fn open(
    shared: &Shared,
    channel: &Channel,
    kind: Kind,
    url: &str,
) -> io::Result<Option<Incoming>> {
    let config = &shared.config;
    let timeout = shared.dial_timeout();
    let mut sender = dial::open(&config.connect, url, timeout, config.write_timeout).await?;
    let path = format!("/raft/stream/{}/{:x}", kind.path(), config.member_id);
    let request = headers::sign(Request::get(path), config)
        .header(header::HOST, dial::authority(url))
        .header(headers::RAFT_TO, format!("{:x}", channel.id))
        .body(
            Empty::<Bytes>::new()
                .map_err(|never| match never {})
                .boxed_unsync(),
        )
        .map_err(io::Error::other)?;
    let response = sender.send_request(request);
    let response = tokio::time::timeout(config.read_timeout, response)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
        .map_err(io::Error::other)?;
    match response.status() {
        StatusCode::OK if !headers::has_streams(response.headers()) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the member's version is unknown, or too old for streams",
        )),
        StatusCode::OK => {
            channel.runs(headers::server_version(response.headers()));
            // Its connection stays as long as the body is read.
            Ok(Some(response.into_body()))
        }
        StatusCode::GONE => {
            tracing::error!(
                "remote-peer-id" = format!("{:x}", channel.id),
                "the member has been permanently removed from the cluster"
            );
            shared.host.removed();
            Ok(None)
        }
        status => {
            let text = dial::short_text(response.into_body(), config.read_timeout).await;
            Err(io::Error::other(format!(
                "unhandled stream status {status}: {text}"
            )))
        }
    }
}

/// Takes messages off a stream until it ends.
async fn follow(shared: &Shared, channel: &Channel, kind: Kind, mut body: Incoming) -> End {
    let mut decoder = Decoder::new(kind, channel.id, shared.config.member_id);
    let mut buffer = BytesMut::with_capacity(BUFFER);
    loop {
        let timeout = shared.config.read_timeout;
        let frame = match tokio::time::timeout(timeout, body.frame()).await {
            Err(_) => {
                let text = format!("nothing came for {} s", timeout.as_secs());
                let error = io::Error::new(io::ErrorKind::TimedOut, text);
                return End::Failed(error);
            }
            Ok(None) => return End::Closed,
            Ok(Some(Err(error))) if error.is_incomplete_message() => return End::Closed,
            Ok(Some(Err(error))) => return End::Failed(cause::of_body(error)),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let received = &channel.counters.received_bytes;
        received.fetch_add(data.len() as u64, Ordering::Relaxed);
        // The one copy on the way in: the connection's own buffer is large and
        // would stay as long as the smallest entry in it.
        buffer.extend_from_slice(&data);
        drop(data);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(message)) => step(shared, message),
                Ok(None) => break,
                Err(error) => {
                    return End::Failed(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
        }
    }
}

/// Hands on a message that is meant for this member.
fn step(shared: &Shared, message: Message) {
    // What is not let in is said in the log.
    if let Ok(true) = shared.admit(&message) {
        shared.host.step(message);
    }
}
