//! How v2 requests change the tree, index by index as etcd does it: members of
//! one cluster snapshot the same tree, whoever they are. A request that v2
//! would refuse changes nothing, except for directories on its way.

use proto::etcdserverpb::Request;
use semver::Version;
use time::OffsetDateTime;

use super::{Blocked, Node, Tree, names};
use crate::member::{Published, attributes_path};

/// Expirations before the year 2000 stand for none, when a node is made.
const EXPIRE_MIN: i64 = 946_684_800_000_000_000;

/// Nanoseconds since 1970 as a time; every number of them is within its range.
fn time(nanos: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(nanos.into()).ok()
}

/// The namespaces themselves cannot be changed.
fn is_read_only(path: &str) -> bool {
    matches!(names(path)[..], [] | ["0"] | ["1"])
}

impl Tree {
    /// Follows a v2 request.
    ///
    /// # Errors
    /// It is one of etcd's own about a member or the version, and something is in its place.
    pub fn apply(&mut self, request: &Request) -> Result<(), Blocked> {
        let compares = request.prev_index != 0 || !request.prev_value.is_empty();
        match (&request.method[..], request.prev_exist) {
            (b"PUT", Some(true)) if !compares => self.update(request),
            (b"PUT", Some(false)) => self.create(request, &request.path),
            (b"PUT", _) if compares => self.compare_and_swap(request),
            (b"PUT", _) => return self.put(request),
            (b"POST", _) => {
                let unique = format!("{}/{:020}", request.path, self.current_index + 1);
                self.create(request, &unique);
            }
            (b"DELETE", _) if compares => self.compare_and_delete(request),
            (b"DELETE", _) => self.delete(request),
            (b"SYNC", _) => self.expire(request.time),
            _ => {}
        }
        Ok(())
    }

    fn put(&mut self, request: &Request) -> Result<(), Blocked> {
        if let Some(id) = attributes_path(&request.path) {
            // Attributes without peer URLs beside them would keep etcd from starting.
            let known = self.get(&format!("/0/members/{id}/raftAttributes"));
            if known.is_some()
                && let Ok(published) = serde_json::from_str::<Published>(&request.val)
            {
                return self.set_attributes(id, &published.name, &published.client_urls);
            }
            return Ok(());
        }
        if request.path == "/0/version" {
            return match Version::parse(&request.val) {
                Ok(version) => self.set_version(&version),
                Err(_) => Ok(()),
            };
        }
        self.write(request);
        Ok(())
    }

    /// Writes a leaf, whether it is there or not.
    fn write(&mut self, request: &Request) {
        if is_read_only(&request.path) {
            return;
        }
        let existing = self.get(&request.path);
        if existing.is_some_and(|node| node.children.is_some()) {
            return;
        }
        let value = match (request.refresh, existing) {
            (Some(true), Some(node)) => node.value.clone(),
            (Some(true), None) => return,
            _ => request.val.clone(),
        };
        self.make(&request.path, request, value);
    }

    fn create(&mut self, request: &Request, path: &str) {
        if !is_read_only(path) && self.get(path).is_none() {
            self.make(path, request, request.val.clone());
        }
    }

    /// Puts a node where none is, or where a leaf is.
    fn make(&mut self, path: &str, request: &Request, value: String) {
        let index = self.current_index + 1;
        let Some((parent, path, name)) = self.parent_mut(path, index) else {
            return;
        };
        let mut node = if request.dir {
            Node::dir(path, index)
        } else {
            Node::leaf(path, value, index)
        };
        if request.expiration >= EXPIRE_MIN {
            node.expire_time = time(request.expiration);
        }
        parent.insert(name, node);
        self.current_index = index;
    }

    /// A leaf that a request may change.
    fn leaf_mut(&mut self, request: &Request) -> Option<&mut Node> {
        let node = self.get_mut(&request.path)?;
        (node.children.is_none()).then_some(node)
    }

    /// Writes to a leaf. A directory is refused, its time to live included: so
    /// does 3.5, while 3.4 took one.
    fn update(&mut self, request: &Request) {
        let index = self.current_index + 1;
        let Some(node) = self.leaf_mut(request) else {
            return;
        };
        if request.refresh != Some(true) {
            node.value.clone_from(&request.val);
        }
        node.modified_index = index;
        node.expire_time = match request.expiration {
            0 => None,
            nanos => time(nanos),
        };
        self.current_index = index;
    }

    fn compares(&mut self, request: &Request) -> bool {
        self.leaf_mut(request).is_some_and(|node| {
            (request.prev_index == 0 || request.prev_index == node.modified_index)
                && (request.prev_value.is_empty() || request.prev_value == node.value)
        })
    }

    fn compare_and_swap(&mut self, request: &Request) {
        if self.compares(request) {
            self.update(request);
        }
    }

    fn compare_and_delete(&mut self, request: &Request) {
        if self.compares(request) {
            self.take(&request.path);
        }
    }

    fn delete(&mut self, request: &Request) {
        let Some(node) = self.get(&request.path) else {
            return;
        };
        let allowed = match &node.children {
            None => true,
            Some(children) => request.recursive || (request.dir && children.is_empty()),
        };
        if allowed && !is_read_only(&request.path) {
            self.take(&request.path);
        }
    }

    fn take(&mut self, path: &str) {
        self.remove(&format!("/{}", names(path).join("/")));
    }

    /// Drops what has ended by `now`, nanoseconds since 1970, in the order in
    /// which it ended.
    fn expire(&mut self, now: i64) {
        fn ended(node: &Node, now: OffsetDateTime, found: &mut Vec<(OffsetDateTime, String)>) {
            if let Some(time) = node.expire_time.filter(|time| *time <= now) {
                found.push((time, node.path.clone()));
            }
            for child in node.children.iter().flat_map(|children| children.values()) {
                ended(child, now, found);
            }
        }
        let Some(now) = time(now) else { return };
        let mut found = Vec::new();
        ended(&self.root, now, &mut found);
        found.sort();
        for (_, path) in found {
            // It may be gone with its directory.
            self.take(&path);
        }
    }
}
