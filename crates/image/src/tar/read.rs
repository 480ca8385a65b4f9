//! Reads an archive from front to back. It must never trust a size or a name.

use std::io::{self, Read};

use super::block::BLOCK;
use crate::Error;

/// Longest path that is taken: Linux opens none that is longer.
const NAME_MAX: usize = 4096;
/// Most bytes that pax records or a GNU long name may have. Writers need some
/// hundred; attributes of files (xattrs) need some thousand.
const META_MAX: u64 = 1 << 20;

/// What an archive may cost its reader.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes that are read of it at most.
    pub(crate) bytes: u64,
    /// Entries at most.
    pub(crate) entries: u64,
    /// Bytes that it has, where that is known.
    pub(crate) total: Option<u64>,
}

/// What is wrong with an archive.
#[derive(Debug)]
pub(crate) enum Fault {
    Io(io::Error),
    /// It ends before it should.
    Truncated(String),
    /// It is no tar archive, or a broken one.
    Malformed(String),
    Unsafe(String),
    TooLarge(String),
    Unsupported(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Fault::Truncated("it ends in the middle".into()),
            // What a decompressor says of broken bytes.
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                Fault::Malformed(error.to_string())
            }
            _ => Fault::Io(error),
        }
    }
}

impl Fault {
    /// The same as an error of `whole`, a file or a layer.
    pub(crate) fn of(self, whole: &str) -> Error {
        match self {
            Fault::Io(source) => Error::Unreadable {
                path: whole.to_owned(),
                source,
            },
            Fault::Truncated(why) => Error::Damaged(format!("{whole} is truncated: {why}")),
            Fault::Malformed(why) => Error::Damaged(format!("{whole}: {why}")),
            Fault::Unsafe(why) => Error::Unsafe(format!("{whole}: {why}")),
            Fault::TooLarge(why) => Error::TooLarge(format!("{whole}: {why}")),
            Fault::Unsupported(why) => Error::Unsupported(format!("{whole}: {why}")),
        }
    }
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    HardLink,
    SymLink,
    Directory,
    /// A device, a pipe, or what only its writer knows.
    Other,
}

/// A header that was understood.
#[derive(Debug)]
pub(crate) struct Entry {
    /// As it is in the archive.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    /// Bytes of content that follow.
    pub(crate) size: u64,
    /// The target of a link, as it is in the archive.
    pub(crate) link: String,
}

/// Fields that a meta entry gives to the next one.
#[derive(Debug, Default)]
struct Extended {
    name: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

/// The archive. Between two calls of [`Reader::next`] it reads as the content
/// of the entry.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    inner: R,
    bounds: Bounds,
    /// Bytes taken from `inner`.
    at: u64,
    entries: u64,
    /// Content of the present entry that was not read yet, and its padding.
    left: u64,
    padding: u64,
    ended: bool,
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(inner: R, bounds: Bounds) -> Self {
        Self {
            inner,
            bounds,
            at: 0,
            entries: 0,
            left: 0,
            padding: 0,
            ended: false,
        }
    }

