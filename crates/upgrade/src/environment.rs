//! The variables of etcdctl: whoever has set them for `pintle ctl` has said how members are
//! reached. Read as `pintle ctl` reads them: one that is set next to its flag is a mistake.

use cli::flags::{Flag, Parsed, variable};

/// The flags whose variables count. `--write-out` is not among them: it has other values here.
const SHARED: [&str; 9] = [
    "endpoints",
    "cacert",
    "cert",
    "key",
    "insecure-skip-tls-verify",
    "user",
    "password",
    "dial-timeout",
    "command-timeout",
];

/// The value of a flag's variable; an empty one counts as unset.
pub(crate) fn value(flag: &str) -> Option<String> {
    let name = variable("ETCDCTL", flag);
    let set = || std::env::var(name).ok().filter(|value| !value.is_empty());
    SHARED.contains(&flag).then(set).flatten()
}

/// A variable that cannot be taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    /// Its flag is given as well.
    #[error(
        "conflicting environment variable {variable} is shadowed by the flag --{flag}; unset the one or leave out the other"
    )]
    Shadowed {
        /// Its name.
        variable: String,
        /// The flag's.
        flag: &'static str,
    },
    /// The flag does not take its value.
    #[error("{variable}: {reason}")]
    Value {
        /// Its name.
        variable: String,
        /// pflag's words.
        reason: String,
    },
}

/// Supplies those of a command's `flags` that are not given from `value`.
///
/// # Errors
/// A flag is given and its variable is set, or a value is none of its flag.
pub(crate) fn supply(
    flags: &[Flag],
    parsed: &mut Parsed,
    value: impl Fn(&str) -> Option<String>,
) -> Result<(), Unusable> {
    // Files that are named are what is to be looked at.
    let is_offline = flags
        .iter()
        .any(|flag| ["data-dir", "snapshot"].contains(&flag.name) && parsed.given(flag.name));
    for flag in flags {
        let Some(text) = value(flag.name) else {
            continue;
        };
        if flag.name == "endpoints" && is_offline {
            continue;
        }
        let name = variable("ETCDCTL", flag.name);
        if parsed.given(flag.name) {
            return Err(Unusable::Shadowed {
                variable: name,
                flag: flag.name,
            });
        }
        let supplied = parsed.supply(flag, text);
        supplied.map_err(|reason| Unusable::Value {
            variable: name,
            reason,
        })?;
    }
    Ok(())
}
