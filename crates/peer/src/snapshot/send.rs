//! A snapshot on its way out.

use std::{
    io::{self, Read as _},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http::{Request, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use prost::Message as _;
use proto::raftpb::Message;
use tokio::sync::mpsc;

use super::pace::{PIECES, PROGRESS};
use crate::{OutgoingSnapshot, channel::Channel, dial, headers, pipeline, shared::Shared};

/// A piece of the database.
const PIECE: usize = 256 << 10;
/// The other side must take something within this time, and may need as long to
/// have it all on its disk.
const STALL: Duration = Duration::from_secs(60);
/// From the last byte to the answer: a slow disk may have gigabytes to sync.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);

/// Sends the snapshots meant for a member, one after the other.
pub(crate) async fn send_all(
    shared: Arc<Shared>,
    channel: Arc<Channel>,
    mut queue: mpsc::Receiver<Message>,
) {
    loop {
        let message = tokio::select! {
            message = queue.recv() => message,
            () = channel.stopped() => None,
        };
        let Some(message) = message else { return };
        let url = channel.url();
        let sent = tokio::select! {
            sent = send(&shared, &channel, &url, message) => sent,
            () = channel.stopped() => Err(io::Error::other("the member is no longer one")),
        };
        let counters = &channel.counters;
        match &sent {
            Ok(()) => {
                counters.snapshots_sent.fetch_add(1, Ordering::Relaxed);
                channel.activate();
            }
            Err(error) => {
                tracing::warn!(
                    "remote-peer-id" = format!("{:x}", channel.id),
                    error = %error,
                    "failed to send database snapshot"
                );
                counters.snapshots_failed.fetch_add(1, Ordering::Relaxed);
                channel.deactivate(error);
                channel.give_up(&url);
                shared.unreachable(&channel);
            }
        }
        shared.host.report_snapshot(channel.id, sent.is_ok());
    }
}

async fn send(
    shared: &Arc<Shared>,
    channel: &Channel,
    url: &str,
    message: Message,
) -> io::Result<()> {
    let config = &shared.config;
    // First the way there, so that no view of the database waits for it.
    let mut sender = dial::open(&config.connect, url, shared.dial_timeout(), STALL).await?;
    let host = shared.host.clone();
    let opened = tokio::task::spawn_blocking(move || host.open_snapshot(message));
    let opened = opened.await.map_err(io::Error::other)??;
    let metadata = opened.message.snapshot.as_ref().map(|s| &s.metadata);
    let index = metadata.map_or(0, |metadata| metadata.index);
    let total = opened.database_len;
    let begin = Instant::now();
    let remote = format!("{:x}", channel.id);
    tracing::info!(
        "snapshot-index" = index,
        "remote-peer-id" = remote,
        bytes = total,
        "sending database snapshot"
    );
    let (pieces, queue) = mpsc::channel(PIECES);
    let reader = remote.clone();
    let mut reading = tokio::task::spawn_blocking(move || {
        let mut opened = opened;
        read(&mut opened, &pieces, &reader);
        opened
    });
    let body = Box::pin(futures_util::stream::unfold(queue, |mut queue| async {
        let piece: io::Result<Bytes> = queue.recv().await?;
        Some((piece.map(Frame::data), queue))
    }));
    let request = headers::sign(Request::post("/raft/snapshot"), config)
        .header(header::HOST, dial::authority(url))
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .body(StreamBody::new(body).boxed_unsync())
        .map_err(io::Error::other)?;
    let exchange = async {
        let response = sender.send_request(request).await;
        let response = response.map_err(io::Error::other)?;
        let status = response.status();
        let text = dial::short_text(response.into_body(), STALL).await;
        Ok::<_, io::Error>((status, text))
    };
    tokio::pin!(exchange);
    let (status, text) = tokio::select! {
        // Refused before it was all there.
        answer = &mut exchange => answer?,
        read = &mut reading => {
            // Kept until the answer: the host holds on to its log as long.
            let _opened = read.map_err(io::Error::other)?;
            tokio::time::timeout(ANSWER_TIMEOUT, exchange)
                .await
                .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer to a snapshot"))??
        }
    };
    pipeline::check(shared, status, &text)?;
    tracing::info!(
        "snapshot-index" = index,
        "remote-peer-id" = remote,
        bytes = total,
        took = ?begin.elapsed(),
        "sent database snapshot"
    );
    Ok(())
}

/// Reads message and database into the queue, on a thread that may wait. An error
/// goes into the queue as well: the body breaks off, so that the other side does
/// not take a part for the whole.
fn read(opened: &mut OutgoingSnapshot, pieces: &mpsc::Sender<io::Result<Bytes>>, remote: &str) {
    let head = opened.message.encode_to_vec();
    let mut first = Vec::with_capacity(8 + head.len());
    first.extend_from_slice(&(head.len() as u64).to_be_bytes());
    first.extend_from_slice(&head);
    // A queue without receiver: the other side has hung up.
    if pieces.blocking_send(Ok(first.into())).is_err() {
        return;
    }
    let (mut sent, mut told) = (0, PROGRESS);
    while sent < opened.database_len {
        let left = opened.database_len - sent;
        let mut piece = BytesMut::zeroed(left.min(PIECE as u64) as usize);
        let read = match opened.database.read(&mut piece) {
            Ok(0) => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the database is shorter than was said",
            )),
            other => other,
        };
        let piece = read.map(|read| {
            piece.truncate(read);
            sent += read as u64;
            piece.freeze()
        });
        let failed = piece.is_err();
        if pieces.blocking_send(piece).is_err() || failed {
            return;
        }
        if sent >= told {
            told = sent + PROGRESS;
            tracing::info!(
                "remote-peer-id" = remote,
                "sent-bytes" = sent,
                "total-bytes" = opened.database_len,
                "sending database snapshot"
            );
        }
    }
}
