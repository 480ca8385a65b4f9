//! Snapshots: a message, and behind it a whole database, streamed out of a
//! consistent view and into a file. Never more of it in memory than a few
//! pieces.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http::{Request, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use prost::Message as _;
use proto::raftpb::Message;
use tokio::sync::mpsc;

use crate::{
    OutgoingSnapshot, channel::Channel, codec::MESSAGE_MAX, dial, headers, pipeline,
    transport::Shared,
};

/// A piece of the database, and how many of them may lie between disk and socket.
const PIECE: usize = 256 << 10;
const PIECES: usize = 4;
/// A line of progress after so many bytes.
const PROGRESS: u64 = 256 << 20;
/// The other side may take this long for its answer once it has everything.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Sends the snapshots meant for a member, one after the other.
pub(crate) async fn send_all(
    shared: Arc<Shared>,
    channel: Arc<Channel>,
    mut queue: mpsc::UnboundedReceiver<Message>,
) {
    let work = async {
        while let Some(message) = queue.recv().await {
            let sent = send(&shared, &channel, message).await;
            if let Err(error) = &sent {
                tracing::warn!(
                    "remote-peer-id" = format!("{:x}", channel.id),
                    error = %error,
                    "failed to send database snapshot"
                );
                channel.deactivate(error);
                shared.host.report_unreachable(channel.id);
            }
            shared.host.report_snapshot(channel.id, sent.is_ok());
        }
    };
    tokio::select! {
        () = work => {}
        () = channel.stopped() => shared.host.report_snapshot(channel.id, false),
    }
}

async fn send(shared: &Arc<Shared>, channel: &Channel, message: Message) -> io::Result<()> {
    let url = channel.url();
    let host = shared.host.clone();
    let opened = tokio::task::spawn_blocking(move || host.open_snapshot(message))
        .await
        .map_err(io::Error::other)??;
    let index = opened
        .message
        .snapshot
        .as_ref()
        .map_or(0, |s| s.metadata.index);
    let total = opened.database_len;
    let begin = Instant::now();
    tracing::info!(
        "snapshot-index" = index,
        "remote-peer-id" = format!("{:x}", channel.id),
        bytes = total,
        "sending database snapshot"
    );
    let config = &shared.config;
    let mut sender = dial::open(&config.connect, &url, shared.dial_timeout()).await?;
    let (pieces, queue) = mpsc::channel(PIECES);
    let remote = channel.id;
    let reading = tokio::task::spawn_blocking(move || read_out(opened, &pieces, remote));
    let body = Box::pin(futures_util::stream::unfold(queue, |mut queue| async {
        let piece: io::Result<Bytes> = queue.recv().await?;
        Some((piece.map(Frame::data), queue))
    }));
    let request = headers::sign(Request::post("/raft/snapshot"), config)
        .header(header::HOST, dial::authority(&url))
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .body(StreamBody::new(body).boxed_unsync())
        .map_err(io::Error::other)?;
    let response = sender.send_request(request);
    let response = response.await.map_err(io::Error::other)?;
    let status = response.status();
    let body = tokio::time::timeout(ANSWER_TIMEOUT, response.into_body().collect())
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
        .map_err(io::Error::other)?
        .to_bytes();
    pipeline::check(shared, status, &body)?;
    reading.await.map_err(io::Error::other)?;
    tracing::info!(
        "snapshot-index" = index,
        "remote-peer-id" = format!("{:x}", channel.id),
        bytes = total,
        took = ?begin.elapsed(),
        "sent database snapshot"
    );
    Ok(())
}

