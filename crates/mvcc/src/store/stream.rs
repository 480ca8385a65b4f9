//! A range in pieces, all at one revision. Each piece is a range of its own, so nothing is held
//! between two of them but the place to go on from; a compaction that overtakes the revision ends
//! the stream with its error. What is in which piece is etcd 3.7's: clients see where one ends.

use std::sync::Arc;

use bytes::Bytes;
use line::Line;
use proto::etcdserverpb::{RangeRequest, ResponseHeader};

use super::{answer::RangeAnswer, inner::Inner};
use crate::{Error, stored::Record};

/// Keys of the first piece. etcd 3.7's figure.
const FIRST_KEYS: i64 = 10;

/// Pieces of a range; see [`crate::Store::range_stream`].
pub struct RangeStream {
    inner: Arc<Inner>,
    line: Line,
    /// The rest of the range, at the pinned revision, with the limit of the next piece.
    request: RangeRequest,
    revision: i64,
    /// Keys in the pieces so far.
    sent: i64,
    /// Keys that may be sent in all.
    limit: i64,
    /// A piece should have about this size.
    target_bytes: usize,
    /// The first piece, which was read to learn the revision.
    first: Option<RangeAnswer>,
    last: bool,
}

impl RangeStream {
    pub(super) fn new(
        inner: Arc<Inner>,
        request: &RangeRequest,
        target_bytes: usize,
        line: Line,
    ) -> Result<RangeStream, Error> {
        let mut request = request.clone();
        let limit = match request.limit {
            0 => i64::MAX,
            limit => limit,
        };
        // Below zero it limits nothing, and all is one piece.
        request.limit = FIRST_KEYS.min(limit);
        let first = inner.range(&request, line)?;
        if request.revision <= 0 {
            request.revision = first.revision;
        }
        Ok(RangeStream {
            inner,
            line,
            request,
            revision: first.revision,
            sent: 0,
            limit,
            target_bytes,
            first: Some(first),
            last: false,
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
        let answer = match self.first.take() {
            Some(first) => Ok(first),
            None => self.inner.range(&self.request, self.line),
        };
        let answer = answer.and_then(|answer| self.send(answer));
        if answer.is_err() {
            self.last = true;
        }
        Some(answer)
    }

    /// Makes a piece of what was read, and says what is read next.
    fn send(&mut self, mut answer: RangeAnswer) -> Result<RangeAnswer, Error> {
        let keys = answer.len() as i64;
        self.sent += keys;
        let size = self.size(&answer);
        if answer.more {
            // Where a target other than the key sorts a piece, this is as odd as in etcd.
            self.request.key = after_last(&answer);
        }
        self.last = !answer.more || self.sent == self.limit;
        if self.request.count_only {
            return Ok(answer);
        }
        if self.last {
            answer.count = self.sent;
            if answer.more {
                answer.count += self.rest()?;
            }
            return Ok(answer);
        }
        self.request.limit = next_limit(self.request.limit, size, self.target_bytes);
        self.request.limit = self.request.limit.min(self.limit - self.sent);
        (answer.count, answer.more) = (0, false);
        Ok(answer)
    }

    /// Bytes of a piece as etcd reckons them: with the fields that only the last one will have,
    /// and as a count the keys that were visited, one more than asked for.
    fn size(&self, answer: &RangeAnswer) -> usize {
        let header = ResponseHeader {
            revision: answer.revision,
            ..ResponseHeader::default()
        };
        let looked_at = answer.len() as i64 + i64::from(answer.more);
        answer.encoded_len_with(Some(&header), looked_at)
    }

    /// Keys of the range that are not sent.
    fn rest(&self) -> Result<i64, Error> {
        let rest = RangeRequest {
            key: self.request.key.clone(),
            range_end: self.request.range_end.clone(),
            revision: self.request.revision,
            count_only: true,
            ..RangeRequest::default()
        };
        Ok(self.inner.range(&rest, self.line)?.count)
    }
}

/// The first key that can follow the last one of a piece.
fn after_last(answer: &RangeAnswer) -> Bytes {
    let last = answer.records().next_back().and_then(Record::parse);
    let mut next = last.unwrap_or_default().key.to_vec();
    next.push(0);
    next.into()
}

/// Keys of the next piece: twice or half as many if one had not half, or more than twice, the
/// size that it should have.
fn next_limit(limit: i64, size: usize, target: usize) -> i64 {
    if size < target / 2 {
        limit.saturating_mul(2)
    } else if size > target.saturating_mul(2) {
        (limit / 2).max(1)
    } else {
        limit
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
