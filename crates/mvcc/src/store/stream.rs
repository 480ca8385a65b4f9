//! A range in pieces, all at one revision. Each piece is a range of its own,
//! so nothing is held between two of them but the place to go on from; a
//! compaction that overtakes the revision ends the stream with its error.

use std::sync::Arc;

use bytes::Bytes;
use proto::etcdserverpb::RangeRequest;

use super::{answer::RangeAnswer, inner::Inner};
use crate::{Error, stored::Record};

/// Keys of the first piece. etcd 3.7's figure.
const FIRST_KEYS: i64 = 10;

/// Pieces of a range; see [`crate::Store::range_stream`].
pub struct RangeStream {
    inner: Arc<Inner>,
    /// The rest of the range, at the pinned revision.
    request: RangeRequest,
    revision: i64,
    count: i64,
    /// Keys that may still be sent; `None` without a limit.
    left: Option<i64>,
    keys: i64,
    max_bytes: usize,
    last: bool,
}

impl RangeStream {
    pub(super) fn new(
        inner: Arc<Inner>,
        request: &RangeRequest,
        max_bytes: usize,
    ) -> Result<RangeStream, Error> {
        let head = inner.range(&RangeRequest {
            count_only: true,
            ..request.clone()
        })?;
        let mut request = request.clone();
        if request.revision <= 0 {
            request.revision = head.revision;
        }
        Ok(RangeStream {
            inner,
            revision: head.revision,
            count: head.count,
            left: (request.limit > 0).then_some(request.limit),
            keys: FIRST_KEYS,
            max_bytes,
            last: false,
            request,
        })
    }

    /// The revision of the store when the stream began.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// True once the last piece was given. Only that one has the count and
    /// says whether there are more.
    pub fn is_last(&self) -> bool {
        self.last
    }

    /// The next piece; `None` after the last one or an error. A range without
    /// keys has one empty piece.
    pub fn next_chunk(&mut self) -> Option<Result<RangeAnswer, Error>> {
        if self.last {
            return None;
        }
        let answer = self.chunk();
        if answer.is_err() {
            self.last = true;
        }
        Some(answer)
    }

    fn chunk(&mut self) -> Result<RangeAnswer, Error> {
        self.request.limit = self.left.map_or(self.keys, |left| left.min(self.keys));
        let mut answer = self.inner.range(&self.request)?;
        let sent = answer.len() as i64;
        if let Some(left) = &mut self.left {
            *left -= sent;
        }
        self.last = !answer.more || self.left == Some(0);
        if self.last {
            answer.count = self.count;
            return Ok(answer);
        }
        let (mut bytes, mut next) = (0, Vec::new());
        for record in answer.records() {
            bytes += record.len();
            let record = Record::parse(record).unwrap_or_default();
            next.clear();
            next.extend_from_slice(record.key);
        }
        next.push(0);
        self.request.key = Bytes::from(next);
        (answer.count, answer.more) = (0, false);
        if bytes > self.max_bytes {
            self.keys = (self.keys / 2).max(1);
        } else if bytes * 2 <= self.max_bytes {
            self.keys = self.keys.saturating_mul(2);
        }
        Ok(answer)
    }
}

impl std::fmt::Debug for RangeStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RangeStream")
            .field("revision", &self.revision)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}
