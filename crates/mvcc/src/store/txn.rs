//! Transactions (docs/design/requests.md): all compares, nested ones included, are
//! evaluated against the state before; then everything that could fail in the
//! chosen branches is checked; then they run in order, seeing their own
//! changes.

use line::{Feature, Line};
use proto::{
    etcdserverpb::{
        Compare, RangeRequest, RequestOp, ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
        compare::{CompareResult, CompareTarget, TargetUnion},
        request_op::Request,
        response_op::Response,
    },
    wire::Nested,
};
use smallvec::{SmallVec, smallvec};

use super::{
    inner::{Inner, State},
    range::{Gathered, Keys, TO_THE_END},
    values::{Fetch, Sources},
    writer::{Leases, Writer},
};
use crate::{Error, Revision, index::Entry, stored::Record, validate::Intervals};

/// Which branch each transaction takes, in the order of the traversal.
type Branches = SmallVec<[bool; 4]>;

impl Writer<'_> {
    /// Runs a transaction.
    ///
    /// # Errors
    /// [`Error::KeyNotFound`] and [`Error::LeaseNotFound`] for a put of a
    /// chosen branch, [`Error::FutureRev`] and [`Error::Compacted`] for a range;
    /// nothing is changed then. [`Error::Database`] and [`Error::Corrupt`] if
    /// the file cannot be read; if that happens after the first change, nothing
    /// is committed any more.
    pub fn txn(
        &mut self,
        request: &TxnRequest,
        leases: &mut dyn Leases,
        line: Line,
    ) -> Result<TxnResponse, Error> {
        let mut branches = Branches::new();
        let fetch = |revision| self.fetch(smallvec![revision]);
        choose(&self.state, &fetch, request, &mut branches)?;
        check_operations(&self.state, request, &branches, line, &|id| {
            leases.exists(id)
        })?;
        check_deleted(request, &branches)?;
        check_empty(request, &branches)?;
        match self.execute(request, &mut branches.iter(), leases, line) {
            Ok(mut response) => {
                response.header = self.header();
                self.finish_txn();
                Ok(response)
            }
            Err(error) => {
                if self.has_changes() {
                    self.abandon();
                }
                Err(error)
            }
        }
    }

    /// Runs the branches chosen, one operation after another, nested ones in their
    /// place.
    fn execute<'b>(
        &mut self,
        request: &TxnRequest,
        branches: &mut impl Iterator<Item = &'b bool>,
        leases: &mut dyn Leases,
        line: Line,
    ) -> Result<TxnResponse, Error> {
        let mut around = Vec::new();
        let mut open = Running::new(request, branches);
        loop {
            let Some(op) = open.ops.next() else {
                let Some(outer) = around.pop() else {
                    return Ok(open.response.into_inner());
                };
                let done = std::mem::replace(&mut open, outer).response.into_inner();
                open.answer(Response::ResponseTxn(done));
                continue;
            };
            let response = match &op.request {
                Some(Request::RequestRange(r)) => {
                    let answer = self.range(r, line)?;
                    let header = revision_header(answer.revision);
                    let mut response = answer.into_response();
                    response.header = header;
                    Response::ResponseRange(response)
                }
                Some(Request::RequestPut(r)) => Response::ResponsePut(self.put_one(r, leases)?),
                Some(Request::RequestDeleteRange(r)) => {
                    Response::ResponseDeleteRange(self.delete_some(r, leases)?)
                }
                Some(Request::RequestTxn(r)) => {
                    around.push(std::mem::replace(&mut open, Running::new(r, branches)));
                    continue;
                }
                None => return Err(Error::EmptyOperation),
            };
            open.answer(response);
        }
    }
}

/// A transaction of which some operations ran.
struct Running<'r> {
    ops: std::slice::Iter<'r, RequestOp>,
    response: Nested<TxnResponse>,
}

