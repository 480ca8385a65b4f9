//! Where the parts of an image are: in a folder or in a tar archive. Opening it
//! reads and hashes every part once; nothing is kept but names, places and
//! digests. It must never open what is no regular file, nor lead outside.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek as _, SeekFrom, Take},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::{
    Digest, Error,
    digest::Hashing,
    tar::{Bounds, Fault, Kind, Reader, clean},
};

/// An archive or a folder at most: an image of etcd has some 100 MB.
const BYTES_MAX: u64 = 16 << 30;
/// Parts at most, and bytes of their names.
const PARTS_MAX: u64 = 65_536;
const NAMES_MAX: usize = 16 << 20;
/// A document at most, as registries have it for manifests.
const DOCUMENT_MAX: u64 = 4 << 20;
/// Links that are followed from one part to the next.
const HOPS_MAX: u32 = 8;
/// Where layouts keep their blobs.
pub(crate) const BLOBS: &str = "blobs/sha256/";

/// A part that was hashed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// Where it begins in the archive.
    at: u64,
}

#[derive(Debug)]
enum Place {
    Folder(PathBuf),
    Archive(File),
}

/// The parts of an image.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) path: PathBuf,
    place: Place,
    parts: BTreeMap<String, Part>,
    links: BTreeMap<String, String>,
}

impl Store {
    pub(crate) fn open(path: &Path) -> Result<Store, Error> {
        let found = fs::metadata(path).map_err(|e| Error::read(path, e))?;
        let store = if found.is_dir() {
            Store::folder(path)?
        } else if found.is_file() {
            Store::archive(path)?
        } else {
            return Err(Error::not_an_image(
                path,
                "it is neither a file nor a folder",
            ));
        };
        for (name, part) in &store.parts {
            let Some(digits) = name.strip_prefix(BLOBS) else {
                continue;
            };
            match Digest::of_digits(digits) {
                Some(named) if named == part.digest => {}
                Some(_) => {
                    return Err(Error::Damaged(format!(
                        "{name} holds bytes whose digest is {}",
                        part.digest
                    )));
                }
                None => {
                    return Err(Error::Inconsistent(format!(
                        "{name} is not named by a digest"
                    )));
                }
            }
        }
        Ok(store)
    }

    fn folder(path: &Path) -> Result<Store, Error> {
        let mut names = Vec::new();
        for name in ["oci-layout", "index.json", "manifest.json"] {
            if path.join(name).exists() {
                names.push(name.to_owned());
            }
        }
        if !names.iter().any(|name| name == "index.json") {
            return Err(Error::not_an_image(
                path,
                "the folder holds no index.json; an OCI layout does",
            ));
        }
        let blobs = path.join(BLOBS);
        let listed = match fs::read_dir(&blobs) {
            Ok(listed) => listed,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Error::not_an_image(
                    path,
                    "the folder holds no blobs/sha256",
                ));
            }
            Err(e) => return Err(Error::read(&blobs, e)),
        };
        for entry in listed {
            let entry = entry.map_err(|e| Error::read(&blobs, e))?;
            names.push(format!("{BLOBS}{}", entry.file_name().to_string_lossy()));
            if names.len() as u64 > PARTS_MAX {
                return Err(Error::TooLarge(format!("more than {PARTS_MAX} blobs")));
            }
        }
        let mut parts = BTreeMap::new();
        let mut total = 0;
        for name in names {
            let file = regular(&path.join(&name))?;
            let mut hashing = Hashing::new(file.take(BYTES_MAX + 1 - total));
            io::copy(&mut hashing, &mut io::sink())
                .map_err(|e| Error::read(&path.join(&name), e))?;
            let (_, digest, size) = hashing.finish();
            total += size;
            if total > BYTES_MAX {
                return Err(Error::TooLarge(format!(
                    "its blobs have more than {BYTES_MAX} bytes"
                )));
            }
            parts.insert(
                name,
                Part {
                    digest,
                    size,
                    at: 0,
                },
            );
        }
        Ok(Store {
            path: path.to_owned(),
            place: Place::Folder(path.to_owned()),
            parts,
            links: BTreeMap::new(),
        })
    }

    fn archive(path: &Path) -> Result<Store, Error> {
        let file = regular(path)?;
        let total = file.metadata().map_err(|e| Error::read(path, e))?.len();
        expect_tar(path, &file)?;
        let whole = "the archive";
        let bounds = Bounds {
            bytes: BYTES_MAX,
            entries: PARTS_MAX,
            total: Some(total),
        };
        let mut reader = Reader::new(io::BufReader::with_capacity(1 << 18, &file), bounds);
        let (mut parts, mut links) = (BTreeMap::new(), BTreeMap::new());
        let mut names = 0;
        while let Some(entry) = reader.next().map_err(|fault| fault.of(whole))? {
            let name = clean(&entry.name, false).map_err(|fault| fault.of(whole))?;
            names += name.len() + entry.link.len();
            if names > NAMES_MAX {
                return Err(Error::TooLarge(format!(
                    "the names of its parts have more than {NAMES_MAX} bytes"
                )));
            }
            let twice = parts.contains_key(&name) || links.contains_key(&name);
            match entry.kind {
                Kind::Directory => {}
                _ if twice => {
                    return Err(Error::Inconsistent(format!(
                        "the archive holds {name:?} twice, and readers differ in which they take"
                    )));
                }
                Kind::File => {
                    let at = reader.at();
                    let mut hashing = Hashing::new(&mut reader);
                    io::copy(&mut hashing, &mut io::sink())
                        .map_err(|e| Fault::from(e).of(whole))?;
                    let (_, digest, size) = hashing.finish();
                    parts.insert(name, Part { digest, size, at });
                }
                Kind::SymLink | Kind::HardLink => {
                    let folder = match (entry.kind, name.rsplit_once('/')) {
                        (Kind::SymLink, Some((folder, _))) => folder,
                        _ => "",
                    };
                    links.insert(name.clone(), inside(folder, &entry.link)?);
                }
                Kind::Other => {
                    return Err(Error::Unsafe(format!(
                        "the archive holds {name:?}, which is a device or a pipe"
                    )));
                }
            }
        }
        if !reader.ended() {
            return Err(Error::Damaged(
                "the archive is truncated: its end mark is missing".into(),
            ));
        }
        Ok(Store {
            path: path.to_owned(),
            place: Place::Archive(file),
            parts,
            links,
        })
    }

    /// A part by its name, links followed.
    pub(crate) fn part(&self, name: &str) -> Option<Part> {
        self.found(name).map(|(_, part)| part)
    }

    fn found(&self, name: &str) -> Option<(&str, Part)> {
        let mut name = name;
        for _ in 0..HOPS_MAX {
            if let Some((name, part)) = self.parts.get_key_value(name) {
                return Some((name, *part));
            }
            name = self.links.get(name)?;
        }
        None
    }

    /// How many parts there are, and their bytes.
    pub(crate) fn sums(&self) -> (usize, u64) {
        (
            self.parts.len(),
            self.parts.values().map(|part| part.size).sum(),
        )
    }

    /// A whole document.
    pub(crate) fn document(&self, name: &str) -> Result<Vec<u8>, Error> {
        let part = self.part(name).ok_or_else(|| lacks(name))?;
        if part.size > DOCUMENT_MAX {
            return Err(Error::TooLarge(format!(
                "{name} has {} bytes; documents of images have up to {DOCUMENT_MAX}",
                part.size
            )));
        }
        let mut bytes = Vec::new();
        self.reader(name)?
            .read_to_end(&mut bytes)
            .map_err(|e| Error::read(&self.path, e))?;
        match Digest::of(&bytes) == part.digest {
            true => Ok(bytes),
            false => Err(changed(name)),
        }
    }

    /// The bytes of a part. They may have changed since they were hashed: whoever
    /// reads them hashes them again.
    pub(crate) fn reader(&self, name: &str) -> Result<Take<Source>, Error> {
        let (name, part) = self.found(name).ok_or_else(|| lacks(name))?;
        let source = match &self.place {
            Place::Folder(folder) => Source {
                file: regular(&folder.join(name))?,
                at: 0,
            },
            Place::Archive(file) => Source {
                file: file.try_clone().map_err(|e| Error::read(&self.path, e))?,
                at: part.at,
            },
        };
        Ok(source.take(part.size))
    }
}

