//! Tokens: what a client shows in place of its password. `--auth-token` picks the kind.
//!
//! Simple tokens are in the memory of every member that has applied the entry which made them; a
//! restart forgets them. A JWT is signed, and any member with the key can tell whom it is for.

mod jwt;
mod keys;
mod login;
mod method;
mod options;
mod simple;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use jwt::Jwt;
pub use login::{Login, Now};
pub use options::OptionError;
pub use simple::Simple;

use crate::{Error, Identity};

/// What makes tokens and recognises them.
pub enum Provider {
    /// Random text, kept in memory.
    Simple(Simple),
    /// Signed text.
    Jwt(Box<Jwt>),
    /// No tokens: users are those of client certificates.
    None,
}

impl Provider {
    /// Reads `--auth-token`; `ttl` is that of `--auth-token-ttl`.
    ///
    /// # Errors
    /// [`OptionError`]: etcd does not start on it either.
    pub fn parse(option: &str, ttl: Duration) -> Result<Provider, OptionError> {
        let (kind, settings) = options::split(option)?;
        match kind {
            "simple" => {
                tracing::warn!("simple token is not cryptographically signed");
                Ok(Provider::Simple(Simple::new(ttl)))
            }
            "jwt" => Ok(Provider::Jwt(Box::new(options::jwt(&settings)?))),
            "" => Ok(Provider::None),
            kind => {
                tracing::warn!(r#type = kind, "unknown token type");
                Err(OptionError::Invalid)
            }
        }
    }

    /// What makes the token of a new login unique, for its entry.
    #[must_use]
    pub fn prefix(&self) -> String {
        match self {
            Provider::Simple(_) => simple::prefix(),
            Provider::Jwt(_) | Provider::None => String::new(),
        }
    }

    /// Takes note of a login that was applied: every member accepts its simple token from here
    /// on.
    pub fn remember(&self, login: &Login<'_>, now_ms: u64) {
        if let Provider::Simple(simple) = self {
            simple.remember(login, now_ms);
        }
    }

    /// Writes the token of a login that was applied, for the client that waits for it.
    ///
    /// # Errors
    /// [`Error::VerifyOnly`], [`Error::InvalidKey`], [`Error::AuthFailed`] without tokens.
    pub fn write(&self, login: &Login<'_>, unix_secs: i64) -> Result<String, Error> {
        match self {
            Provider::Simple(_) => Ok(simple::write(login)),
            Provider::Jwt(jwt) => jwt.sign(login.user, login.revision, unix_secs),
            Provider::None => Err(Error::AuthFailed),
        }
    }

    /// The entry that must be applied before a simple token can be known.
    #[must_use]
    pub fn index_of(&self, token: &str) -> Option<u64> {
        match self {
            // The number in it is that of the entry before.
            Provider::Simple(_) => simple::index_of(token)?.checked_add(1),
            Provider::Jwt(_) | Provider::None => None,
        }
    }

    /// Whom a token is for. `revision` is the auth revision of this moment.
    ///
    /// # Errors
    /// [`Error::InvalidAuthToken`].
    pub fn identify(&self, token: &str, revision: u64, now: Now) -> Result<Identity, Error> {
        let found = match self {
            Provider::Simple(simple) => simple
                .user_of(token, now.monotonic_ms)
                .map(|user| Identity { user, revision }),
            Provider::Jwt(jwt) => jwt.verify(token, now.unix_secs),
            Provider::None => None,
        };
        found.ok_or(Error::InvalidAuthToken)
    }

    /// Accepts tokens from here on: authentication was switched on.
    pub fn accept(&self) {
        if let Provider::Simple(simple) = self {
            simple.accept();
        }
    }

    /// Forgets all tokens: authentication was switched off.
    pub fn forget_all(&self) {
        if let Provider::Simple(simple) = self {
            simple.forget_all();
        }
    }

    /// Forgets the tokens of a user that was deleted, or whose password was changed.
    pub fn forget(&self, user: &[u8]) {
        if let Provider::Simple(simple) = self {
            simple.forget(user);
        }
    }
}

/// What may be in a log line in place of a token.
#[must_use]
pub fn fingerprint(token: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    let hex = digest.as_ref().iter().take(6);
    hex.map(|byte| format!("{byte:02x}")).collect()
}
