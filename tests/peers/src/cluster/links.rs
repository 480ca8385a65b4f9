//! The network between members: a gate before each member's peer port, whose
//! links can be cut and restored one direction at a time. A connection belongs to
//! the member whose process opened it (the kernel's socket table says which),
//! so every byte between two members passes a known link, whatever the
//! protocol. A cut link loses nothing and says nothing: bytes wait at the cut,
//! as they do in TCP when packets are dropped. It must never reorder or change
//! what it carries, and never guess who opened a connection.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{Arc, Mutex},
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// The index of a member in its cluster.
type Place = usize;

/// The directed links that carry nothing.
type Cuts = BTreeSet<(Place, Place)>;

/// All gates of one cluster.
pub struct Links {
    cuts: watch::Sender<Cuts>,
    processes: Arc<Mutex<BTreeMap<u32, Place>>>,
    gates: Vec<JoinHandle<()>>,
}

impl Default for Links {
    fn default() -> Links {
        Links {
            cuts: watch::Sender::new(Cuts::new()),
            processes: Arc::default(),
            gates: Vec::new(),
        }
    }
}

impl Links {
    /// Opens the gate of member `to`: what arrives on `outer` goes to `inner`.
    pub async fn gate(&mut self, to: Place, outer: u16, inner: u16) -> Result<()> {
        let listener = TcpListener::bind(("127.0.0.1", outer)).await?;
        let (cuts, processes) = (self.cuts.clone(), self.processes.clone());
        self.gates.push(tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                // The kernel's table is long on a busy machine: other callers do not
                // wait for it.
                let (cuts, processes) = (cuts.subscribe(), processes.clone());
                tokio::spawn(async move {
                    let from = move || opener(peer.port(), outer, &processes);
                    if let Ok(from) = tokio::task::spawn_blocking(from).await {
                        carry(stream, from, to, inner, cuts).await;
                    }
                });
            }
        }));
        Ok(())
    }

    /// Says which process member `place` is now.
    pub fn process(&self, pid: u32, place: Place) {
        let mut processes = self
            .processes
            .lock()
            .expect("no one panics under this lock");
        processes.retain(|_, p| *p != place);
        processes.insert(pid, place);
    }

    /// Nothing passes between `place` and `others`, in either direction.
    pub fn cut_off(&self, place: Place, others: impl IntoIterator<Item = Place>) {
        for other in others {
            self.cut(place, other);
            self.cut(other, place);
        }
    }

    /// Nothing passes from `from` to `to`.
    pub fn cut(&self, from: Place, to: Place) {
        self.cuts.send_modify(|cuts| {
            cuts.insert((from, to));
        });
    }

    /// Everything passes again.
    pub fn mend(&self) {
        self.cuts.send_modify(Cuts::clear);
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        for gate in &self.gates {
            gate.abort();
        }
    }
}

/// The member whose process holds the socket `127.0.0.1:<port>` connected to
/// `127.0.0.1:<to>`; `None` for anybody else.
fn opener(port: u16, to: u16, processes: &Mutex<BTreeMap<u32, Place>>) -> Option<Place> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let (local, remote) = (format!("0100007F:{port:04X}"), format!("0100007F:{to:04X}"));
    let inode = table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ours = words.get(1) == Some(&local.as_str()) && words.get(2) == Some(&remote.as_str());
        if ours { words.get(9).copied() } else { None }
    })?;
    let socket = format!("socket:[{inode}]");
    let processes = processes.lock().ok()?.clone();
    processes.into_iter().find_map(|(pid, place)| {
        fs::read_dir(format!("/proc/{pid}/fd"))
            .ok()?
            .flatten()
            .any(|fd| fs::read_link(fd.path()).is_ok_and(|l| l.as_os_str() == socket.as_str()))
            .then_some(place)
    })
}

/// Carries one connection until either end closes it.
async fn carry(
    stream: TcpStream,
    from: Option<Place>,
    to: Place,
    inner: u16,
    mut cuts: watch::Receiver<Cuts>,
) {
    let (there, back) = match from {
        Some(from) => (Some((from, to)), Some((to, from))),
        None => (None, None),
    };
    // No connection is made over a cut link: the caller's SYN would be lost.
    if open(&mut cuts, there).await.is_err() || open(&mut cuts, back).await.is_err() {
        return;
    }
    let Ok(inside) = TcpStream::connect(("127.0.0.1", inner)).await else {
        return;
    };
    let _ = (stream.set_nodelay(true), inside.set_nodelay(true));
    let (outer_read, outer_write) = stream.into_split();
    let (inner_read, inner_write) = inside.into_split();
    // An end that closes its half has the other half closed too: the peer
    // protocol has no half-open connections.
    tokio::select! {
        () = pump(outer_read, inner_write, there, cuts.clone()) => {}
        () = pump(inner_read, outer_write, back, cuts) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    link: Option<(Place, Place)>,
    mut cuts: watch::Receiver<Cuts>,
) {
    let mut buffer = vec![0u8; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        // The end of a connection is a packet as well: it waits at a cut.
        if open(&mut cuts, link).await.is_err() || read == 0 {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// Waits until the link carries.
async fn open(
    cuts: &mut watch::Receiver<Cuts>,
    link: Option<(Place, Place)>,
) -> Result<(), watch::error::RecvError> {
    if let Some(link) = link {
        cuts.wait_for(|cuts| !cuts.contains(&link)).await?;
    }
    Ok(())
}
