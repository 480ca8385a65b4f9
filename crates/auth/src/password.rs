//! bcrypt. Each call takes as long as the cost says, a tenth of a second by default, and belongs
//! on a thread of its own.

use proto::authpb::User;

use crate::Error;

/// The cost etcd takes unless it is given another.
pub const DEFAULT_COST: u32 = 10;
/// The costs that bcrypt knows.
pub const COSTS: std::ops::RangeInclusive<u32> = 4..=31;

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
pub fn hash(password: &str, cost: u32) -> Result<String, HashError> {
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
pub fn hash_for_log(password: &str, cost: u32) -> Result<String, HashError> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    Ok(STANDARD.encode(hash(password, cost)?))
}

/// What was stored for a user when its password was asked for.
pub struct Stored {
    /// The auth revision of that moment.
    pub revision: u64,
    /// bcrypt's text, or why there is none.
    password: Result<Vec<u8>, Error>,
    cost: u32,
}

impl Stored {
    pub(crate) fn new(user: Option<&User>, revision: u64, cost: u32) -> Stored {
        let password = match user {
            None => Err(Error::AuthFailed),
            Some(user) if has_none(user) => Err(Error::NoPasswordUser),
            Some(user) => Ok(user.password.to_vec()),
        };
        Stored {
            revision,
            password,
            cost,
        }
    }
}

/// Checks a password. It takes as long for a user that is not there: an answer that comes at
/// once would say so.
///
/// # Errors
/// [`Error::AuthFailed`], [`Error::NoPasswordUser`].
pub fn check(password: &str, stored: &Stored) -> Result<(), Error> {
    match &stored.password {
        Ok(hash) => {
            let is_right = std::str::from_utf8(hash)
                .is_ok_and(|hash| bcrypt::verify(password, hash).unwrap_or(false));
            if is_right {
                Ok(())
            } else {
                Err(Error::AuthFailed)
            }
        }
        Err(error) => {
            std::hint::black_box(bcrypt::hash_with_salt(password, stored.cost, [0; 16]).is_ok());
            Err(*error)
        }
    }
}

/// Whether a user has no password, and is known by a client certificate alone.
pub(crate) fn has_none(user: &User) -> bool {
    user.options.is_some_and(|options| options.no_password)
}
