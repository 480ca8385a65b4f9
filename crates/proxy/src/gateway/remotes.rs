//! The members: which of them answer, and whose turn it is. Records of the DNS have priorities and
//! weights (RFC 2782); members that were named have none, and take turns.

use std::{cell::Cell, io, rc::Rc, time::Duration};

use dns::Srv;
use rand::RngExt as _;
use tokio::net::TcpStream;

use crate::goes;

/// One connection of this many goes to a record without a weight where others have one.
const UNWEIGHTED_ONE_IN: u32 = 100;
/// Until a member counts as one that does not answer.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// One member.
pub(super) struct Remote {
    record: Srv,
    is_active: Cell<bool>,
}

impl Remote {
    /// One that a record names.
    pub(super) fn of(record: Srv) -> Remote {
        Remote {
            record,
            is_active: Cell::new(true),
        }
    }

    /// One without priority and weight.
    pub(super) fn new(host: &str, port: u16) -> Remote {
        Remote::of(Srv {
            priority: 0,
            weight: 0,
            port,
            target: host.to_owned(),
        })
    }

    pub(super) fn host(&self) -> &str {
        &self.record.target
    }

    pub(super) fn port(&self) -> u16 {
        self.record.port
    }

    /// As log lines have it.
    fn address(&self) -> String {
        format!("{}:{}", self.record.target, self.record.port)
    }

    async fn dial(&self) -> Result<TcpStream, String> {
        let dialling = TcpStream::connect((self.host(), self.port()));
        let dialled = tokio::time::timeout(DIAL_TIMEOUT, dialling).await;
        let stream = dialled.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        stream.map_err(|error| {
            let why = goes::system("connect", &error);
            format!("dial tcp {}: {why}", self.address())
        })
    }
}

/// All of them.
pub(super) struct Remotes {
    remotes: Vec<Remote>,
    retry_delay: Duration,
    turn: Cell<usize>,
}

impl Remotes {
    pub(super) fn new(remotes: Vec<Remote>, retry_delay: Duration) -> Remotes {
        Remotes {
            remotes,
            retry_delay,
            turn: Cell::new(0),
        }
    }

    /// A list for a log line.
    pub(super) fn shown(&self) -> String {
        let all: Vec<String> = self.remotes.iter().map(Remote::address).collect();
        serde_json::Value::from(all).to_string()
    }

    /// A connection to a member; `None` if none answers. One that does not is left alone until the
    /// next look at it.
    pub(super) async fn dial(&self) -> Option<TcpStream> {
        loop {
            let remote = self.pick()?;
            match remote.dial().await {
                Ok(stream) => return Some(stream),
                Err(error) => {
                    remote.is_active.set(false);
                    tracing::warn!(
                        address = remote.address(),
                        interval = cli::text::duration(self.retry_delay),
                        error,
                        "deactivated endpoint"
                    );
                }
            }
        }
    }

    /// Whose turn it is among those of the best priority that answer.
    fn pick(&self) -> Option<&Remote> {
        let active = || self.remotes.iter().filter(|remote| remote.is_active.get());
        let best = active().map(|remote| remote.record.priority).min()?;
        let (weighted, unweighted): (Vec<&Remote>, Vec<&Remote>) = active()
            .filter(|remote| remote.record.priority == best)
            .partition(|remote| remote.record.weight > 0);
        let lucky = || rand::rng().random_range(0..UNWEIGHTED_ONE_IN) == 0;
        if weighted.is_empty() || (!unweighted.is_empty() && lucky()) {
            let turn = self.turn.get();
            self.turn.set(turn.wrapping_add(1));
            return unweighted.get(turn % unweighted.len().max(1)).copied();
        }
        let sum: u32 = weighted
            .iter()
            .map(|remote| u32::from(remote.record.weight))
            .sum();
        let mut chosen = rand::rng().random_range(0..sum);
        weighted.into_iter().find(|remote| {
            let weight = u32::from(remote.record.weight);
            let is_it = chosen < weight;
            chosen = chosen.saturating_sub(weight);
            is_it
        })
    }

    /// Looks after every delay whether those that did not answer do.
    pub(super) async fn monitor(self: Rc<Self>) {
        loop {
            tokio::time::sleep(self.retry_delay).await;
            for at in 0..self.remotes.len() {
                if !self.remotes[at].is_active.get() {
                    tokio::task::spawn_local(self.clone().revive(at));
                }
            }
        }
    }

    async fn revive(self: Rc<Self>, at: usize) {
        let remote = &self.remotes[at];
        match remote.dial().await {
            Ok(_) => {
                remote.is_active.set(true);
                tracing::info!(address = remote.address(), "activated");
            }
            Err(error) => tracing::warn!(
                address = remote.address(),
                interval = cli::text::duration(self.retry_delay),
                error,
                "failed to activate endpoint (stay inactive for another interval)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remotes(records: &[(u16, u16)]) -> Remotes {
        let remote = |(port, (priority, weight)): (usize, &(u16, u16))| {
            Remote::of(Srv {
                priority: *priority,
                weight: *weight,
                port: port as u16,
                target: "a".to_owned(),
            })
        };
        let remotes = records.iter().enumerate().map(remote).collect();
        Remotes::new(remotes, Duration::from_secs(1))
    }

    fn picks(remotes: &Remotes, times: usize) -> Vec<u16> {
        let pick = || remotes.pick().expect("one").port();
        (0..times).map(|_| pick()).collect()
    }

    #[test]
    fn members_without_weight_take_turns() {
        let remotes = remotes(&[(0, 0), (0, 0), (0, 0)]);
        assert_eq!(picks(&remotes, 4), [0, 1, 2, 0]);
        remotes.remotes[1].is_active.set(false);
        assert!(picks(&remotes, 10).iter().all(|port| *port != 1));
    }

    #[test]
    fn the_best_priority_that_answers_is_taken() {
        let remotes = remotes(&[(2, 0), (1, 0), (2, 0)]);
        assert_eq!(picks(&remotes, 3), [1, 1, 1]);
        remotes.remotes[1].is_active.set(false);
        assert!(picks(&remotes, 10).iter().all(|port| *port != 1));
        remotes.remotes[0].is_active.set(false);
        remotes.remotes[2].is_active.set(false);
        assert!(remotes.pick().is_none());
    }

    #[test]
    fn weights_share_the_connections() {
        let remotes = remotes(&[(0, 1), (0, 9), (0, 0)]);
        let picks = picks(&remotes, 10_000);
        let of = |port| picks.iter().filter(|picked| **picked == port).count();
        assert!((500..1_500).contains(&of(0)), "{}", of(0));
        assert!((8_000..9_500).contains(&of(1)), "{}", of(1));
        assert!((10..400).contains(&of(2)), "{}", of(2));
    }
}
