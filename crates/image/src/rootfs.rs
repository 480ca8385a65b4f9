//! The tree of names that the layers of an image make, one over the other, as a
//! container would see it. It holds names, never contents, and gives up on a tree
//! that is larger than an image of etcd can be.

use std::collections::BTreeMap;

use crate::tar::{Fault, clean};

/// Names at most, and their bytes. etcd's own image has some 2,000 names, a
/// distribution's some 10,000.
const NAMES_MAX: usize = 200_000;
const BYTES_MAX: usize = 32 << 20;
/// Links that are followed for one name, as in Linux.
const HOPS_MAX: u32 = 40;
/// Parts of names that are looked up for a whole image. An honest one needs some
/// ten for each name; links that lead through links could need any number.
const STEPS_MAX: u64 = 20_000_000;

/// A layer takes a file of the layers below away by this before its name.
const WHITEOUT: &str = ".wh.";
/// And everything in a folder by this.
const OPAQUE: &str = ".wh..wh..opq";

/// What a name refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Directory,
    File(File),
    SymLink(String),
    /// A device or a pipe.
    Other,
}

/// A file, by what was seen of it as it passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) size: u64,
    pub(crate) executable: bool,
    /// Which of the texts that were searched it holds, a bit for each.
    pub(crate) holds: u64,
}

/// All names, without a slash at either end.
#[derive(Debug, Default)]
pub(crate) struct RootFs {
    nodes: BTreeMap<String, Node>,
    bytes: usize,
    steps: u64,
}

impl RootFs {
    /// Sets a name, whatever it stood for before. Marks that take names away are carried out.
    pub(crate) fn set(&mut self, name: &str, node: Node) -> Result<(), Fault> {
        let place = self.place(name)?;
        if place.is_empty() {
            return Ok(());
        }
        let (folder, last) = place.rsplit_once('/').unwrap_or(("", &place));
        if last == OPAQUE {
            self.clear(folder);
            return Ok(());
        }
        if let Some(gone) = last.strip_prefix(WHITEOUT) {
            let gone = match folder {
                "" => gone.to_owned(),
                folder => format!("{folder}/{gone}"),
            };
            self.remove(&gone);
            return Ok(());
        }
        // A folder over a folder keeps what is in it.
        if !(node == Node::Directory && self.nodes.get(&place) == Some(&Node::Directory)) {
            self.remove(&place);
        }
        let link = match &node {
            Node::SymLink(to) => to.len(),
            _ => 0,
        };
        self.bytes += place.len() + link;
        if self.nodes.len() >= NAMES_MAX || self.bytes > BYTES_MAX {
            return Err(Fault::TooLarge(format!(
                "its layers hold more than {NAMES_MAX} names or {BYTES_MAX} bytes of names"
            )));
        }
        self.nodes.insert(place, node);
        Ok(())
    }

    /// The file that a name leads to, links followed within the image.
    pub(crate) fn file(&mut self, name: &str) -> Result<Option<File>, Fault> {
        let place = self.resolve(name, true)?;
        match self.nodes.get(&place) {
            Some(Node::File(file)) => Ok(Some(*file)),
            _ => Ok(None),
        }
    }

    /// What a hard link to this name becomes.
    pub(crate) fn linked(&mut self, name: &str) -> Result<Node, Fault> {
        let place = self.place(name)?;
        match self.nodes.get(&place) {
            Some(node) if *node != Node::Directory => Ok(node.clone()),
            _ => Err(Fault::Malformed(format!(
                "a hard link leads to {name:?}, which is no file of the image"
            ))),
        }
    }

    /// The path at which a name of an archive ends up: links among its folders are followed.
    fn place(&mut self, name: &str) -> Result<String, Fault> {
        let name = clean(name, true)?;
        self.resolve(&name, false)
    }

    /// Follows links, that of the last part only if `last`. What climbs above
    /// the root stays at the root, as in a container.
    fn resolve(&mut self, name: &str, last: bool) -> Result<String, Fault> {
        let mut todo: Vec<String> = Vec::new();
        self.push(name, &mut todo)?;
        let mut place = String::new();
        let mut hops = 0;
        while let Some(part) = todo.pop() {
            if part == ".." {
                place.truncate(place.rfind('/').unwrap_or(0));
                continue;
            }
            let before = place.len();
            if before > 0 {
                place.push('/');
            }
            place.push_str(&part);
            if todo.is_empty() && !last {
                continue;
            }
            if let Some(Node::SymLink(to)) = self.nodes.get(&place) {
                hops += 1;
                if hops > HOPS_MAX {
                    return Err(Fault::Malformed(format!(
                        "{name:?} leads through more than {HOPS_MAX} links"
                    )));
                }
                place.truncate(if to.starts_with('/') { 0 } else { before });
                let to = to.clone();
                self.push(&to, &mut todo)?;
            }
        }
        Ok(place)
    }

