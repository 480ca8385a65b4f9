//! Asking: every server in turn, every spelling of the name in turn, until one
//! knows.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use crate::{
    Srv,
    message::{self, Answer},
    order,
    resolv::{self, Settings},
};

/// The variable that names a server, `ADDRESS:PORT`, to be asked in place of
/// those of `/etc/resolv.conf`. Only SRV questions go there.
pub const RESOLVER_VARIABLE: &str = "PINTLE_RESOLVER";

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The largest datagram. An answer without EDNS has 512 bytes; some servers do not care.
const DATAGRAM_MAX: usize = 4096;

/// A look-up without an answer, worded as Go words it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("lookup {name}{}: {why}", server.map(|s| format!(" on {s}")).unwrap_or_default())]
pub struct Error {
    name: String,
    server: Option<SocketAddr>,
    why: String,
}

impl Error {
    pub(crate) fn host(name: &str, why: &str) -> Error {
        Error {
            name: name.to_owned(),
            server: None,
            why: why.to_owned(),
        }
    }
}

/// Asks name servers.
#[derive(Debug)]
pub struct Resolver {
    settings: Settings,
    /// Where the next question begins, with `rotate`.
    next: AtomicUsize,
}

/// Why one server was of no use.
enum Failed {
    NoSuchHost,
    Other(String),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Failed {
        Failed::Other(match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
            _ => error.to_string(),
        })
    }
}

impl Resolver {
    /// The system's: `/etc/resolv.conf`, or the server that the environment
    /// variable [`RESOLVER_VARIABLE`] names.
    ///
    /// # Errors
    /// The variable is set, but to no address.
    pub fn system() -> Result<Resolver, Error> {
        let mut settings = resolv::parse(&fs::read_to_string(RESOLV_CONF).unwrap_or_default());
        if let Some(text) = std::env::var(RESOLVER_VARIABLE)
            .ok()
            .filter(|text| !text.is_empty())
        {
            let server = text.parse().map_err(|_| {
                Error::host(
                    &text,
                    &format!(
                        "{RESOLVER_VARIABLE} must be an address and a port, like 127.0.0.1:53"
                    ),
                )
            })?;
            settings.servers = vec![server];
        }
        Ok(Resolver::new(settings))
    }

    pub(crate) fn new(settings: Settings) -> Resolver {
        Resolver {
            settings,
            next: AtomicUsize::new(0),
        }
    }

    /// The records of `_service._proto.domain`, in the order to try them; at
    /// least one.
    ///
    /// # Errors
    /// No one knows the name, or no one answers.
    pub fn srv(&self, service: &str, proto: &str, domain: &str) -> Result<Vec<Srv>, Error> {
        let asked = format!("_{service}._{proto}.{domain}");
        let mut failure = Error::host(&asked, "no such host");
        for name in self.spellings(&asked) {
            match self.ask_all(&name) {
                Ok(records) => {
                    return Ok(order::arrange(records, |n| rand::random_range(0..n)));
                }
                Err((server, why)) => {
                    let temporary = matches!(why, Failed::Other(_));
                    failure.server = server;
                    failure.why = match why {
                        Failed::NoSuchHost => "no such host".to_owned(),
                        Failed::Other(why) => why,
                    };
                    // Another spelling may mean another place; only "no such
                    // host" says that this one is not it.
                    if temporary {
                        break;
                    }
                }
            }
        }
        Err(failure)
    }

    /// The name as it is, and within the search domains; which first depends on its dots.
    fn spellings(&self, name: &str) -> Vec<String> {
        let absolute = name.trim_end_matches('.').to_owned();
        let mut spellings = Vec::new();
        if !name.ends_with('.') {
            let search = self.settings.search.iter();
            spellings
                .extend(search.map(|domain| format!("{absolute}.{}", domain.trim_matches('.'))));
        }
        let at = if absolute.matches('.').count() >= self.settings.ndots {
            0
        } else {
            spellings.len()
        };
        spellings.insert(at, absolute);
        spellings.retain(|name| message::is_askable(name));
        spellings
    }

    fn ask_all(&self, name: &str) -> Result<Vec<Srv>, (Option<SocketAddr>, Failed)> {
        let servers = &self.settings.servers;
        let first = if self.settings.rotate {
            self.next.fetch_add(1, Ordering::Relaxed)
        } else {
            0
        };
        let mut failure = (None, Failed::NoSuchHost);
        for _ in 0..self.settings.attempts {
            for turn in 0..servers.len() {
                let server = servers[(first + turn) % servers.len()];
                match self.ask(server, name) {
                    Ok(records) => return Ok(records),
                    // It knows, and the others would say the same.
                    Err(Failed::NoSuchHost) => return Err((Some(server), Failed::NoSuchHost)),
                    Err(other) => failure = (Some(server), other),
                }
            }
        }
        Err(failure)
    }

    fn ask(&self, server: SocketAddr, name: &str) -> Result<Vec<Srv>, Failed> {
        let answer = if self.settings.use_tcp {
            self.ask_tcp(server, name)?
        } else {
            match self.ask_udp(server, name)? {
                Answer::Truncated => self.ask_tcp(server, name)?,
                answer => answer,
            }
        };
        match answer {
            Answer::Records(records) => Ok(records),
            Answer::NoSuchHost => Err(Failed::NoSuchHost),
            Answer::Misbehaving | Answer::Truncated => {
                Err(Failed::Other("server misbehaving".to_owned()))
            }
        }
    }

    fn ask_udp(&self, server: SocketAddr, name: &str) -> Result<Answer, Failed> {
        let own = match server {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = UdpSocket::bind(own)?;
        // Connected, so that only the server's datagrams come in.
        socket.connect(server)?;
        let id = rand::random();
        socket.send(&message::question(id, name))?;
        let deadline = Instant::now() + self.settings.timeout;
        let mut buffer = [0; DATAGRAM_MAX];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
            socket.set_read_timeout(Some(left))?;
            let len = socket.recv(&mut buffer)?;
            // Anybody can send a datagram in the server's name: what does not
            // match is passed over, and the answer waited for.
            if let Some(answer) = message::answer(&buffer[..len], id, name) {
                return Ok(answer);
            }
        }
    }

    fn ask_tcp(&self, server: SocketAddr, name: &str) -> Result<Answer, Failed> {
        let timeout = Some(self.settings.timeout);
        let mut stream = TcpStream::connect_timeout(&server, self.settings.timeout)?;
        stream.set_read_timeout(timeout)?;
        stream.set_write_timeout(timeout)?;
        let id = rand::random();
        let question = message::question(id, name);
        let mut framed = (question.len() as u16).to_be_bytes().to_vec();
        framed.extend(question);
        stream.write_all(&framed)?;
        let mut len = [0; 2];
        stream.read_exact(&mut len)?;
        let mut bytes = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut bytes)?;
        Ok(message::answer(&bytes, id, name).unwrap_or(Answer::Misbehaving))
    }
}
