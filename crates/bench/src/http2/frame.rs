//! Frames of HTTP/2 (RFC 9113 4 and 6): their nine-byte head, and the few
//! payloads a gRPC client writes.

pub(super) const END_STREAM: u8 = 0x1;
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

pub(super) const HEADER_TABLE_SIZE: u16 = 1;
pub(super) const ENABLE_PUSH: u16 = 2;
pub(super) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(super) const MAX_FRAME_SIZE: u16 = 5;

const HEAD: usize = 9;

/// What a frame is; the number is its type on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Data = 0,
    Headers = 1,
    Priority = 2,
    Reset = 3,
    Settings = 4,
    PushPromise = 5,
    Ping = 6,
    GoAway = 7,
    WindowUpdate = 8,
    Continuation = 9,
}

/// One frame of the input. `kind` is empty where the type is unknown.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) kind: Option<Kind>,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The first frame of `bytes` with its whole length in bytes, or
    /// nothing while it is incomplete. `max` bounds the payload.
    pub(super) fn parse(
        bytes: &'a [u8],
        max: usize,
    ) -> Result<Option<(Self, usize)>, &'static str> {
        let Some((head, rest)) = bytes.split_at_checked(HEAD) else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        if length > max {
            return Err("a frame above the agreed size (is this a plaintext HTTP/2 port?)");
        }
        let Some(payload) = rest.get(..length) else {
            return Ok(None);
        };
        let kind = match head[3] {
            0 => Some(Kind::Data),
            1 => Some(Kind::Headers),
            2 => Some(Kind::Priority),
            3 => Some(Kind::Reset),
            4 => Some(Kind::Settings),
            5 => Some(Kind::PushPromise),
            6 => Some(Kind::Ping),
            7 => Some(Kind::GoAway),
            8 => Some(Kind::WindowUpdate),
            9 => Some(Kind::Continuation),
            _ => None,
        };
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        Ok(Some((
            Self {
                kind,
                flags: head[4],
                stream,
                payload,
            },
            HEAD + length,
        )))
    }

    /// The payload without padding, and without the priority fields of HEADERS.
    pub(super) fn unpadded(&self, headers: bool) -> Result<&'a [u8], &'static str> {
        let mut body = self.payload;
        let mut padding = 0;
        if self.flags & PADDED != 0 {
            let (&first, rest) = body
                .split_first()
                .ok_or("a padded frame without its length")?;
            padding = first as usize;
            body = rest;
        }
        if headers && self.flags & PRIORITY != 0 {
            body = body.get(5..).ok_or("HEADERS end inside the priority")?;
        }
        let length = body
            .len()
            .checked_sub(padding)
            .ok_or("more padding than payload")?;
        Ok(&body[..length])
    }

    /// The big-endian word at `at` of the payload.
    pub(super) fn word(&self, at: usize) -> Option<u32> {
        let bytes = self.payload.get(at..at + 4)?;
        Some(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }
}

/// Appends a head; `length` may be filled in later by [`patch_length`].
pub(super) fn head(kind: Kind, flags: u8, stream: u32, length: usize, out: &mut Vec<u8>) {
    let [_, a, b, c] = (length as u32).to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind as u8, flags, d, e, f, g]);
}

/// Sets the length of the frame that begins at `start` and ends at the end of `out`.
pub(super) fn patch_length(start: usize, out: &mut [u8]) {
    let length = (out.len() - start - HEAD) as u32;
    out[start..start + 3].copy_from_slice(&length.to_be_bytes()[1..]);
}

pub(super) fn setting(id: u16, value: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&value.to_be_bytes());
}

pub(super) fn window_update(stream: u32, step: u32, out: &mut Vec<u8>) {
    head(Kind::WindowUpdate, 0, stream, 4, out);
    out.extend_from_slice(&step.to_be_bytes());
}
