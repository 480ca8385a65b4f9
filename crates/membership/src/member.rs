//! One member, and what it publishes of itself.

use proto::etcdserverpb::Request;
use serde::{Deserialize, Serialize};

use crate::{
    id::{MemberId, parse_hex_id},
    json,
};

/// One member. Its JSON is etcd's: conf change contexts, bucket `members`, `/members`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Never 0.
    pub id: MemberId,
    /// Where other members reach it, sorted.
    #[serde(rename = "peerURLs", default, deserialize_with = "null_is_empty")]
    pub peer_urls: Vec<String>,
    /// True while it has no vote.
    #[serde(rename = "isLearner", default, skip_serializing_if = "is_false")]
    pub is_learner: bool,
    /// Empty until it has published itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Where clients reach it; empty until it has published itself.
    #[serde(
        rename = "clientURLs",
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub client_urls: Vec<String>,
}

impl Member {
    /// The JSON object of bucket `members` and of `/members`.
    pub fn to_json_value(&self) -> serde_json::Value {
        // Strings, numbers and lists always serialize.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// The same as text, with the bytes that etcd writes.
    pub fn to_json(&self) -> String {
        json::to_string(self)
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

fn null_is_empty<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::<Vec<String>>::deserialize(from)?.unwrap_or_default())
}

/// The value of an `attributes` leaf.
#[derive(Serialize, Deserialize)]
pub(crate) struct Published {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    #[serde(
        rename = "clientURLs",
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub(crate) client_urls: Vec<String>,
}

impl Published {
    pub(crate) fn parse(json: &str) -> serde_json::Result<Published> {
        serde_json::from_str(json)
    }
}

/// The value of a `raftAttributes` leaf.
#[derive(Serialize, Deserialize)]
pub(crate) struct RaftPublished {
    #[serde(rename = "peerURLs", default, deserialize_with = "null_is_empty")]
    pub(crate) peer_urls: Vec<String>,
    #[serde(rename = "isLearner", default, skip_serializing_if = "is_false")]
    pub(crate) is_learner: bool,
}

/// True for the v2 request that sets a path whatever is there: the only one that
/// etcd looks at for its own membership.
pub(crate) fn is_plain_put(request: &Request) -> bool {
    request.method == "PUT"
        && request.prev_exist.is_none()
        && request.prev_index == 0
        && request.prev_value.is_empty()
}

/// The member that `/0/members/<hex id>/attributes` speaks of.
pub(crate) fn attributes_path(path: &str) -> Option<MemberId> {
    let id = path
        .strip_prefix("/0/members/")?
        .strip_suffix("/attributes")?;
    parse_hex_id(id)
}

/// True if the names of [`attributes_path`] are anywhere in a path.
pub(crate) fn has_attributes_path(path: &str) -> bool {
    let mut rest = path;
    while let Some((_, after)) = rest.split_once("/0/members/") {
        let digits = after.bytes().take_while(|b| b.is_ascii_hexdigit()).count();
        if (1..=16).contains(&digits) && after[digits..].starts_with("/attributes") {
            return true;
        }
        rest = after;
    }
    false
}
