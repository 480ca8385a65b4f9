//! Why settings are refused.

/// Why settings cannot be read, and the exit code that etcd has for it.
#[derive(Debug, PartialEq, Eq)]
pub struct ParseError {
    /// For standard error.
    pub message: String,
    /// 2 for usage, 1 for configuration.
    pub exit_code: i32,
    /// The variable that says what a flag says as well, if that is the error.
    pub conflict: Option<String>,
}

impl ParseError {
    pub(super) fn usage(message: impl Into<String>) -> ParseError {
        ParseError {
            message: message.into(),
            exit_code: 2,
            conflict: None,
        }
    }

    pub(super) fn config(message: impl Into<String>) -> ParseError {
        ParseError {
            message: message.into(),
            exit_code: 1,
            conflict: None,
        }
    }

    /// etcd takes an empty variable for a conflict as well.
    pub(super) fn conflict(variable: String) -> ParseError {
        ParseError {
            message: format!(
                "conflicting environment variable \"{variable}\" is shadowed by corresponding command-line flag (either unset environment variable or disable flag)"
            ),
            exit_code: 1,
            conflict: Some(variable),
        }
    }
}
