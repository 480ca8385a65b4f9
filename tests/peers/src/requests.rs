//! Random requests over a small key space, valid and not, with every option of
//! the API. What the generator leaves out is what a real server answers
//! differently from run to run, or crashes on: each case says so where it is
//! avoided. It must never look at anything but its dice and the store's
//! revisions, so that a seed replays.

use bytes::Bytes;
use proto::etcdserverpb::*;

use crate::{
    api::{self, op_delete, op_put, op_range, op_txn},
    workload::Dice,
};

/// One thing to do to both servers.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // each variant is the RPC of its name
pub enum Step {
    Range(RangeRequest),
    RangeStream(RangeRequest),
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Txn(TxnRequest),
    Compact(CompactionRequest),
    HashKv(i64),
    Grant(LeaseGrantRequest),
    /// A grant whose time is so short that the lease is revoked in the same step.
    GrantAndRevoke(LeaseGrantRequest),
    Revoke(i64),
    TimeToLive(LeaseTimeToLiveRequest),
    Leases,
    KeepAlive(i64),
    Alarm(AlarmRequest),
    Members(bool),
    Status,
    Defragment,
    Watch(usize, WatchCreateRequest),
    CancelWatch(usize, i64),
    /// Wait until every watch has delivered everything, and compare.
    Settle,
}

/// The stream whose watches start now or in the uncompacted past: it answers
/// progress requests.
pub const PAST: usize = 0;
/// The stream whose watches start now, in the future, or below the compaction.
/// Real etcd answers no progress request on a stream that has one of the latter
/// two, even after the watch was canceled for its compacted start.
pub const FUTURE: usize = 1;

/// Lease ids above this were picked by a server.
pub const PICKED: i64 = 1 << 32;

/// What the generator may look at.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Current revision of the store.
    pub revision: i64,
    /// Last compacted revision, 0 if none.
    pub compacted: i64,
}

/// Makes steps.
pub struct Generator {
    dice: Dice,
    physical: bool,
    alarms: Vec<AlarmRequest>,
    settle: bool,
    watches: [u64; 2],
    streams: bool,
    seed: u64,
}

impl Generator {
    /// With `physical`, every compaction waits for its end and HashKV is asked
    /// for. Without, hashes are left out: while a compaction runs it is a race
    /// whether its own hash is remembered.
    pub fn new(seed: u64, physical: bool) -> Generator {
        Generator {
            dice: Dice::new(seed),
            physical,
            alarms: Vec::new(),
            settle: false,
            watches: [0; 2],
            streams: false,
            seed,
        }
    }

    /// What it was made of.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The same with ranges in pieces, which 3.7 has.
    pub fn with_streams(mut self) -> Generator {
        self.streams = true;
        self
    }

    /// The next step.
    pub fn next(&mut self, seen: Seen) -> Step {
        if std::mem::take(&mut self.settle) {
            return Step::Settle;
        }
        if !self.alarms.is_empty() && self.dice.one_in(6) {
            let mut lift = self.alarms.remove(0);
            lift.action = alarm_request::AlarmAction::Deactivate as i32;
            return Step::Alarm(lift);
        }
        match self.dice.below(100) {
            0..=21 => {
                let range = self.range(seen, true);
                if self.streams && self.dice.one_in(3) {
                    self.range_stream(range)
                } else {
                    Step::Range(range)
                }
            }
            22..=43 => Step::Put(self.put(true)),
            44..=51 => Step::Delete(self.delete()),
            52..=73 => Step::Txn(self.txn(seen, 0)),
            74..=75 => self.compact(seen),
            76..=79 if self.physical => Step::HashKv(self.revision(seen)),
            76..=79 => Step::Leases,
            80..=82 => self.grant(),
            83 => Step::Revoke(self.lease()),
            84..=85 => Step::TimeToLive(LeaseTimeToLiveRequest {
                id: self.lease(),
                keys: self.dice.one_in(2),
            }),
            86 => Step::Leases,
            87 => Step::KeepAlive(self.lease()),
            88 => self.alarm(),
            89 => match self.dice.below(4) {
                0 => Step::Members(true),
                1 => Step::Members(false),
                2 => Step::Defragment,
                _ => Step::Status,
            },
            90..=95 => self.watch(seen),
            96..=97 => {
                let stream = self.dice.below(2) as usize;
                Step::CancelWatch(stream, self.dice.between(-1, 12))
            }
            _ => Step::Settle,
        }
    }

