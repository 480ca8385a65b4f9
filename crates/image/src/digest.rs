//! `sha256:` and 64 digits: the name of everything in an image. It must never
//! take another algorithm for this one.

use std::{
    fmt,
    io::{self, Read, Write},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

const PREFIX: &str = "sha256:";

/// Text that is no digest; says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadDigest(String);

/// A SHA-256 as images write it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// Reads `sha256:` and 64 lower-case hexadecimal digits.
    ///
    /// # Errors
    /// It is something else; the text says what.
    pub fn parse(text: &str) -> Result<Digest, BadDigest> {
        let digits = text.strip_prefix(PREFIX).ok_or_else(|| {
            BadDigest(format!(
                "{text:?} is no digest: it has to be sha256: and 64 digits"
            ))
        })?;
        Digest::of_digits(digits).ok_or_else(|| {
            BadDigest(format!(
                "{text:?} is no digest: sha256: is followed by {} characters, expected 64 of 0-9 and a-f",
                digits.chars().count()
            ))
        })
    }

    /// Reads the 64 digits alone.
    pub(crate) fn of_digits(digits: &str) -> Option<Digest> {
        let digits = digits.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let value = |c: u8| match c {
            b'0'..=b'9' => Some(c - b'0'),
            b'a'..=b'f' => Some(c - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = value(*pair.first()?)? << 4 | value(*pair.get(1)?)?;
        }
        Some(Digest(bytes))
    }

    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// The 64 digits, as `sha256sum` prints them.
    #[must_use]
    pub fn digits(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.digits())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = BadDigest;

    fn try_from(text: String) -> Result<Digest, BadDigest> {
        Digest::parse(&text)
    }
}

/// Hashes and counts what passes through it, in either direction.
pub(crate) struct Hashing<T> {
    pub(crate) inner: T,
    state: Sha256,
    /// Bytes that passed.
    pub(crate) count: u64,
}

impl<T> Hashing<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self {
            inner,
            state: Sha256::new(),
            count: 0,
        }
    }

    fn take_in(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
        self.count += bytes.len() as u64;
    }

    /// What was wrapped, the digest and the count.
    pub(crate) fn finish(self) -> (T, Digest, u64) {
        (self.inner, Digest(self.state.finalize().into()), self.count)
    }
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.take_in(&buffer[..n]);
        Ok(n)
    }
}

impl<T: Write> Write for Hashing<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.take_in(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
