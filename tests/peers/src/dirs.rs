//! Data directories as files: copies, contents, deliberate damage. It must
//! never touch a directory that was not handed to it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// Copies a directory tree; holes in preallocated log segments stay holes.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            copy_file(&entry.path(), &target)?;
        }
    }
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<()> {
    use std::os::unix::fs::FileExt as _;
    let bytes = fs::read(from).with_context(|| from.display().to_string())?;
    let file = fs::File::create(to)?;
    const BLOCK: usize = 64 * 1024;
    for (i, block) in bytes.chunks(BLOCK).enumerate() {
        if block.iter().any(|b| *b != 0) {
            file.write_all_at(block, (i * BLOCK) as u64)?;
        }
    }
    file.set_len(bytes.len() as u64)?;
    file.set_permissions(fs::metadata(from)?.permissions())?;
    Ok(())
}

/// Every file under `dir`, sorted, with its bytes. Trailing zeros are cut, so
/// that preallocation does not count.
pub fn contents(dir: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut found = Vec::new();
    visit(dir, &mut |path| {
        let mut bytes = fs::read(path)?;
        let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |p| p + 1);
        bytes.truncate(used);
        found.push((path.strip_prefix(dir).unwrap_or(path).to_owned(), bytes));
        Ok(())
    })?;
    found.sort();
    Ok(found)
}

fn visit(dir: &Path, f: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            visit(&entry.path(), f)?;
        } else {
            f(&entry.path())?;
        }
    }
    Ok(())
}

/// The files of `<data-dir>/member/wal` that end in `.wal`, oldest first.
pub fn segments(data_dir: &Path) -> Result<Vec<PathBuf>> {
    listed(&data_dir.join("member/wal"), ".wal")
}

/// The files of `<data-dir>/member/snap` that end in `.snap`, oldest first.
pub fn snapshots(data_dir: &Path) -> Result<Vec<PathBuf>> {
    listed(&data_dir.join("member/snap"), ".snap")
}

fn listed(dir: &Path, suffix: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(suffix) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// The offset just behind the last byte that is not zero: where the written
/// part of a log segment ends (to within the zeros of the last frame).
pub fn written_end(file: &Path) -> Result<u64> {
    let bytes = fs::read(file)?;
    Ok(bytes
        .iter()
        .rposition(|b| *b != 0)
        .map_or(0, |p| p as u64 + 1))
}

/// Turns one bit of a file over. Done twice it leaves the file as it was.
pub fn flip_bit(file: &Path, offset: u64) -> Result<()> {
    use std::os::unix::fs::FileExt as _;
    let f = fs::OpenOptions::new().read(true).write(true).open(file)?;
    let mut byte = [0u8];
    f.read_exact_at(&mut byte, offset)?;
    byte[0] ^= 0x10;
    f.write_all_at(&byte, offset)?;
    Ok(())
}
