//! A log file that is set aside when it has its size, under a name with the time, as etcd's
//! rotation does it: old files are compressed, and removed by age and count, by a thread of their
//! own. It must never lose a line that could be written.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::mpsc::{SyncSender, TrySendError, sync_channel},
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use time::{
    OffsetDateTime, PrimitiveDateTime, format_description::BorrowedFormatItem,
    macros::format_description,
};

use crate::config::Rotation;

/// The time in the name of an old file.
const STAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]-[minute]-[second].[subsecond digits:3]");
const COMPRESSED: &str = ".gz";
const MEGABYTE: u64 = 1 << 20;
/// Megabytes of a file where the setting says none.
const DEFAULT_SIZE: u64 = 100;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The file that is written to.
pub(super) struct Rotating {
    path: PathBuf,
    file: File,
    size: u64,
    size_max: u64,
    local_time: bool,
    tidy: SyncSender<()>,
}

impl Rotating {
    /// Opens the file, and tidies up among its old ones.
    pub(super) fn open(path: &Path, rotation: &Rotation) -> io::Result<Self> {
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            fs::create_dir_all(dir)?;
        }
        let file = append_to(path)?;
        let size = file.metadata()?.len();
        // One request that waits is enough: it is for everything that is there by then.
        let (tidy, requests) = sync_channel(1);
        let old = Old {
            path: path.to_owned(),
            rotation: rotation.clone(),
        };
        std::thread::Builder::new()
            .name("log files".into())
            .spawn(move || requests.into_iter().for_each(|()| old.tidy()))?;
        let rotating = Self {
            path: path.to_owned(),
            file,
            size,
            size_max: match rotation.max_size {
                0 => DEFAULT_SIZE,
                megabytes => megabytes,
            }
            .saturating_mul(MEGABYTE),
            local_time: rotation.local_time,
            tidy,
        };
        rotating.ask_to_tidy();
        Ok(rotating)
    }

    /// Writes a line, into a new file if this one would become too large.
    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        if self.size > 0 && self.size.saturating_add(length) > self.size_max {
            // A file that cannot be set aside grows on.
            match self.set_aside() {
                Ok(file) => (self.file, self.size) = (file, 0),
                Err(_) => self.size = 0,
            }
            self.ask_to_tidy();
        }
        self.file.write_all(line)?;
        self.size += length;
        Ok(())
    }

    fn set_aside(&self) -> io::Result<File> {
        let mode = self.file.metadata()?.permissions().mode();
        fs::rename(&self.path, old_name(&self.path, now(self.local_time)))?;
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(mode)
            .open(&self.path)
    }

    fn ask_to_tidy(&self) {
        match self.tidy.try_send(()) {
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

/// What is before and after the time in the names of old files.
fn around(path: &Path) -> (String, String) {
    let lossy = |part: Option<&std::ffi::OsStr>| {
        part.map(|part| part.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let extension = path
        .extension()
        .map(|extension| format!(".{}", extension.to_string_lossy()));
    (lossy(path.file_stem()) + "-", extension.unwrap_or_default())
}

fn old_name(path: &Path, time: PrimitiveDateTime) -> PathBuf {
    let (before, after) = around(path);
    let stamp = time.format(&STAMP).unwrap_or_default();
    path.with_file_name(format!("{before}{stamp}{after}"))
}

fn now(local: bool) -> PrimitiveDateTime {
    let now = OffsetDateTime::now_utc();
    let shift = if local {
        local_offset(now)
    } else {
        time::Duration::ZERO
    };
    let shown = now + shift;
    PrimitiveDateTime::new(shown.date(), shown.time())
}

/// How far the clock of this computer is ahead of UTC.
fn local_offset(now: OffsetDateTime) -> time::Duration {
    let seconds = now.unix_timestamp();
    // SAFETY: both pointers are to values of this frame, which the call reads and fills; the value
    // is one of plain numbers and a pointer that is not used.
    let offset = unsafe {
        let mut parts = std::mem::zeroed::<libc::tm>();
        match libc::localtime_r(&raw const seconds, &raw mut parts) {
            parts if parts.is_null() => 0,
            parts => (*parts).tm_gmtoff,
        }
    };
    time::Duration::seconds(offset)
}

/// The old files of one log.
struct Old {
    path: PathBuf,
    rotation: Rotation,
}

impl Old {
    /// Removes what is too old or too much, compresses the rest. What fails is tried again with the
    /// next file: a log has no place to complain about itself.
    fn tidy(&self) {
        let Rotation {
            max_age,
            max_backups,
            compress,
            ..
        } = self.rotation;
        let mut files = self.files();
        files.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
        let oldest = now(self.rotation.local_time).checked_sub(
            DAY.saturating_mul(max_age)
                .try_into()
                .unwrap_or(time::Duration::MAX),
        );
        let mut times: Vec<PrimitiveDateTime> = files.iter().map(|(time, _)| *time).collect();
        times.dedup();
        for (time, file) in files {
            let place = times.iter().position(|known| *known == time);
            let too_many = max_backups > 0 && place.is_some_and(|at| at >= max_backups);
            let too_old = max_age > 0 && oldest.is_some_and(|oldest| time < oldest);
            // A log has no place to complain about itself.
            let _ = if too_many || too_old {
                fs::remove_file(&file)
            } else if compress && file.extension().is_none_or(|end| end != "gz") {
                compressed(&file)
            } else {
                Ok(())
            };
        }
    }

    fn files(&self) -> Vec<(PrimitiveDateTime, PathBuf)> {
        let (before, after) = around(&self.path);
        let dir = match self.path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let Ok(entries) = fs::read_dir(dir) else {
            return Vec::new();
        };
        let names = entries.flatten().filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let rest = name.strip_prefix(&before)?;
            let rest = rest.strip_suffix(COMPRESSED).unwrap_or(rest);
            let stamp = rest.strip_suffix(&after)?;
            let time = PrimitiveDateTime::parse(stamp, &STAMP).ok()?;
            Some((time, entry.path()))
        });
        names.collect()
    }
}

/// Puts a compressed copy in the place of a file.
fn compressed(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(COMPRESSED);
    let target = PathBuf::from(name);
    let mut source = File::open(path)?;
    let mode = source.metadata()?.permissions().mode();
    let file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(mode)
        .open(&target)?;
    let mut encoder = GzEncoder::new(file, Compression::default());
    let copied = io::copy(&mut source, &mut encoder).and_then(|_| encoder.finish().map(drop));
    match copied {
        Ok(()) => fs::remove_file(path),
        Err(error) => {
            let _ = fs::remove_file(&target);
            Err(error)
        }
    }
}
