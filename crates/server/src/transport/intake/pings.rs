//! How often a client may ping, by the rule of Go's gRPC server: not more often than
//! `--grpc-keepalive-min-time`, hardly ever while no call is open, and again after the server has
//! sent something. The third ping too many ends the connection. h2 answers pings without a word to
//! anyone, so the frames are read as they pass.

use std::time::{Duration, Instant};

use super::frames::HEAD;

/// Between pings of a client that has no call open.
const IDLE: Duration = Duration::from_secs(2 * 60 * 60);
/// Between pings where the setting is 0.
const DEFAULT_MIN_TIME: Duration = Duration::from_secs(5 * 60);
/// Pings too many that are borne.
const STRIKES_MAX: u32 = 2;

/// The head of a GOAWAY with such a text.
const GOAWAY_HEAD: &[u8; HEAD] = b"\0\0\x16\x07\0\0\0\0\0";
const ENHANCE_YOUR_CALM: &[u8] = b"\0\0\0\x0btoo_many_pings";

/// Says why the connection ends, and up to which stream calls were taken.
pub(super) fn goaway(newest: u32) -> Vec<u8> {
    [GOAWAY_HEAD, &newest.to_be_bytes()[..], ENHANCE_YOUR_CALM].concat()
}

/// The pings of one client.
pub(super) struct Rule {
    min_time: Duration,
    last_ping: Option<Instant>,
    strikes: u32,
    /// Whether headers or data were sent since the last ping.
    has_sent: bool,
}

impl Rule {
    pub(super) fn new(min_time: Duration) -> Rule {
        Rule {
            min_time: if min_time.is_zero() {
                DEFAULT_MIN_TIME
            } else {
                min_time
            },
            last_ping: None,
            strikes: 0,
            has_sent: false,
        }
    }

    /// Headers or data were sent.
    pub(super) fn sent(&mut self) {
        self.has_sent = true;
    }

    /// The client has pinged.
    pub(super) fn ping(&mut self, now: Instant, has_calls: bool) {
        let last = self.last_ping.replace(now);
        if std::mem::take(&mut self.has_sent) {
            self.strikes = 0;
            return;
        }
        let least = if has_calls { self.min_time } else { IDLE };
        if last.is_some_and(|last| now.duration_since(last) < least) {
            self.strikes += 1;
        }
    }

    pub(super) fn is_broken(&self) -> bool {
        self.strikes > STRIKES_MAX
    }
}
