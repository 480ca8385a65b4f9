//! Sockets for [`http2`](crate::http2): any number of connections on the one
//! thread that calls, over epoll. Requests and answers of one wake-up share
//! one write and one read. It never blocks while an answer can be read.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll;
use rustix::io::Errno;

use crate::http2::{Broken, Connection, Handler};

/// How long a server may take to accept a connection and send its settings.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// A run without any answer for this long is given up: etcd itself answers or
/// refuses every request within seven seconds.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The longest sleep, so that Ctrl-C is seen soon.
const NAP: Duration = Duration::from_millis(100);

/// The room for one read. Large enough that a large list takes few calls.
const READ_ROOM: usize = 256 << 10;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on SIGINT and SIGTERM end the run instead of the program.
pub(crate) fn catch_interrupt() {
    std::thread::spawn(|| {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
        else {
            return;
        };
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let Ok(mut term) = signal(SignalKind::terminate()) else {
                return;
            };
            tokio::select! {
                _ = tokio::signal::ctrl_c() => (),
                _ = term.recv() => (),
            }
            INTERRUPTED.store(true, Ordering::Relaxed);
        });
    });
}

/// Whether Ctrl-C was pressed.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// No connection could be made.
    #[error("cannot connect to {0}: {1}. Is the server running, and is this its client port?")]
    Connect(String, String),
    /// The socket ended or broke.
    #[error(
        "the connection to {address} is lost after {answers} answers: {reason}. The server may have died; look at its log"
    )]
    Lost {
        /// Where the server was.
        address: SocketAddr,
        /// Reads that brought something.
        answers: u64,
        /// The system's word.
        reason: String,
    },
    /// The server breaks the protocol.
    #[error("{0}: {1}")]
    Broken(SocketAddr, Broken),
    /// Nothing came for [`SILENCE_MAX`].
    #[error("the server has answered nothing for {} s with {open} calls open", SILENCE_MAX.as_secs())]
    Silent {
        /// Calls that wait.
        open: usize,
    },
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// The workload found that it cannot go on.
    #[error("{0}")]
    Workload(String),
}

/// What a [`Driver`] wants after each wake-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Wait for answers.
    Answers,
    /// Wait for answers, but no longer than until then.
    Until(Instant),
    /// The run is over.
    Done,
}

/// A workload on a set of connections.
pub(crate) trait Driver: Handler {
    /// Called before the first wait and after every wake-up, with the time of it.
    fn turn(&mut self, connections: &mut [Connection], now: Instant) -> Next;
    /// The time of the wake-up, before its answers are handed over.
    fn woke(&mut self, now: Instant);
}

#[derive(Debug)]
struct Link {
    socket: TcpStream,
    address: SocketAddr,
    /// Whether epoll watches for room to write.
    stuck: bool,
    reads: u64,
}

/// Connections to the endpoints in turn, ready for calls.
#[derive(Debug)]
pub(crate) struct Pool {
    epoll: OwnedFd,
    links: Vec<Link>,
    connections: Vec<Connection>,
}

/// Turns an endpoint (`host:port` or `http://host:port`) into its address.
pub(crate) fn resolve(endpoint: &str) -> Result<SocketAddr, Failed> {
    let failed = |reason: &str| Failed::Connect(endpoint.to_owned(), reason.to_owned());
    if endpoint.starts_with("https://") || endpoint.starts_with("unixs://") {
        return Err(failed(
            "TLS is not supported by this load generator; give a plaintext endpoint (http://)",
        ));
    }
    if endpoint.starts_with("unix://") {
        return Err(failed("unix sockets are not supported; give host:port"));
    }
    let host = endpoint
        .strip_prefix("http://")
        .unwrap_or(endpoint)
        .trim_end_matches('/');
    let mut found = host
        .to_socket_addrs()
        .map_err(|e| Failed::Connect(endpoint.to_owned(), e.to_string()))?;
    found
        .next()
        .ok_or_else(|| failed("the name has no address"))
}

impl Pool {
    /// All calls from here on are those of the user who has this token; of no one if it is empty.
    pub(crate) fn set_token(&mut self, token: &str) {
        for connection in &mut self.connections {
            connection.set_token(token);
        }
    }

