//! What the checks are given besides the members.

use crate::facts::Certificate;

/// Why a backup or an image was not verified, human-readable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unverified(pub String);

/// Why the members' keys could not be compared, human-readable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotCompared(pub String);

/// What is asked of the checks, beside the members.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Endpoints that did not answer, each with the reason.
    pub silent: Vec<(String, String)>,
    /// Flags with which the members run, if a manifest or command line was shown.
    pub flags: Option<Vec<String>>,
    /// A backup that was verified: where, and how it came out.
    pub backup: Option<(String, Result<String, Unverified>)>,
    /// Hashes of all keys at one revision, by member, or why there are none.
    pub hashes: Option<Result<Vec<(String, u32)>, NotCompared>>,
    /// Whether the members stay up on the way: they change their line.
    pub no_restarts: bool,
    /// Learners that the target allows.
    pub learners_max: usize,
    /// Whether what goes with the backup says how to restore it for caches.
    pub restore_is_planned: bool,
    /// Certificate files: of the client, and those that a manifest names.
    pub certificates: Vec<Certificate>,
    /// The time, in seconds since 1970.
    pub now: i64,
    /// API servers, from their manifests.
    pub api_servers: Vec<ApiServer>,
    /// An image and how its verification came out.
    pub image: Option<(String, Result<String, Unverified>)>,
}

/// What the manifest of an API server says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiServer {
    /// Where it lies.
    pub path: String,
    /// The Kubernetes minor version in the tag of its image.
    pub minor: Option<u64>,
    /// `--etcd-servers`.
    pub etcd_servers: Vec<String>,
}

/// The time, in seconds since 1970.
pub fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}
