//! Ranges: which revisions answer a request, how many keys there are in all,
//! and what sorting and filters make of it (docs/design/requests.md). The walk over the
//! index happens under the lock, everything else after it.

use std::cmp::Ordering;

use proto::etcdserverpb::{
    RangeRequest,
    range_request::{SortOrder, SortTarget},
};
use smallvec::SmallVec;

use super::{
    answer::RangeAnswer,
    inner::{Inner, State},
    values::{Fetch, Sources, Values},
};
use crate::{Error, Revision, index::Span, stored::Record};

/// A range end of one zero byte means: all keys from the first on.
pub(super) const TO_THE_END: &[u8] = b"\0";

/// The keys a request speaks of.
pub(super) enum Keys<'a> {
    One(&'a [u8]),
    Many(Span<'a>),
    None,
}

impl<'a> Keys<'a> {
    pub(super) fn of(key: &'a [u8], range_end: &'a [u8]) -> Keys<'a> {
        match range_end {
            [] => Keys::One(key),
            TO_THE_END => Keys::Many(Span {
                from: key,
                to: None,
            }),
            end if end <= key => Keys::None,
            end => Keys::Many(Span {
                from: key,
                to: Some(end),
            }),
        }
    }
}

/// What a range found in the index.
pub(super) struct Found {
    /// The revision of the store that was looked at.
    pub(super) current: i64,
    pub(super) count: usize,
    pub(super) revisions: SmallVec<[Revision; 1]>,
}

/// Filters and sorting need all records before the limit can be applied.
/// A target other than the key with no order is etcd's exception: it sorts
/// what the limit left.
fn limit_first(request: &RangeRequest) -> bool {
    let ordered = request.sort_order != SortOrder::None as i32
        && !(request.sort_order == SortOrder::Ascend as i32
            && request.sort_target == SortTarget::Key as i32);
    !ordered && !is_filtered(request)
}

fn is_filtered(request: &RangeRequest) -> bool {
    request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

impl State {
    /// Looks up a range in a store whose last revision is `current`.
    pub(super) fn find(&self, request: &RangeRequest, current: i64) -> Result<Found, Error> {
        if request.revision > current {
            return Err(Error::FutureRev);
        }
        let at = if request.revision <= 0 {
            current
        } else {
            request.revision
        };
        if at < self.compacted {
            return Err(Error::Compacted);
        }
        // One more than asked for tells whether there are more.
        let limit = match usize::try_from(request.limit) {
            Ok(limit) if limit > 0 && limit_first(request) => limit.saturating_add(1),
            _ => usize::MAX,
        };
        let mut found = Found {
            current,
            count: 0,
            revisions: SmallVec::new(),
        };
        let revisions = &mut found.revisions;
        match Keys::of(&request.key, &request.range_end) {
            Keys::None => {}
            Keys::One(key) => {
                let entry = self.index.find(key).map(|id| self.index.entry(id));
                if let Some(revision) = entry.and_then(|entry| entry.at(at)) {
                    found.count = 1;
                    if !request.count_only {
                        revisions.push(revision);
                    }
                }
            }
            Keys::Many(span) => {
                let mut all = false;
                if !request.count_only {
                    all = true;
                    let mut take = |revision| {
                        if revisions.len() == limit {
                            all = false;
                            return false;
                        }
                        revisions.push(revision);
                        true
                    };
                    if at == current {
                        self.index
                            .visit_live(span, |_, entry| take(entry.newest().revision));
                    } else {
                        self.index.visit_at(span, at, take);
                    }
                }
                found.count = if all {
                    revisions.len()
                } else if at == current {
                    self.index.count(span)
                } else {
                    self.index.count_at(span, at)
                };
            }
        }
        Ok(found)
    }
}

impl Found {
    /// Takes along what has to be taken under the lock.
    pub(super) fn gather(self, sources: &Sources<'_>) -> Gathered {
        Gathered {
            current: self.current,
            count: self.count,
            fetch: Fetch::new(self.revisions, sources),
        }
    }
}

/// A range whose lock may be released.
pub(super) struct Gathered {
    current: i64,
    count: usize,
    fetch: Fetch,
}

impl Gathered {
    /// Reads the records and makes the answer of them.
    pub(super) fn finish(self, request: &RangeRequest) -> Result<RangeAnswer, Error> {
        let mut values = self.fetch.run()?;
        if is_filtered(request) || is_sorted(request) {
            arrange(&mut values, request);
        }
        let limit = usize::try_from(request.limit).unwrap_or(0);
        let more = limit > 0 && values.len() > limit;
        if more {
            values.truncate(limit);
        }
        Ok(RangeAnswer::new(
            self.current,
            self.count as i64,
            more,
            values,
            request.keys_only,
        ))
    }
}

fn is_sorted(request: &RangeRequest) -> bool {
    request.sort_target != SortTarget::Key as i32 || request.sort_order == SortOrder::Descend as i32
}

/// Filters and sorts. A record that cannot be read counts as one of zeros.
fn arrange(values: &mut Values, request: &RangeRequest) {
    let records: Vec<Record<'_>> = values
        .iter()
        .map(|bytes| Record::parse(bytes).unwrap_or_default())
        .collect();
    let within = |n: i64, min: i64, max: i64| (min == 0 || n >= min) && (max == 0 || n <= max);
    let mut places: Vec<usize> = (0..records.len())
        .filter(|&i| {
            let record = &records[i];
            within(
                record.mod_revision,
                request.min_mod_revision,
                request.max_mod_revision,
            ) && within(
                record.create_revision,
                request.min_create_revision,
                request.max_create_revision,
            )
        })
        .collect();
    let descend = request.sort_order == SortOrder::Descend as i32;
    // Equal records stay in key order, also when the order is descending.
    let directed = |order: Ordering| if descend { order.reverse() } else { order };
    let number = |target: fn(&Record<'_>) -> i64, places: &mut Vec<usize>| {
        places.sort_by(|&a, &b| directed(target(&records[a]).cmp(&target(&records[b]))));
    };
    match SortTarget::try_from(request.sort_target) {
        Ok(SortTarget::Key) | Err(_) => {
            if descend {
                places.reverse();
            }
        }
        Ok(SortTarget::Version) => number(|r| r.version, &mut places),
        Ok(SortTarget::Create) => number(|r| r.create_revision, &mut places),
        Ok(SortTarget::Mod) => number(|r| r.mod_revision, &mut places),
        Ok(SortTarget::Value) => {
            places.sort_by(|&a, &b| directed(records[a].value.cmp(records[b].value)));
        }
    }
    drop(records);
    values.select(places.into_iter());
}

impl Inner {
    pub(super) fn range(&self, request: &RangeRequest) -> Result<RangeAnswer, Error> {
        let gathered = {
            let state = self.state.read();
            let found = state.find(request, state.current)?;
            if found.revisions.is_empty() {
                return Ok(RangeAnswer::new(
                    found.current,
                    found.count as i64,
                    false,
                    Values::default(),
                    false,
                ));
            }
            found.gather(&self.sources())
        };
        gathered.finish(request)
    }

    /// The records of the moment; the state must be locked before.
    pub(super) fn sources(&self) -> Sources<'_> {
        Sources {
            local: &[],
            overlay: self.backend.inner().overlay(),
        }
    }
}
