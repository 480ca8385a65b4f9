//! Why a command ends without success, by the exit code that etcdutl has for
//! it. Must never hide the file at fault.

use std::{fmt, io, path::Path};

/// A message for a person and the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: i32,
    /// What goes to stderr, after `Error: `.
    pub(crate) message: String,
    /// What goes to stderr before that.
    pub(crate) before: String,
    /// What goes to stdout all the same.
    pub(crate) answer: String,
}

pub(crate) type Outcome<T> = Result<T, Failure>;

impl Failure {
    fn new(code: i32, message: impl fmt::Display) -> Self {
        let message = message.to_string();
        Self {
            code,
            message,
            before: String::new(),
            answer: String::new(),
        }
    }

    /// Exit code 1.
    pub(crate) fn error(message: impl fmt::Display) -> Self {
        Self::new(1, message)
    }

    /// Exit code 4: an output format that does not exist here.
    pub(crate) fn format(message: impl fmt::Display) -> Self {
        Self::new(4, message)
    }

    /// Exit code 128: the arguments make no sense.
    pub(crate) fn arguments(message: impl fmt::Display) -> Self {
        Self::new(128, message)
    }

    /// A file operation, in Go's words: `open x: no such file or directory`.
    pub(crate) fn io(op: &str, path: &Path, error: &io::Error) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::NotFound => "no such file or directory".into(),
            io::ErrorKind::PermissionDenied => "permission denied".into(),
            io::ErrorKind::IsADirectory => "is a directory".into(),
            io::ErrorKind::StorageFull => "no space left on device".into(),
            _ => error.to_string(),
        };
        Self::error(format_args!("{op} {}: {reason}", path.display()))
    }
}

impl From<bolt::Error> for Failure {
    /// etcdutl says `invalid database` and no more; what follows here says
    /// which bytes.
    fn from(error: bolt::Error) -> Self {
        if error.is_corruption() {
            Self::error(format_args!("invalid database: {error}"))
        } else {
            Self::error(error)
        }
    }
}

impl From<wal::Error> for Failure {
    fn from(error: wal::Error) -> Self {
        Self::error(error)
    }
}

/// Creates a folder for its owner alone, and those above it; one that exists stays as it is.
pub(crate) fn make_dir(dir: &Path) -> Outcome<()> {
    cli::private::folder(dir).map_err(|e| Failure::io("mkdir", dir, &e))
}
