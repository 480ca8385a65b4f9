//! The entries that change users, roles and authentication, in log order. An entry either has its
//! whole effect or none: everything that can fail is checked before the first change.

use base64::{Engine as _, alphabet, engine::GeneralPurpose, engine::GeneralPurposeConfig};
use bolt::Batch;
use bytes::Bytes;
use proto::{
    authpb::{Permission, Role, User, UserAddOptions},
    etcdserverpb::{
        AuthRoleAddRequest, AuthRoleDeleteRequest, AuthRoleGetRequest,
        AuthRoleGrantPermissionRequest, AuthRoleRevokePermissionRequest, AuthUserAddRequest,
        AuthUserChangePasswordRequest, AuthUserDeleteRequest, AuthUserGetRequest,
        AuthUserGrantRoleRequest, AuthUserRevokeRoleRequest, internal_raft_request::Op,
    },
    wire::text,
};

use crate::{
    Error, ROOT, Store, password, permissions,
    record::{self, NAME_MAX},
    sort, store,
};

/// What else a change means for tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// Nothing.
    Keep,
    /// They are accepted from here on.
    Accept,
    /// All of them are invalid.
    ForgetAll,
    /// Those of one user are invalid.
    Forget(Bytes),
}

/// As Go's decoder: trailing bits may be anything.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

impl Store {
    /// Applies a request that changes something.
    ///
    /// # Errors
    /// Why it has no effect.
    pub fn change(&mut self, op: &Op, batch: &mut Batch) -> Result<Tokens, Error> {
        match op {
            Op::AuthEnable(_) => self.enable(batch),
            Op::AuthDisable(_) => Ok(self.disable(batch)),
            Op::AuthUserAdd(request) => self.user_add(request, batch),
            Op::AuthUserDelete(request) => self.user_delete(request, batch),
            Op::AuthUserChangePassword(request) => self.user_change_password(request, batch),
            Op::AuthUserGrantRole(request) => self.user_grant_role(request, batch),
            Op::AuthUserRevokeRole(request) => self.user_revoke_role(request, batch),
            Op::AuthRoleAdd(request) => self.role_add(request, batch),
            Op::AuthRoleDelete(request) => self.role_delete(request, batch),
            Op::AuthRoleGrantPermission(request) => self.role_grant_permission(request, batch),
            Op::AuthRoleRevokePermission(request) => self.role_revoke_permission(request, batch),
            _ => Ok(Tokens::Keep),
        }
    }

    fn enable(&mut self, batch: &mut Batch) -> Result<Tokens, Error> {
        if self.enabled {
            tracing::info!("authentication is already enabled; ignored auth enable request");
            return Ok(Tokens::Keep);
        }
        let root = self
            .users
            .get(ROOT.as_bytes())
            .ok_or(Error::RootUserNotExist)?;
        if !store::is_root(root) {
            return Err(Error::RootRoleNotExist);
        }
        self.enabled = true;
        record::put_enabled(batch, true);
        tracing::info!("enabled authentication");
        Ok(Tokens::Accept)
    }

    fn disable(&mut self, batch: &mut Batch) -> Tokens {
        if !self.enabled {
            return Tokens::Keep;
        }
        self.enabled = false;
        record::put_enabled(batch, false);
        self.advance(batch);
        tracing::info!("disabled authentication");
        Tokens::ForgetAll
    }

    fn user_add(
        &mut self,
        request: &AuthUserAddRequest,
        batch: &mut Batch,
    ) -> Result<Tokens, Error> {
        if request.name.is_empty() {
            return Err(Error::UserEmpty);
        }
        if self.users.contains_key(&request.name) {
            return Err(Error::UserAlreadyExist);
        }
        let options = request
            .options
            .unwrap_or(UserAddOptions { no_password: false });
        let password = if options.no_password {
            Bytes::new()
        } else {
            self.stored_password(&request.password, &request.hashed_password)?
        };
        check_length(&request.name)?;
        let user = User {
            name: owned(&request.name),
            password,
            roles: Vec::new(),
            options: Some(options),
        };
        self.put_user(&request.name, user, batch);
        self.advance(batch);
        tracing::info!("user-name" = text(&request.name), "added a user");
        Ok(Tokens::Keep)
    }

    fn user_delete(
        &mut self,
        request: &AuthUserDeleteRequest,
        batch: &mut Batch,
    ) -> Result<Tokens, Error> {
        if self.enabled && request.name == ROOT {
            tracing::error!(
                "user-name" = text(&request.name),
                "cannot delete 'root' user"
            );
            return Err(Error::InvalidAuthMgmt);
        }
        let user = self
            .users
            .remove(&request.name)
            .ok_or(Error::UserNotFound)?;
        record::delete_user(batch, &request.name);
        self.merge(&request.name);
        self.advance(batch);
        tracing::info!(
            "user-name" = text(&request.name),
            "user-roles" = ?texts(&user.roles),
            "deleted a user"
        );
        Ok(Tokens::Forget(owned(&request.name)))
    }

