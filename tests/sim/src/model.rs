//! What etcd promises of keys and leases, in the plainest words: versions of
//! each key in a list, leases in a map. It shares no code with the store, so
//! that both are not wrong together.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use bytes::Bytes;
use member::{Outcome, status::Status};
use proto::{
    etcdserverpb::{
        Compare, DeleteRangeRequest, PutRequest, RangeRequest, ResponseHeader, ResponseOp,
        TxnRequest,
        compare::{CompareResult, TargetUnion},
        internal_raft_request::Op,
        request_op::Request,
        response_op::Response,
    },
    mvccpb::KeyValue,
};

/// One version of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kv {
    /// The key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
    /// Revision at which it came to be.
    pub created: i64,
    /// Revision of this version.
    pub modified: i64,
    /// Number of this version, from 1.
    pub version: i64,
    /// Lease, 0 for none.
    pub lease: i64,
}

impl From<&KeyValue> for Kv {
    fn from(kv: &KeyValue) -> Kv {
        Kv {
            key: kv.key.clone(),
            value: kv.value.clone(),
            created: kv.create_revision,
            modified: kv.mod_revision,
            version: kv.version,
            lease: kv.lease,
        }
    }
}

/// What an operation gives its caller, as far as it must be the same wherever
/// it is carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Revision of the store and the version before, if asked for.
    Put(i64, Option<Kv>),
    /// Revision of the store and how many keys went.
    Delete(i64, i64),
    /// Revision of the store and what was found.
    Range(i64, Vec<Kv>),
    /// Revision of the store, which branch, and its results; their revisions are 0.
    Txn(i64, bool, Vec<Reply>),
    /// TTL in seconds.
    Granted(i64),
    /// TTL in seconds.
    Renewed(i64),
    /// Nothing to tell.
    Done,
    /// It does not hold.
    Refused(String),
}

impl Reply {
    /// The revision it speaks of.
    pub fn revision(&self) -> Option<i64> {
        match self {
            Reply::Put(revision, _)
            | Reply::Delete(revision, _)
            | Reply::Range(revision, _)
            | Reply::Txn(revision, _, _) => Some(*revision),
            _ => None,
        }
    }

    /// From the result of an entry.
    pub fn of(result: &Result<Outcome, Status>) -> Reply {
        let revision = |header: &Option<ResponseHeader>| header.as_ref().map_or(0, |h| h.revision);
        match result {
            Ok(Outcome::Put(done)) => {
                Reply::Put(revision(&done.header), done.prev_kv.as_ref().map(Kv::from))
            }
            Ok(Outcome::DeleteRange(done)) => Reply::Delete(revision(&done.header), done.deleted),
            Ok(Outcome::Txn(done)) => Reply::Txn(
                revision(&done.header),
                done.succeeded,
                Reply::parts(&done.responses),
            ),
            Ok(Outcome::LeaseGrant(done)) => Reply::Granted(done.ttl),
            Ok(_) => Reply::Done,
            Err(status) => {
                let text = status.message.trim_start_matches("etcdserver: ");
                Reply::Refused(text.to_owned())
            }
        }
    }

    /// Without the ranges of a transaction, which a member leaves out whose client did not ask.
    pub fn without_ranges(&self) -> Reply {
        match self {
            Reply::Txn(revision, succeeded, parts) => {
                let kept = parts.iter().filter(|p| !matches!(p, Reply::Range(..)));
                Reply::Txn(*revision, *succeeded, kept.cloned().collect())
            }
            other => other.clone(),
        }
    }

    /// From the results of a transaction's operations.
    pub fn parts(responses: &[ResponseOp]) -> Vec<Reply> {
        let part = |op: &ResponseOp| match &op.response {
            Some(Response::ResponsePut(put)) => Reply::Put(0, put.prev_kv.as_ref().map(Kv::from)),
            Some(Response::ResponseDeleteRange(delete)) => Reply::Delete(0, delete.deleted),
            Some(Response::ResponseRange(range)) => {
                Reply::Range(0, range.kvs.iter().map(Kv::from).collect())
            }
            Some(Response::ResponseTxn(txn)) => {
                Reply::Txn(0, txn.succeeded, Reply::parts(&txn.responses))
            }
            None => Reply::Done,
        };
        responses.iter().map(part).collect()
    }
}

