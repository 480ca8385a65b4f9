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

    /// Makes the token of a user whose login was applied. Simple tokens are made by all members
    /// alike; `asked` is false where no client waits for the answer.
    ///
    /// # Errors
    /// [`Error::VerifyOnly`], [`Error::InvalidKey`], [`Error::AuthFailed`] without tokens.
    pub fn assign(&self, login: &Login<'_>, asked: bool, now: Now) -> Result<String, Error> {
        match self {
            Provider::Simple(simple) => Ok(simple.assign(login, now)),
            Provider::Jwt(jwt) if asked => jwt.sign(login.user, login.revision, now),
            Provider::Jwt(_) => Ok(String::new()),
            Provider::None => Err(Error::AuthFailed),
        }
    }

    /// The entry that must be applied before a token can be known.
    #[must_use]
    pub fn index_of(&self, token: &str) -> Option<u64> {
        match self {
            Provider::Simple(_) => simple::index_of(token),
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
                .user_of(token, now)
                .map(|user| Identity { user, revision }),
            Provider::Jwt(jwt) => jwt.verify(token, now),
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
    pub fn forget(&self, user: &str) {
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
