//! The database file and what is rebuilt from it in memory: keys, leases, alarms.
//! Opened at the start, and again when a received snapshot has taken its place.
//! Never looks at the log.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use membership::v3store::V3View;
use mvcc::backend::Backend;

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
    pub fn open(files: &dyn Files, leases: lease::Options, path: &Path) -> Result<Database, Error> {
        let backend = files.open_backend(path)?;
        let (consistent_index, _) = backend.consistent_index();
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
        // The walk over all records is done; reads bring back what they need.
        view.advise_cold();
        drop(view);
        initialise_auth(&backend)?;
        Ok(Database {
            store,
            lessor,
            alarms,
            membership,
            consistent_index,
        })
    }
}

/// Every etcd writes the auth revision at its first start, with auth never used.
fn initialise_auth(backend: &Backend) -> Result<(), Error> {
    let read = |key: &[u8]| {
        backend
            .read("auth", key)
            .map_err(|error| Error(error.to_string()))
    };
    if read(b"authRevision")?.is_none() {
        let mut batch = bolt::Batch::default();
        batch.put(
            "auth",
            Bytes::from_static(b"authRevision"),
            1u64.to_be_bytes().to_vec(),
        );
        backend.write(batch);
    }
    match read(b"authEnabled")?.as_deref() {
        Some([1]) => Err(Error::new(
            "this data directory has authentication switched on, which this version of Pintle does not check; stay with etcd",
        )),
        _ => Ok(()),
    }
}
