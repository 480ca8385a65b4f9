//! What a [`Client`](crate::Client) is told before it starts.

use std::{sync::Arc, time::Duration};

use crate::Endpoint;

/// A user of etcd's own auth, as `Authenticate` takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub name: String,
    /// Password in clear text; empty is allowed by the API.
    pub password: String,
}

/// Everything a client needs to know. `Config::new` gives etcd's defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// All are dialled at once; calls take turns among those that answer.
    pub endpoints: Vec<Endpoint>,
    /// Limit for opening one connection, until the server has spoken; 0 is 20 s.
    pub dial_timeout: Duration,
    /// Limit for a unary call with all its retries; `None` waits for ever.
    /// Streams are not limited by it.
    pub command_timeout: Option<Duration>,
    /// Interval of HTTP/2 pings while calls are open. Servers end connections
    /// that ping more than every 5 s, so anything shorter than 10 s is raised
    /// to 10 s, as grpc-go does; 0 is none.
    pub keepalive_time: Duration,
    /// How long a ping may stay unanswered before the connection is given up.
    pub keepalive_timeout: Duration,
    /// Pings are sent while no call is open too.
    pub keepalive_while_idle: bool,
    /// Log in as this user before the first call.
    pub credentials: Option<Credentials>,
    /// Largest request in bytes that is sent; larger ones fail at once.
    pub max_send_bytes: usize,
    /// Largest answer in bytes that is read.
    pub max_recv_bytes: usize,
    /// Bytes that a server may send on a stream, and on a connection, before they are taken; `None`
    /// for what the transport has. Who takes streams slowly needs many of the first in the second.
    pub windows: Option<(u32, u32)>,
    /// How https endpoints are dialled; `None` verifies them by the CAs of this
    /// machine and shows no certificate.
    pub tls: Option<Arc<tls::Connector>>,
    /// Endpoints without a scheme, and unix sockets, speak TLS too.
    pub tls_by_default: bool,
    /// Send `hasleader`: a member without a leader then refuses, and ends
    /// streams, instead of waiting.
    pub require_leader: bool,
}

impl Config {
    /// The defaults of etcdctl and of the Go client for these endpoints.
    #[must_use]
    pub fn new(endpoints: Vec<Endpoint>) -> Self {
        Self {
            endpoints,
            dial_timeout: Duration::from_secs(2),
            command_timeout: Some(Duration::from_secs(5)),
            keepalive_time: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(6),
            keepalive_while_idle: false,
            credentials: None,
            max_send_bytes: 2 * 1024 * 1024,
            max_recv_bytes: usize::MAX,
            windows: None,
            tls: None,
            tls_by_default: false,
            require_leader: false,
        }
    }
}