impl<'r> Running<'r> {
    fn new<'b>(
        request: &'r TxnRequest,
        branches: &mut impl Iterator<Item = &'b bool>,
    ) -> Running<'r> {
        let (succeeded, ops) = branch(request, branches);
        Running {
            ops: ops.iter(),
            response: Nested::new(TxnResponse {
                // etcd leaves the header of a nested transaction empty, but there.
                header: Some(ResponseHeader::default()),
                succeeded,
                responses: Vec::with_capacity(ops.len()),
            }),
        }
    }

    fn answer(&mut self, response: Response) {
        self.response.responses.push(ResponseOp {
            response: Some(response),
        });
    }
}

impl Inner {
    pub(super) fn check_txn(
        &self,
        request: &TxnRequest,
        lease_exists: &dyn Fn(i64) -> bool,
        line: Line,
    ) -> Result<(), Error> {
        let state = self.state.read();
        let sources = self.sources();
        let fetch = |revision| Fetch::new(smallvec![revision], &sources);
        let mut branches = Branches::new();
        choose(&state, &fetch, request, &mut branches)?;
        check_operations(&state, request, &branches, line, lease_exists)
    }

    pub(super) fn read_txn(&self, request: &TxnRequest, line: Line) -> Result<TxnResponse, Error> {
        let (succeeded, current, gathered) = {
            let state = self.state.read();
            let sources = self.sources();
            let fetch = |revision| Fetch::new(smallvec![revision], &sources);
            let mut branches = Branches::new();
            choose(&state, &fetch, request, &mut branches)?;
            check_ranges(&state, request, &mut branches.iter())?;
            let (succeeded, ops) = branch(request, &mut branches.iter());
            let gathered = gather(&state, &sources, ops, line)?;
            (succeeded, state.current, gathered)
        };
        let responses = gathered
            .into_iter()
            .map(|(range, gathered)| {
                let answer = gathered.finish(range)?;
                let header = revision_header(answer.revision);
                let mut response = answer.into_response();
                response.header = header;
                Ok(ResponseOp {
                    response: Some(Response::ResponseRange(response)),
                })
            })
            .collect::<Result<_, Error>>()?;
        Ok(TxnResponse {
            header: revision_header(current),
            succeeded,
            responses,
        })
    }
}

fn revision_header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        revision,
        ..ResponseHeader::default()
    })
}

/// The ranges of a branch that holds nothing else.
fn gather<'r>(
    state: &State,
    sources: &Sources<'_>,
    ops: &'r [RequestOp],
    line: Line,
) -> Result<Vec<(&'r RangeRequest, Gathered)>, Error> {
    let ranges = ops.iter().filter_map(|op| match &op.request {
        Some(Request::RequestRange(r)) => Some(r),
        _ => None,
    });
    ranges
        .map(|r| Ok((r, state.find(r, line, state.current)?.gather(sources))))
        .collect()
}

/// The branch that the next of `branches` names.
fn branch<'r, 'b>(
    request: &'r TxnRequest,
    branches: &mut impl Iterator<Item = &'b bool>,
) -> (bool, &'r [RequestOp]) {
    match branches.next() {
        Some(true) => (true, &request.success),
        _ => (false, &request.failure),
    }
}

fn choose(
    state: &State,
    fetch: &impl Fn(Revision) -> Fetch,
    request: &TxnRequest,
    branches: &mut Branches,
) -> Result<(), Error> {
    let mut open: SmallVec<[_; 2]> = SmallVec::new();
    let mut next = Some(request);
    loop {
        if let Some(request) = next {
            let succeeded = all_hold(state, fetch, &request.compare)?;
            branches.push(succeeded);
            open.push(match succeeded {
                true => request.success.iter(),
                false => request.failure.iter(),
            });
        }
        let Some(ops) = open.last_mut() else {
            return Ok(());
        };
        next = ops.find_map(|op| match &op.request {
            Some(Request::RequestTxn(r)) => Some(r),
            _ => None,
        });
        if next.is_none() {
            open.pop();
        }
    }
}

