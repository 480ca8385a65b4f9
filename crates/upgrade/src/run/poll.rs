//! The one way to wait for a cluster: what is awaited is tried again and again until it is
//! there, cannot come any more, or the time is over. Programs of this machine, the kubelet
//! and commands, are awaited by the drivers that know them.

use std::time::Duration;

use super::cluster::Cluster;

/// How long to wait between two attempts.
pub(crate) const POLL: Duration = Duration::from_millis(300);

/// What one attempt came to.
pub(crate) enum Attempt<T, E> {
    /// What was awaited.
    Done(T),
    /// Not yet; why.
    Again(E),
    /// It will not come; why.
    Never(E),
}

impl<T, E> From<Result<T, E>> for Attempt<T, E> {
    fn from(outcome: Result<T, E>) -> Attempt<T, E> {
        match outcome {
            Ok(done) => Attempt::Done(done),
            Err(why) => Attempt::Again(why),
        }
    }
}

/// Attempts until it is done, at least once, and not again after `deadline`.
///
/// # Errors
/// What the last attempt came to.
pub(crate) async fn until<T, E>(
    cluster: &impl Cluster,
    deadline: Duration,
    mut attempt: impl AsyncFnMut() -> Attempt<T, E>,
) -> Result<T, E> {
    loop {
        match attempt().await {
            Attempt::Done(done) => return Ok(done),
            Attempt::Never(why) => return Err(why),
            Attempt::Again(why) if cluster.now() >= deadline => return Err(why),
            Attempt::Again(_) => cluster.sleep(POLL).await,
        }
    }
}