/// Reads the body into the queue, on a thread that may wait.
fn read_out(mut opened: OutgoingSnapshot, pieces: &mpsc::Sender<io::Result<Bytes>>, remote: u64) {
    let head = opened.message.encode_to_vec();
    let mut first = Vec::with_capacity(8 + head.len());
    first.extend_from_slice(&(head.len() as u64).to_be_bytes());
    first.extend_from_slice(&head);
    if pieces.blocking_send(Ok(first.into())).is_err() {
        return;
    }
    let (mut sent, mut next) = (0u64, PROGRESS);
    loop {
        let mut piece = BytesMut::zeroed(PIECE);
        let read = match opened.database.read(&mut piece) {
            Ok(0) => return,
            Ok(read) => read,
            Err(error) => {
                let _ = pieces.blocking_send(Err(error));
                return;
            }
        };
        piece.truncate(read);
        if pieces.blocking_send(Ok(piece.freeze())).is_err() {
            return;
        }
        sent += read as u64;
        if sent >= next {
            next += PROGRESS;
            tracing::info!(
                "remote-peer-id" = format!("{remote:x}"),
                "sent-bytes" = sent,
                "total-bytes" = opened.database_len,
                "sending database snapshot"
            );
        }
    }
}

/// What a received body was.
pub(crate) struct Received {
    pub(crate) message: Message,
    pub(crate) bytes: u64,
}

/// Takes a snapshot: its database is durable under its name when this returns.
pub(crate) async fn receive(shared: &Shared, mut body: Incoming) -> io::Result<Received> {
    let mut buffer = BytesMut::new();
    let len = loop {
        if let Some(head) = buffer.first_chunk::<8>() {
            break u64::from_be_bytes(*head);
        }
        more(&mut body, &mut buffer).await?;
    };
    if len > MESSAGE_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a snapshot message of {len} bytes"),
        ));
    }
    let end = 8 + len as usize;
    while buffer.len() < end {
        more(&mut body, &mut buffer).await?;
    }
    let rest = buffer.split_off(end);
    let message = Message::decode(buffer.freeze().slice(8..))
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let index = message.snapshot.as_ref().map_or(0, |s| s.metadata.index);
    tracing::info!(
        "remote-snapshot-sender-id" = format!("{:x}", message.from),
        "incoming-snapshot-index" = index,
        "receiving database snapshot"
    );
    let (pieces, queue) = mpsc::channel::<Bytes>(PIECES);
    let dir = shared.config.snap_dir.clone();
    let writing = tokio::task::spawn_blocking(move || write_in(dir, index, queue));
    let mut bytes = rest.len() as u64;
    let mut complete = pieces.send(rest.freeze()).await.is_ok();
    while complete {
        match body.frame().await {
            None => break,
            Some(Err(error)) => {
                drop(pieces);
                let _ = writing.await;
                return Err(io::Error::other(error));
            }
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    bytes += data.len() as u64;
                    complete = pieces.send(data).await.is_ok();
                }
            }
        }
    }
    // Only now may the file get its name.
    let finish = pieces.send(Bytes::new()).await;
    drop(pieces);
    let written = writing.await.map_err(io::Error::other)?;
    written?;
    finish.map_err(|_| io::Error::other("the database was not written"))?;
    Ok(Received { message, bytes })
}

async fn more(body: &mut Incoming, buffer: &mut BytesMut) -> io::Result<()> {
    match body.frame().await {
        None => Err(io::ErrorKind::UnexpectedEof.into()),
        Some(Err(error)) => Err(io::Error::other(error)),
        Some(Ok(frame)) => {
            if let Ok(data) = frame.into_data() {
                buffer.extend_from_slice(&data);
            }
            Ok(())
        }
    }
}

/// Writes pieces to a temporary file until an empty one says that this was all.
fn write_in(dir: PathBuf, index: u64, mut queue: mpsc::Receiver<Bytes>) -> io::Result<()> {
    let tmp = dir.join(format!("tmp{:016x}{}", index, std::process::id()));
    let result = (|| {
        let mut file = File::create(&tmp)?;
        let mut first = true;
        loop {
            let Some(piece) = queue.blocking_recv() else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            if piece.is_empty() && !first {
                break;
            }
            first = false;
            file.write_all(&piece)?;
        }
        file.sync_all()?;
        fs::rename(&tmp, dir.join(format!("{index:016x}.snap.db")))?;
        File::open(&dir)?.sync_all()
    })();
    if result.is_err() {
        // What is left is removed at the next start as well.
        let _ = fs::remove_file(&tmp);
    }
    result
}
