//! The endpoints and their connections. One endpoint is current; a failure
//! moves on to the next. A connection is opened before a request is handed to
//! it, so that "could not connect" and "the request may have been sent" stay
//! two different things.

use std::{
    error::Error as StdError,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tonic::transport::Channel;

use crate::{Config, Endpoint, endpoint::Security, secure::Dialler};

/// Pause after a round in which no endpoint could be reached; doubles up to
/// [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(25);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The shortest ping interval servers tolerate with a margin (grpc-go's floor).
const KEEPALIVE_TIME_MIN: Duration = Duration::from_secs(10);

/// A connection and the endpoint it leads to.
pub(crate) struct Connection {
    pub(crate) channel: Channel,
    slot: usize,
}

pub(crate) struct Pool {
    slots: Vec<Slot>,
    current: AtomicUsize,
    /// What the last failed connection attempt said.
    last_error: Mutex<Option<String>>,
}

struct Slot {
    endpoint: Endpoint,
    dial: tonic::transport::Endpoint,
    /// Makes the connection when it is to be secure.
    tls: Option<Dialler>,
    channel: Mutex<Option<Channel>>,
}

impl Pool {
    /// `config.endpoints` is not empty; `Client` has checked that.
    pub(crate) fn new(config: &Config) -> Result<Self, crate::EndpointError> {
        let mut slots = Vec::with_capacity(config.endpoints.len());
        let mut connector = config.tls.clone();
        for endpoint in &config.endpoints {
            let secure = match endpoint.security {
                Security::Plain => false,
                Security::Tls => true,
                Security::Open => config.tls_by_default,
            };
            let tls = match secure {
                true => Some(Dialler::new(endpoint, &mut connector, config.dial_timeout)?),
                false => None,
            };
            let uri = tls.as_ref().map_or(endpoint.uri(), Dialler::uri);
            let dial = tonic::transport::Endpoint::from_shared(uri.to_owned())
                .map_err(|_| crate::EndpointError::Malformed(endpoint.as_str().to_owned()))?
                .connect_timeout(config.dial_timeout)
                .http2_keep_alive_interval(config.keepalive_time.max(KEEPALIVE_TIME_MIN))
                .keep_alive_timeout(config.keepalive_timeout);
            let dial = match tls.as_ref().and_then(Dialler::origin) {
                Some(origin) => dial.origin(origin),
                None => dial,
            };
            slots.push(Slot {
                endpoint: endpoint.clone(),
                dial,
                tls,
                channel: Mutex::new(None),
            });
        }
        Ok(Self {
            slots,
            current: AtomicUsize::new(0),
            last_error: Mutex::new(None),
        })
    }

    /// Number of endpoints.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// A connection to the current endpoint or the next that can be reached.
    /// Tries for ever: the caller holds the deadline.
    pub(crate) async fn connect(&self) -> Connection {
        let mut pause = PAUSE_MIN;
        loop {
            let first = self.current.load(Ordering::Relaxed);
            for step in 0..self.slots.len() {
                let slot = (first + step) % self.slots.len();
                if let Some(channel) = self.dial(slot).await {
                    self.current.store(slot, Ordering::Relaxed);
                    return Connection { channel, slot };
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn dial(&self, at: usize) -> Option<Channel> {
        let slot = &self.slots[at];
        if let Some(channel) = lock(&slot.channel).clone() {
            return Some(channel);
        }
        let connected = match &slot.tls {
            Some(dialler) => slot.dial.connect_with_connector(dialler.clone()).await,
            None => slot.dial.connect().await,
        };
        match connected {
            Ok(channel) => {
                *lock(&slot.channel) = Some(channel.clone());
                Some(channel)
            }
            Err(error) => {
                *lock(&self.last_error) = Some(format!("{}: {}", slot.endpoint, root(&error)));
                None
            }
        }
    }

    /// Gives up `connection` and makes the endpoint after it current.
    pub(crate) fn failed(&self, connection: &Connection) {
        *lock(&self.slots[connection.slot].channel) = None;
        let next = (connection.slot + 1) % self.slots.len();
        // Another call may have moved on already; then its choice stands.
        let _ = self.current.compare_exchange(
            connection.slot,
            next,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    /// What the last failed connection attempt said.
    pub(crate) fn last_error(&self) -> Option<String> {
        lock(&self.last_error).clone()
    }
}

/// Holds no invariant across a panic, so a poisoned lock is still good.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The innermost cause: "Connection refused" rather than "transport error".
pub(crate) fn root(error: &(dyn StdError + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// How much of a request may have reached a server that answered `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// No connection came about: nothing was sent.
    NotSent,
    /// The connection broke: unknown.
    Unknown,
    /// The server itself answered.
    Answered,
}

/// What hyper says of a request that found its connection closed already, so
/// that it was handed back unsent. A request cancelled in any other way may
/// have left.
const NOT_DISPATCHED: [&str; 2] = ["connection was not ready", "connection closed"];

fn never_dispatched(error: &(dyn StdError + 'static)) -> bool {
    error.downcast_ref::<hyper::Error>().is_some_and(|error| {
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        error.is_canceled() && NOT_DISPATCHED.contains(&cause.as_str())
    })
}

pub(crate) fn reach(status: &tonic::Status) -> Reach {
    let Some(mut error) = StdError::source(status) else {
        return Reach::Answered;
    };
    loop {
        if error.is::<tonic::ConnectError>() || never_dispatched(error) {
            return Reach::NotSent;
        }
        match error.source() {
            Some(source) => error = source,
            None => return Reach::Unknown,
        }
    }
}
