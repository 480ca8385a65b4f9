//! Hashes that members compare. A difference takes a cluster down, so every
//! rule of docs/design/store.md is followed exactly; the rules about tombstones at
//! a compaction hide that older etcd versions removed them and newer do not.

use bolt::ReadTx;

use super::{hashes::HashKv, inner::Inner};
use crate::{
    Error, Revision,
    backend::{KEY, META, Pending},
    index::Index,
};

/// Entries of the index visited under one hold of the lock.
const ENTRIES_AT_A_TIME: usize = 1024;

/// Which records a hash leaves out.
pub(super) struct Rules {
    /// Records above are left out.
    pub(super) revision: i64,
    /// Up to here records are left out unless they are kept.
    pub(super) compacted: i64,
    /// Revisions up to `compacted` that are not kept, ascending.
    pub(super) not_kept: Vec<Revision>,
    /// With nothing kept at all, nothing is left out as not kept.
    pub(super) keeps_any: bool,
    /// Records that compaction is about to remove, or would be, ascending: they are left out, so
    /// that the hash does not show how far it has come.
    pub(super) removed: Vec<Revision>,
}

impl Rules {
    /// Rules that do not know yet what the hash keeps.
    pub(super) fn up_to(revision: i64, compacted: i64) -> Rules {
        Rules {
            revision,
            compacted,
            not_kept: Vec::new(),
            keeps_any: false,
            removed: Vec::new(),
        }
    }

    /// Takes in what the next entries of `index` from `key` on keep; returns the key after them.
    pub(super) fn gather(&mut self, index: &Index, key: &[u8]) -> Option<Box<[u8]>> {
        let (ids, next) = index.some_entries(key, ENTRIES_AT_A_TIME);
        for id in ids {
            let entry = index.entry(id);
            self.keeps_any |= entry.not_kept(self.revision, self.compacted, |revision, gone| {
                if gone {
                    self.removed.push(revision);
                } else {
                    self.not_kept.push(revision);
                }
            });
        }
        next
    }
}

/// Revisions that ascend, asked for in ascending order.
#[derive(Default)]
struct Ascending {
    revisions: Vec<Revision>,
    next: usize,
}

impl Ascending {
    fn new(mut revisions: Vec<Revision>) -> Ascending {
        revisions.sort_unstable();
        Ascending { revisions, next: 0 }
    }

    fn contains(&mut self, revision: Revision) -> bool {
        let rest = &self.revisions[self.next..];
        self.next += rest.iter().take_while(|r| **r < revision).count();
        self.revisions.get(self.next) == Some(&revision)
    }
}

/// Walks the records of a store in order.
pub(super) struct Hasher {
    rules: Rules,
    not_kept: Ascending,
    removed: Ascending,
    crc: u32,
}

impl Hasher {
    pub(super) fn new(mut rules: Rules) -> Hasher {
        Hasher {
            not_kept: Ascending::new(std::mem::take(&mut rules.not_kept)),
            removed: Ascending::new(std::mem::take(&mut rules.removed)),
            rules,
            crc: crc32c::crc32c(KEY.as_bytes()),
        }
    }

    /// Takes a record in; `key` is its key in the database.
    pub(super) fn record(&mut self, revision: Revision, tombstone: bool, key: &[u8], value: &[u8]) {
        if revision.main > self.rules.revision {
            return;
        }
        if revision.main <= self.rules.compacted {
            let not_kept = self.rules.keeps_any && self.not_kept.contains(revision);
            if not_kept || self.removed.contains(revision) {
                return;
            }
            if tombstone && revision.main == self.rules.compacted {
                return;
            }
        }
        self.crc = crc32c::crc32c_append(crc32c::crc32c_append(self.crc, key), value);
    }

    pub(super) fn finish(self) -> u32 {
        self.crc
    }
}

