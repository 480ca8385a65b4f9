//! Ids of members and clusters, and how etcd derives them.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};

/// The id of a member. Printed in hexadecimal without padding, as etcd prints it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MemberId(pub u64);

/// The id of a cluster, printed likewise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u64);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl From<u64> for MemberId {
    fn from(id: u64) -> Self {
        MemberId(id)
    }
}

impl From<u64> for ClusterId {
    fn from(id: u64) -> Self {
        ClusterId(id)
    }
}

fn first_u64(digest: &[u8]) -> u64 {
    let mut head = [0; 8];
    head.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(head)
}

/// The id of a member known from the start: SHA-1 over its sorted peer URLs and
/// the cluster token, first eight bytes.
pub fn member_id(peer_urls: &[String], token: &str) -> MemberId {
    let mut urls: Vec<&str> = peer_urls.iter().map(String::as_str).collect();
    urls.sort_unstable();
    let mut hash = Sha1::new();
    for url in urls {
        hash.update(url.as_bytes());
    }
    hash.update(token.as_bytes());
    MemberId(first_u64(&hash.finalize()))
}

/// The id of a member that is added to a running cluster, at a time in seconds
/// since 1970: the time stands where the token would.
pub fn member_id_at(peer_urls: &[String], unix_seconds: u64) -> MemberId {
    member_id(peer_urls, &unix_seconds.to_string())
}

/// The id of a cluster: SHA-1 over the ids of its first members in order.
pub fn cluster_id(members: impl Iterator<Item = MemberId>) -> ClusterId {
    let mut ids: Vec<u64> = members.map(|m| m.0).collect();
    ids.sort_unstable();
    let mut hash = Sha1::new();
    for id in ids {
        hash.update(id.to_be_bytes());
    }
    ClusterId(first_u64(&hash.finalize()))
}

/// 1 to 16 hexadecimal digits.
pub(crate) fn parse_hex_id(text: &str) -> Option<MemberId> {
    let plain = (1..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    if plain {
        u64::from_str_radix(text, 16).ok().map(MemberId)
    } else {
        None
    }
}
