//! Which keys a watcher asked for.

use bytes::Bytes;

/// Where a range stops. A key comes before no end at all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// The first key not in the range.
    Before(Bytes),
    /// From the start to the last key there is.
    Open,
}

impl End {
    pub(super) fn is_after(&self, key: &[u8]) -> bool {
        match self {
            End::Before(end) => key < &end[..],
            End::Open => true,
        }
    }
}

/// The keys of one watcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Range {
    /// Exactly this key.
    Key(Bytes),
    /// All keys from the first on.
    Span(Bytes, End),
}

impl Range {
    /// Reads a request's `key` and `range_end`: an empty key is the smallest one,
    /// an empty end means the key alone, and a zero byte as end no end. `None` if
    /// no key can be in it. The bytes are copied, since a request is usually a
    /// slice of a large buffer.
    pub(super) fn parse(key: &[u8], end: &[u8]) -> Option<Range> {
        let start = Bytes::copy_from_slice(if key.is_empty() { b"\0" } else { key });
        match end {
            b"" => Some(Range::Key(start)),
            b"\0" => Some(Range::Span(start, End::Open)),
            end if end <= &start[..] => None,
            end => Some(Range::Span(start, End::Before(Bytes::copy_from_slice(end)))),
        }
    }
}
