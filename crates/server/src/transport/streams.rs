//! How many calls of the gateway run at a time. In etcd the gateway of a listener is a client of
//! the gRPC server over one connection, so that `--max-concurrent-streams` bounds all of its
//! calls together, and one too many waits until another ends.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::{
    core::Core,
    status::{Status, errors},
};

/// The streams of one listener's gateway, whichever thread serves the connections.
#[derive(Clone)]
pub(super) struct Streams(Arc<Semaphore>);

/// One call, from its begin until this is dropped.
pub(super) struct OpenStream {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Streams {
    /// Room for `max` calls.
    pub(super) fn new(max: u32) -> Streams {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        Streams(Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))))
    }

    /// Begins a call as soon as there is room, first come, first served. Those who wait are as
    /// many as the connections of the listener and their own streams at most.
    pub(super) async fn open(
        &self,
        core: &Core,
        timeout: Option<Duration>,
    ) -> Result<OpenStream, Status> {
        let permit = self.0.clone().acquire_owned();
        let mut stop = core.stop.subscribe();
        let late = async {
            match timeout {
                Some(timeout) => tokio::time::sleep_until(Instant::now() + timeout).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            // Closed by no one, so there always is one.
            permit = permit => Ok(OpenStream { _permit: permit.ok() }),
            () = late => Err(errors::DEADLINE_EXCEEDED),
            _ = stop.wait_for(|stop| *stop) => Err(errors::STOPPED),
        }
    }
}
