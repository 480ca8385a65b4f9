//! From the first client to the last: why a server ends, and how it takes leave.

use std::{io, rc::Rc, time::Duration};

use tokio::signal::unix::{SignalKind, signal};

use super::runtimes::drain;
use crate::{
    config::Config,
    duties,
    runtime::Runtime,
    transport::{Listeners, Surface},
};

/// Why the server stops.
#[derive(Clone, Copy)]
pub enum Ending {
    /// This signal came.
    Signal(i32),
    /// The member was removed from the cluster.
    Removed,
}

/// A member that was removed goes on this long.
const LEAVE_DELAY: Duration = Duration::from_secs(1);

/// Serves clients until the server is to end, and lets them go.
///
/// # Errors
/// A signal or a listener is not to be had.
pub(super) async fn serve(rt: Rc<Runtime>, mut listeners: Listeners) -> io::Result<Ending> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut removed = rt.core.removed.subscribe();
    duties::start(&rt);
    listeners.serve(&rt, |surface| surface == Surface::Metrics)?;
    let ready = async {
        duties::announce(&rt).await;
        tracing::info!("ready to serve client requests");
        listeners.serve(&rt, |_| true)?;
        announce_clients(&rt.core.config);
        notify_init();
        std::future::pending::<std::io::Result<()>>().await
    };
    let ending = tokio::select! {
        result = ready => return result.map(|()| Ending::Signal(1)),
        _ = terminate.recv() => Ending::Signal(15),
        _ = interrupt.recv() => Ending::Signal(2),
        _ = removed.wait_for(|removed| *removed) => Ending::Removed,
    };
    announce_end(ending).await;
    rt.core.stop.send_replace(true);
    drain(&rt).await;
    if matches!(ending, Ending::Signal(_)) {
        // Only now: a request on its way would be lost with the leadership.
        duties::give_up_leadership(&rt).await;
    }
    rt.core.over.send_replace(true);
    Ok(ending)
}

async fn announce_end(ending: Ending) {
    match ending {
        Ending::Signal(number) => {
            let name = if number == 15 {
                "terminated"
            } else {
                "interrupt"
            };
            tracing::info!(signal = name, "received signal; shutting down");
            tracing::info!("closing etcd server");
        }
        Ending::Removed => {
            // The others may still want to hear that the change is applied.
            tokio::time::sleep(LEAVE_DELAY).await;
            tracing::warn!(
                error = "the member has been permanently removed from the cluster",
                "server error"
            );
            tracing::warn!("data-dir used by this member must be removed");
        }
    }
}

/// How clients are served, for each listener, as etcd says it.
fn announce_clients(config: &Config) {
    let split = !config.listen_client_http.is_empty();
    let grpc = if split { "grpc" } else { "grpc+http" };
    let both = [
        (&config.listen_client, grpc),
        (&config.listen_client_http, "http"),
    ];
    for (urls, traffic) in both {
        for url in urls {
            if url.secure {
                tracing::info!(
                    traffic = traffic,
                    address = url.url,
                    "serving client traffic securely"
                );
            } else {
                tracing::info!(
                    traffic = traffic,
                    address = url.url,
                    "serving client traffic insecurely; this is strongly discouraged!"
                );
            }
        }
    }
}

/// Tells systemd that the server is ready, when it asked for it.
pub fn notify_init() {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    tracing::info!("notifying init daemon");
    let sent = std::os::unix::net::UnixDatagram::unbound()
        .and_then(|socket| socket.send_to(b"READY=1", &path));
    match sent {
        Ok(_) => tracing::info!("successfully notified init daemon"),
        Err(error) => tracing::error!(error = %error, "failed to notify systemd for readiness"),
    }
}
