//! The two stream formats (docs/design/peers.md). Encoders append to a buffer that
//! goes out with one write; decoders take whole messages off the front of what
//! has been read. Payloads are shared with the bytes they were read into.

#[cfg(test)]
mod tests;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use proto::raftpb::{Entry, Message, MessageType};

/// No message is longer.
pub const MESSAGE_MAX: u64 = 512 << 20;

/// Bytes that no member writes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A length beyond [`MESSAGE_MAX`].
    #[error("a message of {0} bytes is longer than any message may be")]
    TooLong(u64),
    /// A message or entry that does not parse.
    #[error("a message that cannot be decoded: {0}")]
    Message(#[from] prost::DecodeError),
    /// A type byte that stands for nothing.
    #[error("unknown message type {0} on an append stream")]
    Type(u8),
}

/// A message without sender or receiver that only shows that someone is there.
fn is_heartbeat(message: &Message) -> bool {
    message.r#type == MessageType::MsgHeartbeat as i32 && message.from == 0 && message.to == 0
}

fn put_message(message: &Message, out: &mut BytesMut) {
    let len = message.encoded_len();
    out.reserve(8 + len);
    out.put_u64(len as u64);
    // The buffer grows as needed, so encoding cannot run out of room.
    let _ = message.encode(out);
}

/// Takes one piece off the front, which follows `skip` bytes and its own length,
/// if it is there whole.
fn take_piece(input: &mut BytesMut, skip: usize) -> Result<Option<Bytes>, Error> {
    let Some(mut len) = input.get(skip..skip + 8) else {
        return Ok(None);
    };
    let len = len.get_u64();
    if len > MESSAGE_MAX {
        return Err(Error::TooLong(len));
    }
    let start = skip + 8;
    let end = start + len as usize;
    if input.len() < end {
        return Ok(None);
    }
    let mut piece = input.split_to(end).freeze();
    piece.advance(start);
    Ok(Some(piece))
}

/// Which of the two streams of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Everything but appends.
    Message,
    /// Appends, which come in long runs and are written short.
    MsgApp,
}

impl Kind {
    /// The last but one part of the stream's path.
    pub fn path(self) -> &'static str {
        match self {
            Kind::Message => "message",
            Kind::MsgApp => "msgapp",
        }
    }

    /// The name in etcd's log lines.
    pub fn log_name(self) -> &'static str {
        match self {
            Kind::Message => "stream Message",
            Kind::MsgApp => "stream MsgApp v2",
        }
    }
}

/// Where an append stream stands: a message that goes on from here is written
/// without what both sides know.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    term: u64,
    index: u64,
}

const HEARTBEAT: u8 = 0;
const ENTRIES: u8 = 1;
const WHOLE: u8 = 2;

/// Writes one stream.
#[derive(Debug)]
pub struct Encoder {
    kind: Kind,
    place: Place,
}

impl Encoder {
    /// The writer of a new stream.
    pub fn new(kind: Kind) -> Encoder {
        Encoder {
            kind,
            place: Place::default(),
        }
    }

    /// Appends a message.
    pub fn encode(&mut self, message: &Message, out: &mut BytesMut) {
        if self.kind == Kind::Message {
            return put_message(message, out);
        }
        let place = &mut self.place;
        let goes_on = message.index == place.index
            && message.log_term == place.term
            && message.term == place.term;
        if goes_on {
            out.put_u8(ENTRIES);
            out.put_u64(message.entries.len() as u64);
            for entry in &message.entries {
                let len = entry.encoded_len();
                out.reserve(8 + len);
                out.put_u64(len as u64);
                // As above.
                let _ = entry.encode(out);
            }
            out.put_u64(message.commit);
            place.index += message.entries.len() as u64;
            return;
        }
        out.put_u8(WHOLE);
        put_message(message, out);
        place.term = message.term;
        place.index = message
            .entries
            .last()
            .map_or(message.index, |entry| entry.index);
    }

    /// Appends a sign of life.
    pub fn heartbeat(&mut self, out: &mut BytesMut) {
        match self.kind {
            Kind::MsgApp => out.put_u8(HEARTBEAT),
            Kind::Message => put_message(
                &Message {
                    r#type: MessageType::MsgHeartbeat as i32,
                    ..Message::default()
                },
                out,
            ),
        }
    }
}

/// An append that goes on, as far as it has come in.
#[derive(Debug)]
struct Run {
    /// Entries that are still to come.
    left: u64,
    entries: Vec<Entry>,
    /// What the entries so far were long.
    bytes: u64,
}

/// Reads one stream. What has been decoded is never looked at again, however
/// small the pieces are in which the bytes come.
#[derive(Debug)]
pub struct Decoder {
    kind: Kind,
    /// The member that reads, and the one that writes.
    to: u64,
    from: u64,
    place: Place,
    run: Option<Run>,
}

impl Decoder {
    /// The reader of a new stream from member `from` to member `to`.
    pub fn new(kind: Kind, from: u64, to: u64) -> Decoder {
        Decoder {
            kind,
            to,
            from,
            place: Place::default(),
            run: None,
        }
    }

    /// Takes the next message off the front of what was read; `None` until it
    /// is there whole. Signs of life are skipped.
    ///
    /// # Errors
    /// No member writes that; the stream is of no more use.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Message>, Error> {
        loop {
            if self.run.is_some() {
                return self.entries(input);
            }
            let message = match self.kind {
                Kind::Message => take_piece(input, 0)?,
                Kind::MsgApp => match input.first() {
                    None => return Ok(None),
                    Some(&HEARTBEAT) => {
                        input.advance(1);
                        continue;
                    }
                    Some(&ENTRIES) => {
                        let Some(mut left) = input.get(1..9) else {
                            return Ok(None);
                        };
                        let left = left.get_u64();
                        input.advance(9);
                        self.run = Some(Run {
                            left,
                            entries: Vec::new(),
                            bytes: 0,
                        });
                        continue;
                    }
                    Some(&WHOLE) => take_piece(input, 1)?,
                    Some(&other) => return Err(Error::Type(other)),
                },
            };
            let Some(message) = message else {
                return Ok(None);
            };
            let message = Message::decode(message)?;
            if self.kind == Kind::MsgApp {
                self.place.term = message.term;
                self.place.index = message
                    .entries
                    .last()
                    .map_or(message.index, |entry| entry.index);
            }
            if !is_heartbeat(&message) {
                return Ok(Some(message));
            }
        }
    }

    /// Entries that go on from the place of the stream, and the commit index
    /// behind them.
    fn entries(&mut self, input: &mut BytesMut) -> Result<Option<Message>, Error> {
        let Some(run) = &mut self.run else {
            return Ok(None);
        };
        while run.left > 0 {
            let Some(piece) = take_piece(input, 0)? else {
                return Ok(None);
            };
            run.left -= 1;
            run.bytes += 8 + piece.len() as u64;
            if run.bytes > MESSAGE_MAX {
                return Err(Error::TooLong(run.bytes));
            }
            run.entries.push(Entry::decode(piece)?);
        }
        if input.len() < 8 {
            return Ok(None);
        }
        let commit = input.get_u64();
        let entries = std::mem::take(&mut run.entries);
        self.run = None;
        let index = self.place.index;
        self.place.index = index.saturating_add(entries.len() as u64);
        Ok(Some(Message {
            r#type: MessageType::MsgApp as i32,
            to: self.to,
            from: self.from,
            term: self.place.term,
            log_term: self.place.term,
            index,
            entries,
            commit,
            ..Message::default()
        }))
    }
}
