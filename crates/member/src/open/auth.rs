//! Authentication, of which this release checks nothing: how a directory shows
//! that its cluster has it switched on, and what is said then. It must never be
//! passed over: a member that serves without passwords what the others refuse is
//! worse than none.

use std::path::Path;

use bolt::ReadTx;

use crate::{
    error::{At as _, Error},
    host::Files,
};

/// What the buckets of a database tell of authentication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// It is switched on.
    pub is_enabled: bool,
    /// There are users or roles, for the day on which it is.
    pub is_prepared: bool,
}

impl Auth {
    /// Reads the buckets.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(tx: &ReadTx) -> Result<Auth, bolt::Error> {
        let enabled = match tx.bucket(b"auth")? {
            Some(bucket) => bucket.get(b"authEnabled")? == Some(&[1]),
            None => false,
        };
        Ok(Auth {
            is_enabled: enabled,
            is_prepared: has_any(tx, b"authUsers")? || has_any(tx, b"authRoles")?,
        })
    }

    /// Refuses a database with authentication switched on.
    ///
    /// # Errors
    /// The text says why, and the way out.
    pub fn refuse_enabled(self, path: &Path) -> Result<(), Error> {
        if !self.is_enabled {
            return Ok(());
        }
        Err(Error::new(format!(
            "{}: this cluster has authentication switched on, which this version of Pintle does not check; it would serve \
             everybody. Nothing was changed: put the etcd binary of this cluster in place of Pintle and start it on this data \
             directory, where it continues",
            path.display()
        )))
    }

    /// Says that this member will stop once authentication is switched on.
    pub fn warn(self) {
        if self.is_prepared {
            tracing::warn!(
                "this cluster has users or roles; this member serves it as long as authentication is off, and stops when one \
                 of them is changed or authentication is switched on"
            );
        }
    }
}

fn has_any(tx: &ReadTx, bucket: &[u8]) -> Result<bool, bolt::Error> {
    match tx.bucket(bucket)? {
        Some(bucket) => Ok(bucket.cursor().first()?.is_some()),
        None => Ok(false),
    }
}

/// Refuses a database file with authentication switched on, without writing to it.
///
/// # Errors
/// It is, or cannot be read.
pub(super) fn refuse_file(files: &dyn Files, path: &Path) -> Result<(), Error> {
    let db = files
        .read_database(path)
        .at("cannot open the database", path)?;
    Auth::read(&db.begin_read())
        .at("cannot read the database", path)?
        .refuse_enabled(path)
}
