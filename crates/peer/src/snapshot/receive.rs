//! A snapshot on its way in. The file gets its name only when the sender has
//! said that this was all, and when all of it is on the disk.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use prost::Message as _;
use proto::raftpb::{Message, MessageType};
use tokio::sync::mpsc;

use super::pace::{PIECES, PROGRESS};
use crate::{
    codec::MESSAGE_MAX,
    host::STALL,
    shared::{Rejected, Shared},
};

/// A sender may need this long to read on from a slow disk.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a snapshot was not taken; with the words of etcd's answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    /// The message before the database is not one.
    #[error("failed to decode raft message ({0})")]
    Decode(String),
    /// It is no snapshot message.
    #[error("wrong raft message type")]
    Type,
    /// It is from a removed member, or for another one.
    #[error("failed to process raft message ({})", .0.text())]
    Rejected(Rejected),
    /// The database broke off, or could not be written.
    #[error("failed to save KV snapshot ({0})")]
    Save(#[from] io::Error),
}

/// What goes to the thread that writes.
enum Piece {
    Data(Bytes),
    /// The sender has said that this was all.
    End,
}

/// Takes a snapshot: its database is durable under its name when this returns.
pub(crate) async fn receive(shared: &Shared, mut body: Incoming) -> Result<Message, ReceiveError> {
    let begin = Instant::now();
    let (message, rest) = head(&mut body).await?;
    if message.r#type != MessageType::MsgSnap as i32 {
        return Err(ReceiveError::Type);
    }
    shared.admit(&message).map_err(ReceiveError::Rejected)?;
    let _receiving = shared.receiving.try_acquire().map_err(|_| {
        io::Error::new(
            io::ErrorKind::ResourceBusy,
            "other snapshots are being received",
        )
    })?;

    let index = message.snapshot.as_ref().map_or(0, |s| s.metadata.index);
    let local = format!("{:x}", shared.config.member_id);
    let from = format!("{:x}", message.from);
    tracing::info!(
        "local-member-id" = local,
        "remote-snapshot-sender-id" = from,
        "incoming-snapshot-index" = index,
        "incoming-snapshot-message-size-bytes" = message.encoded_len(),
        "receiving database snapshot"
    );
    let (pieces, queue) = mpsc::channel(PIECES);
    let dir = shared.config.snap_dir.clone();
    let writing = tokio::task::spawn_blocking(move || write(dir, index, queue));
    let fed = feed(&from, rest, &mut body, pieces).await;
    // What the disk says comes first: it is why the feeding ended, if it failed.
    writing.await.map_err(io::Error::other)??;
    let bytes = fed?;
    if let Some(channel) = shared.peer(message.from) {
        let received = &channel.counters.snapshots_received;
        received.fetch_add(1, Ordering::Relaxed);
    }
    tracing::info!(
        "local-member-id" = local,
        "remote-snapshot-sender-id" = from,
        "incoming-snapshot-index" = index,
        bytes,
        took = ?begin.elapsed(),
        "received and saved database snapshot"
    );
    Ok(message)
}

/// The message, and what of the database came along with it.
async fn head(body: &mut Incoming) -> Result<(Message, Bytes), ReceiveError> {
    let decode = |error: &dyn std::fmt::Display| ReceiveError::Decode(error.to_string());
    let mut buffer = BytesMut::new();
    let mut end = 8;
    let mut has_length = false;
    loop {
        if !has_length && let Some(len) = buffer.first_chunk::<8>() {
            let len = u64::from_be_bytes(*len);
            if len > MESSAGE_MAX {
                return Err(decode(&format!("a message of {len} bytes")));
            }
            end = 8 + len as usize;
            has_length = true;
        }
        if has_length && buffer.len() >= end {
            break;
        }
        match next(body, STALL).await {
            Ok(Some(data)) => buffer.extend_from_slice(&data),
            Ok(None) if buffer.is_empty() => return Err(decode(&"EOF")),
            Ok(None) => return Err(decode(&"unexpected EOF")),
            Err(error) => return Err(decode(&error)),
        }
    }
    let rest = buffer.split_off(end).freeze();
    let message = Message::decode(&buffer[8..]).map_err(|error| decode(&error))?;
    Ok((message, rest))
}

/// The next data of a body, `None` at its end.
async fn next(body: &mut Incoming, timeout: Duration) -> io::Result<Option<Bytes>> {
    loop {
        let frame = match tokio::time::timeout(timeout, body.frame()).await {
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => return Err(io::Error::other(error)),
            Ok(Some(Ok(frame))) => frame,
        };
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
}

/// Brings the database to the thread that writes it; how long it was. That thread
/// removes what there is of it unless it is told of the end.
async fn feed(
    from: &str,
    rest: Bytes,
    body: &mut Incoming,
    pieces: mpsc::Sender<Piece>,
) -> io::Result<u64> {
    let gone = |_| io::Error::other("the database was not written");
    let (mut bytes, mut told) = (rest.len() as u64, PROGRESS);
    pieces.send(Piece::Data(rest)).await.map_err(gone)?;
    while let Some(data) = next(body, IDLE_TIMEOUT).await? {
        bytes += data.len() as u64;
        pieces.send(Piece::Data(data)).await.map_err(gone)?;
        if bytes >= told {
            told = bytes + PROGRESS;
            tracing::info!(
                "remote-snapshot-sender-id" = from,
                "received-bytes" = bytes,
                "receiving database snapshot"
            );
        }
    }
    pieces.send(Piece::End).await.map_err(gone)?;
    Ok(bytes)
}

/// Writes pieces to a file of a name that no one else has, until the end.
fn write(dir: PathBuf, index: u64, mut queue: mpsc::Receiver<Piece>) -> io::Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    // Whatever begins so is removed at the next start, should this one end before.
    let tmp = dir.join(format!("tmp{:x}-{number:x}", std::process::id()));
    let result = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            // As the database whose place it takes.
            .mode(0o600)
            .open(&tmp)?;
        loop {
            match queue.blocking_recv() {
                Some(Piece::Data(data)) => file.write_all(&data)?,
                Some(Piece::End) => break,
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        file.sync_all()?;
        fs::rename(&tmp, dir.join(format!("{index:016x}.snap.db")))?;
        disk::sync_dir(&dir)
    })();
    if result.is_err() {
        // What cannot be removed now is removed at the next start.
        let _ = fs::remove_file(&tmp);
    }
    result
}
