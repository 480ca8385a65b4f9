//! The v2 tree: what `.snap` files hold, and the authority on membership for
//! etcd up to 3.5. Users' own v2 keys are kept as they are. Event history and
//! statistics are left out: every reader takes them as optional.

use std::collections::BTreeMap;

use proto::etcdserverpb::Request;
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::cluster::{Error, Member, MemberId, Published, RaftPublished, parse_hex_id};

/// The year that stands for "never".
const NEVER: &str = "0001-01-01T00:00:00Z";

/// A node of the tree: a directory has children, a leaf has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Node {
    /// Full path.
    #[serde(default)]
    pub path: String,
    /// Index at which it was made.
    #[serde(default)]
    pub created_index: u64,
    /// Index of its last change.
    #[serde(default)]
    pub modified_index: u64,
    /// When it ends, RFC 3339.
    #[serde(default = "never")]
    pub expire_time: String,
    /// A leaf's text.
    #[serde(default)]
    pub value: String,
    /// A directory's nodes by name; `None` for a leaf.
    #[serde(default)]
    pub children: Option<BTreeMap<String, Node>>,
}

fn never() -> String {
    NEVER.to_owned()
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct File {
    root: Node,
    #[serde(default)]
    current_index: u64,
    #[serde(default = "version_two")]
    current_version: u64,
}

fn version_two() -> u64 {
    2
}

/// The tree as of one index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    root: Node,
    current_index: u64,
}

impl Default for Tree {
    fn default() -> Tree {
        Tree::new()
    }
}

/// Nesting beyond this is not a tree any etcd made; the parser must not run out of stack.
const DEPTH_MAX: usize = 100;

impl Node {
    fn leaf(path: String, value: String, index: u64) -> Node {
        Node {
            path,
            created_index: index,
            modified_index: index,
            expire_time: never(),
            value,
            children: None,
        }
    }

    fn dir(path: String, index: u64) -> Node {
        Node {
            children: Some(BTreeMap::new()),
            ..Node::leaf(path, String::new(), index)
        }
    }

    fn depth_within(&self, left: usize) -> bool {
        left > 0
            && self
                .children
                .iter()
                .flatten()
                .all(|(_, child)| child.depth_within(left - 1))
    }
}

impl Tree {
    /// An empty tree: the cluster's directory and the users'.
    pub fn new() -> Tree {
        let mut root = Node::dir("/".to_owned(), 0);
        if let Some(children) = &mut root.children {
            for name in ["0", "1"] {
                children.insert(name.to_owned(), Node::dir(format!("/{name}"), 0));
            }
        }
        Tree {
            root,
            current_index: 0,
        }
    }

    /// Reads `Snapshot.data`.
    pub fn parse(json: &[u8]) -> Result<Tree, Error> {
        let file: File = serde_json::from_slice(json)
            .map_err(|error| Error::Malformed(format!("the v2 tree is not readable: {error}")))?;
        if file.root.children.is_none() || !file.root.depth_within(DEPTH_MAX) {
            return Err(Error::Malformed(
                "the v2 tree has no root directory, or is nested too deeply".into(),
            ));
        }
        Ok(Tree {
            root: file.root,
            current_index: file.current_index,
        })
    }

    /// The text for `Snapshot.data`.
    pub fn to_json(&self) -> Vec<u8> {
        let file = File {
            root: self.root.clone(),
            current_index: self.current_index,
            current_version: 2,
        };
        // Text, numbers and maps with text keys always serialize.
        serde_json::to_vec(&file).unwrap_or_default()
    }

    /// The node at a path like `/0/version`.
    pub fn get(&self, path: &str) -> Option<&Node> {
        path.split('/')
            .filter(|p| !p.is_empty())
            .try_fold(&self.root, |node, name| node.children.as_ref()?.get(name))
    }

