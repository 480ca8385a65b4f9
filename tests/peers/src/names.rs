//! A name server on loopback that knows SRV records and one host, and a way
//! to make it the one in `/etc/resolv.conf` of a single process: real etcd has
//! no other. It must never answer outside 127.0.0.0/8.

use std::{
    collections::BTreeMap,
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::PathBuf,
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::{peer::Program, ports};

/// What a name has: `(port, host)`.
pub type Zone = BTreeMap<String, Vec<(u16, String)>>;

/// A running name server. It ends with its guard.
pub struct NameServer {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    /// Names whose SRV records were asked for.
    asked: Arc<Mutex<Vec<String>>>,
    files: TempDir,
}

/// The one host it knows: 127.0.0.1.
pub const HOST: &str = "here.pintle.example";

const TYPE_A: u16 = 1;
const TYPE_SRV: u16 = 33;
const NO_SUCH_NAME: u16 = 3;
/// Between looks at whether the guard is gone.
const PAUSE: Duration = Duration::from_millis(100);

impl NameServer {
    /// Starts one that anybody can be pointed to.
    pub fn start(zone: Zone) -> Result<NameServer> {
        // Free for TCP when it was looked at; another test may be as quick.
        let attempt = || {
            let port = ports::claim()?;
            NameServer::at(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), zone.clone())
        };
        attempt().or_else(|_| attempt()).or_else(|_| attempt())
    }

    /// Starts one on port 53, for programs that know no other; `None` after a
    /// `SKIP:` line where this process may not do that, or give a program a
    /// `resolv.conf` of its own.
    pub fn on_port_53(zone: Zone) -> Option<NameServer> {
        // An address of its own: servers of other tests run beside it.
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let own = Ipv4Addr::new(
            127,
            53,
            (std::process::id() % 251) as u8,
            NEXT.fetch_add(1, Ordering::Relaxed),
        );
        let server = NameServer::at(SocketAddr::from((own, 53)), zone);
        let may_mount = Command::new("unshare")
            .args(["-m", "true"])
            .output()
            .is_ok_and(|out| out.status.success());
        match server {
            Ok(server) if may_mount => Some(server),
            _ => {
                eprintln!("SKIP: no port 53 or no mount namespace of its own here: needs root");
                None
            }
        }
    }

    fn at(address: SocketAddr, zone: Zone) -> Result<NameServer> {
        let udp = UdpSocket::bind(address)?;
        let address = udp.local_addr()?;
        let tcp = TcpListener::bind(address)?;
        udp.set_read_timeout(Some(PAUSE))?;
        tcp.set_nonblocking(true)?;
        let server = NameServer {
            address,
            zone: Arc::new(Mutex::new(zone)),
            asked: Arc::default(),
            files: tempfile::tempdir()?,
        };
        fs::write(
            server.resolv_conf(),
            format!("nameserver {}\n", address.ip()),
        )?;
        let (zone, asked) = (Arc::downgrade(&server.zone), server.asked.clone());
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while let Some(zone) = zone.upgrade() {
                if let Ok((len, from)) = udp.recv_from(&mut question) {
                    let reply = answer(&question[..len], &zone, &asked);
                    let _ = udp.send_to(&reply.unwrap_or_default(), from);
                }
            }
        });
        let (zone, asked) = (Arc::downgrade(&server.zone), server.asked.clone());
        std::thread::spawn(move || {
            while let Some(zone) = zone.upgrade() {
                match tcp.accept() {
                    Ok((mut stream, _)) => {
                        let mut len = [0; 2];
                        let _ = stream.read_exact(&mut len);
                        let mut question = vec![0; usize::from(u16::from_be_bytes(len))];
                        let _ = stream.read_exact(&mut question);
                        let reply = answer(&question, &zone, &asked).unwrap_or_default();
                        let _ = stream.write_all(&(reply.len() as u16).to_be_bytes());
                        let _ = stream.write_all(&reply);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        std::thread::sleep(PAUSE)
                    }
                    Err(_) => return,
                }
            }
        });
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives a name these records, `(port, host)`.
    pub fn set(&self, name: &str, records: Vec<(u16, String)>) {
        let mut zone = self.zone.lock().unwrap_or_else(PoisonError::into_inner);
        zone.insert(name.to_owned(), records);
    }

    /// The names whose SRV records were asked for since the last call, in order.
    pub fn asked(&self) -> Vec<String> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut asked)
    }

    fn resolv_conf(&self) -> PathBuf {
        self.files.path().join("resolv.conf")
    }

    /// The words of a command that runs what follows them with this server as
    /// the only one in its `/etc/resolv.conf`.
    pub fn inside(&self) -> Vec<String> {
        // The shell becomes the program: the process id stays.
        let script = r#"mount --bind "$0" /etc/resolv.conf && exec "$@""#;
        let conf = self.resolv_conf().display().to_string();
        let words = ["unshare", "-m", "sh", "-c", script, &conf];
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// Pintle, told by its variable to ask this server.
    pub fn for_pintle(&self, program: &Program) -> Result<Program> {
        let mut words = vec![
            format!("PINTLE_RESOLVER={}", self.address),
            program.path.to_str().context("a path in UTF-8")?.to_owned(),
        ];
        words.extend(program.words.iter().cloned());
        Ok(Program {
            path: "/usr/bin/env".into(),
            words,
            ..program.clone()
        })
    }

    /// The same program, asking this server.
    pub fn for_program(&self, program: &Program) -> Result<Program> {
        let mut words = self.inside();
        words.push(program.path.to_str().context("a path in UTF-8")?.to_owned());
        words.extend(program.words.iter().cloned());
        Ok(Program {
            path: words.remove(0).into(),
            words,
            ..program.clone()
        })
    }
}