/// What is said of a part that is not there.
pub(crate) fn lacks(name: &str) -> Error {
    Error::Damaged(format!("{name} is missing"))
}

/// What is said of a part that is not what it was a moment ago.
pub(crate) fn changed(name: &str) -> Error {
    Error::Damaged(format!("{name} was changed while it was read"))
}

/// Reads from a place in a file, whatever others do with its position.
#[derive(Debug)]
pub(crate) struct Source {
    file: File,
    at: u64,
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buffer, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// Opens a regular file; a pipe in its place would be waited for.
fn regular(path: &Path) -> Result<File, Error> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.cast_signed())
        .open(path)
        .map_err(|e| Error::read(path, e))?;
    let found = file.metadata().map_err(|e| Error::read(path, e))?;
    match found.is_file() {
        true => Ok(file),
        false => Err(Error::Unsafe(format!(
            "{} is no regular file",
            path.display()
        ))),
    }
}

/// Says early and plainly what is no tar archive.
fn expect_tar(path: &Path, mut file: &File) -> Result<(), Error> {
    let mut start = Vec::new();
    file.take(512)
        .read_to_end(&mut start)
        .and_then(|_| file.seek(SeekFrom::Start(0)))
        .map_err(|e| Error::read(path, e))?;
    let why = match start.as_slice() {
        [] => "the file is empty",
        [0x1f, 0x8b, ..] => "it is compressed with gzip; unpack it first: gunzip -k FILE",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "it is compressed with zstd; unpack it first: unzstd FILE",
        [0xfd, b'7', b'z', b'X', b'Z', ..] => {
            "it is compressed with xz; unpack it first: unxz -k FILE"
        }
        start if start.len() < 512 => "it is shorter than the header of a tar archive",
        start => {
            let bounds = Bounds {
                bytes: 1 << 12,
                entries: 1,
                total: None,
            };
            // The code that reads on reports whatever else is wrong with it.
            match Reader::new(start, bounds).next() {
                Err(Fault::Malformed(_)) => "it does not begin with the header of a tar archive",
                Ok(None) => "the tar archive is empty",
                _ => return Ok(()),
            }
        }
    };
    Err(Error::not_an_image(path, why))
}

/// Where a link in `folder` leads, which has to be inside the archive.
fn inside(folder: &str, link: &str) -> Result<String, Error> {
    let out = || {
        Error::Unsafe(format!(
            "the archive holds a link that leads out of it, to {link:?}"
        ))
    };
    if link.starts_with('/') {
        return Err(out());
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop().ok_or_else(out)?),
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}
