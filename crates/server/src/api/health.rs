//! gRPC health: the whole server serves, except while a defragmentation holds it
//! up and the operator wants clients to go elsewhere meanwhile.

use std::{
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};

use crate::{
    core::Core,
    rpc::Source,
    runtime::Runtime,
    status::{Code, Status},
};

/// Values of `HealthCheckResponse.ServingStatus`.
#[derive(Clone, Copy)]
enum Serving {
    Yes = 1,
    No = 2,
    UnknownService = 3,
}

impl Serving {
    fn of(paused: bool) -> Serving {
        if paused { Serving::No } else { Serving::Yes }
    }

    /// The message, framed: it is one field, and written by hand.
    fn frame(self) -> Bytes {
        Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 0x08, self as u8])
    }
}

/// Field 1 is the service name; the whole server answers to the empty one.
fn is_known(message: &Bytes) -> bool {
    message.is_empty() || message.as_ref() == [0x0a, 0x00]
}

/// `Health.Check`
pub(super) fn check(rt: &Rc<Runtime>, message: &Bytes) -> Result<Bytes, Status> {
    if !is_known(message) {
        return Err(Status::fixed(Code::NotFound, "unknown service"));
    }
    Ok(Serving::of(*rt.core.paused.borrow()).frame())
}

/// `Health.Watch`: the state at once, then every change until the server stops.
pub(super) fn watch(rt: &Rc<Runtime>, message: &Bytes) -> Box<dyn Source> {
    let mut stop = rt.core.stop.subscribe();
    let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
    let changes: Pin<Box<dyn Stream<Item = Serving>>> = if is_known(message) {
        let mut paused = rt.core.paused.subscribe();
        paused.mark_changed();
        Box::pin(stream::unfold(paused, |mut paused| async move {
            paused.changed().await.ok()?;
            let serving = Serving::of(*paused.borrow_and_update());
            Some((serving, paused))
        }))
    } else {
        // A watcher may wait for a service to appear.
        Box::pin(stream::iter([Serving::UnknownService]).chain(stream::pending()))
    };
    Box::new(Changes(Box::pin(changes.take_until(stopped))))
}

struct Changes(Pin<Box<dyn Stream<Item = Serving>>>);

impl Source for Changes {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        let polled = self.0.as_mut().poll_next(cx);
        polled.map(|serving| serving.map(|serving| Ok(serving.frame())))
    }
}

/// While this lives clients are told to go elsewhere, if that is configured.
pub(super) struct Pause(Option<Arc<Core>>);

impl Pause {
    pub(super) fn begin(core: &Arc<Core>) -> Pause {
        if !core.config.stop_grpc_service_on_defrag {
            return Pause(None);
        }
        tracing::warn!(
            service = "",
            status = "NOT_SERVING",
            reason = "defrag is active",
            "grpc service status changed"
        );
        core.paused.send_replace(true);
        Pause(Some(core.clone()))
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        let Some(core) = &self.0 else {
            return;
        };
        tracing::info!(
            service = "",
            status = "SERVING",
            "grpc service status changed"
        );
        core.paused.send_replace(false);
    }
}
