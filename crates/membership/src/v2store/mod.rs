//! The v2 tree: what `.snap` files hold, and the authority on membership for
//! etcd up to 3.5. Users' own v2 keys are kept as they are. Event history and
//! statistics are left out: every reader takes them as optional.

mod requests;

use std::collections::BTreeMap;

use semver::Version;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{
    error::Error,
    id::{MemberId, parse_hex_id},
    json,
    member::{Member, Published, RaftPublished},
};

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
    /// When it ends, if it does.
    #[serde(default, with = "expire_time")]
    pub expire_time: Option<OffsetDateTime>,
    /// A leaf's text.
    #[serde(default)]
    pub value: String,
    /// A directory's nodes by name; `None` for a leaf.
    #[serde(default)]
    pub children: Option<BTreeMap<String, Node>>,
}

/// Times as Go writes them: RFC 3339 with as many digits as needed; "never" is
/// the first moment of the year 1.
mod expire_time {
    use serde::{Deserialize as _, Deserializer, Serializer, de, ser};
    use time::{OffsetDateTime, format_description::well_known::Rfc3339};

    const NEVER: &str = "0001-01-01T00:00:00Z";
    /// The same, from 1970 on.
    const NEVER_NANOS: i128 = -62_135_596_800 * 1_000_000_000;

    pub(super) fn serialize<S: Serializer>(
        time: &Option<OffsetDateTime>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            None => to.serialize_str(NEVER),
            Some(time) => to.serialize_str(&time.format(&Rfc3339).map_err(ser::Error::custom)?),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<OffsetDateTime>, D::Error> {
        let text = String::deserialize(from)?;
        let time = OffsetDateTime::parse(&text, &Rfc3339).map_err(de::Error::custom)?;
        let nanos = time.unix_timestamp_nanos();
        Ok((nanos != NEVER_NANOS).then_some(time))
    }
}

/// What `Snapshot.data` holds. Event history and statistics are passed over.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Parsed {
    root: Node,
    #[serde(default)]
    current_index: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Written<'a> {
    root: &'a Node,
    current_index: u64,
    current_version: u64,
}

/// Where a member, or the cluster version, is to be written, another request has put a
/// directory, or there is a leaf on the path to it. That ends every etcd.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} cannot be written to the v2 tree: it is a directory, or below a leaf")]
pub struct Blocked(String);

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

/// Levels below the root. A node takes two levels of JSON, of which the parser
/// takes 127; neither it nor what walks the tree may run out of stack.
pub const DEPTH_MAX: usize = 60;

impl Node {
    fn leaf(path: String, value: String, index: u64) -> Node {
        Node {
            path,
            created_index: index,
            modified_index: index,
            expire_time: None,
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
        let mut children = self.children.iter().flatten();
        children.all(|(_, child)| left > 0 && child.depth_within(left - 1))
    }
}

/// The names along a path, as Go's path.Clean leaves them.
pub(crate) fn names(path: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names
}

/// The value of a member's `attributes` leaf, which is also what a v2 request
/// that publishes it carries.
pub fn attributes_json(name: &str, client_urls: &[String]) -> String {
    json::to_string(&Published {
        name: name.to_owned(),
        client_urls: client_urls.to_vec(),
    })
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
        let file: Parsed = serde_json::from_slice(json)
            .map_err(|error| Error::Malformed(format!("the v2 tree is not readable: {error}")))?;
        if file.root.children.is_none() || !file.root.depth_within(DEPTH_MAX) {
            return Err(Error::Malformed(format!(
                "the v2 tree has no root directory, or more than {DEPTH_MAX} levels"
            )));
        }
        Ok(Tree {
            root: file.root,
            current_index: file.current_index,
        })
    }

    /// The text for `Snapshot.data`.
    pub fn to_json(&self) -> Vec<u8> {
        let file = Written {
            root: &self.root,
            current_index: self.current_index,
            current_version: 2,
        };
        json::to_string(&file).into_bytes()
    }

    /// The node at a path like `/0/version`.
    pub fn get(&self, path: &str) -> Option<&Node> {
        names(path)
            .into_iter()
            .try_fold(&self.root, |node, name| node.children.as_ref()?.get(name))
    }

    fn get_mut(&mut self, path: &str) -> Option<&mut Node> {
        names(path)
            .into_iter()
            .try_fold(&mut self.root, |node, name| {
                node.children.as_mut()?.get_mut(name)
            })
    }

    /// True if a release from 3.6.3 on would refuse the directory: nodes below any
    /// root directory but the cluster's own, and below the directories of `/2`,
    /// which stay empty behind users and roles that were removed.
    pub fn has_user_data(&self) -> bool {
        let filled = |node: &Node| node.children.as_ref().is_some_and(|c| !c.is_empty());
        let roots = self.root.children.iter().flatten();
        roots
            .filter(|(name, _)| name.as_str() != "0")
            .any(|(name, node)| match name.as_str() {
                "2" => node.children.iter().flatten().any(|(_, n)| filled(n)),
                _ => filled(node),
            })
    }