#[derive(Debug)]
struct Lease {
    ttl: i64,
    keys: BTreeSet<Bytes>,
}

/// Keys and leases as of the last operation.
#[derive(Debug)]
pub struct Model {
    /// Revision of the store.
    pub revision: i64,
    /// Compacted up to here, -1 for never.
    pub compacted: i64,
    keys: BTreeMap<Bytes, Vec<(i64, Option<Kv>)>>,
    leases: BTreeMap<i64, Lease>,
}

impl Default for Model {
    fn default() -> Model {
        Model {
            revision: 1,
            compacted: -1,
            keys: BTreeMap::new(),
            leases: BTreeMap::new(),
        }
    }
}

impl Model {
    /// Carries an operation out.
    pub fn apply(&mut self, op: &Op, min_ttl: i64) -> Reply {
        match op {
            Op::Put(put) => {
                if put.lease != 0 && !self.leases.contains_key(&put.lease) {
                    return Reply::Refused("requested lease not found".into());
                }
                let at = self.revision + 1;
                let prev = self.put(put, at);
                self.revision = at;
                Reply::Put(at, prev)
            }
            Op::DeleteRange(delete) => {
                let at = self.revision + 1;
                let deleted = self.delete(delete, at);
                self.revision += i64::from(deleted > 0);
                Reply::Delete(self.revision, deleted)
            }
            Op::Txn(txn) => self.txn(txn),
            Op::Compaction(compaction) => {
                if compaction.revision <= self.compacted {
                    return Reply::Refused("mvcc: required revision has been compacted".into());
                }
                if compaction.revision > self.revision {
                    return Reply::Refused("mvcc: required revision is a future revision".into());
                }
                self.compacted = compaction.revision;
                Reply::Done
            }
            Op::LeaseGrant(grant) => {
                if self.leases.contains_key(&grant.id) {
                    return Reply::Refused("lease already exists".into());
                }
                let ttl = grant.ttl.max(min_ttl);
                let keys = BTreeSet::new();
                self.leases.insert(grant.id, Lease { ttl, keys });
                Reply::Granted(ttl)
            }
            Op::LeaseRevoke(revoke) => {
                let Some(lease) = self.leases.remove(&revoke.id) else {
                    return Reply::Refused("requested lease not found".into());
                };
                let at = self.revision + 1;
                for key in &lease.keys {
                    self.tombstone(key, at);
                }
                self.revision += i64::from(!lease.keys.is_empty());
                Reply::Done
            }
            _ => Reply::Done,
        }
    }

    /// The newest version of a key.
    fn live(&self, key: &Bytes) -> Option<&Kv> {
        self.keys.get(key)?.last()?.1.as_ref()
    }

    fn put(&mut self, put: &PutRequest, at: i64) -> Option<Kv> {
        let old = self.live(&put.key).cloned();
        if let Some(lease) = old.as_ref().and_then(|old| self.leases.get_mut(&old.lease)) {
            lease.keys.remove(&put.key);
        }
        if let Some(lease) = self.leases.get_mut(&put.lease) {
            lease.keys.insert(put.key.clone());
        }
        let new = Kv {
            key: put.key.clone(),
            value: put.value.clone(),
            created: old.as_ref().map_or(at, |old| old.created),
            modified: at,
            version: old.as_ref().map_or(0, |old| old.version) + 1,
            lease: put.lease,
        };
        let versions = self.keys.entry(put.key.clone()).or_default();
        versions.push((at, Some(new)));
        old.filter(|_| put.prev_kv)
    }

    fn tombstone(&mut self, key: &Bytes, at: i64) {
        if let Some(lease) = self
            .live(key)
            .map(|kv| kv.lease)
            .and_then(|id| self.leases.get_mut(&id))
        {
            lease.keys.remove(key);
        }
        if let Some(versions) = self.keys.get_mut(key) {
            versions.push((at, None));
        }
    }

