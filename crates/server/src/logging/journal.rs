//! The journal of systemd: a line is one datagram of fields. What it does not take goes to standard
//! error, as on etcd.

use std::{
    io::{self, Write as _},
    os::unix::net::UnixDatagram,
    path::Path,
};

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// A way to the journal.
pub(super) struct Journal {
    socket: UnixDatagram,
    program: String,
}

impl Journal {
    /// Finds the journal of this machine.
    pub(super) fn open() -> io::Result<Self> {
        Self::open_at(Path::new(SOCKET)).map_err(|error| {
            let text = format!("can't find journal (dial unixgram {SOCKET}: connect: {error})");
            io::Error::new(error.kind(), text)
        })
    }

    pub(super) fn open_at(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        // A journal that is behind must not hold up the server.
        socket.set_nonblocking(true)?;
        let program = std::env::args_os().next().unwrap_or_default();
        let program = Path::new(&program).file_name().unwrap_or_default();
        Ok(Self {
            socket,
            program: program.to_string_lossy().into_owned(),
        })
    }

    /// Sends a line of this level, written in this file.
    pub(super) fn write(&self, level: &str, caller: &str, line: &str) -> io::Result<()> {
        let package = Path::new(caller).parent().unwrap_or(Path::new("."));
        let fields = fields(&[
            ("PRIORITY", priority(level)),
            ("PACKAGE", &package.to_string_lossy()),
            ("SYSLOG_IDENTIFIER", &self.program),
            ("MESSAGE", line),
        ]);
        match self.socket.send(&fields) {
            Ok(_) => Ok(()),
            Err(_) => io::stderr().write_all(line.as_bytes()),
        }
    }
}

/// syslog's number of a level.
fn priority(level: &str) -> &'static str {
    match level {
        "debug" => "7",
        "info" => "6",
        "warn" => "4",
        "error" => "3",
        _ => "2",
    }
}

/// A value of several lines has its length before it; others end with their line.
fn fields(all: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in all {
        out.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            out.push(b'\n');
            out.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            out.push(b'=');
        }
        out.extend_from_slice(value.as_bytes());
        out.push(b'\n');
    }
    out
}
