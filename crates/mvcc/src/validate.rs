//! What a request must satisfy before anything is done with it, as pure
//! functions on messages (docs/design/requests.md). Nothing
//! here looks at a store.

use std::collections::BTreeMap;

use line::{Feature, Line};
use proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    range_request::{SortOrder, SortTarget},
    request_op::Request,
};
use rustc_hash::FxHashSet;

use crate::Error;

#[cfg(test)]
mod tests;

/// A range has a key, and in lines that look at it an order and a target that exist.
///
/// # Errors
/// [`Error::EmptyKey`], [`Error::InvalidSortOption`].
pub fn range(request: &RangeRequest, line: Line) -> Result<(), Error> {
    non_empty(&request.key)?;
    let is_known = SortOrder::try_from(request.sort_order).is_ok()
        && SortTarget::try_from(request.sort_target).is_ok();
    if !is_known && line.has(Feature::SortValidation) {
        return Err(Error::InvalidSortOption);
    }
    Ok(())
}

/// A range of a transaction: as any, and sorted by something that exists. Members of etcd 3.5 end
/// on any other when they apply it, and those of later lines refuse it.
fn range_of_txn(request: &RangeRequest, line: Line) -> Result<(), Error> {
    range(request, line)?;
    match SortTarget::try_from(request.sort_target) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::InvalidSortOption),
    }
}

/// A range that comes in pieces is in the order of the keys, and not filtered.
///
/// # Errors
/// Those of [`range`], [`Error::StreamSorted`], [`Error::StreamFiltered`].
pub fn range_stream(request: &RangeRequest, line: Line) -> Result<(), Error> {
    range(request, line)?;
    if !is_in_key_order(request) {
        return Err(Error::StreamSorted);
    }
    if is_filtered(request) {
        return Err(Error::StreamFiltered);
    }
    Ok(())
}

/// Whether an answer is left in the order of the keys before the limit is applied. No order at
/// all is one, whatever the target: etcd then sorts what the limit left.
pub(crate) fn is_in_key_order(request: &RangeRequest) -> bool {
    request.sort_order == SortOrder::None as i32
        || (request.sort_order == SortOrder::Ascend as i32
            && request.sort_target == SortTarget::Key as i32)
}

