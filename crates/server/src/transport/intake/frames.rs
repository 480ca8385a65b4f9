//! What the reader in front of h2 knows of HTTP/2's frames (RFC 9113, 4.1).

use std::ops::Range;

/// What a client sends first.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes in front of a payload.
pub(super) const HEAD: usize = 9;
/// What h2 announces that it takes; it refuses a longer frame by itself.
pub(super) const PAYLOAD_MAX: usize = 16_384;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const PING: u8 = 6;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

/// Of DATA and HEADERS: nothing follows on the stream.
pub(super) const END_STREAM: u8 = 1;
/// Of PING.
pub(super) const ACK: u8 = 1;
/// Of HEADERS: the block is whole.
pub(super) const END_HEADERS: u8 = 4;
/// Of HEADERS: padding ends the payload, and its first byte says how much.
pub(super) const PADDED: u8 = 8;
/// Of HEADERS: five bytes before the block are about priority.
pub(super) const PRIORITY: u8 = 0x20;

/// Where the block is in the payload of HEADERS.
pub(super) fn block_of(flags: u8, payload: &[u8]) -> Option<Range<usize>> {
    let padding = match flags & PADDED {
        0 => 0,
        _ => usize::from(*payload.first()?),
    };
    let begin = usize::from(flags & PADDED != 0) + if flags & PRIORITY != 0 { 5 } else { 0 };
    let end = payload.len().checked_sub(padding)?;
    (begin <= end).then_some(begin..end)
}

/// The head of a frame.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    /// Bytes of the payload.
    pub(super) len: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Frame {
    pub(super) fn parse(&[a, b, c, kind, flags, ref stream @ ..]: &[u8; HEAD]) -> Frame {
        Frame {
            len: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            // The first bit is reserved.
            stream: u32::from_be_bytes(*stream) & (u32::MAX >> 1),
        }
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Finds the frames in bytes that come in pieces.
#[derive(Default)]
pub(super) struct Frames {
    head: [u8; HEAD],
    /// How much of `head` is there.
    have: usize,
    /// How much of the frame's payload is still to come.
    rest: usize,
}

impl Frames {
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut found: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            let skipped = self.rest.min(bytes.len());
            self.rest -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEAD - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEAD {
                let frame = Frame::parse(&self.head);
                self.have = 0;
                self.rest = frame.len;
                found(frame);
            }
        }
    }

    pub(super) fn is_between_frames(&self) -> bool {
        self.have == 0 && self.rest == 0
    }
}