    fn key(&mut self) -> Bytes {
        const ODD: [&[u8]; 10] = [
            b"",
            b"\0",
            b"\xff",
            b"a",
            b"a\0",
            b"ab",
            b"b",
            b"k/",
            b"k0",
            b"\xff\xff\xff",
        ];
        match self.dice.below(12) {
            0 => Bytes::from_static(self.dice.pick(&ODD)),
            1..=5 => format!("k/{:02}", self.dice.below(30)).into(),
            _ => format!("k/{:02}", self.dice.below(5)).into(),
        }
    }

    fn range_end(&mut self, key: &Bytes) -> Bytes {
        match self.dice.below(8) {
            0..=3 => Bytes::new(),
            4 => Bytes::from_static(b"\0"),
            5 => api::prefix_end(key),
            _ => self.key(),
        }
    }

    fn value(&mut self) -> Bytes {
        match self.dice.below(30) {
            0 => Bytes::from(vec![b'x'; self.dice.between(1000, 70_000) as usize]),
            1..=12 => self
                .dice
                .pick(&[Bytes::new(), "same".into(), "other".into()]),
            _ => self.dice.bytes(40),
        }
    }

    fn lease(&mut self) -> i64 {
        match self.dice.below(10) {
            0 => self.dice.pick(&[0, -1, i64::MAX, i64::MIN]),
            _ => self.dice.between(1, 12),
        }
    }

    fn revision(&mut self, seen: Seen) -> i64 {
        match self.dice.below(12) {
            0 => self.dice.pick(&[-1, i64::MAX, i64::MIN, seen.revision + 1]),
            1 => seen.compacted,
            2 => seen.compacted - 1,
            3 => seen.compacted + 1,
            4 => seen.revision,
            5..=8 => 0,
            _ => self.dice.between(seen.compacted.max(1), seen.revision),
        }
    }

    fn range(&mut self, seen: Seen, top: bool) -> RangeRequest {
        let key = self.key();
        let mut request = RangeRequest {
            range_end: self.range_end(&key),
            key,
            ..Default::default()
        };
        if self.dice.one_in(4) {
            request.limit = self.dice.pick(&[1, 2, 5, 1000, -1, i64::MAX]);
        }
        // Inside a transaction a refused revision refuses everything: rarely.
        if self.dice.one_in(if top { 3 } else { 12 }) {
            request.revision = self.revision(seen);
        }
        if self.dice.one_in(4) {
            // Numbers outside the enums are left out: real 3.5 crashes on an
            // unknown sort target.
            request.sort_order = self.dice.between(0, 2) as i32;
            request.sort_target = self.dice.between(0, 4) as i32;
        }
        request.serializable = self.dice.one_in(4);
        request.keys_only = self.dice.one_in(6);
        request.count_only = self.dice.one_in(8);
        if self.dice.one_in(6) {
            request.min_mod_revision = self.bound(seen);
            request.max_mod_revision = self.bound(seen);
            request.min_create_revision = self.bound(seen);
            request.max_create_revision = self.bound(seen);
        }
        request
    }

    /// Sorted ranges are left for what refuses them: unordered ones are sorted by pieces in real
    /// etcd, and not stably.
    fn range_stream(&mut self, mut range: RangeRequest) -> Step {
        if range.sort_order == range_request::SortOrder::None as i32 {
            range.sort_target = range_request::SortTarget::Key as i32;
        }
        Step::RangeStream(range)
    }

    fn bound(&mut self, seen: Seen) -> i64 {
        if self.dice.one_in(2) {
            0
        } else {
            self.dice.between(-1, seen.revision + 1)
        }
    }

