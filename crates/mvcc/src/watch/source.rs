//! What a group asks of the store.

use bytes::Bytes;

use crate::{Error, Store, events::EventKind};

/// One event of the past, valid during the call that shows it.
#[derive(Clone, Copy, Debug)]
pub struct Past<'a> {
    /// Main revision.
    pub revision: i64,
    /// The key that changed.
    pub key: &'a [u8],
    /// The stored `mvccpb.KeyValue`; not read for a delete.
    pub kv: &'a [u8],
    /// True for a delete.
    pub is_delete: bool,
}

impl Past<'_> {
    /// Put or delete.
    pub fn kind(&self) -> EventKind {
        match self.is_delete {
            false => EventKind::Put,
            true => EventKind::Delete,
        }
    }
}

/// Why history could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// The first revision asked for is below the compact revision.
    #[error("required revision has been compacted")]
    Compacted,
    /// The file could not be read.
    #[error("reading the history of keys: {0}")]
    Read(String),
}

/// The store as a group sees it. All methods may run while the store is written.
pub trait Source {
    /// Revisions below this one have no complete history.
    fn compact_revision(&self) -> i64;

    /// The encoded `mvccpb.KeyValue` that `key` had at `revision`. `None` if it
    /// had none, or if compaction took it.
    ///
    /// # Errors
    /// [`HistoryError::Read`].
    fn kv_at(&self, key: &[u8], revision: i64) -> Result<Option<Bytes>, HistoryError>;

    /// Shows all events from revision `from` to `to`, both included, in order,
    /// and gives the first revision not shown. It may stop early, between two
    /// revisions, once it has shown `max_bytes`; it shows at least one revision.
    ///
    /// # Errors
    /// [`HistoryError::Compacted`] unless everything asked for is still there: a
    /// compaction that runs meanwhile must not leave holes in what is shown.
    fn history(
        &self,
        from: i64,
        to: i64,
        max_bytes: usize,
        visit: &mut dyn FnMut(Past<'_>),
    ) -> Result<i64, HistoryError>;
}

impl Source for Store {
    fn compact_revision(&self) -> i64 {
        Store::compact_revision(self)
    }

    fn kv_at(&self, key: &[u8], revision: i64) -> Result<Option<Bytes>, HistoryError> {
        Ok(self.get_kv_at(key, revision)?)
    }

    fn history(
        &self,
        from: i64,
        to: i64,
        max_bytes: usize,
        visit: &mut dyn FnMut(Past<'_>),
    ) -> Result<i64, HistoryError> {
        let next = Store::history(self, from, to, max_bytes, |event| {
            visit(Past {
                revision: event.revision.main,
                key: event.key,
                kv: event.kv,
                is_delete: event.is_delete,
            });
        })?;
        Ok(next)
    }
}

impl From<Error> for HistoryError {
    fn from(error: Error) -> HistoryError {
        match error {
            Error::Compacted => HistoryError::Compacted,
            error => HistoryError::Read(error.to_string()),
        }
    }
}