    /// Puts the parts of a name where the first is taken first.
    fn push(&mut self, name: &str, todo: &mut Vec<String>) -> Result<(), Fault> {
        for part in name.rsplit('/') {
            self.steps += 1;
            if !matches!(part, "" | ".") {
                todo.push(part.to_owned());
            }
        }
        match self.steps > STEPS_MAX {
            true => Err(Fault::TooLarge(
                "its links lead through too many others".into(),
            )),
            false => Ok(()),
        }
    }

    fn remove(&mut self, name: &str) {
        if let Some(node) = self.nodes.remove(name) {
            self.forget(name, &node);
            if node == Node::Directory {
                self.clear(name);
            }
        }
    }

    /// Takes away what is below a folder.
    fn clear(&mut self, folder: &str) {
        let below = match folder {
            "" => String::new(),
            folder => format!("{folder}/"),
        };
        let gone: Vec<String> = self
            .nodes
            .range(below.clone()..)
            .map(|(name, _)| name)
            .take_while(|name| name.starts_with(&below))
            .cloned()
            .collect();
        for name in gone {
            if let Some(node) = self.nodes.remove(&name) {
                self.forget(&name, &node);
            }
        }
    }

    fn forget(&mut self, name: &str, node: &Node) {
        let link = match node {
            Node::SymLink(to) => to.len(),
            _ => 0,
        };
        self.bytes = self.bytes.saturating_sub(name.len() + link);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(size: u64) -> Node {
        Node::File(File {
            size,
            ..File::default()
        })
    }

    fn size(rootfs: &mut RootFs, name: &str) -> Option<u64> {
        rootfs.file(name).unwrap().map(|file| file.size)
    }

    #[test]
    fn links_are_followed_within_the_image() {
        let mut rootfs = RootFs::default();
        rootfs.set("usr/bin/busybox", file(7)).unwrap();
        rootfs.set("bin", Node::SymLink("usr/bin".into())).unwrap();
        rootfs
            .set("bin/sh", Node::SymLink("../../../usr/bin/busybox".into()))
            .unwrap();
        rootfs
            .set("usr/bin/ash", Node::SymLink("/bin/sh".into()))
            .unwrap();
        assert_eq!(size(&mut rootfs, "/bin/sh"), Some(7));
        assert_eq!(
            size(&mut rootfs, "usr/bin/sh"),
            Some(7),
            "it was written through the link"
        );
        assert_eq!(size(&mut rootfs, "bin/ash"), Some(7));
        rootfs
            .set("bin/loop", Node::SymLink("loop".into()))
            .unwrap();
        assert!(matches!(rootfs.file("bin/loop"), Err(Fault::Malformed(_))));
        assert!(matches!(
            rootfs.set("a/../../b", file(1)),
            Err(Fault::Unsafe(_))
        ));
    }

    #[test]
    fn upper_layers_take_names_away() {
        let mut rootfs = RootFs::default();
        for name in ["a/1", "a/2", "b/1", "ab"] {
            rootfs.set(name, file(1)).unwrap();
        }
        rootfs.set("a", Node::Directory).unwrap();
        rootfs.set("a/.wh.1", file(0)).unwrap();
        assert_eq!(size(&mut rootfs, "a/1"), None);
        assert_eq!(size(&mut rootfs, "a/2"), Some(1));
        rootfs.set("a/.wh..wh..opq", file(0)).unwrap();
        assert_eq!(size(&mut rootfs, "a/2"), None);
        assert_eq!(size(&mut rootfs, "b/1"), Some(1));
        assert_eq!(size(&mut rootfs, "ab"), Some(1));
    }

    #[test]
    fn links_through_links_end_at_a_bound() {
        let mut rootfs = RootFs::default();
        rootfs
            .set("d", Node::SymLink(format!("{}d2", "./".repeat(2000))))
            .unwrap();
        let fault = (0..NAMES_MAX).find_map(|n| rootfs.set(&format!("d/{n}"), file(1)).err());
        assert!(
            matches!(&fault, Some(Fault::TooLarge(why)) if why.contains("links")),
            "{fault:?}"
        );
    }
}
