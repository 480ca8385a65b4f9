//! Why an image is not what it should be, by what a person can do about it.

use std::{fmt, io, path::Path};

use crate::{BadDigest, Digest};

/// Why an image was refused, or could not be examined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The question cannot be asked: the digest or the platform is none.
    #[error("{0}")]
    Question(String),
    /// The file or folder could not be read. Nothing is known of the image.
    #[error("{path}: {source}")]
    Unreadable {
        /// What was being read.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// It is something else than an image.
    #[error("{path} is not an image: {why}")]
    NotAnImage {
        /// The file or folder.
        path: String,
        /// What was found instead.
        why: String,
    },
    /// An image, but not the one that was pinned.
    #[error(
        "{wanted} is not in this image; it holds {}. Either the wrong file was copied here, or the pin is of another release",
        list(found)
    )]
    WrongDigest {
        /// The pin.
        wanted: Digest,
        /// What the image could be pinned by: what it is, and its digest.
        found: Vec<(String, Digest)>,
    },
    /// It ends early, or its bytes are not those that its digests promise.
    #[error("the image is damaged: {0}. Copy it here again")]
    Damaged(String),
    /// Its documents contradict each other.
    #[error("the image contradicts itself: {0}")]
    Inconsistent(String),
    /// It would write outside the folder that it is unpacked into.
    #[error("the image is not safe to unpack: {0}")]
    Unsafe(String),
    /// It claims or needs more than an image of etcd can.
    #[error("the image is too large: {0}")]
    TooLarge(String),
    /// It uses a form that is not read here.
    #[error("{0}")]
    Unsupported(String),
    /// It is built for other machines.
    #[error("the image is for {found}, and {wanted} is wanted")]
    WrongPlatform {
        /// As `linux/amd64`.
        wanted: String,
        /// The platforms that it has.
        found: String,
    },
    /// A program that has to be in it is not.
    #[error("the image cannot run etcd: {0}")]
    NoProgram(String),
    /// A program in it is not of the version that the image's label says.
    #[error("the label says that {program} is {version}, but the program does not hold that text")]
    WrongVersion {
        /// The program.
        program: String,
        /// What the label says.
        version: String,
    },
}

fn list(found: &[(String, Digest)]) -> String {
    let names: Vec<String> = found
        .iter()
        .map(|(what, d)| format!("{what} {d}"))
        .collect();
    match names.is_empty() {
        true => "no image".into(),
        false => names.join(", "),
    }
}

impl Error {
    /// Whether this is a verdict on the image; otherwise it could not be judged.
    #[must_use]
    pub fn is_verdict(&self) -> bool {
        !matches!(
            self,
            Error::Question(_) | Error::Unreadable { .. } | Error::Unsupported(_)
        )
    }

    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        Error::Unreadable {
            path: path.display().to_string(),
            source,
        }
    }

    pub(crate) fn not_an_image(path: &Path, why: impl fmt::Display) -> Self {
        Error::NotAnImage {
            path: path.display().to_string(),
            why: why.to_string(),
        }
    }
}

impl From<BadDigest> for Error {
    fn from(bad: BadDigest) -> Error {
        Error::Question(bad.to_string())
    }
}
