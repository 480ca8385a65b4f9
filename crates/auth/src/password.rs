//! bcrypt. Each call takes as long as the cost says, a tenth of a second by default, and belongs
//! on a thread of its own.

use std::cell::Cell;

use proto::authpb::User;

use crate::Error;

/// The cost etcd takes unless it is given another.
pub const DEFAULT_COST: u32 = 10;
/// The costs that bcrypt knows.
pub const COSTS: std::ops::RangeInclusive<u32> = 4..=31;

thread_local! {
    static SERVES: Cell<bool> = const { Cell::new(false) };
}

/// Says that this thread serves requests: all of them would wait for a password that is hashed
/// here. With debug assertions that ends the process, so that every test looks for it.
pub fn never_on_this_thread() {
    SERVES.set(true);
}

fn assert_may_take_long() {
    debug_assert!(!SERVES.get(), "bcrypt on a thread that serves requests");
}

/// The longest password that is hashed.
const PASSWORD_MAX: usize = 72;

/// Why a password was not hashed. The text is what clients of etcd see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// bcrypt would pass over the rest of it.
    #[error("bcrypt: password length exceeds 72 bytes")]
    TooLong,
    /// There is no randomness for a salt.
    #[error("bcrypt: no random salt")]
    NoSalt,
}

/// Hashes a password with a random salt, as text.
///
/// # Errors
/// [`HashError`].
pub fn hash(password: &[u8], cost: u32) -> Result<String, HashError> {
    assert_may_take_long();
    if password.len() > PASSWORD_MAX {
        return Err(HashError::TooLong);
    }
    bcrypt::hash_with_result(password, cost)
        .map(|parts| parts.format_for_version(bcrypt::Version::TwoA))
        .map_err(|_| HashError::NoSalt)
}

/// Hashes a password as it goes into the log.
///
/// # Errors
/// [`HashError`].
pub fn hash_for_log(password: &[u8], cost: u32) -> Result<String, HashError> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    Ok(STANDARD.encode(hash(password, cost)?))
}

/// What was stored for a user when its password was asked for.
pub struct Stored {
    /// The auth revision of that moment.
    pub revision: u64,
    /// bcrypt's text: that of the user, or one of the same cost that no password fits.
    text: String,
    /// Why there is none.
    missing: Option<Error>,
}

impl Stored {
    /// `cost` is that of a text that stands in for one.
    pub(crate) fn new(user: Option<&User>, revision: u64, cost: u32) -> Stored {
        let (text, missing) = match user {
            None => (None, Some(Error::AuthFailed)),
            Some(user) if has_none(user) => (None, Some(Error::NoPasswordUser)),
            // A text that is none would be refused at once, which says that the user is there.
            Some(user) => match text_of(user) {
                Some(text) => (Some(text.to_owned()), None),
                None => (None, Some(Error::AuthFailed)),
            },
        };
        Stored {
            revision,
            text: text.unwrap_or_else(|| decoy(cost)),
            missing,
        }
    }

    /// The cost of the comparison.
    #[cfg(test)]
    pub(crate) fn cost(&self) -> Option<u32> {
        cost_of(&self.text)
    }
}

/// Checks a password. It takes as long for a user that is not there, by the same path: an answer
/// that comes at once would say so.
///
/// # Errors
/// [`Error::AuthFailed`], [`Error::NoPasswordUser`].
pub fn check(password: &[u8], stored: &Stored) -> Result<(), Error> {
    assert_may_take_long();
    let is_right = bcrypt::verify(password, &stored.text).unwrap_or(false);
    match stored.missing {
        None if is_right => Ok(()),
        None => Err(Error::AuthFailed),
        Some(error) => Err(error),
    }
}

/// A text of bcrypt that no password is known for.
fn decoy(cost: u32) -> String {
    format!("$2a${cost:02}${}", ".".repeat(22 + 31))
}

/// The text of bcrypt that a user has, if it is one.
fn text_of(user: &User) -> Option<&str> {
    let text = std::str::from_utf8(&user.password).ok()?;
    text.parse::<bcrypt::HashParts>().ok()?;
    cost_of(text).map(|_| text)
}

/// The cost in a text of bcrypt, which follows its second `$`.
fn cost_of(text: &str) -> Option<u32> {
    let cost = text.split('$').nth(2)?.parse().ok()?;
    COSTS.contains(&cost).then_some(cost)
}

/// The cost at which a user's password was hashed.
pub(crate) fn cost(user: &User) -> Option<u32> {
    std::str::from_utf8(&user.password).ok().and_then(cost_of)
}

/// Whether a user has no password, and is known by a client certificate alone.
pub(crate) fn has_none(user: &User) -> bool {
    user.options.is_some_and(|options| options.no_password)
}