    fn put(&mut self, ignore: bool) -> PutRequest {
        let mut request = PutRequest {
            key: self.key(),
            value: self.value(),
            prev_kv: self.dice.one_in(3),
            ..Default::default()
        };
        if self.dice.one_in(4) {
            request.lease = self.lease();
        }
        if ignore && self.dice.one_in(8) {
            request.ignore_value = true;
            if !self.dice.one_in(4) {
                request.value = Bytes::new();
            }
        }
        if ignore && self.dice.one_in(8) {
            request.ignore_lease = true;
            if !self.dice.one_in(4) {
                request.lease = 0;
            }
        }
        request
    }

    fn delete(&mut self) -> DeleteRangeRequest {
        let key = self.key();
        let range_end = if self.dice.one_in(40) {
            Bytes::from_static(b"\0")
        } else if self.dice.one_in(3) {
            self.key()
        } else {
            Bytes::new()
        };
        DeleteRangeRequest {
            key,
            range_end,
            prev_kv: self.dice.one_in(3),
        }
    }

    fn txn(&mut self, seen: Seen, depth: u64) -> TxnRequest {
        // A put that keeps the value of a key which the same transaction
        // deleted crashes real etcd for good. The rule against duplicate keys
        // lets that through for deletes without an end: either those, or kept values.
        let endless = self.dice.one_in(4);
        let len = |dice: &mut Dice| match dice.below(40) {
            0 => 129,
            1 => 128,
            _ => dice.below(4),
        };
        let compares = len(&mut self.dice);
        let successes = len(&mut self.dice);
        let failures = self.dice.below(3);
        TxnRequest {
            compare: (0..compares).map(|_| self.compare(seen)).collect(),
            success: self.ops(seen, depth, successes, endless),
            failure: self.ops(seen, depth, failures, endless),
        }
    }

    fn compare(&mut self, seen: Seen) -> Compare {
        use compare::TargetUnion as Union;
        let key = self.key();
        let target = match self.dice.below(20) {
            0 => 7,
            _ => self.dice.between(0, 4) as i32,
        };
        let number = match self.dice.below(3) {
            0 => 0,
            1 => self.dice.between(0, 3),
            _ => self.dice.between(0, seen.revision),
        };
        // Mostly the value that belongs to the target, sometimes another or none.
        let union = if self.dice.one_in(10) {
            self.dice.between(0, 5) as i32
        } else {
            target
        };
        let target_union = match union {
            0 => Some(Union::Version(number)),
            1 => Some(Union::CreateRevision(number)),
            2 => Some(Union::ModRevision(number)),
            3 => Some(Union::Value(self.value())),
            4 => Some(Union::Lease(self.lease())),
            _ => None,
        };
        let range_end = if self.dice.one_in(6) {
            self.range_end(&key)
        } else {
            Bytes::new()
        };
        Compare {
            result: if self.dice.one_in(30) {
                9
            } else {
                self.dice.between(0, 3) as i32
            },
            target,
            key,
            range_end,
            target_union,
        }
    }

    fn ops(&mut self, seen: Seen, depth: u64, len: u64, endless: bool) -> Vec<RequestOp> {
        (0..len)
            .map(|i| {
                if len > 100 {
                    return op_put(api::put(format!("many/{i}"), "v"));
                }
                match self.dice.below(12) {
                    0 if self.dice.one_in(4) => RequestOp { request: None },
                    1..=3 => op_range(self.range(seen, false)),
                    4..=5 => {
                        let mut delete = self.delete();
                        if !endless && is_endless(&delete) {
                            delete.range_end = Bytes::new();
                        }
                        op_delete(delete)
                    }
                    6 if depth < 3 => {
                        let mut inner = self.txn(seen, depth + 1);
                        if endless {
                            forget_ignores(&mut inner);
                        } else {
                            end_deletes(&mut inner);
                        }
                        op_txn(inner)
                    }
                    _ => op_put(self.put(!endless)),
                }
            })
            .collect()
    }

