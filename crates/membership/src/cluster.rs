//! The one truth about membership, and how etcd derives ids.

use std::{collections::BTreeMap, collections::BTreeSet, fmt};

use proto::etcdserverpb::Request;
use semver::Version;
use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};

use crate::{json, urls, v2store::Tree, v3store::V3View};

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

fn is_false(value: &bool) -> bool {
    !value
}

fn null_is_empty<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::<Vec<String>>::deserialize(from)?.unwrap_or_default())
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

/// What does not fit the cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Text that should name members does not.
    #[error("{0}")]
    Malformed(String),
    /// There is no such member.
    #[error("member {0} is unknown")]
    Unknown(MemberId),
    /// The member was removed; its id never comes back.
    #[error("member {0} has been removed")]
    Removed(MemberId),
}

/// Who is in the cluster, as of one index.
#[derive(Clone, Debug)]
pub struct Cluster {
    id: ClusterId,
    members: BTreeMap<MemberId, Member>,
    removed: BTreeSet<MemberId>,
    version: Option<Version>,
    downgrade: Downgrade,
    /// Members whose vote the releases disagree about, see [`Cluster::is_disputed`].
    disputed: BTreeSet<MemberId>,
    /// A setting of this server, not part of the truth: no copy on disk has it.
    learners_max: usize,
}

/// Learners a cluster may have, unless a server of etcd 3.6 is told otherwise.
const LEARNERS_MAX: usize = 1;

impl Default for Cluster {
    fn default() -> Cluster {
        Cluster {
            id: ClusterId::default(),
            members: BTreeMap::new(),
            removed: BTreeSet::new(),
            version: None,
            downgrade: Downgrade::default(),
            disputed: BTreeSet::new(),
            learners_max: LEARNERS_MAX,
        }
    }
}

/// Whether a downgrade is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Downgrade {
    /// There never was one.
    #[default]
    Never,
    /// The last one ended, or was given up.
    Ended,
    /// To this version, like `3.5.0`.
    To(String),
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

impl Cluster {
    /// A cluster from `--initial-cluster-token` and `--initial-cluster`:
    /// `name=url` pairs, a name repeated for each of its URLs.
    pub fn from_initial(token: &str, initial: &str) -> Result<Cluster, Error> {
        let names = urls::by_name(initial)?;
        if names.is_empty() {
            return Err(Error::Malformed("it names no member".into()));
        }
        let mut cluster = Cluster::default();
        for (name, peer_urls) in names {
            let id = member_id(&peer_urls, token);
            if id.0 == 0 || cluster.members.contains_key(&id) {
                return Err(Error::Malformed(format!(
                    "member {name} would have the id {id}, which is taken or reserved"
                )));
            }
            let member = Member {
                id,
                peer_urls,
                name,
                ..Member::default()
            };
            cluster.members.insert(id, member);
        }
        cluster.id = cluster_id(cluster.members.keys().copied());
        Ok(cluster)
    }

    /// The cluster as the v2 tree of a snapshot has it, the authority up to etcd 3.5.
    pub fn recover(id: ClusterId, tree: &Tree) -> Result<Cluster, Error> {
        let mut cluster = Cluster {
            id,
            ..Cluster::default()
        };
        for member in tree.members()? {
            cluster.members.insert(member.id, member);
        }
        cluster.removed = tree.removed()?.into_iter().collect();
        cluster.version = tree.version()?;
        Ok(cluster)
    }

    /// Sets how many learners there may be. Changes are checked against it when
    /// they are applied, so all members must be told the same.
    pub fn limit_learners(&mut self, max: usize) {
        self.learners_max = max;
    }

    /// True if there are more learners than may be.
    pub fn has_too_many_learners(&self) -> bool {
        self.learners() > self.learners_max
    }

    fn learners(&self) -> usize {
        self.members().filter(|member| member.is_learner).count()
    }

    /// Learners there may be.
    pub(crate) fn learners_max(&self) -> usize {
        self.learners_max
    }

    /// True if the last update of the member named another vote than it has. etcd up to 3.5.30
    /// takes that over, so that `member update` of a learner makes it a voter in its lists and
    /// keeps it a learner for raft; later releases keep what was. Until another update names
    /// the vote it has, they judge its promotion, and the next learner, differently.
    pub fn is_disputed(&self, id: impl Into<MemberId>) -> bool {
        self.disputed.contains(&id.into())
    }

    /// Members that the releases disagree about, in the order of their ids.
    pub fn disputed(&self) -> impl Iterator<Item = &Member> {
        self.disputed.iter().filter_map(|id| self.members.get(id))
    }

