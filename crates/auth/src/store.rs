//! Users and roles in memory, as the buckets hold them, and the questions that are asked all the
//! time: is authentication on, who is root, may this user read that range.

use std::collections::{BTreeMap, HashMap};

use bolt::{Batch, ReadTx};
use bytes::Bytes;
use line::Line;
use proto::authpb::{Role, User};

use crate::{
    Error, Identity, ROOT, RecoverError, password,
    permissions::{Access, Permissions},
    record,
    rules::{Release, Rules},
};

/// How a store behaves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What is checked.
    pub rules: Rules,
    /// The cost of passwords that are hashed here.
    pub bcrypt_cost: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            rules: Rules::of(Release::of(Line::DEFAULT)),
            bcrypt_cost: password::DEFAULT_COST,
        }
    }
}

/// The auth store of a member: part of its state machine.
pub struct Store {
    pub(crate) enabled: bool,
    pub(crate) revision: u64,
    pub(crate) users: BTreeMap<Bytes, User>,
    pub(crate) roles: BTreeMap<Bytes, Role>,
    /// What the roles of a user add up to.
    pub(crate) permissions: HashMap<Bytes, Permissions>,
    pub(crate) options: Options,
}

impl Store {
    /// Reads the buckets. A database in which auth was never touched is given the revision that
    /// every etcd writes at its first start.
    ///
    /// # Errors
    /// [`RecoverError`]: the file cannot be read, or a record is damaged.
    pub fn recover(
        tx: &ReadTx,
        options: Options,
        batch: &mut Batch,
    ) -> Result<Store, RecoverError> {
        let records = record::read(tx)?;
        let mut store = Store {
            enabled: records.enabled,
            revision: records.revision,
            users: records.users,
            roles: records.roles,
            permissions: HashMap::new(),
            options,
        };
        let names: Vec<Bytes> = store.users.keys().cloned().collect();
        for name in &names {
            store.merge(name);
        }
        if store.revision == 0 {
            store.advance(batch);
        }
        Ok(store)
    }

    /// Whether requests are checked.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// How it behaves.
    #[must_use]
    pub fn options(&self) -> Options {
        self.options
    }

    /// Counts the changes of users, roles and permissions.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The names of all users, in order.
    pub fn users(&self) -> impl Iterator<Item = &Bytes> {
        self.users.keys()
    }

    /// The names of roles, in order, as far as etcd reads them: up to the key `\xff`. No name in
    /// UTF-8 has a byte like that.
    pub fn roles(&self) -> impl Iterator<Item = &Bytes> {
        self.roles.keys().filter(|name| name.first() != Some(&0xff))
    }

    /// Whether a user has a role.
    #[must_use]
    pub fn has_role(&self, user: &[u8], role: &[u8]) -> bool {
        self.users
            .get(user)
            .is_some_and(|user| user.roles.iter().any(|one| one == role))
    }

    /// Lets root pass, and everyone while authentication is off. As in etcd, the revision at
    /// which root was authenticated does not count.
    ///
    /// # Errors
    /// [`Error::UserEmpty`], [`Error::UserNotFound`], [`Error::PermissionDenied`].
    pub fn check_admin(&self, who: &Identity) -> Result<(), Error> {
        if !self.enabled {
            return Ok(());
        }
        if who.user.is_empty() {
            return Err(Error::UserEmpty);
        }
        let user = self.users.get(&who.user).ok_or(Error::UserNotFound)?;
        if is_root(user) {
            Ok(())
        } else {
            Err(Error::PermissionDenied)
        }
    }

    /// Whether a user may access a range of keys; an empty `end` means one key, `\0` all keys
    /// from `key` on.
    pub(crate) fn check_range(
        &self,
        who: &Identity,
        key: &[u8],
        end: &[u8],
        access: Access,
    ) -> Result<(), Error> {
        if !self.enabled {
            return Ok(());
        }
        if who.revision == 0 {
            return Err(Error::UserEmpty);
        }
        if who.revision < self.revision {
            return Err(Error::AuthOldRevision);
        }
        let user = self.users.get(&who.user).ok_or(Error::PermissionDenied)?;
        let allowed = is_root(user)
            || self
                .permissions
                .get(&who.user)
                .is_some_and(|merged| merged.allow(key, end, access));
        if allowed {
            Ok(())
        } else {
            Err(Error::PermissionDenied)
        }
    }

    /// What [`crate::password::check`] needs to know of a user.
    ///
    /// # Errors
    /// [`Error::AuthNotEnabled`].
    pub fn credentials(&self, name: &[u8]) -> Result<password::Stored, Error> {
        if !self.enabled {
            return Err(Error::AuthNotEnabled);
        }
        // Someone who is not there takes as long as the slowest of those who are: costs differ
        // where the flag was changed, or differs between members.
        let slowest = self.users.values().filter_map(password::cost).max();
        Ok(password::Stored::new(
            self.users.get(name),
            self.revision,
            slowest.unwrap_or(self.options.bcrypt_cost),
        ))
    }

    /// Merges the permissions of a user's roles anew.
    pub(crate) fn merge(&mut self, name: &[u8]) {
        let Some(user) = self.users.get(name) else {
            self.permissions.remove(name);
            return;
        };
        let granted = user
            .roles
            .iter()
            .filter_map(|role| self.roles.get(role))
            .flat_map(|role| &role.key_permission);
        let merged = Permissions::merge(granted);
        self.permissions
            .insert(Bytes::copy_from_slice(name), merged);
    }

    pub(crate) fn advance(&mut self, batch: &mut Batch) {
        self.revision += 1;
        record::put_revision(batch, self.revision);
    }
}

/// Whether a user has the role root. The roles are sorted.
pub(crate) fn is_root(user: &User) -> bool {
    let at = user
        .roles
        .partition_point(|role| &role[..] < ROOT.as_bytes());
    user.roles.get(at).is_some_and(|role| role == ROOT)
}
