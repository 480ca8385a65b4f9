//! Blocks of headers in more than one frame. h2 allows as many frames as full ones would need, and
//! a few more; Go counts bytes alone. So the parts are gathered, and h2 sees full frames. What is
//! gathered is bounded by what h2 would gather itself.

use super::{
    frames::{
        CONTINUATION, END_HEADERS, END_STREAM, Frame, HEAD, HEADERS, PAYLOAD_MAX, PRIORITY,
        block_of,
    },
    headers,
};

/// Bytes of a block that is gathered: what h2 is told to take as the headers of a call. h2 judges a
/// longer one.
const BLOCK_MAX: usize = 256 << 10;
/// Frames of a block that is gathered, the empty ones too.
const FRAMES_MAX: usize = BLOCK_MAX / HEAD;

/// A block of which the end has not come.
pub(super) struct Block {
    stream: u32,
    flags: u8,
    /// The priority, if there is one.
    before: Vec<u8>,
    block: Vec<u8>,
    frames: usize,
}

impl Block {
    /// By its first frame; `None` for one that h2 has to judge.
    pub(super) fn begin(frame: Frame, payload: &[u8]) -> Option<Block> {
        let place = block_of(frame.flags, payload)?;
        // The padding ends with the frame.
        let before = match frame.has(PRIORITY) {
            true => payload[..place.start].last_chunk::<5>()?.to_vec(),
            false => Vec::new(),
        };
        Some(Block {
            stream: frame.stream,
            flags: frame.flags & (END_STREAM | PRIORITY),
            before,
            block: payload[place].to_vec(),
            frames: 1,
        })
    }

    /// Whether this frame continues the block, and there is room for it.
    pub(super) fn takes(&self, frame: Frame) -> bool {
        frame.kind == CONTINUATION
            && frame.stream == self.stream
            && frame.len <= PAYLOAD_MAX
            && self.block.len() + frame.len <= BLOCK_MAX
            && self.frames < FRAMES_MAX
    }

    /// Takes the payload of the next frame.
    pub(super) fn push(&mut self, payload: &[u8]) {
        self.block.extend_from_slice(payload);
        self.frames += 1;
    }

    /// The whole block, such that h2 judges it as Go does.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if let Some(other) = headers::sound_block(&self.block) {
            self.block = other;
        }
        self.written(END_HEADERS)
    }

    /// The block as far as it has come.
    pub(super) fn unfinished(&self) -> Vec<u8> {
        self.written(0)
    }

    /// As frames, the last of which has this flag.
    fn written(&self, last: u8) -> Vec<u8> {
        let content = [&self.before[..], &self.block].concat();
        let mut out = Vec::with_capacity(content.len() + HEAD * (1 + content.len() / PAYLOAD_MAX));
        let (mut kind, mut flags, mut rest) = (HEADERS, self.flags, &content[..]);
        loop {
            let part;
            (part, rest) = rest.split_at(rest.len().min(PAYLOAD_MAX));
            if rest.is_empty() {
                flags |= last;
            }
            let [_, a, b, c] = (part.len() as u32).to_be_bytes();
            out.extend_from_slice(&[a, b, c, kind, flags]);
            out.extend_from_slice(&self.stream.to_be_bytes());
            out.extend_from_slice(part);
            if rest.is_empty() {
                return out;
            }
            (kind, flags) = (CONTINUATION, 0);
        }
    }
}