    /// Opens `count` connections, spread over `endpoints`, and waits for the
    /// settings of each server.
    pub(crate) fn connect(endpoints: &[String], count: usize) -> Result<Self, Failed> {
        let os = |e: Errno| Failed::Workload(format!("epoll: {e}"));
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(os)?;
        let mut pool = Self {
            epoll,
            links: Vec::new(),
            connections: Vec::new(),
        };
        for index in 0..count {
            let endpoint = &endpoints[index % endpoints.len()];
            let address = resolve(endpoint)?;
            let failed = |e: io::Error| Failed::Connect(endpoint.clone(), e.to_string());
            let socket = TcpStream::connect_timeout(&address, CONNECT_WITHIN).map_err(failed)?;
            socket.set_nodelay(true).map_err(failed)?;
            socket.set_nonblocking(true).map_err(failed)?;
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&pool.epoll, &socket, data, epoll::EventFlags::IN).map_err(os)?;
            pool.links.push(Link {
                socket,
                address,
                stuck: false,
                reads: 0,
            });
            pool.connections.push(Connection::new(&address.to_string()));
        }
        let mut settle = Settle {
            deadline: Instant::now() + CONNECT_WITHIN,
            late: false,
        };
        pool.run(&mut settle)?;
        if settle.late {
            let reason = "it accepts connections but sends no HTTP/2 settings (a TLS port?)";
            return Err(Failed::Connect(endpoints.join(","), reason.to_owned()));
        }
        Ok(pool)
    }

    /// The connections, to set them up between runs.
    pub(crate) fn connections(&mut self) -> &mut [Connection] {
        &mut self.connections
    }

    /// Octets of message data received so far.
    pub(crate) fn received(&self) -> u64 {
        self.connections.iter().map(Connection::received).sum()
    }

    /// Runs `driver` until it is done.
    pub(crate) fn run(&mut self, driver: &mut impl Driver) -> Result<(), Failed> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(256);
        let mut heard = Instant::now();
        loop {
            let now = Instant::now();
            let next = driver.turn(&mut self.connections, now);
            for index in 0..self.links.len() {
                self.flush(index)?;
            }
            let until = match next {
                Next::Done => return Ok(()),
                Next::Answers => now + NAP,
                Next::Until(then) => then.min(now + NAP),
            };
            let sleep = until.saturating_duration_since(Instant::now());
            let sleep = Timespec {
                tv_sec: sleep.as_secs() as i64,
                tv_nsec: sleep.subsec_nanos().into(),
            };
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&sleep)) {
                Ok(_) | Err(Errno::INTR) => (),
                Err(e) => return Err(Failed::Workload(format!("epoll: {e}"))),
            }
            if interrupted() {
                return Err(Failed::Interrupted);
            }
            let now = Instant::now();
            driver.woke(now);
            if !events.is_empty() {
                heard = now;
            } else if now - heard > SILENCE_MAX {
                let open: usize = self.connections.iter().map(Connection::open_calls).sum();
                if open > 0 && next == Next::Answers {
                    return Err(Failed::Silent { open });
                }
            }
            for event in &events {
                let (flags, index) = (event.flags, event.data.u64() as usize);
                if flags.intersects(
                    epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR,
                ) {
                    self.read(index, driver)?;
                }
                self.flush(index)?;
            }
        }
    }

    fn lost(&self, index: usize, reason: impl ToString) -> Failed {
        let link = &self.links[index];
        Failed::Lost {
            address: link.address,
            answers: link.reads,
            reason: reason.to_string(),
        }
    }

    fn read(&mut self, index: usize, driver: &mut impl Driver) -> Result<(), Failed> {
        let input = self.connections[index].input();
        input.reserve(READ_ROOM);
        match rustix::io::read(&self.links[index].socket, spare_capacity(input)) {
            Ok(0) => Err(self.lost(index, "the server closed it")),
            Ok(_) => {
                self.links[index].reads += 1;
                let address = self.links[index].address;
                let connection = &mut self.connections[index];
                connection
                    .receive(driver)
                    .map_err(|broken| Failed::Broken(address, broken))
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(e) => Err(self.lost(index, e)),
        }
    }

    fn flush(&mut self, index: usize) -> Result<(), Failed> {
        let address = self.links[index].address;
        let connection = &mut self.connections[index];
        if let Some(broken) = connection.broken() {
            return Err(Failed::Broken(address, broken));
        }
        let output = connection.output();
        let mut at = 0;
        let outcome = loop {
            if at == output.len() {
                break Ok(());
            }
            match rustix::io::write(&self.links[index].socket, &output[at..]) {
                Ok(written) => at += written,
                Err(Errno::INTR) => (),
                Err(Errno::AGAIN) => break Ok(()),
                Err(e) => break Err(e),
            }
        };
        if at > 0 {
            output.drain(..at);
        }
        let stuck = !output.is_empty();
        outcome.map_err(|e| self.lost(index, e))?;
        let link = &mut self.links[index];
        if stuck != link.stuck {
            link.stuck = stuck;
            let flags = if stuck {
                epoll::EventFlags::IN | epoll::EventFlags::OUT
            } else {
                epoll::EventFlags::IN
            };
            let data = epoll::EventData::new_u64(index as u64);
            epoll::modify(&self.epoll, link.socket.as_fd(), data, flags)
                .map_err(|e| Failed::Workload(format!("epoll: {e}")))?;
        }
        Ok(())
    }
}

/// Waits until every server has sent its settings.
struct Settle {
    deadline: Instant,
    late: bool,
}

impl Handler for Settle {
    fn message(&mut self, _: &mut Connection, _: u64, _: &[u8]) {}
    fn closed(&mut self, _: &mut Connection, _: u64, _: crate::grpc::Status) {}
}

impl Driver for Settle {
    fn turn(&mut self, connections: &mut [Connection], now: Instant) -> Next {
        self.late = now > self.deadline;
        if self.late || connections.iter().all(Connection::settled) {
            Next::Done
        } else {
            Next::Until(self.deadline)
        }
    }

    fn woke(&mut self, _: Instant) {}
}