    /// Offset of the next byte in the archive.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Whether the end mark was seen.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    /// The next entry; `None` at the end mark or where the bytes end between two
    /// entries. What was not read of the entry before is skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, Fault> {
        let mut extended = Extended::default();
        loop {
            self.skip()?;
            let mut block = [0; BLOCK];
            let got = self.fill(&mut block)?;
            if got == 0 {
                return Ok(None);
            }
            if got < BLOCK {
                return Err(Fault::Truncated(format!(
                    "{got} bytes of a header are left at its end"
                )));
            }
            if block.iter().all(|byte| *byte == 0) {
                self.ended = true;
                return Ok(None);
            }
            self.entries += 1;
            if self.entries > self.bounds.entries {
                return Err(Fault::TooLarge(format!(
                    "more than {} entries",
                    self.bounds.entries
                )));
            }
            let header = Header(&block);
            header.check(self.at - BLOCK as u64)?;
            let kind = header.0[156];
            // Those without content say nothing by their size.
            let size = match kind {
                b'1'..=b'6' => 0,
                b'x' | b'g' | b'L' | b'K' => header.size()?,
                _ => extended.size.map_or_else(|| header.size(), Ok)?,
            };
            self.expect(size, &header.name())?;
            match kind {
                b'x' | b'L' | b'K' => {
                    let content = self.meta(size)?;
                    match kind {
                        b'x' => pax(&content, &mut extended)?,
                        b'L' => extended.name = Some(until_nul(&content)),
                        _ => extended.link = Some(until_nul(&content)),
                    }
                    continue;
                }
                // Says something about all that follow: names of hosts, comments.
                b'g' => {
                    let mut global = Extended::default();
                    pax(&self.meta(size)?, &mut global)?;
                    if global.name.is_some() || global.link.is_some() || global.size.is_some() {
                        return Err(Fault::Unsupported(
                            "a global header sets names or sizes".into(),
                        ));
                    }
                    continue;
                }
                b'S' => return Err(Fault::Unsupported("it holds a sparse file".into())),
                _ => {}
            }
            let name = extended.name.unwrap_or_else(|| header.name());
            let kind = match kind {
                b'0' | 0 | b'7' if name.ends_with('/') => Kind::Directory,
                b'0' | 0 | b'7' => Kind::File,
                b'1' => Kind::HardLink,
                b'2' => Kind::SymLink,
                b'5' => Kind::Directory,
                _ => Kind::Other,
            };
            let link = extended
                .link
                .unwrap_or_else(|| until_nul(&header.0[157..257]));
            if name.len() > NAME_MAX || link.len() > NAME_MAX {
                return Err(Fault::TooLarge(format!(
                    "a name of {} bytes",
                    name.len().max(link.len())
                )));
            }
            return Ok(Some(Entry {
                name,
                kind,
                mode: header.number(100..108).unwrap_or(0) as u32 & 0o7777,
                size,
                link,
            }));
        }
    }

    /// Takes what follows the end mark (writers pad there) and gives the source back.
    pub(crate) fn drain(mut self) -> Result<R, Fault> {
        let mut buffer = [0; 8192];
        while self.fill(&mut buffer)? > 0 {}
        Ok(self.inner)
    }

    /// Sets the content of the next entry up.
    fn expect(&mut self, size: u64, name: &str) -> Result<(), Fault> {
        if let Some(total) = self.bounds.total {
            let remain = total.saturating_sub(self.at);
            if size > remain {
                return Err(Fault::Truncated(format!(
                    "{name:?} has {size} bytes by its header, and {remain} are left"
                )));
            }
        }
        if size > self.bounds.bytes.saturating_sub(self.at) {
            return Err(Fault::TooLarge(format!(
                "{name:?} has {size} bytes by its header; {} are read of an archive",
                self.bounds.bytes
            )));
        }
        self.left = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
        Ok(())
    }

    fn meta(&mut self, size: u64) -> Result<Vec<u8>, Fault> {
        if size > META_MAX {
            return Err(Fault::TooLarge(format!(
                "a name or its attributes have {size} bytes by their header"
            )));
        }
        // Grows with what is there, whatever the header says.
        let mut content = Vec::new();
        (&mut *self).take(size).read_to_end(&mut content)?;
        Ok(content)
    }

    fn skip(&mut self) -> Result<(), Fault> {
        let mut buffer = [0; 8192];
        let mut remain = self.left + self.padding;
        (self.left, self.padding) = (0, 0);
        while remain > 0 {
            let part = buffer
                .len()
                .min(usize::try_from(remain).unwrap_or(usize::MAX));
            let got = self.fill(&mut buffer[..part])?;
            if got < part {
                return Err(Fault::Truncated("it ends in the middle of a file".into()));
            }
            remain -= got as u64;
        }
        Ok(())
    }

    /// Reads until the buffer is full or the archive ends.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        let mut got = 0;
        while got < buffer.len() {
            match self.inner.read(&mut buffer[got..]) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.at += got as u64;
        if self.at > self.bounds.bytes {
            return Err(Fault::TooLarge(format!(
                "more than {} bytes",
                self.bounds.bytes
            )));
        }
        Ok(got)
    }
}