/// Whether revisions decide which of the keys are in an answer.
pub(crate) fn is_filtered(request: &RangeRequest) -> bool {
    request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
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

/// A transaction has at most `max_ops` compares and operations per branch, those
/// of the transactions within it included along each path, all of them valid, and
/// no branch changes a key twice. As in etcd, nothing else bounds how deeply it is
/// nested.
///
/// # Errors
/// [`Error::TooManyOps`], [`Error::EmptyKey`], [`Error::KeyNotFound`] for an
/// empty operation, those of [`range`] and [`put`], [`Error::InvalidSortOption`] for a range sorted
/// by what no one knows, [`Error::DuplicateKey`].
pub fn txn(request: &TxnRequest, max_ops: usize, line: Line) -> Result<(), Error> {
    txn_ops(request, max_ops, line)?;
    changes_once(request)
}

/// No branch of a transaction changes a key twice, which every release of etcd asks for.
///
/// # Errors
/// [`Error::DuplicateKey`].
pub fn changes_once(request: &TxnRequest) -> Result<(), Error> {
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

/// The budget that is left for what is nested in a transaction.
fn own_ops(request: &TxnRequest, budget: usize) -> Result<usize, Error> {
    let size = request
        .compare
        .len()
        .max(request.success.len())
        .max(request.failure.len());
    let rest = budget.checked_sub(size).ok_or(Error::TooManyOps)?;
    for compare in &request.compare {
        non_empty(&compare.key)?;
    }
    Ok(rest)
}

fn txn_ops(request: &TxnRequest, budget: usize, line: Line) -> Result<(), Error> {
    let rest = own_ops(request, budget)?;
    // A list of what is open in place of the stack: the depth is the client's choice.
    let mut open = vec![(ops(request), rest)];
    while let Some((left, rest)) = open.last_mut() {
        let rest = *rest;
        let Some(op) = left.next() else {
            open.pop();
            continue;
        };
        match &op.request {
            Some(Request::RequestRange(r)) => range_of_txn(r, line)?,
            Some(Request::RequestPut(r)) => put(r)?,
            Some(Request::RequestDeleteRange(r)) => delete_range(r)?,
            Some(Request::RequestTxn(r)) => open.push((ops(r), own_ops(r, rest)?)),
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
pub(crate) struct Intervals<'a> {
    /// Single keys: deletes without a range end.
    points: FxHashSet<&'a [u8]>,
    /// Disjoint or touching, begin to end.
    spans: BTreeMap<&'a [u8], &'a [u8]>,
}

impl<'a> Intervals<'a> {
    pub(crate) fn insert(&mut self, begin: &'a [u8], end: &'a [u8]) {
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

    fn is_empty(&self) -> bool {
        self.points.is_empty() && self.spans.is_empty()
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
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

/// A branch whose nested transactions are being checked, one branch after the other.
struct Open<'a> {
    branch: &'a [RequestOp],
    /// Operations after the nested transaction at hand.
    rest: std::slice::Iter<'a, RequestOp>,
    all: Changes<'a>,
    /// The transaction at hand, and the changes of its first branch.
    nested: Option<(&'a TxnRequest, Option<Changes<'a>>)>,
}

impl<'a> Open<'a> {
    fn new(branch: &'a [RequestOp]) -> Open<'a> {
        let mut all = Changes::default();
        for op in branch {
            if let Some(Request::RequestDeleteRange(r)) = &op.request {
                all.deletes.insert(&r.key, &r.range_end);
            }
        }
        Open {
            branch,
            rest: branch.iter(),
            all,
            nested: None,
        }
    }

    /// The next branch to look at: `None` if all are.
    fn next(&mut self) -> Option<&'a [RequestOp]> {
        if let Some((nested, Some(_))) = &self.nested {
            return Some(&nested.failure);
        }
        let nested = self.rest.find_map(|op| match &op.request {
            Some(Request::RequestTxn(r)) => Some(r),
            _ => None,
        })?;
        self.nested = Some((nested, None));
        Some(&nested.success)
    }

    /// Takes the changes of the branch that [`Open::next`] gave.
    fn take(&mut self, changes: Changes<'a>) -> Result<(), Error> {
        match self.nested.take() {
            Some((nested, None)) => {
                self.nested = Some((nested, Some(changes)));
                Ok(())
            }
            Some((_, Some(then))) => self.all.absorb(then, changes),
            None => Ok(()),
        }
    }

    /// All changes of the branch, its own puts last.
    fn finish(mut self) -> Result<Changes<'a>, Error> {
        for op in self.branch {
            if let Some(Request::RequestPut(r)) = &op.request {
                self.all.put(&r.key)?;
            }
        }
        Ok(self.all)
    }
}

fn changes(branch: &[RequestOp]) -> Result<Changes<'_>, Error> {
    let mut around = Vec::new();
    let mut open = Open::new(branch);
    loop {
        match open.next() {
            Some(inner) => around.push(std::mem::replace(&mut open, Open::new(inner))),
            None => {
                let Some(outer) = around.pop() else {
                    return open.finish();
                };
                let done = std::mem::replace(&mut open, outer).finish()?;
                open.take(done)?;
            }
        }
    }
}

impl<'a> Changes<'a> {
    fn put(&mut self, key: &'a [u8]) -> Result<(), Error> {
        if self.deletes.contains(key) || !self.puts.insert(key) {
            return Err(Error::DuplicateKey);
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.deletes.is_empty()
    }

    /// Adds the changes of the two branches of a nested transaction.
    fn absorb(&mut self, then: Changes<'a>, otherwise: Changes<'a>) -> Result<(), Error> {
        if self.is_empty() && otherwise.is_empty() {
            // The usual case of a deep one: nothing is copied on return.
            *self = then;
            return Ok(());
        }
        for &key in &then.puts {
            self.put(key)?;
        }
        for &key in &otherwise.puts {
            // Only one of the two branches will run.
            if !then.puts.contains(key) {
                self.put(key)?;
            } else if self.deletes.contains(key) {
                return Err(Error::DuplicateKey);
            }
        }
        // Later ones must not put what this one deletes; an earlier one may
        // have put it, and its own two branches exclude each other.
        self.deletes.absorb(then.deletes);
        self.deletes.absorb(otherwise.deletes);
        Ok(())
    }
}
