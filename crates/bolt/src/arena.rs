//! The bytes that a transaction adds: keys and values that are not in the file yet.

use bytes::Bytes;

use crate::entry::{Place, Value};

/// Small pieces share chunks of this size.
const CHUNK: usize = 256 << 10;
/// Values of at least this size are shared with the caller where possible: counting a reference costs about as much as
/// copying this many bytes.
const SHARE_FROM: usize = 1 << 10;

enum Chunk {
    Own(Vec<u8>),
    Shared(Bytes),
}

/// Keys and values of one transaction.
#[derive(Default)]
pub(crate) struct Arena {
    chunks: Vec<Chunk>,
    /// The chunk that small pieces are appended to.
    open: usize,
}

impl Arena {
    /// Copies `data` and returns its place.
    #[inline]
    pub(crate) fn push(&mut self, data: &[u8]) -> Place {
        if let Some(Chunk::Own(chunk)) = self.chunks.get_mut(self.open)
            && chunk.capacity() - chunk.len() >= data.len()
        {
            let at = chunk.len();
            chunk.extend_from_slice(data);
            return Place::in_arena(self.open, at);
        }
        let index = self.chunks.len();
        let mut chunk = Vec::with_capacity(if data.len() > CHUNK / 4 {
            data.len()
        } else {
            CHUNK
        });
        chunk.extend_from_slice(data);
        if chunk.capacity() > chunk.len() {
            self.open = index;
        }
        self.chunks.push(Chunk::Own(chunk));
        Place::in_arena(index, 0)
    }

    /// Like [`Arena::push_value`], sharing large data instead of copying it.
    #[inline]
    pub(crate) fn push_shared(&mut self, data: &Bytes) -> Value {
        if data.len() < SHARE_FROM {
            return self.push_value(data);
        }
        self.chunks.push(Chunk::Shared(data.clone()));
        Value {
            place: Place::in_arena(self.chunks.len() - 1, 0),
            len: data.len() as u32,
        }
    }

    /// [`Arena::push`] for a value, of at most [`crate::MAX_VALUE_SIZE`] bytes.
    #[inline]
    pub(crate) fn push_value(&mut self, data: &[u8]) -> Value {
        Value {
            place: self.push(data),
            len: data.len() as u32,
        }
    }

    /// The `len` bytes from `at` on of a chunk.
    #[inline]
    pub(crate) fn get(&self, chunk: usize, at: usize, len: usize) -> &[u8] {
        match &self.chunks[chunk] {
            Chunk::Own(chunk) => &chunk[at..at + len],
            Chunk::Shared(bytes) => &bytes[at..at + len],
        }
    }
}