    fn compact(&mut self, seen: Seen) -> Step {
        let revision = if self.dice.one_in(3) {
            self.revision(seen)
        } else {
            self.dice.between(seen.compacted, seen.revision)
        };
        Step::Compact(CompactionRequest {
            revision,
            physical: self.physical || self.dice.one_in(2),
        })
    }

    fn grant(&mut self) -> Step {
        match self.dice.below(8) {
            0 => Step::GrantAndRevoke(LeaseGrantRequest {
                id: self.dice.between(20, 40),
                ttl: self.dice.pick(&[0, -5, 1, i64::MIN]),
            }),
            1 => Step::Grant(LeaseGrantRequest {
                id: self.lease(),
                ttl: self.dice.pick(&[9_000_000_000, 9_000_000_001, i64::MAX]),
            }),
            2 => Step::Grant(LeaseGrantRequest { id: 0, ttl: 6000 }),
            _ => Step::Grant(LeaseGrantRequest {
                id: self.lease(),
                ttl: self.dice.between(5000, 9000),
            }),
        }
    }

    fn alarm(&mut self) -> Step {
        let mut request = AlarmRequest {
            action: alarm_request::AlarmAction::Get as i32,
            member_id: self.dice.pick(&[0, 7, u64::MAX]),
            alarm: self.dice.between(0, 2) as i32,
        };
        match self.dice.below(4) {
            0 => {}
            1 => request.action = alarm_request::AlarmAction::Deactivate as i32,
            _ => {
                request.action = alarm_request::AlarmAction::Activate as i32;
                self.alarms.push(request);
            }
        }
        Step::Alarm(request)
    }

    fn watch(&mut self, seen: Seen) -> Step {
        let stream = self.dice.below(2) as usize;
        self.watches[stream] += 1;
        if self.watches[stream] > 60 {
            return Step::Settle;
        }
        let key = self.key();
        let range_end = if self.dice.one_in(2) {
            Bytes::new()
        } else {
            self.range_end(&key)
        };
        let start_revision = match (stream, self.dice.below(4)) {
            (_, 0) => 0,
            (PAST, _) => self.dice.between(seen.compacted.max(1), seen.revision),
            (_, 1) => seen.revision + 1,
            (_, 2) if seen.compacted > 1 => self.dice.between(1, seen.compacted - 1),
            _ => seen.revision + self.dice.between(1, 30),
        };
        let filters = match self.dice.below(8) {
            0 => vec![0],
            1 => vec![1],
            2 => vec![0, 1],
            _ => Vec::new(),
        };
        self.settle = true;
        Step::Watch(
            stream,
            WatchCreateRequest {
                key,
                range_end,
                start_revision,
                filters,
                prev_kv: self.dice.one_in(2),
                watch_id: if self.dice.one_in(5) {
                    self.dice.between(0, 12)
                } else {
                    0
                },
                fragment: self.dice.one_in(4),
                progress_notify: self.dice.one_in(4),
            },
        )
    }
}

fn is_endless(delete: &DeleteRangeRequest) -> bool {
    delete.range_end.as_ref() == b"\0"
}

fn end_deletes(txn: &mut TxnRequest) {
    each_op(txn, &mut |op| {
        if let Some(request_op::Request::RequestDeleteRange(delete)) = &mut op.request
            && is_endless(delete)
        {
            delete.range_end = Bytes::new();
        }
    });
}

fn forget_ignores(txn: &mut TxnRequest) {
    each_op(txn, &mut |op| {
        if let Some(request_op::Request::RequestPut(p)) = &mut op.request {
            p.ignore_value = false;
            p.ignore_lease = false;
        }
    });
}

fn each_op(txn: &mut TxnRequest, f: &mut dyn FnMut(&mut RequestOp)) {
    for op in txn.success.iter_mut().chain(&mut txn.failure) {
        f(op);
        if let Some(request_op::Request::RequestTxn(inner)) = &mut op.request {
            each_op(inner, f);
        }
    }
}