    /// An update said whether the member is a learner.
    pub(crate) fn dispute(&mut self, id: MemberId, said_learner: bool) {
        let is_learner = self.members.get(&id).is_some_and(|m| m.is_learner);
        if said_learner == is_learner {
            self.disputed.remove(&id);
        } else {
            self.disputed.insert(id);
        }
    }

    /// The cluster's id.
    pub fn id(&self) -> ClusterId {
        self.id
    }

    /// Members in the order of their ids.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// One member.
    pub fn member(&self, id: impl Into<MemberId>) -> Option<&Member> {
        self.members.get(&id.into())
    }

    /// Ids that were members once, in order.
    pub fn removed(&self) -> impl Iterator<Item = MemberId> {
        self.removed.iter().copied()
    }

    /// True if the id was a member once.
    pub fn is_removed(&self, id: MemberId) -> bool {
        self.removed.contains(&id)
    }

    /// The cluster version, once decided.
    pub fn version(&self) -> Option<&Version> {
        self.version.as_ref()
    }

    /// Target version of a downgrade under way.
    pub fn downgrade(&self) -> Option<&str> {
        match &self.downgrade {
            Downgrade::To(target) => Some(target),
            Downgrade::Never | Downgrade::Ended => None,
        }
    }

    pub(crate) fn downgrade_record(&self) -> &Downgrade {
        &self.downgrade
    }

    /// Sets or clears the cluster version.
    pub fn set_version(&mut self, version: Option<Version>) {
        self.version = version;
    }

    /// Starts a downgrade, or ends the one under way.
    pub fn set_downgrade(&mut self, target: Option<String>) {
        self.downgrade = target.map_or(Downgrade::Ended, Downgrade::To);
    }

    /// Takes over what only the database knows: a downgrade.
    pub fn recover_downgrade(&mut self, v3: &V3View) {
        self.downgrade = v3.downgrade.clone();
    }

    /// What a member published of itself.
    pub fn set_attributes(
        &mut self,
        id: MemberId,
        name: &str,
        client_urls: &[String],
    ) -> Result<(), Error> {
        match self.members.get_mut(&id) {
            Some(member) => {
                member.name = name.to_owned();
                member.client_urls = client_urls.to_vec();
                Ok(())
            }
            None if self.removed.contains(&id) => Err(Error::Removed(id)),
            None => Err(Error::Unknown(id)),
        }
    }

    /// Follows a v2 request as far as it speaks of membership: true if it did.
    pub fn apply_v2(&mut self, request: &Request) -> Result<bool, Error> {
        if !is_plain_put(request) {
            return Ok(false);
        }
        if request.path == "/0/version" {
            let version = Version::parse(&request.val).map_err(|error| {
                Error::Malformed(format!("cluster version {:?}: {error}", request.val))
            })?;
            self.version = Some(version);
            return Ok(true);
        }
        let Some(id) = attributes_path(&request.path) else {
            return Ok(false);
        };
        let published = Published::parse(&request.val)
            .map_err(|error| Error::Malformed(format!("attributes of member {id}: {error}")))?;
        self.set_attributes(id, &published.name, &published.client_urls)?;
        Ok(true)
    }

    pub(crate) fn insert(&mut self, member: Member) {
        self.members.insert(member.id, member);
    }

    pub(crate) fn member_mut(&mut self, id: MemberId) -> Option<&mut Member> {
        self.members.get_mut(&id)
    }

    /// Gives a learner its vote, and ends every dispute about that.
    pub(crate) fn promote(&mut self, id: MemberId) {
        if let Some(member) = self.members.get_mut(&id) {
            member.is_learner = false;
        }
        self.disputed.remove(&id);
    }

    pub(crate) fn remove(&mut self, id: MemberId) {
        self.members.remove(&id);
        self.disputed.remove(&id);
        self.removed.insert(id);
    }
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

/// True for the v2 request that sets a path whatever is there: the only one that
/// etcd looks at for its own membership.
pub(crate) fn is_plain_put(request: &Request) -> bool {
    request.method == "PUT"
        && request.prev_exist.is_none()
        && request.prev_index == 0
        && request.prev_value.is_empty()
}

/// The value of a `raftAttributes` leaf.
#[derive(Serialize, Deserialize)]
pub(crate) struct RaftPublished {
    #[serde(rename = "peerURLs", default, deserialize_with = "null_is_empty")]
    pub(crate) peer_urls: Vec<String>,
    #[serde(rename = "isLearner", default, skip_serializing_if = "is_false")]
    pub(crate) is_learner: bool,
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

/// 1 to 16 hexadecimal digits.
pub(crate) fn parse_hex_id(text: &str) -> Option<MemberId> {
    let plain = (1..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    if plain {
        u64::from_str_radix(text, 16).ok().map(MemberId)
    } else {
        None
    }
}
