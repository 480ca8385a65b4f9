//! How compactions go.

use mvcc::CompactionStep;
use prometheus::{Histogram, IntGauge};

use super::maker::Maker;

/// Milliseconds, as the names of the series say.
pub struct Compaction {
    index: Histogram,
    batch: Histogram,
    total: Histogram,
    last: IntGauge,
}

impl Compaction {
    pub(super) fn new(m: &Maker) -> Compaction {
        Compaction {
            index: m.histogram(
                "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
                "Bucketed histogram of index compaction pause duration.",
                0.5,
                14,
            ),
            batch: m.histogram(
                "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
                "Bucketed histogram of db compaction pause duration.",
                1.0,
                13,
            ),
            total: m.histogram(
                "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
                "Bucketed histogram of db compaction total duration.",
                100.0,
                14,
            ),
            last: m.gauge(
                "etcd_debugging_mvcc_db_compaction_last",
                "The unix time of the last db compaction. Resets to 0 on start.",
            ),
        }
    }

    /// Counts what a compaction has done.
    pub fn observe(&self, step: CompactionStep) {
        match step {
            CompactionStep::Index(took) => self.index.observe(took.as_secs_f64() * 1e3),
            CompactionStep::Batch(took) => self.batch.observe(took.as_secs_f64() * 1e3),
            CompactionStep::Finished { took, .. } => {
                self.total.observe(took.as_secs_f64() * 1e3);
                self.last
                    .set(time::OffsetDateTime::now_utc().unix_timestamp());
            }
        }
    }
}
