//! What the store was asked, counted as etcd counts it: by the transaction of
//! the store, not by the call. A call that makes more than one operation of it
//! counts as a transaction beside its operations.

use proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, TxnRequest, TxnResponse, request_op::Request,
    response_op::Response,
};

use super::series::Metrics;

#[derive(Default)]
struct Tally {
    ranges: u64,
    puts: u64,
    put_bytes: i64,
    deletes: u64,
}

impl Tally {
    fn put(&mut self, request: &PutRequest) {
        self.puts += 1;
        self.put_bytes += (request.key.len() + request.value.len()) as i64;
        // The record before is read first.
        self.ranges += u64::from(request.prev_kv || request.ignore_value || request.ignore_lease);
    }

    fn delete(&mut self, request: &DeleteRangeRequest) {
        self.deletes += 1;
        self.ranges += u64::from(request.prev_kv);
    }

    /// The branches that ran.
    fn operations(&mut self, request: &TxnRequest, response: &TxnResponse) {
        ran(request, response, &mut |step| match step {
            Step::Op(Request::RequestPut(r)) => self.put(r),
            Step::Op(Request::RequestDeleteRange(r)) => self.delete(r),
            Step::Op(Request::RequestRange(_)) => self.ranges += 1,
            Step::Op(Request::RequestTxn(_)) | Step::Txn(..) => {}
        });
    }

    fn add_to(&self, metrics: &Metrics) {
        for (n, counter) in [
            (self.ranges, &metrics.ranges),
            (self.puts, &metrics.puts),
            (self.deletes, &metrics.deletes),
            (
                u64::from(self.ranges + self.puts + self.deletes > 1),
                &metrics.txns,
            ),
        ] {
            if n > 0 {
                counter.inc_by(n);
            }
        }
        if self.put_bytes > 0 {
            metrics.put_bytes.add(self.put_bytes);
        }
    }
}

/// Ranges before anything is changed: the compares, of which the first that does
/// not hold is the last, and the records of which a put keeps a part.
fn before(request: &TxnRequest, response: &TxnResponse) -> u64 {
    let mut ranges = 0;
    ran(request, response, &mut |step| match step {
        Step::Txn(r, true) => ranges += r.compare.len() as u64,
        // Which one did not hold is not known here.
        Step::Txn(r, false) => ranges += r.compare.len().min(1) as u64,
        Step::Op(Request::RequestPut(r)) => {
            ranges += u64::from(r.ignore_value || r.ignore_lease);
        }
        Step::Op(_) => {}
    });
    ranges
}

/// Something that a transaction did.
enum Step<'a> {
    /// It, or one in it, with what its compares came to.
    Txn(&'a TxnRequest, bool),
    /// An operation of a branch that ran.
    Op(&'a Request),
}

/// Shows what ran, in no particular order, however deeply it is nested.
fn ran<'a>(request: &'a TxnRequest, response: &'a TxnResponse, show: &mut dyn FnMut(Step<'a>)) {
    let mut open = vec![(request, response)];
    while let Some((request, response)) = open.pop() {
        show(Step::Txn(request, response.succeeded));
        let ops = match response.succeeded {
            true => &request.success,
            false => &request.failure,
        };
        for (op, done) in ops.iter().zip(&response.responses) {
            match (&op.request, &done.response) {
                (Some(Request::RequestTxn(r)), Some(Response::ResponseTxn(done))) => {
                    open.push((r, done));
                }
                (Some(op), _) => show(Step::Op(op)),
                (None, _) => {}
            }
        }
    }
}

impl Metrics {
    /// Counts a put that was applied.
    pub fn count_put(&self, request: &PutRequest) {
        let mut tally = Tally::default();
        tally.put(request);
        tally.add_to(self);
    }

    /// Counts a deletion that was applied.
    pub fn count_delete(&self, request: &DeleteRangeRequest) {
        let mut tally = Tally::default();
        tally.delete(request);
        tally.add_to(self);
    }

    /// Counts a compaction: etcd reads a key for the revision of its answer.
    pub fn count_compaction(&self) {
        self.ranges.inc();
    }

    /// Counts the deletion of the keys of a lease.
    pub fn count_deleted_keys(&self, keys: usize) {
        let tally = Tally {
            deletes: keys as u64,
            ..Tally::default()
        };
        tally.add_to(self);
    }

    /// Counts a transaction that was answered.
    pub fn count_txn(&self, request: &TxnRequest, response: &TxnResponse) {
        // etcd checks in a transaction of its own.
        let checks = Tally {
            ranges: before(request, response),
            ..Tally::default()
        };
        checks.add_to(self);
        let mut tally = Tally::default();
        tally.operations(request, response);
        tally.add_to(self);
    }
}
