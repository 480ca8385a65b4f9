//! Entry points over bytes as they may lie on a disk. None may panic, hang or
//! allocate beyond its input, whatever the bytes are.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use proto::walpb;

use crate::{
    disk::DiskFile,
    name::SegmentName,
    recovery::Access,
    replay::{Replay, walk},
    segment::OpenSegment,
    snap,
};

#[derive(Debug)]
struct Memory(Vec<u8>);

impl DiskFile for Memory {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = self.0.get(offset as usize..).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn try_lock(&self) -> io::Result<bool> {
        Ok(true)
    }
}

/// A log of one or two segments, divided at the first byte's part of the rest.
/// Gives the number of entries read, if the log is accepted.
pub fn log(bytes: &[u8]) -> Option<usize> {
    let (&part, rest) = bytes.split_first()?;
    let middle = if part == 0 {
        0
    } else {
        rest.len() * usize::from(part) / 256
    };
    let (a, b) = rest.split_at(middle);
    let segments: Vec<OpenSegment> = [a, b]
        .into_iter()
        .filter(|bytes| !bytes.is_empty())
        .enumerate()
        .map(|(seq, bytes)| {
            let name = SegmentName {
                seq: seq as u64,
                index: 0,
            };
            let path = PathBuf::from(name.file());
            OpenSegment {
                name,
                path,
                file: Arc::new(Memory(bytes.to_vec())),
            }
        })
        .collect();
    let mut entries = None;
    for access in [Access::Read, Access::Repair, Access::Write] {
        let mut replay = Replay::from(walpb::Snapshot::default());
        if walk(&segments, access, &mut |at| replay.take(at)).is_ok() {
            entries = Some(replay.entries.len());
        }
    }
    entries
}

/// A `.snap` file. Gives the index it holds, if it is accepted.
pub fn snap(bytes: &[u8]) -> Option<u64> {
    snap::decode(Bytes::copy_from_slice(bytes))
        .ok()
        .map(|snapshot| snapshot.metadata.index)
}

/// A file name in either directory.
pub fn name(text: &str) -> bool {
    Path::new(text).is_relative() && SegmentName::parse(text).is_some()
}
