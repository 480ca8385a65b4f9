//! The streams of a connection that are open, by the frames that begin and end them.

use rustc_hash::FxHashSet;

use super::frames::{DATA, END_STREAM, Frame, HEADERS, RST_STREAM};

#[derive(Default)]
pub(super) struct Calls {
    /// Streams that the client has begun and the server has not ended.
    open: FxHashSet<u32>,
    newest: u32,
}

impl Calls {
    pub(super) fn received(&mut self, frame: Frame) {
        match frame.kind {
            HEADERS if frame.stream > self.newest => {
                self.newest = frame.stream;
                self.open.insert(frame.stream);
            }
            RST_STREAM => drop(self.open.remove(&frame.stream)),
            _ => {}
        }
    }

    pub(super) fn sent(&mut self, frame: Frame) {
        let ends = match frame.kind {
            DATA | HEADERS => frame.has(END_STREAM),
            RST_STREAM => true,
            _ => false,
        };
        if ends {
            self.open.remove(&frame.stream);
        }
    }

    pub(super) fn newest(&self) -> u32 {
        self.newest
    }

    pub(super) fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether there was such a call, and it is over.
    pub(super) fn has_ended(&self, stream: u32) -> bool {
        stream % 2 == 1 && stream <= self.newest && !self.open.contains(&stream)
    }
}
