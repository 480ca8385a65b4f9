//! A TCP proxy on the loopback address that can be cut: the port is closed then, as that of a
//! host that is out of reach and says so.

use std::{
    io,
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Result;

/// One port that leads to another one.
pub struct Proxy {
    /// Where it listens.
    pub port: u16,
    to: u16,
    open: Mutex<Option<Open>>,
}

/// While it is not cut.
struct Open {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Proxy {
    /// A proxy that leads from `port` to the port `to`.
    pub fn start(port: u16, to: u16) -> Result<Proxy> {
        let proxy = Proxy {
            port,
            to,
            open: Mutex::new(None),
        };
        proxy.join()?;
        Ok(proxy)
    }

    /// Takes connections again.
    pub fn join(&self) -> Result<()> {
        let listener = TcpListener::bind(("127.0.0.1", self.port))?;
        listener.set_nonblocking(true)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, to) = (is_over.clone(), self.to);
        let thread = std::thread::spawn(move || accept(&listener, to, &over));
        *self.open.lock().expect("no panic") = Some(Open { is_over, thread });
        Ok(())
    }

    /// Ends all connections, and takes no more.
    pub fn cut(&self) {
        let open = self.open.lock().expect("no panic").take();
        if let Some(open) = open {
            open.is_over.store(true, Ordering::Relaxed);
            let _ = open.thread.join();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

fn accept(listener: &TcpListener, to: u16, is_over: &AtomicBool) {
    let mut ends: Vec<TcpStream> = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((from, _)) => ends.extend(pipe(from, to).into_iter().flatten()),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    for end in ends {
        let _ = end.shutdown(Shutdown::Both);
    }
}

/// Copies in both directions; gives the ends, by which that is ended.
fn pipe(from: TcpStream, to: u16) -> io::Result<[TcpStream; 2]> {
    from.set_nonblocking(false)?;
    let to = TcpStream::connect(("127.0.0.1", to))?;
    let ends = [from.try_clone()?, to.try_clone()?];
    for (mut from, mut to) in [(from.try_clone()?, to.try_clone()?), (to, from)] {
        std::thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
    Ok(ends)
}
