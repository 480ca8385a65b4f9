//! File descriptors: how many the process may open, what it keeps for itself, and what is left for
//! connections. A connection must never take the descriptor that the log, a snapshot or the
//! database needs next: "too many open files" there is an error of the disk, and ends the process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept back, as etcd keeps it. The largest shares: three descriptors for each of nine runtimes,
/// eight connections to each of eight other members, sixteen to strangers and
/// [`MEMBERS_LEAST`] from members. The rest is for the log (at most four segments at a time), the
/// database and the copy that defragmentation makes, snapshots, directories and listeners.
const RESERVED: u64 = 150;
/// Runtimes whose descriptors are in [`RESERVED`].
const RUNTIMES_RESERVED: u64 = 8;
/// Descriptors that one runtime needs: its epoll, its waker and a signal pipe.
const PER_RUNTIME: u64 = 3;
/// Connections that other members may always open to this one.
const MEMBERS_LEAST: u64 = 16;
/// More of them than a cluster of nine needs, streams that replace each other included.
const MEMBERS_MOST: u64 = 96;

/// How the descriptors of the process are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// Connections on the ports of clients and of `/metrics` together.
    pub clients: u64,
    /// Connections on the peer port.
    pub members: u64,
}

impl Descriptors {
    /// Raises the process's limit as far as the system lets it, as every Go program does, and
    /// shares it out.
    ///
    /// # Errors
    /// The limit is too low to serve any connection.
    pub fn raise(runtimes: usize) -> Result<Descriptors, member::Error> {
        let given = getrlimit(Resource::Nofile);
        if given.current != given.maximum {
            let raised = Rlimit {
                current: given.maximum,
                maximum: given.maximum,
            };
            if let Err(error) = setrlimit(Resource::Nofile, raised) {
                tracing::warn!(error = %error, "failed to raise the file descriptor limit");
            }
        }
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let reserved = reserved(runtimes);
        Descriptors::share(limit, reserved).ok_or_else(|| {
            tracing::error!(
                level_name = "fatal",
                limit,
                "recommended-limit" = reserved,
                "file descriptor limit of etcd process is too low; please set higher"
            );
            member::Error::new(format!(
                "the file descriptor limit is {limit}, of which {reserved} are reserved; raise it \
                 (ulimit -n)"
            ))
        })
    }

    /// Shares `limit` out; `None` if nothing is left for clients.
    fn share(limit: u64, reserved: u64) -> Option<Descriptors> {
        let free = limit.checked_sub(reserved).filter(|free| *free > 0)?;
        let to_members = (free / 4).min(MEMBERS_MOST - MEMBERS_LEAST);
        Some(Descriptors {
            clients: free - to_members,
            members: MEMBERS_LEAST + to_members,
        })
    }
}

fn reserved(runtimes: usize) -> u64 {
    RESERVED + PER_RUNTIME * (runtimes as u64).saturating_sub(RUNTIMES_RESERVED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_leaves_nothing_is_refused_as_by_etcd() {
        assert_eq!(Descriptors::share(150, reserved(8)), None);
        assert_eq!(Descriptors::share(0, reserved(1)), None);
        assert!(Descriptors::share(151, reserved(8)).is_some());
        assert_eq!(Descriptors::share(174, reserved(16)), None);
    }

    #[test]
    fn shares_never_exceed_the_limit() {
        for limit in 151..5000 {
            let Some(shares) = Descriptors::share(limit, RESERVED) else {
                panic!("{limit} is enough");
            };
            assert!(shares.clients > 0 && shares.members >= MEMBERS_LEAST);
            let taken = shares.clients + shares.members - MEMBERS_LEAST;
            assert_eq!(taken, limit - RESERVED);
        }
        let endless = Descriptors::share(u64::MAX, RESERVED);
        assert_eq!(endless.map(|shares| shares.members), Some(MEMBERS_MOST));
    }
}
