//! The client side of one HTTP/2 connection that carries gRPC calls, without
//! sockets and without a clock: bytes and calls go in, bytes and answers
//! come out. A call costs one hash entry, no allocation and no task, so that
//! the generator does not become the load. It must keep to the peer's flow
//! control and limits, and must not trust a length from the wire.

mod frame;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use hpack::Decoder;
use rustc_hash::FxHashMap;

use self::frame::{Frame, Kind};
use crate::{
    grpc::{Method, Status},
    header::Encoder,
};

/// What we let the peer send on a stream, and on the connection, before we
/// acknowledge. Wide enough for a large list not to wait on a loopback.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Windows and frame size before any settings (RFC 9113 6.5.2, 6.9.2).
const DEFAULT_WINDOW: i64 = 65_535;
const DEFAULT_FRAME_MAX: usize = 16_384;

/// The largest answer that is taken; apiservers set the same limit.
const MESSAGE_MAX: usize = i32::MAX as usize;

/// The largest header block; Go's server sends far less.
const BLOCK_MAX: usize = 1 << 20;

/// gRPC's prefix of a message: a flag and a length.
const PREFIX: usize = 5;

/// Receives what calls bring. `tag` is the caller's own mark of the call.
pub(crate) trait Handler {
    /// A message of the call arrived. It may come many times on a stream.
    fn message(&mut self, connection: &mut Connection, tag: u64, body: &[u8]);
    /// The call is over; nothing more will come for `tag`.
    fn closed(&mut self, connection: &mut Connection, tag: u64, status: Status);
}

/// The connection cannot go on; the text says why.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The peer does not keep to HTTP/2 or gRPC.
    #[error("the server broke HTTP/2: {0}")]
    Protocol(&'static str),
    /// The peer ended the connection with GOAWAY.
    #[error("the server ended the connection (GOAWAY, error {code}{})", if .text.is_empty() { String::new() } else { format!(": {}", .text) })]
    GoAway {
        /// HTTP/2 error code.
        code: u32,
        /// The peer's debug text.
        text: String,
    },
    /// The peer lets no more calls run at once on one connection.
    #[error("the server allows {0} calls at once on a connection; use more --connections")]
    StreamLimit(u32),
    /// Every stream identifier is used up.
    #[error("the connection has used all its stream identifiers")]
    Exhausted,
}

#[derive(Debug)]
struct Stream {
    tag: u64,
    send_window: i64,
    unacknowledged: u32,
    /// The beginning of a message whose end has not arrived yet.
    partial: Vec<u8>,
    local_end: bool,
    status: Option<Status>,
    http_status_seen: bool,
}

