//! What sample cluster to play.

use cli::flags::Parsed;

use crate::options::count;

/// Flags of `k8s` in addition to the common ones; --keys is the number of objects.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cluster {
    /// Copies of the watches: each apiserver watches every resource.
    pub(super) apiservers: usize,
    /// Percent of updates with a stale revision.
    pub(super) conflicts: u64,
    /// Percent of requests that read one key.
    pub(super) gets: u64,
    /// Keys of a list page.
    pub(super) limit: i64,
    /// Milliseconds between the lists of one resource after another.
    pub(super) list_ms: u64,
    /// Milliseconds between compactions. Kubernetes waits five minutes.
    pub(super) compact_ms: u64,
    /// Milliseconds between progress requests on every watch stream.
    pub(super) progress_ms: u64,
}

impl Cluster {
    /// What a line says.
    pub(crate) fn of(parsed: &Parsed) -> Self {
        Self {
            apiservers: count(parsed, "apiservers"),
            conflicts: parsed.uint("conflicts"),
            gets: parsed.uint("gets"),
            limit: parsed.int("limit"),
            list_ms: parsed.uint("list-ms"),
            compact_ms: parsed.uint("compact-ms"),
            progress_ms: parsed.uint("progress-ms"),
        }
    }
}