impl<R: Read> Read for Reader<R> {
    /// The content of the present entry.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let part = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if part == 0 {
            return Ok(0);
        }
        let got = self.inner.read(&mut buffer[..part])?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += got as u64;
        self.left -= got as u64;
        Ok(got)
    }
}

/// 512 bytes.
struct Header<'a>(&'a [u8; BLOCK]);

impl Header<'_> {
    /// The checksum of all bytes, its own field counted as blanks.
    fn check(&self, at: u64) -> Result<(), Fault> {
        let bytes = || {
            let place =
                |(i, byte): (usize, &u8)| if (148..156).contains(&i) { b' ' } else { *byte };
            self.0.iter().enumerate().map(place)
        };
        let sum: i64 = bytes().map(i64::from).sum();
        // Some old writers added signed characters.
        let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
        let said = self.number(148..156).and_then(|n| i64::try_from(n).ok());
        match said {
            Some(said) if said == sum || said == signed => Ok(()),
            _ => Err(Fault::Malformed(format!(
                "there is no tar header at byte {at}, where one should be"
            ))),
        }
    }

    /// Octal digits, or binary if the first bit is set.
    fn number(&self, place: std::ops::Range<usize>) -> Option<u64> {
        let field = &self.0[place];
        if field[0] & 0x80 != 0 {
            // 0xff would be a negative one.
            if field[0] != 0x80 {
                return None;
            }
            return field[1..].iter().try_fold(0_u64, |sum, byte| {
                sum.checked_mul(256)?.checked_add(u64::from(*byte))
            });
        }
        let digits = field
            .iter()
            .skip_while(|byte| **byte == b' ')
            .take_while(|byte| !matches!(byte, b' ' | 0));
        digits
            .into_iter()
            .try_fold(0_u64, |sum, digit| match digit {
                b'0'..=b'7' => sum.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
                _ => None,
            })
    }

    fn size(&self) -> Result<u64, Fault> {
        self.number(124..136)
            .ok_or_else(|| Fault::Malformed(format!("the size of {:?} is no number", self.name())))
    }

    fn name(&self) -> String {
        let name = until_nul(&self.0[..100]);
        // GNU's own form, `ustar` and two blanks, has other fields there.
        if self.0[257..263] != *b"ustar\0" || self.0[345] == 0 {
            return name;
        }
        format!("{}/{name}", until_nul(&self.0[345..500]))
    }
}

fn until_nul(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned()
}

/// Records of the form `<length> <key>=<value>\n`, the length that of all of it.
fn pax(mut rest: &[u8], extended: &mut Extended) -> Result<(), Fault> {
    let bad = || Fault::Malformed("a pax record is broken".into());
    while !rest.is_empty() {
        let blank = rest.iter().position(|byte| *byte == b' ').ok_or_else(bad)?;
        let length: usize = std::str::from_utf8(&rest[..blank])
            .ok()
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(bad)?;
        let record = rest.get(blank + 1..length).ok_or_else(bad)?;
        rest = rest.get(length..).ok_or_else(bad)?;
        let record = record.strip_suffix(b"\n").ok_or_else(bad)?;
        let equals = record
            .iter()
            .position(|byte| *byte == b'=')
            .ok_or_else(bad)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        let text = || String::from_utf8_lossy(value).into_owned();
        match key {
            b"path" if value.contains(&0) => return Err(bad()),
            b"linkpath" if value.contains(&0) => return Err(bad()),
            b"path" => extended.name = Some(text()),
            b"linkpath" => extended.link = Some(text()),
            b"size" => extended.size = Some(text().parse().map_err(|_| bad())?),
            key if key.starts_with(b"GNU.sparse.") => {
                return Err(Fault::Unsupported("it holds a sparse file".into()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A name without `.` and doubled slashes, and without a slash at either end.
/// A layer's names may begin with a slash (`rooted`): they are unpacked under a
/// root anyway. One that climbs is refused.
pub(crate) fn clean(name: &str, rooted: bool) -> Result<String, Fault> {
    if name.starts_with('/') && !rooted {
        return Err(Fault::Unsafe(format!("{name:?} is an absolute path")));
    }
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                return Err(Fault::Unsafe(format!(
                    "{name:?} leads out of the folder that it is unpacked into"
                )));
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}
