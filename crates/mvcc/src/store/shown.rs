//! What an answer shows of its records when only keys are asked for, and the records that the
//! index makes by itself: it knows all of a key that exists now but its value and its lease.

use bytes::Bytes;
use line::{Feature, Line};
use proto::etcdserverpb::{RangeRequest, range_request::SortTarget};

use crate::{
    index::Entry,
    stored::{self, Record},
};

#[cfg(test)]
mod tests;

/// Which fields of a record are in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// All.
    All,
    /// All but the value.
    WithoutValue,
    /// What etcd's index knows of a key: neither value nor lease.
    Indexed,
}

impl Shown {
    /// What a member of a line answers. Sorting by values needs the records, whatever is shown.
    pub(super) fn of(request: &RangeRequest, line: Line) -> Shown {
        if !request.keys_only {
            return Shown::All;
        }
        let is_by_value = request.sort_target == SortTarget::Value as i32;
        if line.has(Feature::KeysOnlyFromIndex) && !is_by_value {
            Shown::Indexed
        } else {
            Shown::WithoutValue
        }
    }

    /// The shown bytes of a record, which are in front of and after what is left out.
    pub(super) fn parts(self, record: &[u8]) -> (&[u8], &[u8]) {
        let whole = (record, &record[record.len()..]);
        if self == Shown::All {
            return whole;
        }
        let Some(parsed) = Record::parse(record) else {
            return whole;
        };
        let (from, to) = match parsed.value_field {
            (_, 0) => {
                let lease = parsed.lease_from(record.len());
                (lease, lease)
            }
            field => field,
        };
        match self {
            Shown::Indexed => (&record[..from], &record[record.len()..]),
            _ => (&record[..from], &record[to..]),
        }
    }
}

/// Records made of the index, one after the other.
#[derive(Default)]
pub(super) struct Made {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Made {
    /// Adds the record of a key that exists now. False if the index does not know all of it.
    pub(super) fn push(&mut self, entry: &Entry) -> bool {
        let Some(version) = entry.version() else {
            return false;
        };
        let modified = entry.newest().revision.main;
        let bytes = &mut self.bytes;
        stored::append_head(bytes, entry.key(), entry.created(), modified, version);
        self.ends.push(self.bytes.len());
        true
    }

    /// Records so far.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// True if there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The records' bytes, and where each begins and ends.
    pub(super) fn into_parts(self) -> (Bytes, impl ExactSizeIterator<Item = (usize, usize)>) {
        let mut begin = 0;
        let spans = self.ends.into_iter().map(move |end| {
            let span = (begin, end);
            begin = end;
            span
        });
        (self.bytes.into(), spans)
    }
}
