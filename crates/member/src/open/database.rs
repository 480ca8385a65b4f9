//! The database file and what is rebuilt from it in memory: keys, leases, alarms, users.
//! Opened at the start, and again when a received snapshot has taken its place.
//! Never looks at the log.

use std::{path::Path, sync::Arc};

use bolt::Batch;
use bytes::Bytes;
use membership::v3store::V3View;

use crate::{
    alarms::Alarms,
    error::{At as _, Error},
    host::Files,
};

/// An open database.
pub struct Database {
    /// Keys, values, history.
    pub store: Arc<mvcc::Store>,
    /// Leases with their keys.
    pub lessor: lease::Lessor,
    /// Active alarms.
    pub alarms: Alarms,
    /// Users and roles.
    pub auth: auth::Store,
    /// The membership that its buckets tell of.
    pub membership: V3View,
    /// Index of the last entry whose effects it holds.
    pub consistent_index: u64,
}

impl Database {
    /// Opens the file, which is created if it is not there.
    ///
    /// # Errors
    /// It cannot be read or written, or contradicts itself; the text names it.
    pub fn open(
        files: &dyn Files,
        leases: lease::Options,
        users: auth::Options,
        path: &Path,
    ) -> Result<Database, Error> {
        let backend = files.open_backend(path)?;
        let consistent_index = backend.consistent_index().index;
        let view = backend.db().begin_read();
        let membership =
            membership::v3store::read(&view).at("cannot read the membership in", path)?;
        let alarms = Alarms::recover(&view)
            .map_err(|error| Error(format!("{}: {error}", path.display())))?;
        let mut attached: Vec<(Bytes, i64)> = Vec::new();
        let store = files
            .open_store(backend.clone(), &mut |key, lease| {
                attached.push((key, lease))
            })
            .at("cannot restore the keys of", path)?;
        tracing::info!("current-rev" = store.revision(), "kvstore restored");
        let mut lessor =
            lease::Lessor::recover(leases, &view).at("cannot restore the leases of", path)?;
        for (key, id) in attached {
            if lessor.attach(lease::LeaseId(id), &key).is_err() {
                tracing::error!(
                    "lease-id" = format!("{id:016x}"),
                    "failed to attach a lease to a key: there is no such lease"
                );
            }
        }
        let mut batch = Batch::default();
        let auth = auth::Store::recover(&view, users, &mut batch)
            .at("cannot restore the users and roles of", path)?;
        if !batch.is_empty() {
            backend.write(batch);
        }
        // The walk over all records is done; reads bring back what they need.
        view.advise_cold();
        drop(view);
        Ok(Database {
            store,
            lessor,
            alarms,
            auth,
            membership,
            consistent_index,
        })
    }
}
