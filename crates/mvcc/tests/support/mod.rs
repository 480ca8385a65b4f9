//! A store in a directory that goes away, and leases in a set.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use mvcc::{
    Leases, Store, StoreOptions,
    backend::{Backend, BackendOptions},
};

/// Leases that exist, and the keys attached to them.
#[derive(Default)]
pub struct Held {
    pub leases: BTreeSet<i64>,
    pub keys: BTreeSet<(i64, Vec<u8>)>,
}

impl Held {
    pub fn with(leases: impl IntoIterator<Item = i64>) -> Held {
        Held {
            leases: leases.into_iter().collect(),
            keys: BTreeSet::new(),
        }
    }
}

impl Leases for Held {
    fn exists(&self, id: i64) -> bool {
        self.leases.contains(&id)
    }
    fn attach(&mut self, id: i64, key: &Bytes) {
        self.keys.insert((id, key.to_vec()));
    }
    fn detach(&mut self, id: i64, key: &[u8]) {
        self.keys.remove(&(id, key.to_vec()));
    }
}

pub struct Dir(tempfile::TempDir);

impl Dir {
    pub fn new() -> Dir {
        Dir(tempfile::tempdir().expect("a directory"))
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().join("db")
    }

    /// Opens the store; `held` learns which keys have leases.
    pub fn open(&self, held: &mut Held) -> Arc<Store> {
        let options = bolt::Options {
            no_sync: true,
            ..bolt::Options::default()
        };
        let db = bolt::Db::open(&self.path(), options).expect("a database");
        let backend = Backend::open(db, BackendOptions::default()).expect("a backend");
        let options = StoreOptions {
            compaction_batch_limit: 3,
            compaction_sleep: Duration::from_millis(1),
            ..StoreOptions::default()
        };
        Store::open(backend, options, &mut |key, lease| {
            held.keys.insert((lease, key.to_vec()));
        })
        .expect("a store")
    }
}