    /// The directory that holds `path`, made as far as it is missing, and the
    /// last part. `None` if a leaf is in the way.
    fn parent_mut<'a, 'p>(
        &mut self,
        path: &'p str,
        index: u64,
    ) -> Option<(&mut BTreeMap<String, Node>, &'p str)>
    where
        'p: 'a,
    {
        let mut parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
        let last = parts.pop()?;
        let mut node = &mut self.root;
        let mut at = String::new();
        for part in parts {
            at.push('/');
            at.push_str(part);
            node = node
                .children
                .as_mut()?
                .entry(part.to_owned())
                .or_insert_with(|| Node::dir(at.clone(), index));
        }
        Some((node.children.as_mut()?, last))
    }

    fn set(&mut self, path: &str, value: &str) -> bool {
        let index = self.current_index + 1;
        let path = format!("/{}", path.trim_matches('/'));
        let Some((parent, name)) = self.parent_mut(&path, index) else {
            return false;
        };
        if parent.get(name).is_some_and(|node| node.children.is_some()) {
            return false;
        }
        parent.insert(
            name.to_owned(),
            Node::leaf(path.clone(), value.to_owned(), index),
        );
        self.current_index = index;
        true
    }

    fn remove(&mut self, path: &str) -> bool {
        let index = self.current_index + 1;
        let Some((parent, name)) = self.parent_mut(path, index) else {
            return false;
        };
        let removed = parent.remove(name).is_some();
        if removed {
            self.current_index = index;
        }
        removed
    }

    /// Follows a v2 request. Requests that v2 itself would refuse change nothing.
    pub fn apply(&mut self, request: &Request) {
        let path = request.path.as_str();
        match request.method.as_str() {
            "PUT" => {
                let node = self.get(path);
                let exists = node.is_some();
                let unwanted = request.prev_exist.is_some_and(|wanted| wanted != exists)
                    || (request.prev_index != 0
                        && node.map(|n| n.modified_index) != Some(request.prev_index))
                    || (!request.prev_value.is_empty()
                        && node.map(|n| &n.value) != Some(&request.prev_value));
                if unwanted {
                    return;
                }
                if request.dir {
                    let index = self.current_index + 1;
                    if let Some((parent, name)) = self.parent_mut(path, index)
                        && !parent.contains_key(name)
                    {
                        parent.insert(name.to_owned(), Node::dir(path.to_owned(), index));
                        self.current_index = index;
                    }
                } else if self.set(path, &request.val) {
                    self.expire_at(path, request.expiration);
                }
            }
            "POST" => {
                let unique = format!(
                    "{}/{:020}",
                    path.trim_end_matches('/'),
                    self.current_index + 1
                );
                if self.set(&unique, &request.val) {
                    self.expire_at(&unique, request.expiration);
                }
            }
            "DELETE" => {
                let empty = self
                    .get(path)
                    .is_some_and(|n| n.children.as_ref().is_none_or(BTreeMap::is_empty));
                if empty || request.recursive {
                    self.remove(path);
                }
            }
            "SYNC" => self.expire(request.time),
            _ => {}
        }
    }

    fn expire_at(&mut self, path: &str, nanos: i64) {
        if nanos == 0 {
            return;
        }
        if let Some((parent, name)) = self.parent_mut(path, 0)
            && let Some(node) = parent.get_mut(name)
        {
            node.expire_time = rfc3339(nanos);
        }
    }

    /// Drops what has ended by `now`, nanoseconds since 1970.
    fn expire(&mut self, now: i64) {
        fn sweep(node: &mut Node, now: &str) {
            let Some(children) = &mut node.children else {
                return;
            };
            // Same form and zone, so the texts sort like the times.
            children
                .retain(|_, child| child.expire_time == NEVER || child.expire_time.as_str() > now);
            children.values_mut().for_each(|child| sweep(child, now));
        }
        sweep(&mut self.root, &rfc3339(now));
    }

    /// A member's directory, with its peer URLs.
    pub fn add_member(&mut self, member: &Member) {
        self.set_raft_attributes(member);
    }

    /// Peer URLs and vote of a member.
    pub fn set_raft_attributes(&mut self, member: &Member) {
        let value = RaftPublished {
            peer_urls: member.peer_urls.clone(),
            is_learner: member.is_learner,
        };
        // Strings and flags always serialize.
        let value = serde_json::to_string(&value).unwrap_or_default();
        self.set(&format!("/0/members/{}/raftAttributes", member.id), &value);
    }

    /// What a member published of itself.
    pub fn set_attributes(&mut self, id: MemberId, name: &str, client_urls: &[String]) {
        let value = Published {
            name: name.to_owned(),
            client_urls: client_urls.to_vec(),
        };
        // Strings always serialize.
        let value = serde_json::to_string(&value).unwrap_or_default();
        self.set(&format!("/0/members/{id}/attributes"), &value);
    }

    /// Takes a member out and remembers that it was there.
    pub fn remove_member(&mut self, id: MemberId) {
        self.remove(&format!("/0/members/{id}"));
        self.set(&format!("/0/removed_members/{id}"), "");
    }

    /// The cluster version.
    pub fn set_version(&mut self, version: &Version) {
        self.set("/0/version", &version.to_string());
    }

    /// Members as the tree has them.
    pub fn members(&self) -> Result<Vec<Member>, Error> {
        let mut members = Vec::new();
        let dirs = self.get("/0/members").and_then(|n| n.children.as_ref());
        for (name, node) in dirs.into_iter().flatten() {
            let malformed = |why: String| Error::Malformed(format!("/0/members/{name}: {why}"));
            let id = parse_hex_id(name).ok_or_else(|| malformed("not a member id".into()))?;
            let mut member = Member {
                id,
                ..Member::default()
            };
            let mut reachable = false;
            for (leaf, node) in node.children.iter().flatten() {
                match leaf.as_str() {
                    "raftAttributes" => {
                        let value: RaftPublished = serde_json::from_str(&node.value)
                            .map_err(|error| malformed(error.to_string()))?;
                        member.peer_urls = value.peer_urls;
                        member.is_learner = value.is_learner;
                        reachable = true;
                    }
                    "attributes" => {
                        let value: Published = serde_json::from_str(&node.value)
                            .map_err(|error| malformed(error.to_string()))?;
                        member.name = value.name;
                        member.client_urls = value.client_urls;
                    }
                    other => return Err(malformed(format!("unexpected entry {other:?}"))),
                }
            }
            if !reachable {
                return Err(malformed("raftAttributes is missing".into()));
            }
            members.push(member);
        }
        Ok(members)
    }

    /// Ids that were members once.
    pub fn removed(&self) -> Result<Vec<MemberId>, Error> {
        let leaves = self
            .get("/0/removed_members")
            .and_then(|n| n.children.as_ref());
        leaves
            .into_iter()
            .flatten()
            .map(|(name, _)| {
                parse_hex_id(name).ok_or_else(|| {
                    Error::Malformed(format!("/0/removed_members/{name}: not a member id"))
                })
            })
            .collect()
    }

    /// The cluster version, once decided.
    pub fn version(&self) -> Result<Option<Version>, Error> {
        match self.get("/0/version") {
            None => Ok(None),
            Some(node) => Version::parse(&node.value)
                .map(Some)
                .map_err(|error| Error::Malformed(format!("/0/version {:?}: {error}", node.value))),
        }
    }
}

/// Nanoseconds since 1970 as RFC 3339 in UTC with nine digits.
fn rfc3339(nanos: i64) -> String {
    let seconds = nanos.div_euclid(1_000_000_000);
    let days = seconds.div_euclid(86_400);
    let of_day = seconds.rem_euclid(86_400);
    // Civil date from days since 1970: count from March, so that leap days end a year.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60,
        nanos.rem_euclid(1_000_000_000)
    )
}
