//! `/etc/resolv.conf`: who answers questions, and how patient to be
//! (resolv.conf(5)). What is not understood is passed over, as everyone does.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6},
    time::Duration,
};

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) servers: Vec<SocketAddr>,
    /// Domains that a short name is tried in.
    pub(crate) search: Vec<String>,
    /// A name with this many dots is tried as it is first.
    pub(crate) ndots: usize,
    /// For one server's answer.
    pub(crate) timeout: Duration,
    /// Rounds through the servers.
    pub(crate) attempts: u32,
    /// Begin each question with another server.
    pub(crate) rotate: bool,
    /// Ask by TCP at once.
    pub(crate) use_tcp: bool,
}

/// What holds where the file is silent.
impl Default for Settings {
    fn default() -> Settings {
        Settings {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            rotate: false,
            use_tcp: false,
        }
    }
}

/// As the C library: more are not asked.
const SERVERS_MAX: usize = 3;
const NDOTS_MAX: usize = 15;
const TIMEOUT_MAX: u64 = 30;
const ATTEMPTS_MAX: u32 = 5;
const PORT: u16 = 53;

/// Reads the file's text.
pub(crate) fn parse(text: &str) -> Settings {
    let mut settings = Settings::default();
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") if settings.servers.len() < SERVERS_MAX => {
                settings.servers.extend(words.next().and_then(server));
            }
            Some("domain") => {
                settings.search = words.next().map(str::to_owned).into_iter().collect()
            }
            Some("search") => settings.search = words.map(str::to_owned).collect(),
            Some("options") => words.for_each(|word| option(&mut settings, word)),
            _ => {}
        }
    }
    if settings.servers.is_empty() {
        settings.servers = vec![
            SocketAddr::from(([127, 0, 0, 1], PORT)),
            SocketAddr::from((Ipv6Addr::LOCALHOST, PORT)),
        ];
    }
    settings
}

/// An address, with a zone if it is link-local: a number, since names of
/// interfaces are the kernel's to know.
fn server(text: &str) -> Option<SocketAddr> {
    match text.split_once('%') {
        Some((address, zone)) => {
            let (address, zone) = (address.parse().ok()?, zone.parse().ok()?);
            Some(SocketAddrV6::new(address, PORT, 0, zone).into())
        }
        None => Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, PORT)),
    }
}

fn option(settings: &mut Settings, word: &str) {
    let (name, value) = word.split_once(':').unwrap_or((word, ""));
    let number = value.parse::<u64>().ok();
    match (name, number) {
        ("ndots", Some(n)) => settings.ndots = (n as usize).min(NDOTS_MAX),
        ("timeout", Some(n)) => settings.timeout = Duration::from_secs(n.clamp(1, TIMEOUT_MAX)),
        ("attempts", Some(n)) => {
            settings.attempts = u32::try_from(n).unwrap_or(u32::MAX).clamp(1, ATTEMPTS_MAX);
        }
        ("rotate", _) => settings.rotate = true,
        ("use-vc" | "usevc" | "tcp", _) => settings.use_tcp = true,
        _ => {}
    }
}
