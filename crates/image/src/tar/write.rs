//! Writes an archive whose bytes follow from names and contents alone: owner
//! root, one time for all, plain ustar headers. It must never write what it
//! cannot write exactly; a name that is too long is an error.

use std::io::{self, Read, Write};

use super::block::BLOCK;

/// A tar archive on its way out.
pub(crate) struct Writer<W> {
    inner: W,
    /// Seconds since 1970, for every entry.
    time: u64,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(inner: W, time: u64) -> Self {
        Self { inner, time }
    }

    /// A folder; its name has no slash at the end.
    pub(crate) fn directory(&mut self, name: &str, mode: u32) -> io::Result<()> {
        self.header(&format!("{name}/"), b'5', mode, 0, "")
    }

    /// A file of exactly `size` bytes.
    pub(crate) fn file(
        &mut self,
        name: &str,
        mode: u32,
        size: u64,
        content: impl Read,
    ) -> io::Result<()> {
        self.header(name, b'0', mode, size, "")?;
        let copied = io::copy(&mut content.take(size), &mut self.inner)?;
        if copied != size {
            return Err(io::Error::other(format!(
                "{name}: {size} bytes were announced, {copied} came"
            )));
        }
        let padding = size.wrapping_neg() as usize % BLOCK;
        self.inner.write_all(&[0; BLOCK][..padding])
    }

    /// Another name for a file that was written before.
    pub(crate) fn hard_link(&mut self, name: &str, mode: u32, to: &str) -> io::Result<()> {
        self.header(name, b'1', mode, 0, to)
    }

    /// A link by name.
    #[cfg(test)]
    pub(crate) fn symlink(&mut self, name: &str, to: &str) -> io::Result<()> {
        self.header(name, b'2', 0o777, 0, to)
    }

    /// The end mark; returns what was written to.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.inner.write_all(&[0; 2 * BLOCK])?;
        Ok(self.inner)
    }

    fn header(&mut self, name: &str, kind: u8, mode: u32, size: u64, link: &str) -> io::Result<()> {
        let mut block = [0; BLOCK];
        let mut put = |at: usize, room: usize, text: &str| {
            if text.len() > room {
                return Err(io::Error::other(format!(
                    "{text:?} does not fit a tar header"
                )));
            }
            block[at..at + text.len()].copy_from_slice(text.as_bytes());
            Ok(())
        };
        put(0, 100, name)?;
        put(100, 7, &format!("{mode:07o}"))?;
        put(108, 7, "0000000")?;
        put(116, 7, "0000000")?;
        put(124, 11, &format!("{size:011o}"))?;
        put(136, 11, &format!("{:011o}", self.time))?;
        put(157, 100, link)?;
        put(257, 8, "ustar\x0000")?;
        block[156] = kind;
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.inner.write_all(&block)
    }
}
