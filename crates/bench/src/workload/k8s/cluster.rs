//! What sample cluster to play.

use clap::Args;

/// Flags of `k8s` beside the common ones; --keys is the number of objects.
#[derive(Debug, Clone, PartialEq, Args)]
pub(crate) struct Cluster {
    /// Copies of the watches: each apiserver watches every resource.
    #[arg(long, default_value_t = 2)]
    pub(super) apiservers: usize,
    /// Percent of updates that bear a stale revision.
    #[arg(long, default_value_t = 5)]
    pub(super) conflicts: u64,
    /// Percent of requests that read one key.
    #[arg(long, default_value_t = 20)]
    pub(super) gets: u64,
    /// Keys of a list page.
    #[arg(long, default_value_t = 500)]
    pub(super) limit: i64,
    /// Milliseconds between the lists of one resource after another.
    #[arg(long, default_value_t = 200)]
    pub(super) list_ms: u64,
    /// Milliseconds between compactions. Kubernetes waits five minutes.
    #[arg(long, default_value_t = 2000)]
    pub(super) compact_ms: u64,
    /// Milliseconds between progress requests on every watch stream.
    #[arg(long, default_value_t = 100)]
    pub(super) progress_ms: u64,
}
