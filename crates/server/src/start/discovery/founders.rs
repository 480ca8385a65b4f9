//! Who founds the cluster, given what the registry holds. The order of
//! registration decides: the first so many are in, whoever comes later is told
//! that the cluster is full.

use std::{collections::BTreeSet, time::Duration};

/// One registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Registration {
    /// Whose: the member's id as it stands in the key.
    pub(super) id: String,
    /// `name=url`, repeated with a comma for each of its URLs.
    pub(super) contents: String,
    /// The registry's revision, or index, that brought it.
    pub(super) created: u64,
}

/// Why a registry is of no use. The first part of a text is etcd's.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("discovery: invalid URL")]
    InvalidUrl,
    #[error("discovery: invalid peer URL")]
    InvalidPeerUrl,
    #[error("discovery: size key is bad")]
    BadSizeKey,
    #[error("discovery: size key not found")]
    SizeNotFound,
    #[error("discovery: found duplicate id")]
    DuplicateId,
    #[error("discovery: found duplicate name")]
    DuplicateName,
    #[error("discovery: cluster is full")]
    FullCluster,
    #[error("discovery: bad discovery endpoint")]
    BadEndpoint,
    /// Settings or credentials that no patience cures.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// What is logged first.
    pub(super) fn heading(&self) -> &'static str {
        match self {
            Failure::DuplicateId => "member has been registered with discovery service",
            Failure::DuplicateName => "member with duplicated name has already been registered",
            _ => "failed to bootstrap; discovery token was already used",
        }
    }

    /// What is logged after it.
    pub(super) fn advice(&self) -> &'static [&'static str] {
        const NEW_TOKEN: &str =
            "do not reuse discovery token; generate a new one to bootstrap a cluster";
        match self {
            Failure::DuplicateId => &[
                "but could not find valid cluster configuration",
                "check data dir if previous bootstrap succeeded",
                "or use a new discovery token if previous bootstrap failed",
            ],
            Failure::DuplicateName => &["cURL the discovery token URL for details", NEW_TOKEN],
            _ => &[NEW_TOKEN],
        }
    }
}

/// How far the registration has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// All are there, in the order of their registration.
    Complete(Vec<Registration>),
    /// There is room, and so many are there.
    Waiting(usize),
    /// All are there, and this member is not one of them.
    Full,
}

/// Reads the size of a cluster.
pub(super) fn size(text: &str) -> Result<usize, Failure> {
    match text.trim().parse::<usize>() {
        Ok(size) if size > 0 => Ok(size),
        _ => Err(Failure::BadSizeKey),
    }
}

/// Where the member `own` stands among those registered.
pub(super) fn standing(mut all: Vec<Registration>, size: usize, own: &str) -> Standing {
    all.sort_by_key(|registration| registration.created);
    if all.len() < size {
        return Standing::Waiting(all.len());
    }
    all.truncate(size);
    if all.iter().any(|registration| registration.id == own) {
        Standing::Complete(all)
    } else {
        Standing::Full
    }
}

/// The founders in the form of `--initial-cluster`.
///
/// # Errors
/// One of them is unreadable, or two have one name: neither could start.
pub(super) fn cluster(founders: &[Registration]) -> Result<String, Failure> {
    let mut names = BTreeSet::new();
    for founder in founders {
        let own =
            membership::urls::by_name(&founder.contents).map_err(|_| Failure::InvalidPeerUrl)?;
        if own.is_empty() {
            return Err(Failure::InvalidPeerUrl);
        }
        for name in own.into_keys() {
            if !names.insert(name) {
                return Err(Failure::DuplicateName);
            }
        }
    }
    Ok(founders
        .iter()
        .map(|founder| founder.contents.as_str())
        .collect::<Vec<_>>()
        .join(","))
}

/// The pauses after failed attempts, etcd's: 2 s, doubled up to 256 s.
#[derive(Default)]
pub(super) struct Backoff {
    failed: u32,
}

impl Backoff {
    const DOUBLINGS_MAX: u32 = 8;

    pub(super) fn next(&mut self) -> Duration {
        self.failed = (self.failed + 1).min(Self::DOUBLINGS_MAX);
        Duration::from_secs(1 << self.failed)
    }

    pub(super) fn reset(&mut self) {
        self.failed = 0;
    }
}
