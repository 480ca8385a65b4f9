//! How long requests take, from here to their result.

use std::time::Instant;

use member::host::Kind;
use prometheus::{Histogram, HistogramOpts, HistogramVec, exponential_buckets};
use proto::etcdserverpb::internal_raft_request::Op;

use super::{applies::KINDS, maker::Maker};

/// Requests by what they are, and ranges once more by the time that reading takes.
pub struct Requests {
    /// `etcd_server_request_duration_seconds{type,success}`
    by_type: HistogramVec,
    /// `etcd_server_range_duration_seconds{success}`
    reads: HistogramVec,
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
            reads: family(
                "etcd_server_range_duration_seconds",
                "The latency distributions of txn.Range",
                0.0001,
                20,
                &["success"],
            ),
        }
    }

    /// Counts a range that was read since `begin`.
    pub fn count_read(&self, begin: Instant, success: bool) {
        let series = self.reads.with_label_values(&[word(success)]);
        series.observe(begin.elapsed().as_secs_f64());
    }

    /// Begins to time a request that goes into the log.
    pub fn timer(&self, op: Option<&Op>) -> RequestTimer<'_> {
        let (_, kind) = KINDS[Kind::of(op) as usize];
        self.begin(kind)
    }

    /// Begins to time a range.
    pub fn range(&self) -> RequestTimer<'_> {
        self.begin("Range")
    }

    /// Begins to time a transaction that only reads.
    pub fn read_only_txn(&self) -> RequestTimer<'_> {
        self.begin("ReadonlyTxn")
    }

    fn begin(&self, kind: &'static str) -> RequestTimer<'_> {
        RequestTimer {
            requests: self,
            kind,
            begin: Instant::now(),
        }
    }

    fn series(&self, kind: &str, success: bool) -> Histogram {
        self.by_type.with_label_values(&[kind, word(success)])
    }
}

fn word(success: bool) -> &'static str {
    if success { "true" } else { "false" }
}

/// A request that is timed.
pub struct RequestTimer<'a> {
    requests: &'a Requests,
    kind: &'static str,
    begin: Instant,
}

impl RequestTimer<'_> {
    /// The result is there.
    pub fn stop(self, success: bool) {
        let series = self.requests.series(self.kind, success);
        series.observe(self.begin.elapsed().as_secs_f64());
    }
}
