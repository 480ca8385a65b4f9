//! The settings that a process starts with.

use std::{
    env,
    io::{self, Error, ErrorKind::InvalidInput},
    net::{TcpListener, ToSocketAddrs as _},
    thread,
};

use crate::{
    http,
    settings::settings,
    table,
    terms::{self, ParseDuration},
};

/// Sets what `GOFAIL_FAILPOINTS` says, and listens on `GOFAIL_HTTP`: on this machine only, for
/// whoever reaches the listener can crash the process. Durations are read with `parse_duration`.
///
/// # Errors
/// A variable that cannot be read, or an address that cannot be listened on.
pub fn start(parse_duration: ParseDuration) -> io::Result<()> {
    terms::parse_durations_with(parse_duration);
    if let Ok(text) = env::var("GOFAIL_FAILPOINTS") {
        for (name, terms) in settings(&text)? {
            // etcd too ignores what it has no place for: other programs share the variable.
            if let Some(point) = table::find(name) {
                table::set(point, Some(terms));
            }
        }
    }
    let Ok(address) = env::var("GOFAIL_HTTP") else {
        return Ok(());
    };
    let mut addresses = address.to_socket_addrs()?;
    let local = addresses.find(|address| address.ip().is_loopback());
    let local = local.ok_or_else(|| {
        Error::new(
            InvalidInput,
            format!("GOFAIL_HTTP={address} is not an address of this machine alone"),
        )
    })?;
    let listener = TcpListener::bind(local)?;
    thread::Builder::new()
        .name("failpoints".into())
        .spawn(move || http::serve(&listener))
        .map(drop)
}
