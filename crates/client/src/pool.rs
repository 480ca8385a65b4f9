//! The endpoints and their connections. All endpoints are dialled at once, and
//! calls take turns among those that are open, as with etcd's Go client. A
//! connection is opened, and the server has spoken on it, before a request is
//! handed to it, so that "could not connect" and "the request may have been sent"
//! stay two different things, and a member that hangs costs nothing.

use std::{
    error::Error as StdError,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tonic::transport::Channel;

use crate::{
    Config, EndpointError,
    dial::{Dialler, Opened},
    endpoint::{Endpoint, Security},
};

/// Pause after an endpoint could not be reached; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(25);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The shortest ping interval servers tolerate with a margin (grpc-go's floor).
const KEEPALIVE_TIME_MIN: Duration = Duration::from_secs(10);
/// How long dialling may take where nothing was said: as long as grpc-go lets it.
const DIAL_DEFAULT: Duration = Duration::from_secs(20);

/// A connection and the endpoint it leads to.
pub(crate) struct Connection {
    pub(crate) channel: Channel,
    slot: Arc<Slot>,
    serial: u64,
}

pub(crate) struct Pool {
    /// Replaced as a whole when the endpoints change.
    slots: Mutex<Slots>,
    shared: Arc<Shared>,
    /// Where the next call looks first.
    turn: AtomicUsize,
}

type Slots = Arc<[Arc<Slot>]>;

/// What the tasks that dial see of the pool.
struct Shared {
    dial_timeout: Duration,
    /// Woken by the end of each attempt to open a connection.
    attempted: Notify,
    /// What the last failed connection attempt said.
    last_error: Mutex<Option<String>>,
}

struct Slot {
    endpoint: Endpoint,
    transport: tonic::transport::Endpoint,
    dialler: Dialler,
    state: Mutex<State>,
}

struct State {
    opened: Option<Opened>,
    /// Number of connections that were opened: tells one from the next.
    serial: u64,
    dialling: bool,
    /// When it may be dialled again, and how much later after the next failure.
    due: Instant,
    pause: Duration,
}

impl Slot {
    fn new(
        endpoint: &Endpoint,
        config: &Config,
        connector: &mut Option<Arc<tls::Connector>>,
    ) -> Result<Self, EndpointError> {
        let secure = match endpoint.security {
            Security::Plain => false,
            Security::Tls => true,
            Security::Open => config.tls_by_default,
        };
        let tls = match secure {
            true => Some(connector_of(endpoint, connector)?),
            false => None,
        };
        let dialler = Dialler::new(endpoint, tls);
        let mut transport = dialler.transport(endpoint)?;
        if let Some((stream, connection)) = config.windows {
            transport = transport
                .initial_stream_window_size(stream)
                .initial_connection_window_size(connection);
        }
        if !config.keepalive_time.is_zero() {
            transport = transport
                .http2_keep_alive_interval(config.keepalive_time.max(KEEPALIVE_TIME_MIN))
                .keep_alive_timeout(config.keepalive_timeout)
                .keep_alive_while_idle(config.keepalive_while_idle);
        }
        Ok(Self {
            endpoint: endpoint.clone(),
            transport,
            dialler,
            state: Mutex::new(State {
                opened: None,
                serial: 0,
                dialling: false,
                due: Instant::now(),
                pause: PAUSE_MIN,
            }),
        })
    }
}

/// `connector`, or one put there that trusts the CAs of this machine.
fn connector_of(
    endpoint: &Endpoint,
    connector: &mut Option<Arc<tls::Connector>>,
) -> Result<Arc<tls::Connector>, EndpointError> {
    if let Some(connector) = connector {
        return Ok(connector.clone());
    }
    let options = tls::ClientOptions {
        alpn: vec![b"h2".to_vec()],
        ..tls::ClientOptions::default()
    };
    let made = tls::Connector::new(options).map_err(|error| EndpointError::Tls {
        endpoint: endpoint.as_str().to_owned(),
        why: error.to_string(),
    })?;
    Ok(connector.insert(Arc::new(made)).clone())
}

/// A slot for each endpoint; those of `present` where it is among them.
fn slots(
    endpoints: &[Endpoint],
    config: &Config,
    present: &[Arc<Slot>],
) -> Result<Slots, EndpointError> {
    let mut connector = config.tls.clone();
    let slot = |endpoint: &Endpoint| {
        let same = present.iter().find(|slot| slot.endpoint == *endpoint);
        match same {
            Some(slot) => Ok(Arc::clone(slot)),
            None => Slot::new(endpoint, config, &mut connector).map(Arc::new),
        }
    };
    endpoints.iter().map(slot).collect()
}

impl Pool {
    /// `config.endpoints` is not empty; `Client` has checked that.
    pub(crate) fn new(config: &Config) -> Result<Self, EndpointError> {
        let slots = slots(&config.endpoints, config, &[])?;
        let dial_timeout = match config.dial_timeout {
            Duration::ZERO => DIAL_DEFAULT,
            limit => limit,
        };
        Ok(Self {
            slots: Mutex::new(slots),
            shared: Arc::new(Shared {
                dial_timeout,
                attempted: Notify::new(),
                last_error: Mutex::new(None),
            }),
            turn: AtomicUsize::new(0),
        })
    }

    /// Takes these endpoints, of which there are some, in place of those of before. Those that were
    /// among them keep their connections; calls on others end with theirs.
    pub(crate) fn replace(
        &self,
        endpoints: &[Endpoint],
        config: &Config,
    ) -> Result<(), EndpointError> {
        let replaced = slots(endpoints, config, &self.slots())?;
        *lock(&self.slots) = replaced;
        self.shared.attempted.notify_waiters();
        Ok(())
    }

    /// The endpoints as they are now.
    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        let slots = self.slots();
        slots.iter().map(|slot| slot.endpoint.clone()).collect()
    }

    fn slots(&self) -> Slots {
        Arc::clone(&lock(&self.slots))
    }

    /// Number of endpoints.
    pub(crate) fn len(&self) -> usize {
        self.slots().len()
    }

    /// A connection to the next endpoint that is open. Waits for ever while none
    /// is: the caller holds the deadline.
    pub(crate) async fn connect(&self) -> Connection {
        loop {
            let attempted = self.shared.attempted.notified();
            tokio::pin!(attempted);
            // From here on no end of an attempt is missed.
            attempted.as_mut().enable();
            let due = self.dial_due();
            if let Some(connection) = self.pick() {
                return connection;
            }
            match due {
                Some(due) => tokio::select! {
                    () = attempted => {}
                    () = sleep_until(due) => {}
                },
                None => attempted.await,
            }
        }
    }

    /// The next open connection, in turn.
    fn pick(&self) -> Option<Connection> {
        let slots = self.slots();
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        (0..slots.len()).find_map(|step| {
            let slot = &slots[first.wrapping_add(step) % slots.len()];
            let state = lock(&slot.state);
            let opened = state.opened.as_ref()?;
            opened.is_alive().then(|| Connection {
                channel: opened.channel.clone(),
                slot: Arc::clone(slot),
                serial: state.serial,
            })
        })
    }

    /// Dials every endpoint without a connection whose time has come; returns
    /// when the next one's comes.
    fn dial_due(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut next: Option<Instant> = None;
        for slot in self.slots().iter() {
            let mut state = lock(&slot.state);
            if state.dialling || state.opened.as_ref().is_some_and(Opened::is_alive) {
                continue;
            }
            if state.due > now {
                next = Some(next.map_or(state.due, |next| next.min(state.due)));
                continue;
            }
            state.dialling = true;
            state.opened = None;
            tokio::spawn(dial(Arc::clone(&self.shared), Arc::clone(slot)));
        }
        next
    }

    /// Gives up `connection`; the endpoint is dialled again in time.
    pub(crate) fn failed(&self, connection: &Connection) {
        let mut state = lock(&connection.slot.state);
        // Another call may have given it up already; then the new one stays.
        if state.serial == connection.serial {
            state.opened = None;
        }
    }

    /// What the last failed connection attempt said.
    pub(crate) fn last_error(&self) -> Option<String> {
        lock(&self.shared.last_error).clone()
    }
}

/// One attempt to open a connection; takes no longer than the dial timeout.
async fn dial(shared: Arc<Shared>, slot: Arc<Slot>) {
    let result = slot
        .dialler
        .open(&slot.transport, shared.dial_timeout)
        .await;
    {
        let mut state = lock(&slot.state);
        state.dialling = false;
        match result {
            Ok(opened) => {
                state.opened = Some(opened);
                state.serial += 1;
                state.pause = PAUSE_MIN;
                // One that ends at once is not dialled again at once.
                state.due = Instant::now() + PAUSE_MIN;
            }
            Err(why) => {
                *lock(&shared.last_error) = Some(format!("{}: {why}", slot.endpoint));
                state.due = Instant::now() + state.pause;
                state.pause = (state.pause * 2).min(PAUSE_MAX);
            }
        }
    }
    shared.attempted.notify_waiters();
}

impl Opened {
    fn is_alive(&self) -> bool {
        self.life.has_changed().is_ok()
    }
}

/// Holds no invariant across a panic, so a poisoned lock is still good.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
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
