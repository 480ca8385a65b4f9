//! One layer: decompressed, hashed and laid over the tree of names in a single
//! pass. It must never unpack a file to disk or hold one in memory.

use std::io::{self, BufRead, BufReader, Read};

use memchr::memmem::Finder;

use crate::{
    Digest, Error,
    digest::Hashing,
    rootfs::{File, Node, RootFs},
    tar::{Bounds, Entry, Fault, Kind, Reader},
};

/// Entries of one layer at most.
const ENTRIES_MAX: u64 = 1_000_000;
/// Texts that are searched in programs: a bit each.
pub(crate) const TEXTS_MAX: usize = 64;

/// What a layer turned out to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Of the bytes as they are stored.
    pub(crate) digest: Digest,
    /// Of the tar archive in them.
    pub(crate) diff_id: Digest,
    /// Bytes of that archive.
    pub(crate) unpacked: u64,
}

/// Lays a layer over `rootfs`. `most` bounds the bytes it may have unpacked.
pub(crate) fn read(
    source: impl Read,
    whole: &str,
    most: u64,
    texts: &[Finder<'_>],
    rootfs: &mut RootFs,
) -> Result<Seen, Error> {
    let mut stored = BufReader::with_capacity(1 << 16, Hashing::new(source));
    let magic = stored.fill_buf().map_err(|e| Fault::from(e).of(whole))?;
    let (stored, diff_id, unpacked) = match magic {
        [0x1f, 0x8b, ..] => {
            let gunzip = flate2::bufread::MultiGzDecoder::new(stored);
            let (gunzip, diff_id, unpacked) = unpack(gunzip, whole, most, texts, rootfs)?;
            (gunzip.into_inner(), diff_id, unpacked)
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            return Err(Error::Unsupported(format!(
                "{whole} is compressed with zstd; gzip and plain tar are read here"
            )));
        }
        _ => unpack(stored, whole, most, texts, rootfs)?,
    };
    // What a decompressor leaves unread counts for the digest all the same.
    let mut stored = stored;
    io::copy(&mut stored, &mut io::sink()).map_err(|e| Fault::from(e).of(whole))?;
    let (_, digest, _) = stored.into_inner().finish();
    Ok(Seen {
        digest,
        diff_id,
        unpacked,
    })
}

fn unpack<R: Read>(
    source: R,
    whole: &str,
    most: u64,
    texts: &[Finder<'_>],
    rootfs: &mut RootFs,
) -> Result<(R, Digest, u64), Error> {
    let bounds = Bounds {
        bytes: most,
        entries: ENTRIES_MAX,
        total: None,
    };
    let mut reader = Reader::new(Hashing::new(source), bounds);
    let walked = walk(&mut reader, texts, rootfs).and_then(|()| reader.drain());
    Ok(walked.map_err(|fault| fault.of(whole))?.finish())
}

fn walk<R: Read>(
    reader: &mut Reader<R>,
    texts: &[Finder<'_>],
    rootfs: &mut RootFs,
) -> Result<(), Fault> {
    while let Some(entry) = reader.next()? {
        let node = match entry.kind {
            Kind::Directory => Node::Directory,
            Kind::SymLink => Node::SymLink(entry.link),
            Kind::Other => Node::Other,
            Kind::HardLink => rootfs.linked(&entry.link)?,
            Kind::File => Node::File(file(reader, &entry, texts)?),
        };
        rootfs.set(&entry.name, node)?;
    }
    Ok(())
}

fn file<R: Read>(
    reader: &mut Reader<R>,
    entry: &Entry,
    texts: &[Finder<'_>],
) -> Result<File, Fault> {
    let executable = entry.mode & 0o111 != 0;
    let holds = match executable && !texts.is_empty() {
        true => search(reader, texts)?,
        false => 0,
    };
    Ok(File {
        size: entry.size,
        executable,
        holds,
    })
}

/// Which of the texts a stream holds.
fn search(source: &mut impl Read, texts: &[Finder<'_>]) -> io::Result<u64> {
    let longest = texts
        .iter()
        .map(|text| text.needle().len())
        .max()
        .unwrap_or(0);
    let mut buffer = vec![0; (1 << 16) + longest];
    // The end of the searched part is kept at the front: a text may cross the border.
    let (mut kept, mut holds) = (0, 0);
    loop {
        let got = match source.read(&mut buffer[kept..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            got => got?,
        };
        if got == 0 {
            return Ok(holds);
        }
        let filled = kept + got;
        for (bit, text) in texts.iter().enumerate().take(TEXTS_MAX) {
            if text.find(&buffer[..filled]).is_some() {
                holds |= 1 << bit;
            }
        }
        kept = filled.min(longest.saturating_sub(1));
        buffer.copy_within(filled - kept..filled, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time.
    struct Drops<'a>(&'a [u8]);

    impl Read for Drops<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = self.0.len().min(buffer.len()).min(1);
            self.0.read(&mut buffer[..n])
        }
    }

    #[test]
    fn a_text_is_found_wherever_it_is_cut() {
        let texts = [
            Finder::new("3.5.30"),
            Finder::new("0.1.0"),
            Finder::new("9.9.9"),
        ];
        let bytes = b"etcdutl3.5.303.50.1.0";
        assert_eq!(search(&mut Drops(bytes), &texts).unwrap(), 0b011);
        let mut far = vec![b'x'; (1 << 16) + 2];
        far.extend_from_slice(bytes);
        assert_eq!(search(&mut far.as_slice(), &texts).unwrap(), 0b011);
    }
}