/// A name in labels.
fn labels(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.trim_end_matches('.').split('.') {
        out.push(label.len() as u8);
        out.extend(label.as_bytes());
    }
    out.push(0);
    out
}

/// The reply to one question.
fn answer(question: &[u8], zone: &Mutex<Zone>, asked: &Mutex<Vec<String>>) -> Option<Vec<u8>> {
    let (mut at, mut name) = (12, String::new());
    loop {
        let len = usize::from(*question.get(at)?);
        at += 1;
        if len == 0 {
            break;
        }
        name.push_str(&String::from_utf8_lossy(question.get(at..at + len)?));
        name.push('.');
        at += len;
    }
    let kind = u16::from_be_bytes([*question.get(at)?, *question.get(at + 1)?]);
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let zone = zone.lock().unwrap_or_else(PoisonError::into_inner);
    let known = zone.contains_key(&name) || name == HOST;
    let mut records: Vec<Vec<u8>> = Vec::new();
    if kind == TYPE_SRV {
        asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(name.clone());
        for (port, host) in zone.get(&name).into_iter().flatten() {
            // Priority and weight are 0.
            let mut data = vec![0; 4];
            data.extend(port.to_be_bytes());
            data.extend(labels(host));
            records.push(data);
        }
    } else if kind == TYPE_A && name == HOST {
        records.push(vec![127, 0, 0, 1]);
    }

    let mut out = question.get(..2)?.to_vec();
    let flags: u16 = 0x8180 | if known { 0 } else { NO_SUCH_NAME };
    out.extend(flags.to_be_bytes());
    // One question, the records; an EDNS record of the question stays unanswered.
    out.extend([0, 1]);
    out.extend((records.len() as u16).to_be_bytes());
    out.extend([0; 4]);
    out.extend(question.get(12..at + 4)?);
    for data in records {
        out.extend([0xc0, 12]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1, 0, 0, 0, 0]);
        out.extend((data.len() as u16).to_be_bytes());
        out.extend(data);
    }
    Some(out)
}