fn all_hold(
    state: &State,
    fetch: &impl Fn(Revision) -> Fetch,
    compares: &[Compare],
) -> Result<bool, Error> {
    for compare in compares {
        if !holds(state, fetch, compare)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A compare over a range holds if it holds for every key there.
fn holds(
    state: &State,
    fetch: &impl Fn(Revision) -> Fetch,
    compare: &Compare,
) -> Result<bool, Error> {
    let (mut found, mut result) = (false, Ok(true));
    let mut test = |entry: &Entry| {
        found = true;
        result = holds_for(entry, fetch, compare);
        matches!(result, Ok(true))
    };
    match Keys::of(&compare.key, &compare.range_end) {
        Keys::None => {}
        Keys::One(key) => {
            if let Some(entry) = state.index.live(key) {
                test(entry);
            }
        }
        Keys::Many(span) => state.index.visit_live(span, |_, entry| test(entry)),
    }
    if found {
        return result;
    }
    // A value that is not there compares as nothing; numbers are zero.
    let is_value = compare.target == CompareTarget::Value as i32;
    Ok(!is_value && compare_record(compare, &Record::default()))
}

fn holds_for(
    entry: &Entry,
    fetch: &impl Fn(Revision) -> Fetch,
    compare: &Compare,
) -> Result<bool, Error> {
    let newest = entry.newest().revision;
    let mut record = Record {
        create_revision: entry.created(),
        mod_revision: newest.main,
        version: entry.version().unwrap_or_default(),
        ..Record::default()
    };
    let known = match CompareTarget::try_from(compare.target) {
        Ok(CompareTarget::Version) => entry.version().is_some(),
        Ok(CompareTarget::Create | CompareTarget::Mod) | Err(_) => true,
        Ok(CompareTarget::Lease) => !entry.is_leased(),
        Ok(CompareTarget::Value) => false,
    };
    if known {
        return Ok(compare_record(compare, &record));
    }
    let values = fetch(newest).run()?;
    if let Some(read) = values.first().and_then(Record::parse) {
        record = read;
    }
    Ok(compare_record(compare, &record))
}

/// A union member that does not belong to the target counts as not given.
fn compare_record(compare: &Compare, record: &Record<'_>) -> bool {
    use TargetUnion as Given;
    let given = compare.target_union.as_ref();
    let ordering = match CompareTarget::try_from(compare.target) {
        Ok(CompareTarget::Value) => record.value.cmp(match given {
            Some(Given::Value(value)) => value,
            _ => &[],
        }),
        Ok(CompareTarget::Version) => record.version.cmp(&match given {
            Some(Given::Version(n)) => *n,
            _ => 0,
        }),
        Ok(CompareTarget::Create) => record.create_revision.cmp(&match given {
            Some(Given::CreateRevision(n)) => *n,
            _ => 0,
        }),
        Ok(CompareTarget::Mod) => record.mod_revision.cmp(&match given {
            Some(Given::ModRevision(n)) => *n,
            _ => 0,
        }),
        Ok(CompareTarget::Lease) => record.lease.cmp(&match given {
            Some(Given::Lease(n)) => *n,
            _ => 0,
        }),
        Err(_) => std::cmp::Ordering::Equal,
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => ordering.is_eq(),
        Ok(CompareResult::NotEqual) => ordering.is_ne(),
        Ok(CompareResult::Greater) => ordering.is_gt(),
        Ok(CompareResult::Less) => ordering.is_lt(),
        Err(_) => true,
    }
}

/// What etcd checks of the operations that will run: which of several errors is returned follows
/// from the order.
fn check_operations(
    state: &State,
    request: &TxnRequest,
    branches: &Branches,
    line: Line,
    lease_exists: &dyn Fn(i64) -> bool,
) -> Result<(), Error> {
    let mut check_put = |op: &Request| check_put(state, op, line, lease_exists);
    if line.has(Feature::ChecksInOrder) {
        let mut check = |op: &Request| check_put(op).and_then(|()| check_range(state, op));
        return walk(request, &mut branches.iter(), &mut check);
    }
    walk(request, &mut branches.iter(), &mut check_put)?;
    check_ranges(state, request, &mut branches.iter())
}

/// What etcd checks of a put.
fn check_put(
    state: &State,
    op: &Request,
    line: Line,
    lease_exists: &dyn Fn(i64) -> bool,
) -> Result<(), Error> {
    let Request::RequestPut(put) = op else {
        return Ok(());
    };
    let ignores = put.ignore_value || put.ignore_lease;
    let key = match ignores && state.index.live(&put.key).is_none() {
        true => Err(Error::KeyNotFound),
        false => Ok(()),
    };
    let lease = match put.lease != 0 && !lease_exists(put.lease) {
        true => Err(Error::LeaseNotFound),
        false => Ok(()),
    };
    match line.has(Feature::LeaseCheckedFirst) {
        true => lease.and(key),
        false => key.and(lease),
    }
}

/// A delete up to the end passes validation together with a put of the same key. If
/// that put needs what the delete took, etcd stops dead in the middle of the
/// transaction; here it fails as a whole, after all that etcd would say.
fn check_deleted(request: &TxnRequest, branches: &Branches) -> Result<(), Error> {
    let mut deleted = Deleted::default();
    walk(request, &mut branches.iter(), &mut |op| match op {
        Request::RequestPut(put) if put.ignore_value || put.ignore_lease => {
            match deleted.contains(&put.key) {
                true => Err(Error::KeyNotFound),
                false => Ok(()),
            }
        }
        Request::RequestDeleteRange(r) => {
            deleted.insert(&r.key, &r.range_end);
            Ok(())
        }
        _ => Ok(()),
    })
}

fn check_empty(request: &TxnRequest, branches: &Branches) -> Result<(), Error> {
    walk_all(request, &mut branches.iter(), &mut |op| match op {
        Some(_) => Ok(()),
        None => Err(Error::EmptyOperation),
    })
}

/// What earlier operations of a transaction delete.
#[derive(Default)]
struct Deleted<'a> {
    spans: Intervals<'a>,
    /// Everything from this key on.
    from: Option<&'a [u8]>,
}

impl<'a> Deleted<'a> {
    fn insert(&mut self, key: &'a [u8], end: &'a [u8]) {
        match end {
            TO_THE_END => self.from = Some(self.from.map_or(key, |from| from.min(key))),
            end => self.spans.insert(key, end),
        }
    }

    fn contains(&self, key: &[u8]) -> bool {
        self.from.is_some_and(|from| from <= key) || self.spans.contains(key)
    }
}

fn check_ranges<'b>(
    state: &State,
    request: &TxnRequest,
    branches: &mut impl Iterator<Item = &'b bool>,
) -> Result<(), Error> {
    walk(request, branches, &mut |op| check_range(state, op))
}