/// A message, or the rest of one, that waits for window.
#[derive(Debug)]
struct Blocked {
    stream: u32,
    body: Vec<u8>,
    at: usize,
    end: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Connection {
    authority: String,
    require_leader: bool,
    input: Vec<u8>,
    output: Vec<u8>,
    encoder: Encoder,
    decoder: Decoder,
    streams: FxHashMap<u32, Stream>,
    next_id: u32,
    send_window: i64,
    peer_window: i64,
    peer_frame_max: usize,
    peer_streams: u32,
    unacknowledged: u32,
    blocked: VecDeque<Blocked>,
    /// A header block that continues in the next frame: stream, end of stream, bytes.
    block: Option<(u32, bool, Vec<u8>)>,
    settled: bool,
    broken: Option<Broken>,
    /// Kept so that large answers do not grow a new buffer each.
    spare: Vec<u8>,
    received: u64,
}

impl Connection {
    /// A connection that will say its preface first; `authority` is what calls
    /// name as their host.
    pub(crate) fn new(authority: &str) -> Self {
        let mut output = Vec::with_capacity(64 << 10);
        output.extend_from_slice(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        frame::head(Kind::Settings, 0, 0, 12, &mut output);
        frame::setting(frame::ENABLE_PUSH, 0, &mut output);
        frame::setting(frame::INITIAL_WINDOW_SIZE, STREAM_WINDOW, &mut output);
        frame::window_update(0, CONNECTION_WINDOW - DEFAULT_WINDOW as u32, &mut output);
        Self {
            authority: authority.to_owned(),
            require_leader: false,
            input: Vec::new(),
            output,
            encoder: Encoder::new(),
            decoder: Decoder::new(),
            streams: FxHashMap::default(),
            next_id: 1,
            send_window: DEFAULT_WINDOW,
            peer_window: DEFAULT_WINDOW,
            peer_frame_max: DEFAULT_FRAME_MAX,
            peer_streams: u32::MAX,
            unacknowledged: 0,
            blocked: VecDeque::new(),
            block: None,
            settled: false,
            broken: None,
            spare: Vec::new(),
            received: 0,
        }
    }

    /// Whether calls have the metadata `hasleader: true`, as apiservers' watches do.
    pub(crate) fn set_require_leader(&mut self, on: bool) {
        self.require_leader = on;
    }

    /// Calls show this token from here on.
    pub(crate) fn set_token(&mut self, token: &str) {
        self.encoder.set_token(token);
    }

    /// Whether the peer has sent its settings. Calls before that are legal
    /// but would not know its limits.
    pub(crate) fn settled(&self) -> bool {
        self.settled
    }

    /// Calls that are not over.
    pub(crate) fn open_calls(&self) -> usize {
        self.streams.len()
    }

    /// Bytes of message data received so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Why the connection cannot go on, if so.
    pub(crate) fn broken(&mut self) -> Option<Broken> {
        self.broken.take()
    }

    /// Where the socket's bytes are appended before [`Connection::receive`].
    pub(crate) fn input(&mut self) -> &mut Vec<u8> {
        &mut self.input
    }

    /// Bytes for the socket; the caller removes what it wrote.
    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Begins a call with one message, written by `body`. `end` says that no
    /// more will follow. Returns the stream for [`Connection::send`].
    pub(crate) fn call(
        &mut self,
        method: Method,
        tag: u64,
        end: bool,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> u32 {
        let id = self.next_id;
        if self.streams.len() >= self.peer_streams as usize {
            self.broken = Some(Broken::StreamLimit(self.peer_streams));
            return id;
        }
        if id > i32::MAX as u32 - 2 {
            self.broken = Some(Broken::Exhausted);
            return id;
        }
        self.next_id += 2;
        let start = self.output.len();
        frame::head(Kind::Headers, frame::END_HEADERS, id, 0, &mut self.output);
        self.encoder.call(
            method.path(),
            &self.authority,
            self.require_leader,
            &mut self.output,
        );
        frame::patch_length(start, &mut self.output);
        let stream = Stream {
            tag,
            send_window: self.peer_window,
            unacknowledged: 0,
            partial: Vec::new(),
            local_end: false,
            status: None,
            http_status_seen: false,
        };
        self.streams.insert(id, stream);
        self.send(id, end, body);
        id
    }

    /// Sends one more message on a call that is still open on our side. A
    /// call that the peer has ended meanwhile takes it silently.
    pub(crate) fn send(&mut self, id: u32, end: bool, body: impl FnOnce(&mut Vec<u8>)) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.local_end |= end;
        let start = self.output.len();
        frame::head(
            Kind::Data,
            if end { frame::END_STREAM } else { 0 },
            id,
            0,
            &mut self.output,
        );
        let prefix = self.output.len();
        self.output.extend_from_slice(&[0; PREFIX]);
        body(&mut self.output);
        let length = self.output.len() - prefix - PREFIX;
        self.output[prefix + 1..prefix + PREFIX].copy_from_slice(&(length as u32).to_be_bytes());
        let bytes = (length + PREFIX) as i64;
        let room = stream
            .send_window
            .min(self.send_window)
            .min(self.peer_frame_max as i64);
        if bytes <= room && self.blocked.is_empty() {
            stream.send_window -= bytes;
            self.send_window -= bytes;
            frame::patch_length(start, &mut self.output);
        } else {
            let body = self.output.split_off(prefix);
            self.output.truncate(start);
            self.blocked.push_back(Blocked {
                stream: id,
                body,
                at: 0,
                end,
            });
            self.unblock();
        }
    }

    /// Sends what the windows now allow of the messages that wait.
    fn unblock(&mut self) {
        let mut waiting = std::mem::take(&mut self.blocked);
        waiting.retain_mut(|message| {
            let Some(stream) = self.streams.get_mut(&message.stream) else {
                return false;
            };
            while message.at < message.body.len() {
                let rest = (message.body.len() - message.at) as i64;
                let room = stream
                    .send_window
                    .min(self.send_window)
                    .min(self.peer_frame_max as i64);
                if room <= 0 {
                    // No window opens before the loop ends, so that no later
                    // message of the stream can overtake this one.
                    return true;
                }
                let part = rest.min(room) as usize;
                let last = message.end && part as i64 == rest;
                let flags = if last { frame::END_STREAM } else { 0 };
                frame::head(Kind::Data, flags, message.stream, part, &mut self.output);
                self.output
                    .extend_from_slice(&message.body[message.at..message.at + part]);
                message.at += part;
                stream.send_window -= part as i64;
                self.send_window -= part as i64;
            }
            false
        });
        self.blocked = waiting;
    }

    /// Reads every complete frame of the input and passes its content to `handler`.
    pub(crate) fn receive(&mut self, handler: &mut impl Handler) -> Result<(), Broken> {
        let mut input = std::mem::take(&mut self.input);
        let mut at = 0;
        let outcome = loop {
            let (frame, length) = match Frame::parse(&input[at..], DEFAULT_FRAME_MAX) {
                Ok(Some(found)) => found,
                Ok(None) => break Ok(()),
                Err(reason) => break Err(Broken::Protocol(reason)),
            };
            at += length;
            if let Err(broken) = self.frame(frame, handler) {
                break Err(broken);
            }
        };
        if at == input.len() {
            input.clear();
        } else {
            input.drain(..at);
        }
        self.input = input;
        outcome
    }

    fn frame(&mut self, frame: Frame<'_>, handler: &mut impl Handler) -> Result<(), Broken> {
        if self.block.is_some() && !matches!(frame.kind, Some(Kind::Continuation)) {
            return Err(Broken::Protocol("a header block is interrupted"));
        }
        match frame.kind {
            Some(Kind::Data) => self.data(frame, handler),
            Some(Kind::Headers) => {
                let block = frame.unpadded(true).map_err(Broken::Protocol)?;
                if frame.flags & frame::END_HEADERS != 0 {
                    self.headers(
                        frame.stream,
                        frame.flags & frame::END_STREAM != 0,
                        block,
                        handler,
                    )
                } else {
                    self.block = Some((
                        frame.stream,
                        frame.flags & frame::END_STREAM != 0,
                        block.to_vec(),
                    ));
                    Ok(())
                }
            }
            Some(Kind::Continuation) => self.continuation(frame, handler),
            Some(Kind::Settings) => self.settings(frame),
            Some(Kind::Ping) => {
                if frame.flags & frame::ACK == 0 {
                    if frame.payload.len() != 8 {
                        return Err(Broken::Protocol("a PING of wrong size"));
                    }
                    frame::head(Kind::Ping, frame::ACK, 0, 8, &mut self.output);
                    self.output.extend_from_slice(frame.payload);
                }
                Ok(())
            }
            Some(Kind::WindowUpdate) => self.window_update(frame),
            Some(Kind::Reset) => {
                let code = frame
                    .word(0)
                    .ok_or(Broken::Protocol("a RST_STREAM of wrong size"))?;
                if let Some(stream) = self.streams.get_mut(&frame.stream) {
                    stream.local_end = true;
                }
                self.close(frame.stream, Status::from_reset(code), handler);
                Ok(())
            }
            Some(Kind::GoAway) => {
                let code = frame.word(4).ok_or(Broken::Protocol("a short GOAWAY"))?;
                let text = String::from_utf8_lossy(frame.payload.get(8..).unwrap_or_default())
                    .into_owned();
                Err(Broken::GoAway { code, text })
            }
            Some(Kind::PushPromise) => Err(Broken::Protocol("a push no one allowed")),
            // Unknown kinds must be ignored (RFC 9113 4.1); priorities may be.
            Some(Kind::Priority) | None => Ok(()),
        }
    }

    fn continuation(&mut self, frame: Frame<'_>, handler: &mut impl Handler) -> Result<(), Broken> {
        let Some((stream, end, mut block)) = self.block.take() else {
            return Err(Broken::Protocol("a CONTINUATION of nothing"));
        };
        if stream != frame.stream || block.len() + frame.payload.len() > BLOCK_MAX {
            return Err(Broken::Protocol(
                "a header block is interrupted or too large",
            ));
        }
        block.extend_from_slice(frame.payload);
        if frame.flags & frame::END_HEADERS != 0 {
            return self.headers(stream, end, &block, handler);
        }
        self.block = Some((stream, end, block));
        Ok(())
    }

    fn headers(
        &mut self,
        id: u32,
        end: bool,
        block: &[u8],
        handler: &mut impl Handler,
    ) -> Result<(), Broken> {
        let mut http = None;
        let mut code = None;
        let mut message = String::new();
        self.decoder
            .decode(block, |name, value| match name {
                b":status" => {
                    http = std::str::from_utf8(value)
                        .ok()
                        .and_then(|text| text.parse::<u16>().ok())
                }
                b"grpc-status" => {
                    code = std::str::from_utf8(value)
                        .ok()
                        .and_then(|text| text.parse::<u32>().ok())
                }
                b"grpc-message" => message = Status::unescape(value),
                _ => (),
            })
            .map_err(|malformed| Broken::Protocol(malformed.0))?;
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        if !stream.http_status_seen {
            match http {
                Some(200) => stream.http_status_seen = true,
                Some(100..=199) => return Ok(()),
                Some(other) => stream.status = Some(Status::from_http(other)),
                None => return Err(Broken::Protocol("an answer without :status")),
            }
        }
        if let Some(code) = code {
            stream.status = Some(Status { code, message });
        }
        if end {
            let status = stream.status.take().unwrap_or_else(Status::missing);
            self.close(id, status, handler);
        }
        Ok(())
    }

    fn data(&mut self, frame: Frame<'_>, handler: &mut impl Handler) -> Result<(), Broken> {
        let flow = frame.payload.len() as u32;
        self.unacknowledged += flow;
        if self.unacknowledged >= CONNECTION_WINDOW / 2 {
            frame::window_update(0, self.unacknowledged, &mut self.output);
            self.unacknowledged = 0;
        }
        let id = frame.stream;
        // A stream we have forgotten: its bytes still counted above.
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        let end = frame.flags & frame::END_STREAM != 0;
        stream.unacknowledged += flow;
        if stream.unacknowledged >= STREAM_WINDOW / 2 && !end {
            frame::window_update(id, stream.unacknowledged, &mut self.output);
            stream.unacknowledged = 0;
        }
        let payload = frame.unpadded(false).map_err(Broken::Protocol)?;
        self.received += payload.len() as u64;
        let tag = stream.tag;
        let mut rest = payload;
        if !stream.partial.is_empty() {
            let mut partial = std::mem::take(&mut stream.partial);
            partial.extend_from_slice(rest);
            let used = self.messages(tag, &partial, handler)?;
            rest = &[];
            if used > 0 {
                partial.drain(..used);
            }
            self.keep(id, partial);
        }
        let used = self.messages(tag, rest, handler)?;
        if used < rest.len() {
            let mut partial = std::mem::take(&mut self.spare);
            partial.clear();
            partial.extend_from_slice(&rest[used..]);
            self.keep(id, partial);
        }
        if end {
            self.close(id, Status::missing(), handler);
        }
        Ok(())
    }

    /// Puts the beginning of a message back to its stream, or its buffer aside.
    fn keep(&mut self, id: u32, partial: Vec<u8>) {
        match self.streams.get_mut(&id) {
            Some(stream) if !partial.is_empty() => stream.partial = partial,
            _ => {
                if partial.capacity() > self.spare.capacity() {
                    self.spare = partial;
                }
            }
        }
    }

    /// Hands over every whole message of `bytes`; returns how many bytes they took.
    fn messages(
        &mut self,
        tag: u64,
        bytes: &[u8],
        handler: &mut impl Handler,
    ) -> Result<usize, Broken> {
        let mut at = 0;
        while let Some(prefix) = bytes.get(at..at + PREFIX) {
            if prefix[0] != 0 {
                return Err(Broken::Protocol("a compressed message no one asked for"));
            }
            let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
            if length > MESSAGE_MAX {
                return Err(Broken::Protocol("a message above 2 GiB"));
            }
            let Some(body) = bytes.get(at + PREFIX..at + PREFIX + length) else {
                break;
            };
            handler.message(self, tag, body);
            at += PREFIX + length;
        }
        Ok(at)
    }

    fn close(&mut self, id: u32, status: Status, handler: &mut impl Handler) {
        let Some(mut stream) = self.streams.remove(&id) else {
            return;
        };
        if !stream.local_end {
            // We may still send; tell the peer that we will not (CANCEL).
            frame::head(Kind::Reset, 0, id, 4, &mut self.output);
            self.output.extend_from_slice(&8u32.to_be_bytes());
        }
        let mut partial = std::mem::take(&mut stream.partial);
        let status = if status.ok() && !partial.is_empty() {
            Status::wrong("the answer ends inside a message")
        } else {
            status
        };
        partial.clear();
        self.keep(0, partial);
        handler.closed(self, stream.tag, status);
    }

    fn settings(&mut self, frame: Frame<'_>) -> Result<(), Broken> {
        if frame.flags & frame::ACK != 0 {
            return Ok(());
        }
        if !frame.payload.len().is_multiple_of(6) {
            return Err(Broken::Protocol("SETTINGS of wrong size"));
        }
        for setting in frame.payload.chunks_exact(6) {
            let id = u16::from_be_bytes([setting[0], setting[1]]);
            let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
            match id {
                frame::HEADER_TABLE_SIZE => self.encoder.peer_table_size(value as usize),
                frame::MAX_CONCURRENT_STREAMS => self.peer_streams = value,
                frame::INITIAL_WINDOW_SIZE => {
                    if value > i32::MAX as u32 {
                        return Err(Broken::Protocol("an initial window above 2^31-1"));
                    }
                    let delta = i64::from(value) - self.peer_window;
                    self.peer_window = i64::from(value);
                    for stream in self.streams.values_mut() {
                        stream.send_window += delta;
                    }
                }
                frame::MAX_FRAME_SIZE => {
                    if !(16_384..=16_777_215).contains(&value) {
                        return Err(Broken::Protocol("a frame size outside the rule"));
                    }
                    self.peer_frame_max = value as usize;
                }
                _ => (),
            }
        }
        self.settled = true;
        frame::head(Kind::Settings, frame::ACK, 0, 0, &mut self.output);
        self.unblock();
        Ok(())
    }

    fn window_update(&mut self, frame: Frame<'_>) -> Result<(), Broken> {
        let step = frame
            .word(0)
            .ok_or(Broken::Protocol("a WINDOW_UPDATE of wrong size"))?
            & 0x7fff_ffff;
        if step == 0 {
            return Err(Broken::Protocol("a WINDOW_UPDATE of nothing"));
        }
        let window = if frame.stream == 0 {
            &mut self.send_window
        } else {
            match self.streams.get_mut(&frame.stream) {
                Some(stream) => &mut stream.send_window,
                None => return Ok(()),
            }
        };
        *window += i64::from(step);
        if *window > i64::from(i32::MAX) {
            return Err(Broken::Protocol("a window above 2^31-1"));
        }
        if !self.blocked.is_empty() {
            self.unblock();
        }
        Ok(())
    }
}
