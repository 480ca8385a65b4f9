//! What a request must satisfy before anything is done with it, as pure
//! functions on messages (surface.md 9.1 R3 and R4, 9.5 T5 and T6). Nothing
//! here looks at a store.

use std::collections::BTreeMap;

use proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, request_op::Request,
};
use rustc_hash::FxHashSet;

use crate::Error;

#[cfg(test)]
mod tests;

/// A range has a key.
///
/// # Errors
/// [`Error::EmptyKey`].
pub fn range(request: &RangeRequest) -> Result<(), Error> {
    non_empty(&request.key)
}

/// A put has a key, and no value or lease that it says to ignore.
///
/// # Errors
/// [`Error::EmptyKey`], [`Error::ValueProvided`], [`Error::LeaseProvided`].
pub fn put(request: &PutRequest) -> Result<(), Error> {
    non_empty(&request.key)?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(Error::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Error::LeaseProvided);
    }
    Ok(())
}

/// A delete has a key.
///
/// # Errors
/// [`Error::EmptyKey`].
pub fn delete_range(request: &DeleteRangeRequest) -> Result<(), Error> {
    non_empty(&request.key)
}

/// Transactions may be nested this deep below the outermost. prost decodes at
/// most 100 messages within each other: the request in the log, then two for
/// each transaction, the last of which may hold an operation of two more. A
/// transaction deeper by one would be received, written to the log and then be
/// unreadable to whoever applies it. etcd bounds the depth by the number of
/// operations alone.
pub const NESTED_MAX: usize = 48;

/// A transaction has at most `max_ops` compares and operations per branch, all
/// of them valid, is nested at most [`NESTED_MAX`] deep, and no branch changes
/// a key twice.
///
/// # Errors
/// [`Error::TooManyOps`], [`Error::EmptyKey`], [`Error::KeyNotFound`] for an
/// empty operation, those of [`put`], [`Error::DuplicateKey`].
pub fn txn(request: &TxnRequest, max_ops: usize) -> Result<(), Error> {
    txn_ops(request, max_ops, NESTED_MAX)?;
    changes(&request.success)?;
    changes(&request.failure)?;
    Ok(())
}

/// True if every operation of both branches is a range. A transaction that
/// holds another one never counts as read-only, whatever that one does.
pub fn is_read_only(request: &TxnRequest) -> bool {
    ops(request).all(|op| matches!(op.request, Some(Request::RequestRange(_))))
}

/// True for a read-only transaction whose ranges are all serializable.
pub fn is_serializable(request: &TxnRequest) -> bool {
    ops(request).all(|op| matches!(&op.request, Some(Request::RequestRange(r)) if r.serializable))
}

fn ops(request: &TxnRequest) -> impl Iterator<Item = &RequestOp> {
    request.success.iter().chain(&request.failure)
}

fn non_empty(key: &[u8]) -> Result<(), Error> {
    if key.is_empty() {
        Err(Error::EmptyKey)
    } else {
        Ok(())
    }
}

fn txn_ops(request: &TxnRequest, budget: usize, deeper: usize) -> Result<(), Error> {
    let size = request
        .compare
        .len()
        .max(request.success.len())
        .max(request.failure.len());
    let Some(rest) = budget.checked_sub(size) else {
        return Err(Error::TooManyOps);
    };
    for compare in &request.compare {
        non_empty(&compare.key)?;
    }
    for op in ops(request) {
        match &op.request {
            Some(Request::RequestRange(r)) => range(r)?,
            Some(Request::RequestPut(r)) => put(r)?,
            Some(Request::RequestDeleteRange(r)) => delete_range(r)?,
            Some(Request::RequestTxn(r)) => {
                let deeper = deeper.checked_sub(1).ok_or(Error::TooManyOps)?;
                txn_ops(r, rest, deeper)?;
            }
            None => return Err(Error::KeyNotFound),
        }
    }
    Ok(())
}

/// Which keys a branch puts and which intervals it deletes.
#[derive(Default)]
struct Changes<'a> {
    puts: FxHashSet<&'a [u8]>,
    deletes: Intervals<'a>,
}

/// Deleted intervals by their begin, each reaching to the farthest end of
/// those that begin there.
#[derive(Default)]
struct Intervals<'a> {
    /// Single keys: deletes without a range end.
    points: FxHashSet<&'a [u8]>,
    /// Disjoint or touching, begin to end.
    spans: BTreeMap<&'a [u8], &'a [u8]>,
}

impl<'a> Intervals<'a> {
    fn insert(&mut self, begin: &'a [u8], end: &'a [u8]) {
        if end.is_empty() {
            self.points.insert(begin);
            return;
        }
        // etcd takes a range end of one zero byte as just that here, an empty interval.
        if begin >= end {
            return;
        }
        let (mut begin, mut end) = (begin, end);
        while let Some((&b, &e)) = self.spans.range(..=end).next_back() {
            if e < begin {
                break;
            }
            begin = begin.min(b);
            end = end.max(e);
            self.spans.remove(b);
        }
        self.spans.insert(begin, end);
    }

    fn contains(&self, key: &[u8]) -> bool {
        let span = self.spans.range(..=key).next_back();
        span.is_some_and(|(_, &end)| key < end) || self.points.contains(key)
    }

    fn absorb(&mut self, other: Intervals<'a>) {
        self.points.extend(other.points);
        for (begin, end) in other.spans {
            self.insert(begin, end);
        }
    }
}

fn changes(branch: &[RequestOp]) -> Result<Changes<'_>, Error> {
    let mut all = Changes::default();
    for op in branch {
        if let Some(Request::RequestDeleteRange(r)) = &op.request {
            all.deletes.insert(&r.key, &r.range_end);
        }
    }
    for op in branch {
        let Some(Request::RequestTxn(r)) = &op.request else {
            continue;
        };
        let then = changes(&r.success)?;
        let otherwise = changes(&r.failure)?;
        for &key in &then.puts {
            all.put(key)?;
        }
        for &key in &otherwise.puts {
            // Only one of the two branches will run.
            if !then.puts.contains(key) {
                all.put(key)?;
            } else if all.deletes.contains(key) {
                return Err(Error::DuplicateKey);
            }
        }
        // Later ones must not put what this one deletes; an earlier one may
        // have put it, and its own two branches exclude each other.
        all.deletes.absorb(then.deletes);
        all.deletes.absorb(otherwise.deletes);
    }
    for op in branch {
        if let Some(Request::RequestPut(r)) = &op.request {
            all.put(&r.key)?;
        }
    }
    Ok(all)
}

impl<'a> Changes<'a> {
    fn put(&mut self, key: &'a [u8]) -> Result<(), Error> {
        if self.deletes.contains(key) || !self.puts.insert(key) {
            return Err(Error::DuplicateKey);
        }
        Ok(())
    }
}