    fn delete(&mut self, delete: &DeleteRangeRequest, at: i64) -> i64 {
        let found = self.range(&delete.key, &delete.range_end, i64::MAX);
        for kv in &found {
            self.tombstone(&kv.key, at);
        }
        found.len() as i64
    }

    /// What a range shows as of `revision`.
    pub fn range(&self, key: &Bytes, end: &Bytes, revision: i64) -> Vec<Kv> {
        let to = match &end[..] {
            [] => Bound::Included(key.clone()),
            [0] => Bound::Unbounded,
            _ => Bound::Excluded(end.clone()),
        };
        if matches!(&to, Bound::Excluded(to) if to <= key) {
            return Vec::new();
        }
        let versions = self.keys.range((Bound::Included(key.clone()), to));
        let seen = |versions: &Vec<(i64, Option<Kv>)>| {
            let newest = versions.iter().rev().find(|(at, _)| *at <= revision)?;
            newest.1.clone()
        };
        versions
            .filter_map(|(_, versions)| seen(versions))
            .collect()
    }

    fn holds(&self, compare: &Compare) -> bool {
        let kv = self.live(&compare.key);
        let number = |of: fn(&Kv) -> i64| kv.map_or(0, of);
        let order = match &compare.target_union {
            Some(TargetUnion::Version(n)) => number(|kv| kv.version).cmp(n),
            Some(TargetUnion::CreateRevision(n)) => number(|kv| kv.created).cmp(n),
            Some(TargetUnion::ModRevision(n)) => number(|kv| kv.modified).cmp(n),
            Some(TargetUnion::Lease(n)) => number(|kv| kv.lease).cmp(n),
            Some(TargetUnion::Value(value)) => match kv {
                // A value that is not there compares as unequal to anything.
                None => return false,
                Some(kv) => kv.value.cmp(value),
            },
            None => return false,
        };
        match CompareResult::try_from(compare.result) {
            Ok(CompareResult::Equal) => order.is_eq(),
            Ok(CompareResult::NotEqual) => order.is_ne(),
            Ok(CompareResult::Greater) => order.is_gt(),
            Ok(CompareResult::Less) => order.is_lt(),
            Err(_) => false,
        }
    }

    fn txn(&mut self, txn: &TxnRequest) -> Reply {
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
        let branch = if succeeded {
            &txn.success
        } else {
            &txn.failure
        };
        let unknown = |op: &Request| match op {
            Request::RequestPut(put) => put.lease != 0 && !self.leases.contains_key(&put.lease),
            _ => false,
        };
        if branch
            .iter()
            .filter_map(|op| op.request.as_ref())
            .any(unknown)
        {
            return Reply::Refused("requested lease not found".into());
        }
        let at = self.revision + 1;
        let mut changed = false;
        let mut parts = Vec::new();
        for op in branch {
            parts.push(match &op.request {
                Some(Request::RequestPut(put)) => {
                    changed = true;
                    Reply::Put(0, self.put(put, at))
                }
                Some(Request::RequestDeleteRange(delete)) => {
                    let deleted = self.delete(delete, at);
                    changed |= deleted > 0;
                    Reply::Delete(0, deleted)
                }
                Some(Request::RequestRange(range)) => Reply::Range(0, self.read(range)),
                _ => Reply::Done,
            });
        }
        self.revision += i64::from(changed);
        Reply::Txn(self.revision, succeeded, parts)
    }

    fn read(&self, range: &RangeRequest) -> Vec<Kv> {
        self.range(&range.key, &range.range_end, i64::MAX)
    }

    /// All leases: id, TTL and keys.
    pub fn leases(&self) -> impl Iterator<Item = (i64, i64, &BTreeSet<Bytes>)> {
        self.leases
            .iter()
            .map(|(id, lease)| (*id, lease.ttl, &lease.keys))
    }
}
