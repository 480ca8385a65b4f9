//! Ranges: which revisions answer a request, how many keys there are in all,
//! and what sorting and filters make of it (docs/design/requests.md). The walk over the
//! index happens under the lock, everything else after it.

use std::cmp::Ordering;

use line::Line;
use proto::etcdserverpb::{
    RangeRequest,
    range_request::{SortOrder, SortTarget},
};
use smallvec::SmallVec;

use super::{
    answer::RangeAnswer,
    inner::{Inner, State},
    shown::{Made, Shown},
    values::{Fetch, Sources, Values},
};
use crate::{
    Error, Revision,
    index::{Entry, Span},
    stored::Record,
    validate::{is_filtered, is_in_key_order},
};

/// A range end of one zero byte means: all keys from the first on.
pub(super) const TO_THE_END: &[u8] = b"\0";

/// The keys that a request names.
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
    /// The revision of the store that was read.
    pub(super) current: i64,
    pub(super) count: usize,
    rows: Rows,
    shown: Shown,
}

/// What an answer is made of.
enum Rows {
    /// Records of the file, and of what waits to be written to it.
    Stored(SmallVec<[Revision; 1]>),
    /// What the index knows of each key.
    Indexed(Made),
}

/// Filters and sorting need all records before the limit can be applied.
fn limit_first(request: &RangeRequest) -> bool {
    is_in_key_order(request) && !is_filtered(request)
}

impl State {
    /// Looks up a range in a store whose last revision is `current`.
    pub(super) fn find(
        &self,
        request: &RangeRequest,
        line: Line,
        current: i64,
    ) -> Result<Found, Error> {
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
        // One more than asked for shows whether there are more.
        let limit = match usize::try_from(request.limit) {
            Ok(limit) if limit > 0 && limit_first(request) => limit.saturating_add(1),
            _ => usize::MAX,
        };
        let shown = Shown::of(request, line);
        // Of the past the index knows revisions alone.
        if shown == Shown::Indexed
            && at == current
            && !request.count_only
            && let Some((count, made)) = self.find_keys(request, limit)
        {
            return Ok(Found {
                current,
                count,
                rows: Rows::Indexed(made),
                shown,
            });
        }
        let (count, revisions) = self.find_revisions(request, at, current, limit);
        Ok(Found {
            current,
            count,
            rows: Rows::Stored(revisions),
            shown,
        })
    }

    /// How many keys there are in a range at a revision, and which revisions they have, up to a
    /// limit.
    fn find_revisions(
        &self,
        request: &RangeRequest,
        at: i64,
        current: i64,
        limit: usize,
    ) -> (usize, SmallVec<[Revision; 1]>) {
        let (mut count, mut revisions) = (0, SmallVec::new());
        match Keys::of(&request.key, &request.range_end) {
            Keys::None => {}
            Keys::One(key) => {
                let entry = self.index.find(key).map(|id| self.index.entry(id));
                if let Some(revision) = entry.and_then(|entry| entry.at(at)) {
                    count = 1;
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
                count = if all {
                    revisions.len()
                } else if at == current {
                    self.index.count(span)
                } else {
                    self.index.count_at(span, at)
                };
            }
        }
        (count, revisions)
    }

    /// The keys of a range as they are now, up to a limit, and how many there are in all; `None`
    /// if the index does not know all of one of them.
    fn find_keys(&self, request: &RangeRequest, limit: usize) -> Option<(usize, Made)> {
        let mut made = Made::default();
        let (mut is_known, mut is_cut) = (true, false);
        let mut take = |entry: &Entry| {
            is_cut = made.len() == limit;
            is_known = is_cut || made.push(entry);
            is_known && !is_cut
        };
        let keys = Keys::of(&request.key, &request.range_end);
        match &keys {
            Keys::None => {}
            Keys::One(key) => {
                if let Some(entry) = self.index.live(key) {
                    take(entry);
                }
            }
            Keys::Many(span) => self.index.visit_live(*span, |_, entry| take(entry)),
        }
        let count = match keys {
            Keys::Many(span) if is_cut => self.index.count(span),
            _ => made.len(),
        };
        is_known.then_some((count, made))
    }
}

impl Found {
    fn is_empty(&self) -> bool {
        match &self.rows {
            Rows::Stored(revisions) => revisions.is_empty(),
            Rows::Indexed(made) => made.is_empty(),
        }
    }

    /// Takes along what has to be taken under the lock.
    pub(super) fn gather(self, sources: &Sources<'_>) -> Gathered {
        Gathered {
            current: self.current,
            count: self.count,
            shown: self.shown,
            rows: match self.rows {
                Rows::Stored(revisions) => Held::Stored(Fetch::new(revisions, sources)),
                Rows::Indexed(made) => Held::Indexed(made),
            },
        }
    }
}

/// What an answer is made of, after the lock.
enum Held {
    Stored(Fetch),
    Indexed(Made),
}

/// A range whose lock may be released.
pub(super) struct Gathered {
    current: i64,
    count: usize,
    shown: Shown,
    rows: Held,
}

impl Gathered {
    /// Reads the records and makes the answer of them.
    pub(super) fn finish(self, request: &RangeRequest) -> Result<RangeAnswer, Error> {
        let mut values = match self.rows {
            Held::Stored(fetch) => fetch.run()?,
            Held::Indexed(made) => Values::of_index(made),
        };
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
            self.shown,
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
    pub(super) fn range(&self, request: &RangeRequest, line: Line) -> Result<RangeAnswer, Error> {
        let gathered = {
            let state = self.state.read();
            let found = state.find(request, line, state.current)?;
            if found.is_empty() {
                return Ok(RangeAnswer::new(
                    found.current,
                    found.count as i64,
                    false,
                    Values::default(),
                    found.shown,
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
