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

use crate::{
    channel::Channel,
    codec::{Decoder, Kind},
    dial, headers,
    transport::Shared,
};

/// Between two attempts to open a stream.
const RETRY: Duration = Duration::from_millis(100);
/// A stream on which nothing came for this long is dead.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Keeps a stream open until the member is no longer one.
pub(crate) async fn read(shared: Arc<Shared>, channel: Arc<Channel>, kind: Kind) {
    let work = async {
        loop {
            let url = channel.url();
            let error = match open(&shared, &channel, kind, &url).await {
                Ok(Some(body)) => {
                    channel.activate();
                    tracing::info!(
                        "stream-reader-type" = kind.log_name(),
                        "local-member-id" = format!("{:x}", shared.config.member_id),
                        "remote-peer-id" = format!("{:x}", channel.id),
                        "established TCP streaming connection with remote peer"
                    );
                    let error = follow(&shared, &channel, kind, body).await;
                    tracing::warn!(
                        "stream-reader-type" = kind.log_name(),
                        "local-member-id" = format!("{:x}", shared.config.member_id),
                        "remote-peer-id" = format!("{:x}", channel.id),
                        error = %error,
                        "lost TCP streaming connection with remote peer"
                    );
                    error
                }
                // Removed: the process is about to end.
                Ok(None) => return,
                Err(error) => {
                    channel.give_up(&url);
                    error
                }
            };
            channel.deactivate(&error);
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
    let mut sender = dial::open(&config.connect, url, shared.dial_timeout()).await?;
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
    let response = tokio::time::timeout(READ_TIMEOUT, response)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
        .map_err(io::Error::other)?;
    match response.status() {
        StatusCode::OK => {
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
            let body = response.into_body().collect();
            let text = tokio::time::timeout(READ_TIMEOUT, body)
                .await
                .ok()
                .and_then(Result::ok)
                .map(|body| body.to_bytes())
                .unwrap_or_default();
            let text = String::from_utf8_lossy(&text[..text.len().min(200)])
                .trim()
                .to_owned();
            Err(io::Error::other(format!(
                "unhandled stream status {status}: {text}"
            )))
        }
    }
}

/// Takes messages off a stream until it ends.
async fn follow(shared: &Shared, channel: &Channel, kind: Kind, mut body: Incoming) -> io::Error {
    let mut decoder = Decoder::new(kind, channel.id, shared.config.member_id);
    let mut buffer = BytesMut::new();
    loop {
        let frame = match tokio::time::timeout(READ_TIMEOUT, body.frame()).await {
            Err(_) => return io::Error::new(io::ErrorKind::TimedOut, "nothing came for 5 s"),
            Ok(None) => return io::ErrorKind::UnexpectedEof.into(),
            Ok(Some(Err(error))) => return io::Error::other(error),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let received = &channel.received_bytes;
        received.fetch_add(data.len() as u64, Ordering::Relaxed);
        if buffer.is_empty() {
            // The usual case: whole messages in one frame, nothing to copy.
            buffer = BytesMut::from(data);
        } else {
            buffer.extend_from_slice(&data);
        }
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(message)) => {
                    if shared.host.is_removed(message.from) {
                        tracing::warn!(
                            "removed-member-id" = format!("{:x}", message.from),
                            "rejected Raft message from removed member"
                        );
                    } else {
                        shared.host.step(message);
                    }
                }
                Ok(None) => break,
                Err(error) => return io::Error::new(io::ErrorKind::InvalidData, error),
            }
        }
        channel.activate();
    }
}
