//! How long requests take, from here to their result.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use member::host::Kind;
use prometheus::{Histogram, HistogramOpts, HistogramVec, exponential_buckets};
use proto::etcdserverpb::internal_raft_request::Op;

use super::{applies::KINDS, maker::Maker};

/// The labels of `type`: operations of the log in the order of [`Kind`], then reads.
const TYPES: usize = KINDS.len() + 2;
const RANGE: usize = KINDS.len();
const READ_ONLY_TXN: usize = KINDS.len() + 1;

fn label(of_type: usize) -> &'static str {
    match of_type {
        RANGE => "Range",
        READ_ONLY_TXN => "ReadonlyTxn",
        kind => KINDS[kind].1,
    }
}

/// Series by success, each looked up in its family once, when it is first counted: a look-up costs
/// a hash and a lock, and one that was never counted is not shown.
#[derive(Default)]
struct Found([OnceLock<Histogram>; 2]);

impl Found {
    fn series(&self, success: bool, look_up: impl FnOnce() -> Histogram) -> &Histogram {
        self.0[usize::from(success)].get_or_init(look_up)
    }
}

/// Requests by what they are, and ranges once more by the time that reading takes.
pub struct Requests {
    /// `etcd_server_request_duration_seconds{type,success}`
    by_type: HistogramVec,
    found: [Found; TYPES],
    /// `etcd_server_range_duration_seconds{success}`
    reads: HistogramVec,
    found_reads: Found,
}

impl Requests {
    pub(super) fn new(m: &Maker) -> Requests {
        let family = |name: &str, help: &str, start, count, labels: &[&str]| {
            let buckets = exponential_buckets(start, 2.0, count).expect("bucket rule is valid");
            let options = HistogramOpts::new(name, help).buckets(buckets);
            m.keep(HistogramVec::new(options, labels))
        };
        Requests {
            by_type: family(
                "etcd_server_request_duration_seconds",
                "Response latency distribution in seconds for each type.",
                0.001,
                14,
                &["type", "success"],
            ),
            found: std::array::from_fn(|_| Found::default()),
            found_reads: Found::default(),
            reads: family(
                "etcd_server_range_duration_seconds",
                "The latency distributions of txn.Range",
                0.0001,
                20,
                &["success"],
            ),
        }
    }

    /// Counts a range that was read in `took`.
    pub fn count_read(&self, took: Duration, success: bool) {
        let look_up = || self.reads.with_label_values(&[word(success)]);
        let series = self.found_reads.series(success, look_up);
        series.observe(took.as_secs_f64());
    }

    /// Times a request that goes into the log from `begin` on.
    pub fn timer(&self, op: Option<&Op>, begin: Instant) -> RequestTimer<'_> {
        self.begin(Kind::of(op) as usize, begin)
    }

    /// Times a range that began at `begin`.
    pub fn range(&self, begin: Instant) -> RequestTimer<'_> {
        self.begin(RANGE, begin)
    }

    /// Times a transaction that only reads, and began at `begin`.
    pub fn read_only_txn(&self, begin: Instant) -> RequestTimer<'_> {
        self.begin(READ_ONLY_TXN, begin)
    }

    fn begin(&self, of_type: usize, begin: Instant) -> RequestTimer<'_> {
        RequestTimer {
            requests: self,
            of_type,
            begin,
        }
    }

    fn series(&self, of_type: usize, success: bool) -> &Histogram {
        let labels = [label(of_type), word(success)];
        let look_up = || self.by_type.with_label_values(&labels);
        self.found[of_type].series(success, look_up)
    }
}

fn word(success: bool) -> &'static str {
    if success { "true" } else { "false" }
}

/// A request that is timed.
pub struct RequestTimer<'a> {
    requests: &'a Requests,
    of_type: usize,
    begin: Instant,
}

impl RequestTimer<'_> {
    /// When the request began.
    pub fn began(&self) -> Instant {
        self.begin
    }

    /// The result is there now. Returns how long it took.
    pub fn stop(self, success: bool) -> Duration {
        self.stop_at(Instant::now(), success)
    }

    /// The result was there at `end`. Returns how long it took.
    pub fn stop_at(self, end: Instant, success: bool) -> Duration {
        let took = end - self.begin;
        let series = self.requests.series(self.of_type, success);
        series.observe(took.as_secs_f64());
        took
    }
}