    /// True if anything of v2 auth is left, be it empty folders: releases up to 3.6.2
    /// refuse those as well.
    pub fn has_auth(&self) -> bool {
        let auth = self.get("/2").and_then(|node| node.children.as_ref());
        auth.is_some_and(|children| !children.is_empty())
    }

    /// Gives up what [`Tree::has_user_data`] and [`Tree::has_auth`] speak of.
    pub fn drop_user_data(&mut self) {
        if let Some(children) = &mut self.root.children {
            children.remove("2");
            if let Some(users) = children.get_mut("1") {
                users.children = Some(BTreeMap::new());
            }
        }
    }

    /// The directory that holds a path, made as far as it is missing, with the
    /// whole path and its last name. `None` if a leaf is in the way, or it is too deep.
    fn parent_mut(
        &mut self,
        path: &str,
        index: u64,
    ) -> Option<(&mut BTreeMap<String, Node>, String, String)> {
        let mut names = names(path);
        if names.len() > DEPTH_MAX {
            return None;
        }
        let last = names.pop()?;
        let mut node = &mut self.root;
        let mut at = String::new();
        for name in names {
            at.push('/');
            at.push_str(name);
            node = node
                .children
                .as_mut()?
                .entry(name.to_owned())
                .or_insert_with(|| Node::dir(at.clone(), index));
        }
        at.push('/');
        at.push_str(last);
        Some((node.children.as_mut()?, at, last.to_owned()))
    }

    /// Makes a leaf, or makes one anew.
    fn set(&mut self, path: &str, value: &str) -> Result<(), Blocked> {
        let index = self.current_index + 1;
        let blocked = || Blocked(path.to_owned());
        let (parent, at, name) = self.parent_mut(path, index).ok_or_else(blocked)?;
        if parent
            .get(&name)
            .is_some_and(|node| node.children.is_some())
        {
            return Err(blocked());
        }
        parent.insert(name, Node::leaf(at, value.to_owned(), index));
        self.current_index = index;
        Ok(())
    }

    /// Writes to a leaf that is there: it keeps the index at which it was made.
    fn rewrite(&mut self, path: &str, value: &str) -> bool {
        let index = self.current_index + 1;
        let Some(node) = self.get_mut(path).filter(|node| node.children.is_none()) else {
            return false;
        };
        value.clone_into(&mut node.value);
        node.modified_index = index;
        node.expire_time = None;
        self.current_index = index;
        true
    }

    /// Takes out what is at a path.
    fn remove(&mut self, path: &str) -> bool {
        let Some((parent, name)) = path.rsplit_once('/') else {
            return false;
        };
        let parent = self.get_mut(parent).and_then(|node| node.children.as_mut());
        let removed = parent.is_some_and(|children| children.remove(name).is_some());
        if removed {
            self.current_index += 1;
        }
        removed
    }

    /// A member's directory, with its peer URLs.
    ///
    /// # Errors
    /// Something is in its place.
    pub fn add_member(&mut self, member: &Member) -> Result<(), Blocked> {
        self.set_raft_attributes(member)
    }

    /// Peer URLs and vote of a member.
    ///
    /// # Errors
    /// Something is in their place.
    pub fn set_raft_attributes(&mut self, member: &Member) -> Result<(), Blocked> {
        let value = RaftPublished {
            peer_urls: member.peer_urls.clone(),
            is_learner: member.is_learner,
        };
        let value = json::to_string(&value);
        let path = format!("/0/members/{}/raftAttributes", member.id);
        if self.rewrite(&path, &value) {
            return Ok(());
        }
        self.set(&path, &value)
    }

    /// What a member published of itself.
    ///
    /// # Errors
    /// Something is in its place.
    pub fn set_attributes(
        &mut self,
        id: MemberId,
        name: &str,
        client_urls: &[String],
    ) -> Result<(), Blocked> {
        let value = attributes_json(name, client_urls);
        self.set(&format!("/0/members/{id}/attributes"), &value)
    }

    /// Takes a member out and remembers that it was there.
    ///
    /// # Errors
    /// Something is in the place of the memory.
    pub fn remove_member(&mut self, id: MemberId) -> Result<(), Blocked> {
        self.remove(&format!("/0/members/{id}"));
        self.remember_removed(id)
    }

    /// Remembers that a member was there.
    pub(crate) fn remember_removed(&mut self, id: MemberId) -> Result<(), Blocked> {
        self.set(&format!("/0/removed_members/{id}"), "")
    }

    /// Forgets all members, those that were removed too.
    ///
    /// # Errors
    /// The tree does not say who they are.
    pub fn forget_members(&mut self) -> Result<(), Error> {
        for member in self.members()? {
            self.remove(&format!("/0/members/{}", member.id));
        }
        for id in self.removed()? {
            self.remove(&format!("/0/removed_members/{id}"));
        }
        Ok(())
    }

    /// The cluster version.
    ///
    /// # Errors
    /// Something is in its place.
    pub fn set_version(&mut self, version: &Version) -> Result<(), Blocked> {
        self.set("/0/version", &version.to_string())
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
