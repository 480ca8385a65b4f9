//! How a command fails: an exit code (docs/design/commands.md) and what stderr shows.

use client::Error;

/// General failure, among them every refusal by the server.
pub(crate) const EXIT_ERROR: i32 = 1;
/// No client could be built, or a stream could not be opened.
pub(crate) const EXIT_CONNECTION: i32 = 2;
/// Text from stdin that does not parse.
pub(crate) const EXIT_INVALID_INPUT: i32 = 3;
/// A value of a flag that is known but not supported here.
pub(crate) const EXIT_FEATURE: i32 = 4;
/// Interrupted: watch canceled by the server, snapshot not saved.
pub(crate) const EXIT_INTERRUPTED: i32 = 5;
/// Reading or writing of stdin or stdout failed.
pub(crate) const EXIT_IO: i32 = 6;
/// Wrong number or form of arguments.
pub(crate) const EXIT_BAD_ARGS: i32 = 128;

/// The end of a command that did not succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: i32,
    /// Shown as `Error: <message>`; `None` when all was said already.
    pub(crate) message: Option<String>,
    /// A line of advice below it.
    pub(crate) hint: Option<String>,
}

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: Some(message.into()),
            hint: None,
        }
    }

    pub(crate) fn bad_args(message: impl Into<String>) -> Self {
        Self::new(EXIT_BAD_ARGS, message)
    }

    /// Ends with `code` and no further word.
    pub(crate) fn silent(code: i32) -> Self {
        Self {
            code,
            message: None,
            hint: None,
        }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A failed call, with another exit code than [`EXIT_ERROR`].
    pub(crate) fn call(code: i32, error: &Error) -> Self {
        let failure = Self::new(code, error.to_string());
        match cause(error) {
            Some(cause) => failure.with_hint(cause),
            None => failure,
        }
    }
}

/// The cause of a missed deadline, human-readable: which endpoint said what.
pub(crate) fn cause(error: &Error) -> Option<String> {
    match error {
        Error::Deadline { last: Some(last) } => Some(format!("last connection attempt: {last}")),
        _ => None,
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::call(EXIT_ERROR, &error)
    }
}
