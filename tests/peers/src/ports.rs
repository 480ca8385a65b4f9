//! Ports for servers that come back on the same port. They lie below the range
//! from which the kernel serves `bind(0)` and outgoing connections, so that
//! nothing takes the port of a member that is down. It must never hand one
//! port out twice in one process.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Result, bail};

/// Linux picks ports from 32768 on by itself.
const FIRST: u32 = 11_000;
const COUNT: u32 = 21_000;

/// A port of 127.0.0.1 that nobody listens on.
pub fn claim() -> Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Each process starts elsewhere, since tests of several run side by side.
    let start = std::process::id().wrapping_mul(131);
    for _ in 0..COUNT {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = (FIRST + start.wrapping_add(turn) % COUNT) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between {FIRST} and {}", FIRST + COUNT)
}
