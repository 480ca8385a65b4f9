//! The value of `--feature-gates` as it is read: names that etcd knows, each on or off. What they
//! switch is in [`super::gates`].

use cli::text::parse_bool;

/// The groups, and after them the gates.
pub(super) const NAMES: [&str; 11] = [
    "AllAlpha",
    "AllBeta",
    "CompactHashCheck",
    "FastLeaseKeepAlive",
    "InitialCorruptCheck",
    "LeaseCheckpoint",
    "LeaseCheckpointPersist",
    "PriorityRequest",
    "SetMemberLocalAddr",
    "StopGRPCServiceOnDefrag",
    "TxnModeWriteWithSharedBuffer",
];

/// Why the value cannot be read, in etcd's words.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("unrecognized feature gate: {0}")]
    Unknown(String),
    #[error("missing bool value for {0}")]
    NoValue(String),
    #[error(
        "invalid value of {name}={value}, err: strconv.ParseBool: parsing {value:?}: invalid syntax"
    )]
    Value { name: String, value: String },
}

/// Whether the value can be read; etcd says so as of any value of a flag.
pub(super) fn check(value: &str) -> Result<(), Unreadable> {
    match pairs(value)?.iter().find(|(name, _)| !NAMES.contains(name)) {
        Some((name, _)) => Err(Unreadable::Unknown((*name).to_owned())),
        None => Ok(()),
    }
}

/// Names, and whether each is on.
pub(super) fn pairs(value: &str) -> Result<Vec<(&str, bool)>, Unreadable> {
    let items = value.split(',').filter(|item| !item.is_empty());
    items
        .map(|item| {
            let Some((name, value)) = item.split_once('=') else {
                return Err(Unreadable::NoValue(item.trim().to_owned()));
            };
            let (name, value) = (name.trim(), value.trim());
            parse_bool(value)
                .map(|on| (name, on))
                .map_err(|_| Unreadable::Value {
                    name: name.to_owned(),
                    value: value.to_owned(),
                })
        })
        .collect()
}
