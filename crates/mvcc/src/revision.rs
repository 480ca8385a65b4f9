//! The address of one change: which transaction, and which change in it. The
//! bytes on disk sort as the numbers do (docs/design/store.md). Nothing
//! here reads a file.

use std::fmt;

/// Bytes of a revision as a key of the database.
pub(crate) const REVISION_LEN: usize = 17;
/// The byte after the revision in the key of a tombstone.
const TOMBSTONE_MARK: u8 = b't';

/// A change: the transaction it belongs to and its place in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// The revision of the store that the transaction made.
    pub main: i64,
    /// Counts the changes of the transaction from 0.
    pub sub: u32,
}

impl Revision {
    /// A revision.
    pub fn new(main: i64, sub: u32) -> Revision {
        Revision { main, sub }
    }

    /// The key of a put at this revision.
    #[inline]
    pub fn to_bytes(self) -> [u8; REVISION_LEN] {
        let mut out = [0; REVISION_LEN];
        out[..8].copy_from_slice(&(self.main as u64).to_be_bytes());
        out[8] = b'_';
        out[9..].copy_from_slice(&u64::from(self.sub).to_be_bytes());
        out
    }

    /// The key of a tombstone at this revision.
    #[inline]
    pub fn to_tombstone_bytes(self) -> [u8; REVISION_LEN + 1] {
        let mut out = [TOMBSTONE_MARK; REVISION_LEN + 1];
        out[..REVISION_LEN].copy_from_slice(&self.to_bytes());
        out
    }

    /// Reads a key of the bucket `key`: the revision, and whether it is a
    /// tombstone. `None` for anything that is no such key.
    #[inline]
    pub fn parse(key: &[u8]) -> Option<(Revision, bool)> {
        let tombstone = match key.len() {
            REVISION_LEN => false,
            len if len == REVISION_LEN + 1 && key[REVISION_LEN] == TOMBSTONE_MARK => true,
            _ => return None,
        };
        let main = i64::from_be_bytes(key[..8].try_into().ok()?);
        let sub = u64::from_be_bytes(key[9..REVISION_LEN].try_into().ok()?);
        let sub = u32::try_from(sub).ok()?;
        (key[8] == b'_' && main >= 0).then_some((Revision { main, sub }, tombstone))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.main, self.sub)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_format() {
        let key = Revision::new(2, 0).to_bytes();
        assert_eq!(key[..9], [0, 0, 0, 0, 0, 0, 0, 2, 0x5f]);
        assert_eq!(Revision::parse(&key), Some((Revision::new(2, 0), false)));
        let tombstone = Revision::new(258, 3).to_tombstone_bytes();
        assert_eq!(
            Revision::parse(&tombstone),
            Some((Revision::new(258, 3), true))
        );
        assert_eq!(tombstone[17], b't');
    }

    #[test]
    fn other_keys_are_refused() {
        let mut key = Revision::new(2, 0).to_tombstone_bytes();
        assert_eq!(Revision::parse(&key[..16]), None);
        key[17] = b'x';
        assert_eq!(Revision::parse(&key), None);
        key[8] = b'-';
        assert_eq!(Revision::parse(&key[..17]), None);
        assert_eq!(Revision::parse(&[0xff; 17]), None);
        assert_eq!(Revision::parse(&[]), None);
    }
}