    fn user_change_password(
        &mut self,
        request: &AuthUserChangePasswordRequest,
        batch: &mut Batch,
    ) -> Result<Tokens, Error> {
        let mut user = self.user(&request.name)?.clone();
        user.password = if password::has_none(&user) {
            Bytes::new()
        } else {
            self.stored_password(&request.password, &request.hashed_password)?
        };
        tracing::info!(
            "user-name" = text(&request.name),
            "user-roles" = ?texts(&user.roles),
            "changed a password of a user"
        );
        self.put_user(&request.name, user, batch);
        self.advance(batch);
        Ok(Tokens::Forget(owned(&request.name)))
    }

    fn user_grant_role(
        &mut self,
        request: &AuthUserGrantRoleRequest,
        batch: &mut Batch,
    ) -> Result<Tokens, Error> {
        let mut user = self.user(&request.user)?.clone();
        if request.role != ROOT && !self.roles.contains_key(&request.role) {
            return Err(Error::RoleNotFound);
        }
        let at = user.roles.partition_point(|role| *role < request.role);
        if user.roles.get(at) == Some(&request.role) {
            tracing::warn!(
                "user-name" = text(&request.user),
                "user-roles" = ?texts(&user.roles),
                "duplicate-role-name" = text(&request.role),
                "ignored grant role request to a user"
            );
            return Ok(Tokens::Keep);
        }
        user.roles.push(owned(&request.role));
        user.roles.sort_unstable();
        tracing::info!(
            "user-name" = text(&request.user),
            "user-roles" = ?texts(&user.roles),
            "added-role-name" = text(&request.role),
            "granted a role to a user"
        );
        self.put_user(&request.user, user, batch);
        self.advance(batch);
        Ok(Tokens::Keep)
    }

    fn user_revoke_role(
        &mut self,
        request: &AuthUserRevokeRoleRequest,
        batch: &mut Batch,
    ) -> Result<Tokens, Error> {
        if self.enabled && request.name == ROOT && request.role == ROOT {
            tracing::error!(
                "user-name" = text(&request.name),
                "role-name" = text(&request.role),
                "'root' user cannot revoke 'root' role"
            );
            return Err(Error::InvalidAuthMgmt);
        }
        let mut user = self.user(&request.name)?.clone();
        let before = user.roles.len();
        user.roles.retain(|role| *role != request.role);
        if user.roles.len() == before {
            return Err(Error::RoleNotGranted);
        }
        tracing::info!(
            "user-name" = text(&request.name),
            "new-user-roles" = ?texts(&user.roles),
            "revoked-role-name" = text(&request.role),
            "revoked a role from a user"
        );
        self.put_user(&request.name, user, batch);
        self.advance(batch);
        Ok(Tokens::Keep)
    }

    fn role_add(
        &mut self,
        request: &AuthRoleAddRequest,
        batch: &mut Batch,
    ) -> Result<Tokens, Error> {
        if request.name.is_empty() {
            return Err(Error::RoleEmpty);
        }
        if self.roles.contains_key(&request.name) {
            return Err(Error::RoleAlreadyExist);
        }
        check_length(&request.name)?;
        let role = Role {
            name: owned(&request.name),
            key_permission: Vec::new(),
        };
        record::put_role(batch, &role);
        self.roles.insert(role.name.clone(), role);
        self.advance(batch);
        tracing::info!("role-name" = text(&request.name), "created a role");
        Ok(Tokens::Keep)
    }

    fn role_delete(
        &mut self,
        request: &AuthRoleDeleteRequest,
        batch: &mut Batch,
    ) -> Result<Tokens, Error> {
        if self.enabled && request.role == ROOT {
            tracing::error!(
                "role-name" = text(&request.role),
                "cannot delete 'root' role"
            );
            return Err(Error::InvalidAuthMgmt);
        }
        self.roles
            .remove(&request.role)
            .ok_or(Error::RoleNotFound)?;
        record::delete_role(batch, &request.role);
        for name in self.holders(&request.role) {
            if let Some(user) = self.users.get_mut(&name) {
                user.roles.retain(|role| *role != request.role);
                record::put_user(batch, user);
            }
            self.merge(&name);
        }
        self.advance(batch);
        tracing::info!("role-name" = text(&request.role), "deleted a role");
        Ok(Tokens::Keep)
    }