fn check_range(state: &State, op: &Request) -> Result<(), Error> {
    match op {
        Request::RequestRange(r) if r.revision == 0 => Ok(()),
        Request::RequestRange(r) if r.revision > state.current => Err(Error::FutureRev),
        Request::RequestRange(r) if r.revision < state.compacted => Err(Error::Compacted),
        _ => Ok(()),
    }
}

/// Shows the operations that will run, in order.
fn walk<'r, 'b>(
    request: &'r TxnRequest,
    branches: &mut dyn Iterator<Item = &'b bool>,
    visit: &mut dyn FnMut(&'r Request) -> Result<(), Error>,
) -> Result<(), Error> {
    walk_all(request, branches, &mut |op| op.map_or(Ok(()), &mut *visit))
}

/// The same, empty ones among them.
fn walk_all<'r, 'b>(
    request: &'r TxnRequest,
    branches: &mut dyn Iterator<Item = &'b bool>,
    visit: &mut dyn FnMut(Option<&'r Request>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut ops = |request: &'r TxnRequest| match branches.next() {
        Some(true) => request.success.iter(),
        _ => request.failure.iter(),
    };
    let mut open: SmallVec<[_; 2]> = smallvec![ops(request)];
    while let Some(left) = open.last_mut() {
        match left.next().map(|op| &op.request) {
            None => drop(open.pop()),
            Some(Some(Request::RequestTxn(r))) => open.push(ops(r)),
            Some(op) => visit(op.as_ref())?,
        }
    }
    Ok(())
}
