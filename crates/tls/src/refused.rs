//! Why a connection was refused, worded as Go words it: operators search their
//! logs for these texts.

use std::io;

use crate::{Leaf, verify::Shown, wording::describe};

/// A handshake that came to nothing.
#[derive(Debug)]
pub struct Refused {
    /// What was wrong.
    pub reason: String,
    /// The other side just went away: not worth a warning.
    pub eof: bool,
    /// The host the client asked for (SNI), if it got that far.
    pub server_name: String,
    /// The certificate the client showed, if it got that far.
    pub peer: Option<Leaf>,
}

impl Refused {
    fn plain(reason: impl Into<String>, eof: bool) -> Self {
        Refused {
            reason: reason.into(),
            eof,
            server_name: String::new(),
            peer: None,
        }
    }

    pub(crate) fn eof() -> Self {
        Refused::plain("EOF", true)
    }

    pub(crate) fn timeout() -> Self {
        Refused::plain("i/o timeout: the TLS handshake took too long", false)
    }

    pub(crate) fn not_tls() -> Self {
        Refused::plain(
            "tls: first record does not look like a TLS handshake",
            false,
        )
    }

    pub(crate) fn io(error: &io::Error) -> Self {
        Refused::plain(error.to_string(), false)
    }

    pub(crate) fn rule(reason: String, server_name: String, peer: Option<Leaf>) -> Self {
        Refused {
            reason,
            eof: false,
            server_name,
            peer,
        }
    }

    pub(crate) fn handshake(error: &io::Error, server_name: String, shown: Shown) -> Self {
        let eof = error.kind() == io::ErrorKind::UnexpectedEof;
        let reason = match shown.refusal {
            Some(reason) => reason,
            None if eof => "EOF".to_owned(),
            None => describe(error),
        };
        Refused {
            reason,
            eof,
            server_name,
            peer: shown.leaf,
        }
    }
}
