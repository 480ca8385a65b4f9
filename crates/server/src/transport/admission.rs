//! Which connections may exist. Every accepted socket takes a seat before it is served, and the
//! seats of a port are fewer than the descriptors of the process. When all are taken, the oldest
//! connection that has not yet sent a request makes room, so that sockets which only sit there
//! cannot keep clients and members out; if there is none, the newcomer waits, as on etcd.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::Surface;
use crate::start::Descriptors;

/// The seats of all ports.
pub struct Admission {
    /// Clients, and readers of `/metrics`.
    pub clients: Arc<Seats>,
    /// Other members.
    pub members: Arc<Seats>,
}

impl Admission {
    /// As many seats as there are descriptors for them.
    pub fn new(descriptors: Descriptors) -> Admission {
        Admission {
            clients: Arc::new(Seats::new(descriptors.clients)),
            members: Arc::new(Seats::new(descriptors.members)),
        }
    }

    pub(super) fn of(&self, surface: Surface) -> &Arc<Seats> {
        match surface {
            Surface::Peer => &self.members,
            _ => &self.clients,
        }
    }
}

/// The seats of one kind of connection.
pub struct Seats {
    free: Arc<Semaphore>,
    limit: usize,
    /// Connections without a request so far, oldest first.
    silent: Mutex<BTreeMap<u64, oneshot::Sender<()>>>,
    next: AtomicU64,
    sent_away: AtomicU64,
}

impl Seats {
    fn new(limit: u64) -> Seats {
        let limit = usize::try_from(limit)
            .unwrap_or(usize::MAX)
            .min(Semaphore::MAX_PERMITS);
        Seats {
            free: Arc::new(Semaphore::new(limit)),
            limit,
            silent: Mutex::default(),
            next: AtomicU64::new(0),
            sent_away: AtomicU64::new(0),
        }
    }

    /// How many there are.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.limit - self.free.available_permits()
    }

    /// Connections that had to make room since the process started.
    pub fn sent_away(&self) -> u64 {
        self.sent_away.load(Ordering::Relaxed)
    }

    /// Takes a seat, as soon as there is one.
    pub(super) async fn take(self: &Arc<Seats>) -> Seat {
        let permit = match self.free.clone().try_acquire_owned() {
            Ok(permit) => Some(permit),
            Err(_) => {
                self.send_oldest_away();
                // Closed by no one, so this cannot fail.
                self.free.clone().acquire_owned().await.ok()
            }
        };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (notice, noticed) = oneshot::channel();
        self.silent.lock().insert(number, notice);
        Seat {
            since: tokio::time::Instant::now(),
            seats: self.clone(),
            number,
            notice: Some(noticed),
            _permit: permit,
        }
    }

    fn send_oldest_away(&self) {
        let oldest = self.silent.lock().pop_first();
        if let Some((_, notice)) = oldest {
            self.sent_away.fetch_add(1, Ordering::Relaxed);
            // One that has just ended makes room as well.
            let _ = notice.send(());
        }
    }
}

/// The seat of one connection, from its accept to its end.
pub(super) struct Seat {
    /// When the connection was accepted.
    pub(super) since: tokio::time::Instant,
    seats: Arc<Seats>,
    number: u64,
    notice: Option<oneshot::Receiver<()>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Seat {
    /// Resolves when the connection has to make room for another. Once.
    pub(super) fn must_leave(&mut self) -> impl Future<Output = ()> + use<> {
        let notice = self.notice.take();
        async move {
            let asked = match notice {
                Some(notice) => notice.await.is_ok(),
                None => false,
            };
            if !asked {
                // It has sent a request: it stays.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The connection has sent a request, and stays.
    pub(super) fn keep(&self) {
        self.seats.silent.lock().remove(&self.number);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.keep();
    }
}

#[cfg(test)]
mod tests;