    fn role_grant_permission(
        &mut self,
        request: &AuthRoleGrantPermissionRequest,
        batch: &mut Batch,
    ) -> Result<Tokens, Error> {
        let new = request.perm.as_ref().ok_or(Error::PermissionNotGiven)?;
        if !permissions::is_valid_range(&new.key, &new.range_end) {
            return Err(Error::InvalidAuthMgmt);
        }
        let role = self
            .roles
            .get_mut(&request.name)
            .ok_or(Error::RoleNotFound)?;
        let listed = &mut role.key_permission;
        let at = listed.partition_point(|one| one.key < new.key);
        match listed.get_mut(at) {
            Some(one) if is_same_range(one, new) => one.perm_type = new.perm_type,
            _ => sort::add(listed, new.clone()),
        }
        record::put_role(batch, role);
        self.merge_holders(&request.name);
        self.advance(batch);
        tracing::info!(
            "user-name" = text(&request.name),
            "permission-name" = new.perm_type().as_str_name(),
            "granted/updated a permission to a user"
        );
        Ok(Tokens::Keep)
    }

    fn role_revoke_permission(
        &mut self,
        request: &AuthRoleRevokePermissionRequest,
        batch: &mut Batch,
    ) -> Result<Tokens, Error> {
        let role = self
            .roles
            .get_mut(&request.role)
            .ok_or(Error::RoleNotFound)?;
        let before = role.key_permission.len();
        role.key_permission
            .retain(|one| one.key != request.key || one.range_end != request.range_end);
        if role.key_permission.len() == before {
            return Err(Error::PermissionNotGranted);
        }
        record::put_role(batch, role);
        self.merge_holders(&request.role);
        self.advance(batch);
        tracing::info!(
            "role-name" = text(&request.role),
            key = text(&request.key),
            "range-end" = text(&request.range_end),
            "revoked a permission on range"
        );
        Ok(Tokens::Keep)
    }

    /// Whether a user may be given a token. The password was checked before it was asked for.
    ///
    /// # Errors
    /// [`Error::AuthNotEnabled`], [`Error::AuthFailed`].
    pub fn authenticate(&self, name: &[u8]) -> Result<(), Error> {
        if !self.enabled {
            return Err(Error::AuthNotEnabled);
        }
        match self.users.get(name) {
            Some(user) if !password::has_none(user) => Ok(()),
            _ => Err(Error::AuthFailed),
        }
    }

    /// The roles of a user.
    ///
    /// # Errors
    /// [`Error::UserNotFound`].
    pub fn user_get(&self, request: &AuthUserGetRequest) -> Result<Vec<Bytes>, Error> {
        Ok(self.user(&request.name)?.roles.clone())
    }

    /// The permissions of a role.
    ///
    /// # Errors
    /// [`Error::RoleNotFound`].
    pub fn role_get(&self, request: &AuthRoleGetRequest) -> Result<Vec<Permission>, Error> {
        let role = self.roles.get(&request.role).ok_or(Error::RoleNotFound)?;
        Ok(role.key_permission.clone())
    }

    fn user(&self, name: &[u8]) -> Result<&User, Error> {
        self.users.get(name).ok_or(Error::UserNotFound)
    }

    fn put_user(&mut self, name: &[u8], user: User, batch: &mut Batch) {
        record::put_user(batch, &user);
        self.users.insert(owned(name), user);
        self.merge(name);
    }

    fn holders(&self, role: &[u8]) -> Vec<Bytes> {
        let holds = |user: &User| user.roles.iter().any(|one| one == role);
        self.users
            .iter()
            .filter(|(_, user)| holds(user))
            .map(|(name, _)| name.clone())
            .collect()
    }

    fn merge_holders(&mut self, role: &[u8]) {
        for name in self.holders(role) {
            self.merge(&name);
        }
    }

    /// What is stored for a password. Releases before 3.5 put the plain one into the log, and
    /// every member hashes it for itself.
    fn stored_password(&self, plain: &[u8], hashed: &str) -> Result<Bytes, Error> {
        if !plain.is_empty() && hashed.is_empty() {
            return password::hash(plain, self.options.bcrypt_cost)
                .map(Bytes::from)
                .map_err(|_| Error::NoPasswordUser);
        }
        // As Go's decoder, which passes over line breaks.
        let text: String = hashed.split(['\r', '\n']).collect();
        BASE64
            .decode(text)
            .map(Bytes::from)
            .map_err(|_| Error::NoPasswordUser)
    }
}

fn is_same_range(one: &Permission, other: &Permission) -> bool {
    one.key == other.key && one.range_end == other.range_end
}

/// A name in memory of its own: in a request it is a part of all that was read with it.
fn owned(name: &[u8]) -> Bytes {
    Bytes::copy_from_slice(name)
}

/// Names as the log shows them.
fn texts(names: &[Bytes]) -> Vec<String> {
    names.iter().map(|name| text(name)).collect()
}

fn check_length(name: &[u8]) -> Result<(), Error> {
    if name.len() > NAME_MAX {
        return Err(Error::NameTooLong);
    }
    Ok(())
}
