//! `snapshot save`: a member's backend into a file. The file appears under its
//! name only when it is whole, its checksum is right and it is on disk; until
//! then it is `<name>.<random>.part`, which is removed on every exit.

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use cli::{flags::Parsed, private::Part};
use client::SnapshotStream;
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};

use crate::{
    failure::{EXIT_BAD_ARGS, EXIT_INTERRUPTED, Failure, Outcome},
    global::Global,
    terminal::print_all,
};

/// The database is whole pages, and every page size is a multiple of this, so
/// a stream with its checksum ends [`CHECKSUM_SIZE`] beyond one.
const PAGE_SIZE_UNIT: u64 = 512;
/// A SHA-256 ends the stream.
const CHECKSUM_SIZE: usize = 32;

/// `etcdctl snapshot save`.
pub(crate) async fn save(parsed: &mut Parsed) -> Outcome {
    let [path] = parsed.args.as_slice() else {
        return Err(Failure::new(
            EXIT_BAD_ARGS,
            "snapshot save expects one argument",
        ));
    };
    let path = PathBuf::from(
        <std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(path.clone()),
    );
    let global = Global::resolve(parsed)?;
    if global.endpoints.len() != 1 {
        return Err(interrupted(format!(
            "snapshot must be requested to one selected node, not multiple [{}]",
            global.endpoints.join(" ")
        )));
    }
    let client = global.client().await?;
    cli::interrupt::listen();
    let part = create(&path)?;
    let work = async {
        let stream = client
            .snapshot()
            .await
            .map_err(|error| Failure::call(EXIT_INTERRUPTED, &error))?;
        fill(&part, stream).await
    };
    let finished = if global.timeout_given {
        tokio::time::timeout(global.command_timeout(), work)
            .await
            .unwrap_or_else(|_| Err(interrupted("context deadline exceeded")))
    } else {
        work.await
    };
    let version = finished?;
    finish(part, &path)?;
    let mut said = format!("Snapshot saved at {}\n", path.display());
    if !version.is_empty() {
        said.push_str(&format!("Server version {version}\n"));
    }
    print_all(said.as_bytes())
}

fn interrupted(message: impl Into<String>) -> Failure {
    Failure::new(EXIT_INTERRUPTED, message)
}

/// Begins the file.
fn create(target: &Path) -> Outcome<Part> {
    Part::of(target).map_err(|error| {
        let (path, error) = (target.display(), go_text(&error));
        interrupted(format!(
            "could not open {path}.part (open {path}.part: {error})"
        ))
    })
}

/// Receives the stream, checks it and writes it. What it says of the version of the database's
/// schema; nothing before 3.6.
async fn fill(part: &Part, mut stream: SnapshotStream) -> Outcome<String> {
    let failed =
        |error: io::Error| interrupted(format!("writing {}: {error}", part.path().display()));
    let mut progress = None;
    let mut checksum = Checksum::default();
    let mut version = String::new();
    while let Some(response) = stream
        .message()
        .await
        .map_err(|error| Failure::call(EXIT_INTERRUPTED, &error))?
    {
        version = response.version;
        part.file().write_all(&response.blob).map_err(failed)?;
        checksum.update(&response.blob);
        progress
            .get_or_insert_with(|| bar(checksum.size + response.remaining_bytes))
            .set_position(checksum.size);
    }
    if let Some(progress) = progress {
        progress.finish_and_clear();
    }
    checksum.verify()?;
    Ok(version)
}

/// Gives the file its name.
fn finish(part: Part, target: &Path) -> Outcome {
    let from = part.path().display().to_string();
    part.complete().map_err(|error| {
        interrupted(format!(
            "could not rename {from} to {} ({error})",
            target.display()
        ))
    })
}

/// A bar for people; nothing when no one is watching.
fn bar(total: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total);
    if let Ok(style) = ProgressStyle::with_template(
        "{bar:30} {percent:>3}%  {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left",
    ) {
        bar.set_style(style);
    }
    bar
}

/// Hashes all but the last [`CHECKSUM_SIZE`] bytes, which are the hash.
#[derive(Default)]
pub(crate) struct Checksum {
    hasher: Sha256,
    /// The last bytes seen, at most [`CHECKSUM_SIZE`] between updates.
    tail: Vec<u8>,
    size: u64,
}

impl Checksum {
    pub(crate) fn update(&mut self, blob: &[u8]) {
        self.size += blob.len() as u64;
        self.tail.extend_from_slice(blob);
        let hashed = self.tail.len().saturating_sub(CHECKSUM_SIZE);
        self.hasher.update(&self.tail[..hashed]);
        self.tail.drain(..hashed);
    }

    pub(crate) fn verify(self) -> Outcome {
        if self.size % PAGE_SIZE_UNIT != CHECKSUM_SIZE as u64 {
            return Err(interrupted(format!(
                "sha256 checksum not found [bytes: {}]",
                self.size
            )));
        }
        if self.hasher.finalize().as_slice() != self.tail {
            return Err(interrupted(
                "the snapshot's SHA-256 does not match its content: it was damaged on its way; \
                 save it again",
            ));
        }
        Ok(())
    }
}

/// Go's words for the errors people meet here.
fn go_text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::IsADirectory => "is a directory".into(),
        io::ErrorKind::NotADirectory => "not a directory".into(),
        _ => error.to_string(),
    }
}
