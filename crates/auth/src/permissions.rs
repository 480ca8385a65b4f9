//! What the roles of one user add up to.

use proto::authpb::{Permission, permission::Type};

use crate::tree::{Interval, Tree};

/// What is done with keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// The end of a range that extends to the last key.
pub(crate) const OPEN: &[u8] = b"\0";

/// Merged ranges.
#[derive(Default)]
pub(crate) struct Permissions {
    read: Tree,
    write: Tree,
}

impl Permissions {
    pub(crate) fn merge<'a>(granted: impl Iterator<Item = &'a Permission>) -> Permissions {
        let mut merged = Permissions::default();
        for permission in granted {
            let range = interval(&permission.key, &permission.range_end);
            // A type of another release allows nothing.
            match Type::try_from(permission.perm_type) {
                Ok(Type::Read) => merged.read.insert(range),
                Ok(Type::Write) => merged.write.insert(range),
                Ok(Type::Readwrite) => {
                    merged.read.insert(range.clone());
                    merged.write.insert(range);
                }
                Err(_) => {}
            }
        }
        merged
    }

    pub(crate) fn allow(&self, key: &[u8], end: &[u8], access: Access) -> bool {
        let tree = match access {
            Access::Read => &self.read,
            Access::Write => &self.write,
        };
        let asked = interval(key, end);
        if end.is_empty() {
            tree.intersects(&asked)
        } else {
            tree.covers(&asked)
        }
    }
}

fn interval(key: &[u8], end: &[u8]) -> Interval {
    match end {
        b"" => Interval::point(key),
        OPEN => Interval::new(key, b""),
        end => Interval::new(key, end),
    }
}

/// Whether a permission can be granted on this range.
pub(crate) fn is_valid_range(key: &[u8], end: &[u8]) -> bool {
    !key.is_empty() && (end.is_empty() || end == OPEN || key < end)
}
