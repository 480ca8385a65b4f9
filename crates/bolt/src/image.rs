//! A state as the bytes of a database file: two meta pages made for it, then its pages as they are in the file. Memory
//! use does not depend on the size of the database.

use std::io::{self, Read, Write};

use crate::error::Error;
use crate::id::PageId;
use crate::meta::Meta;
use crate::read::ReadTx;

/// Bytes handed out at once by [`ImageReader::write_to`].
const STEP: u64 = 256 << 10;

/// Of what was handed out, no more than this stays mapped: a large database that is read once must not fill memory.
const MAPPED: u64 = 16 << 20;

/// Pulls the image of a snapshot; see [`ReadTx::image`]. Its length is known from the start.
pub struct ImageReader {
    tx: ReadTx,
    /// Meta pages 0 and 1: this state, and the same under the transaction id before, as bbolt streams them.
    metas: Vec<u8>,
    at: u64,
    len: u64,
}

impl ReadTx {
    /// Writes the state to `out` as a database file: two meta pages made for it, then all pages as they are. Returns the
    /// number of bytes, which is [`ReadTx::size`].
    pub fn write_to(&self, out: &mut dyn Write) -> Result<u64, Error> {
        self.image().write_to(out)
    }

    /// The same bytes as [`ReadTx::write_to`], to be pulled piece by piece. Pins the state as long as it lives.
    pub fn image(&self) -> ImageReader {
        ImageReader::new(self.clone())
    }
}

impl ImageReader {
    fn new(tx: ReadTx) -> ImageReader {
        let meta = *tx.meta();
        let ps = meta.page_size as usize;
        let mut metas = vec![0u8; 2 * ps];
        for (id, txid) in [(0u64, meta.txid), (1, meta.txid.wrapping_sub(1))] {
            let head = Meta { txid, ..meta }.encode(PageId::new(id));
            let at = id as usize * ps;
            metas[at..at + head.len()].copy_from_slice(&head);
        }
        let len = tx.size();
        ImageReader {
            tx,
            metas,
            at: 0,
            len,
        }
    }

    /// Total length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True for an image of no bytes, which no database has.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes not yet handed out.
    pub fn remaining(&self) -> u64 {
        self.len - self.at
    }

    /// The next bytes, `max` at most, without a copy; empty at the end.
    pub fn chunk(&mut self, max: usize) -> &[u8] {
        let (at, left) = (self.at, self.len - self.at);
        let head = self.metas.len() as u64;
        if at < head {
            let end = head.min(at + (max as u64).min(left));
            self.at = end;
            return &self.metas[at as usize..end as usize];
        }
        let len = left.min(max as u64);
        self.at += len;
        if at / MAPPED != self.at / MAPPED {
            // The bytes handed out last are still to be used.
            let done = at / MAPPED * MAPPED;
            if let Some(begin) = done.checked_sub(MAPPED) {
                self.tx.pages().map.advise_cold_at(begin, MAPPED);
            }
        }
        // Opening made sure that the file holds all pages below the high-water mark.
        self.tx.pages().map.slice(at, len as usize).unwrap_or(&[])
    }

    /// Hands all that is left to `out`; returns the number of bytes.
    pub fn write_to(mut self, out: &mut dyn Write) -> Result<u64, Error> {
        let begin = self.at;
        while self.remaining() > 0 {
            let at = self.at;
            let chunk = self.chunk(STEP as usize);
            out.write_all(chunk).map_err(|e| Error::Output {
                at: at - begin,
                source: std::sync::Arc::new(e),
            })?;
        }
        Ok(self.at - begin)
    }
}

impl Read for ImageReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let chunk = self.chunk(buf.len());
        buf[..chunk.len()].copy_from_slice(chunk);
        Ok(chunk.len())
    }
}
