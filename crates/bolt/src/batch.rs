//! An ordered list of changes to top-level buckets that several parts of a program build up and one transaction commits.
//! It never decides anything: the last change to a key wins, as the order says.

use bytes::Bytes;

struct Op {
    bucket: &'static str,
    key: Bytes,
    /// `None` deletes.
    value: Option<Bytes>,
}

/// Puts and deletes in order, over named top-level buckets.
#[derive(Default)]
pub struct Batch {
    ops: Vec<Op>,
    bytes: usize,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Sets `key` of `bucket` to `value`.
    pub fn put(&mut self, bucket: &'static str, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        let (key, value) = (key.into(), value.into());
        self.bytes += key.len() + value.len();
        self.ops.push(Op {
            bucket,
            key,
            value: Some(value),
        });
    }

    /// Removes `key` from `bucket`; nothing happens where it is not there.
    pub fn delete(&mut self, bucket: &'static str, key: impl Into<Bytes>) {
        let key = key.into();
        self.bytes += key.len();
        self.ops.push(Op {
            bucket,
            key,
            value: None,
        });
    }

    /// Number of changes.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// True when there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The changes in order: bucket, key, value (`None` for a delete).
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'static str, &Bytes, Option<&Bytes>)> {
        self.ops
            .iter()
            .map(|op| (op.bucket, &op.key, op.value.as_ref()))
    }

    /// Adds all changes of `other` after those here.
    pub fn append(&mut self, mut other: Batch) {
        self.bytes += other.bytes;
        if self.ops.is_empty() {
            self.ops = other.ops;
        } else {
            self.ops.append(&mut other.ops);
        }
    }

    /// Forgets all changes and keeps the memory for the next ones.
    pub fn clear(&mut self) {
        self.ops.clear();
        self.bytes = 0;
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("ops", &self.ops.len())
            .field("bytes", &self.bytes)
            .finish()
    }
}
