//! Names of log segments: `<sequence:016x>-<index:016x>.wal`, sequence first,
//! index second (`.snap` files have it the other way round: term, index). Must
//! never guess: a name that is not exactly of this form is not a segment.

use std::path::{Path, PathBuf};

use crate::{disk::Disk, error::Error};

/// The name of a segment, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentName {
    /// Position in the chain of segments, consecutive.
    pub seq: u64,
    /// Index that the first entry of this segment had when it was cut.
    pub index: u64,
}

impl SegmentName {
    /// Reads a file name; `None` if it is not the name of a segment.
    pub fn parse(file: &str) -> Option<Self> {
        let stem = file.strip_suffix(".wal")?;
        let (seq, index) = hex_pair(stem)?;
        Some(Self { seq, index })
    }

    /// The file name.
    pub fn file(&self) -> String {
        format!("{:016x}-{:016x}.wal", self.seq, self.index)
    }
}

/// Two 16-digit hexadecimal numbers joined by a dash.
pub(crate) fn hex_pair(stem: &str) -> Option<(u64, u64)> {
    let (a, b) = stem.split_once('-')?;
    Some((hex16(a)?, hex16(b)?))
}

/// Exactly 16 hexadecimal digits.
pub(crate) fn hex16(digits: &str) -> Option<u64> {
    let plain = digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    if plain {
        u64::from_str_radix(digits, 16).ok()
    } else {
        None
    }
}

/// All segments in `dir`, in order of sequence; other names are passed over.
pub fn segments(disk: &dyn Disk, dir: &Path) -> Result<Vec<SegmentName>, Error> {
    let names = disk.names(dir).map_err(|e| Error::io("list", dir, e))?;
    let mut found: Vec<_> = names
        .iter()
        .filter_map(|name| SegmentName::parse(name))
        .collect();
    found.sort_unstable();
    Ok(found)
}

/// The segments needed to read on from a snapshot at `index`: from the last
/// one whose name does not lie behind `index`, without a hole.
pub fn segments_from(disk: &dyn Disk, dir: &Path, index: u64) -> Result<Vec<SegmentName>, Error> {
    let mut all = segments(disk, dir)?;
    let first = all
        .iter()
        .rposition(|name| name.index <= index)
        .ok_or_else(|| Error::NotFound {
            dir: dir.into(),
            index,
        })?;
    let needed = all.split_off(first);
    consecutive(dir, &needed)?;
    Ok(needed)
}

/// Refuses a hole in the sequence numbers.
pub(crate) fn consecutive(dir: &Path, names: &[SegmentName]) -> Result<(), Error> {
    for pair in names.windows(2) {
        if pair[0].seq.checked_add(1) != Some(pair[1].seq) {
            return Err(Error::MissingSegment {
                dir: dir.into(),
                before: pair[0].seq,
                after: pair[1].seq,
            });
        }
    }
    Ok(())
}

/// The path with something added to its last name.
pub(crate) fn beside(dir: &Path, suffix: &str) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(crate) fn parent_of(dir: &Path) -> &Path {
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_only_in_their_exact_form() {
        let name = SegmentName {
            seq: 0x1f,
            index: 0xabc,
        };
        assert_eq!(name.file(), "000000000000001f-0000000000000abc.wal");
        assert_eq!(SegmentName::parse(&name.file()), Some(name));
        for other in [
            "0.tmp",
            "1f-abc.wal",
            "000000000000001f-0000000000000abc.wal.broken",
            "000000000000001f0000000000000abc.wal",
            "+00000000000001f-0000000000000abc.wal",
            "000000000000001f-0000000000000abc-0.wal",
        ] {
            assert_eq!(SegmentName::parse(other), None, "{other}");
        }
    }
}