impl Inner {
    pub(super) fn hash_kv(&self, revision: i64) -> Result<HashKv, Error> {
        // Compaction must not take from the index what the walk below needs.
        let past = self.past.lock();
        // Read before the snapshot is taken: it is emptied after the commit.
        let doomed = self.doomed.lock().clone();
        let (tx, pending, current, compacted) = {
            let state = self.state.read();
            // What a compaction hashed stays known after a later one.
            if let Some(hash) = self.hashes.lock().get(revision) {
                return Ok(HashKv {
                    current_revision: state.current,
                    ..hash
                });
            }
            if revision > 0 && revision < state.compacted {
                return Err(Error::Compacted);
            }
            if revision > state.current {
                return Err(Error::FutureRev);
            }
            let sources = self.sources();
            let pending: Vec<Pending> = sources.overlay.records().cloned().collect();
            let tx = sources.overlay.tx().clone();
            (tx, pending, state.current, state.compacted)
        };
        let revision = if revision == 0 { current } else { revision };
        let mut rules = self.rules(revision, compacted);
        drop(past);
        rules
            .removed
            .extend(doomed.iter().map(|step| step.revision));
        let mut hasher = Hasher::new(rules);
        hash_records(&tx, &mut hasher, revision, |_, _| true)?;
        tx.advise_cold();
        for p in &pending {
            if p.tombstone {
                let key = p.revision.to_tombstone_bytes();
                hasher.record(p.revision, true, &key, &p.record);
            } else {
                hasher.record(p.revision, false, &p.revision.to_bytes(), &p.record);
            }
        }
        Ok(HashKv {
            hash: hasher.finish(),
            revision,
            compact_revision: compacted,
            current_revision: current,
        })
    }

    /// What a hash at `revision` leaves out. Changes made meanwhile have later
    /// revisions and make no difference.
    fn rules(&self, revision: i64, compacted: i64) -> Rules {
        let mut rules = Rules::up_to(revision, compacted);
        let mut from = Some(Box::default());
        while let Some(key) = from {
            from = rules.gather(&self.state.read().index, &key);
        }
        rules
    }

    pub(super) fn hash(&self) -> Result<u32, Error> {
        let tx = self.backend.snapshot()?;
        let mut crc = 0;
        for name in tx.buckets() {
            let name = name?;
            crc = crc32c::crc32c_append(crc, name);
            let Some(bucket) = tx.bucket(name)? else {
                continue;
            };
            let mut cursor = bucket.cursor();
            let mut at = cursor.first()?;
            while let Some((key, value)) = at {
                let local =
                    name == META.as_bytes() && [&b"consistent_index"[..], b"term"].contains(&key);
                if !local {
                    crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, key), value);
                }
                at = cursor.next()?;
            }
        }
        tx.advise_cold();
        Ok(crc)
    }
}

/// Records of the file up to main revision `upto`, in order. `pause` is called
/// now and then with the numbers of records and bytes so far and may end the walk.
pub(super) fn hash_records(
    tx: &ReadTx,
    hasher: &mut Hasher,
    upto: i64,
    mut pause: impl FnMut(usize, usize) -> bool,
) -> Result<bool, Error> {
    let bucket = tx
        .bucket(KEY.as_bytes())?
        .ok_or_else(|| bolt::Error::BucketNotFound(KEY.into()))?;
    let mut cursor = bucket.cursor();
    let mut at = cursor.first()?;
    let (mut seen, mut bytes) = (0, 0);
    while let Some((key, value)) = at {
        let Some((revision, tombstone)) = Revision::parse(key) else {
            return Err(Error::Corrupt {
                revision: Revision::default(),
                what: "a key is no revision",
            });
        };
        if revision.main > upto {
            break;
        }
        hasher.record(revision, tombstone, key, value);
        seen += 1;
        bytes += key.len() + value.len();
        if seen % 4096 == 0 && !pause(seen, bytes) {
            return Ok(false);
        }
        at = cursor.next()?;
    }
    Ok(true)
}
