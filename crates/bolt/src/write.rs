//! The write transaction: changes collect in memory, a commit makes them durable in the order data, fdatasync, meta,
//! fdatasync, and only then shows them to readers. Until the commit nothing on disk changes; after a failed one nothing
//! more is written, since the content of the disk is unknown.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use failpoint::failpoint;

use crate::arena::Arena;
use crate::batch::Batch;
use crate::error::{Error, show};
use crate::id::PageId;
use crate::meta::{META_END, Meta};
use crate::node::Core;
use crate::page::{MAX_KEY_SIZE, MAX_VALUE_SIZE, Pages, Root, bucket_header, lookup};
use crate::settle::Output;
use crate::state::{Inner, Writer, io_error};
use crate::tree::Tree;

/// Buffers up to this size are kept for the next transaction.
const KEEP_BUFFER: usize = 16 << 20;

/// The one write transaction. Dropping it without a commit discards its changes.
///
/// A bucket is named by one name for a top-level bucket, or in the `_in` calls by the path of names that leads to it.
pub struct WriteTx {
    db: Arc<Inner>,
    /// `Some` until the transaction ends.
    writer: Option<Box<Writer>>,
    core: Core,
    root: Tree,
    meta: Meta,
    readers_open: bool,
    /// The writer's resources are half changed; returning them would let the next commit destroy data.
    committing: bool,
}

impl WriteTx {
    pub(crate) fn new(db: Arc<Inner>, mut writer: Box<Writer>) -> Result<WriteTx, Error> {
        let shared = db.shared();
        if let Some(failed) = &shared.failed {
            let e = Error::Failed(failed.clone());
            drop(shared);
            db.writer_back(writer);
            return Err(e);
        }
        let readers: Vec<u64> = shared.readers.keys().copied().collect();
        let (meta, pages) = (shared.meta, shared.pages.clone());
        drop(shared);
        writer.space.release(&readers);
        let core = Core {
            pages,
            arena: Arena::default(),
            freed: Vec::new(),
        };
        let root = Tree::at(meta.root, meta.sequence);
        let readers_open = !readers.is_empty();
        Ok(WriteTx {
            db,
            writer: Some(writer),
            core,
            root,
            meta,
            readers_open,
            committing: false,
        })
    }

    /// The id that a commit will give to the new state.
    pub fn txid(&self) -> u64 {
        self.meta.txid + 1
    }

    fn tree(&mut self, path: &[&[u8]]) -> Result<(&mut Tree, &mut Core), Error> {
        let mut tree = &mut self.root;
        for name in path {
            tree = tree
                .sub(&mut self.core, name)?
                .ok_or_else(|| Error::BucketNotFound(show(name)))?;
        }
        Ok((tree, &mut self.core))
    }

    /// Makes the top-level bucket `name` where there is none.
    pub fn create_bucket_if_not_exists(&mut self, name: &[u8]) -> Result<(), Error> {
        self.create_bucket_in(&[], name)
    }

    /// Makes the bucket `name` inside the bucket at `path` where there is none.
    pub fn create_bucket_in(&mut self, path: &[&[u8]], name: &[u8]) -> Result<(), Error> {
        check_key(name)?;
        let (tree, core) = self.tree(path)?;
        tree.sub_or_new(core, name)?;
        Ok(())
    }

    /// Removes the top-level bucket `name` with all it holds.
    pub fn delete_bucket(&mut self, name: &[u8]) -> Result<(), Error> {
        self.delete_bucket_in(&[], name)
    }

    /// Removes the bucket `name` inside the bucket at `path` with all it holds.
    pub fn delete_bucket_in(&mut self, path: &[&[u8]], name: &[u8]) -> Result<(), Error> {
        let (tree, core) = self.tree(path)?;
        if tree.delete_bucket(core, name)? {
            Ok(())
        } else {
            Err(Error::BucketNotFound(show(name)))
        }
    }

    /// Sets `key` of the top-level bucket to `value`.
    #[inline]
    pub fn put(&mut self, bucket: &[u8], key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.put_in(&[bucket], key, value)
    }

    /// Sets `key` of the bucket at `path` to `value`. The path is not empty: the root holds buckets only.
    #[inline]
    pub fn put_in(&mut self, path: &[&[u8]], key: &[u8], value: &[u8]) -> Result<(), Error> {
        check_pair(path, key, value.len())?;
        let (tree, core) = self.tree(path)?;
        let value = core.arena.push_value(value);
        tree.put(core, key, 0, value)
    }

    /// Removes `key` from the top-level bucket; nothing happens where it is not there.
    #[inline]
    pub fn delete(&mut self, bucket: &[u8], key: &[u8]) -> Result<(), Error> {
        self.delete_in(&[bucket], key)
    }

    /// Removes `key` from the bucket at `path`.
    #[inline]
    pub fn delete_in(&mut self, path: &[&[u8]], key: &[u8]) -> Result<(), Error> {
        let (tree, core) = self.tree(path)?;
        tree.delete(core, key)?;
        Ok(())
    }

    /// The value of `key` in the top-level bucket, with this transaction's changes.
    pub fn get(&self, bucket: &[u8], key: &[u8]) -> Result<Option<&[u8]>, Error> {
        self.get_in(&[bucket], key)
    }

    /// The value of `key` in the bucket at `path`, with this transaction's changes. A missing bucket is an error.
    pub fn get_in(&self, path: &[&[u8]], key: &[u8]) -> Result<Option<&[u8]>, Error> {
        let mut tree = &self.root;
        for (depth, name) in path.iter().enumerate() {
            if let Some((_, sub)) = tree.subs.iter().find(|(n, _)| **n == **name) {
                tree = sub;
                continue;
            }
            // Nothing below here was changed, so the parent's record of the bucket is current.
            let missing = |name: &[u8]| Error::BucketNotFound(show(name));
            let e = tree.find(&self.core, name)?.ok_or_else(|| missing(name))?;
            if !e.is_bucket {
                return Err(Error::IncompatibleValue(show(name), "a key"));
            }
            let at = e.value.place.offset();
            let (mut root, _) = Root::of(self.core.value(e.value), at, e.page)?;
            for name in &path[depth + 1..] {
                let (e, id) = lookup(&self.core.pages, root, name)?.ok_or_else(|| missing(name))?;
                if !e.is_bucket() {
                    return Err(Error::IncompatibleValue(show(name), "a key"));
                }
                root = Root::of(e.value, e.value_at, id)?.0;
            }
            let found = lookup(&self.core.pages, root, key)?;
            return Ok(found.filter(|(e, _)| !e.is_bucket()).map(|(e, _)| e.value));
        }
        tree.get(&self.core, key)
    }

    /// How full pages of the top-level bucket are made when they must be cut, 0.1 to 1.0. Where this is not called,
    /// pages that grew at their end are filled to 0.9 and others to 0.5. Unknown buckets are ignored.
    pub fn set_fill_percent(&mut self, bucket: &[u8], fill: f64) {
        self.set_fill_in(&[bucket], fill);
    }

    /// [`WriteTx::set_fill_percent`] for the bucket at `path`.
    pub fn set_fill_in(&mut self, path: &[&[u8]], fill: f64) {
        if let Ok((tree, _)) = self.tree(path) {
            tree.fill = Some(fill);
        }
    }

    /// Sets the sequence number of the bucket at `path`.
    pub fn set_sequence_in(&mut self, path: &[&[u8]], sequence: u64) -> Result<(), Error> {
        let (tree, _) = self.tree(path)?;
        if tree.sequence != sequence {
            tree.sequence = sequence;
            tree.changed = true;
        }
        Ok(())
    }

    /// Applies all changes of `batch` in order. Values of a KiB and more are shared with the batch, not copied. The buckets
    /// must exist; on an error the transaction holds the changes up to there.
    pub fn apply(&mut self, batch: &Batch) -> Result<(), Error> {
        for (bucket, key, value) in batch.iter() {
            let path = [bucket.as_bytes()];
            match value {
                Some(value) => {
                    check_pair(&path, key, value.len())?;
                    let (tree, core) = self.tree(&path)?;
                    let value = core.arena.push_shared(value);
                    tree.put(core, key, 0, value)?;
                }
                None => self.delete_in(&path, key)?,
            }
        }
        Ok(())
    }

    /// Makes the changes durable and shows them to later readers. A transaction without changes ends without touching
    /// the disk. Any error is sticky: the database takes no more writes, and which of the two states the file holds is
    /// known only after it is opened again.
    pub fn commit(mut self) -> Result<(), Error> {
        if !self.root.is_dirty() {
            return Ok(());
        }
        self.committing = true;
        let mut writer = self
            .writer
            .take()
            .expect("a transaction holds the writer until it ends");
        let result = self.write(&mut writer);
        if let Err(e) = &result {
            self.db.fail(e.clone());
        }
        self.committing = false;
        self.writer = Some(writer);
        result
    }

    /// Ends the transaction and discards its changes; the same as dropping it.
    pub fn rollback(self) {}

    fn write(&mut self, w: &mut Writer) -> Result<(), Error> {
        let db = self.db.clone();
        let ps = u64::from(db.page_size);
        let io = |op: &str, e: std::io::Error| io_error(&db.path, op, e);
        let no_sync = db.no_sync.load(Ordering::Relaxed);
        let sync = || {
            if no_sync {
                Ok(())
            } else {
                db.disk.sync().map_err(|e| io("fdatasync", e))
            }
        };
        let txid = self.meta.txid + 1;
        w.buf.clear();
        w.runs.clear();
        let mut out = Output {
            space: &mut w.space,
            buf: &mut w.buf,
            runs: &mut w.runs,
            hwm: self.meta.hwm,
            page_size: db.page_size as usize,
            txid,
            readers_open: self.readers_open,
        };
        let value = self.root.settle(&mut self.core, &mut out, false)?;
        let hwm = out.hwm;
        let (root, sequence) = bucket_header(&value, 0, PageId::ZERO)?;
        w.space.close_run();
        let meta = Meta {
            page_size: db.page_size,
            root: root.expect("the root bucket is never inline"),
            sequence,
            freelist: None,
            hwm,
            txid,
        };

        if w.misplaced_meta {
            write_meta(&db, &self.meta).map_err(|e| io("writing a meta page", e))?;
            sync()?;
            w.misplaced_meta = false;
        }
        // One page more than needed, then the step: the rule of bbolt >= 1.3.7, so that file lengths agree.
        let needed = if db.growth_step == 0 {
            hwm.get() * ps
        } else {
            hwm.plus(1).get() * ps
        };
        if hwm > self.meta.hwm && needed > w.file_len {
            let len = needed + db.growth_step;
            db.disk
                .set_len(len)
                .map_err(|e| io(&format!("extending to {len} bytes"), e))?;
            w.file_len = len;
        }
        let map = if hwm.get() * ps > self.core.pages.map.len() {
            // Old maps live on as long as their readers do.
            let map = db
                .disk
                .map((hwm.get() * ps).saturating_mul(2))
                .map_err(|e| io("mapping", e))?;
            Arc::new(map)
        } else {
            self.core.pages.map.clone()
        };
        write_runs(&db, w).map_err(|(at, e)| io(&format!("writing at offset {at:#x}"), e))?;
        failpoint!(BeforeSyncDataPages);
        sync()?;
        write_meta(&db, &meta).map_err(|e| io("writing a meta page", e))?;
        failpoint!(BeforeSyncMetaPage);
        sync()?;

        if w.buf.capacity() > KEEP_BUFFER {
            w.buf = Vec::new();
        }
        self.core.freed.extend(w.stored_freelist.take());
        for run in self.core.freed.drain(..) {
            w.space.release_later(run, txid);
        }
        let pages = Arc::new(Pages {
            map,
            page_size: db.page_size,
            hwm,
        });
        let mut shared = db.shared();
        shared.meta = meta;
        shared.pages = pages;
        shared.free_pages = w.space.free_pages();
        Ok(())
    }
}

impl Drop for WriteTx {
    fn drop(&mut self) {
        if self.committing {
            let lost = io_error(
                &self.db.path,
                "committing",
                std::io::Error::other("the commit was interrupted"),
            );
            self.db.fail(lost);
        }
        if let Some(writer) = self.writer.take() {
            self.db.writer_back(writer);
        }
    }
}

/// Writes the collected runs; those that are adjacent in the file and in the buffer in one write.
fn write_runs(db: &Inner, w: &Writer) -> Result<(), (u64, std::io::Error)> {
    let ps = u64::from(db.page_size);
    let mut begin = 0usize;
    let mut i = 0;
    while i < w.runs.len() {
        let mut run = w.runs[i];
        i += 1;
        while i < w.runs.len() && w.runs[i].start == run.end() {
            run.len += w.runs[i].len;
            i += 1;
        }
        let (at, len) = (run.start.get() * ps, (run.len * ps) as usize);
        db.disk
            .pwrite(at, &w.buf[begin..begin + len])
            .map_err(|e| (at, e))?;
        begin += len;
    }
    Ok(())
}

fn write_meta(db: &Inner, meta: &Meta) -> std::io::Result<()> {
    let id = PageId::new(meta.txid % 2);
    let mut page = vec![0u8; db.page_size as usize];
    page[..META_END].copy_from_slice(&meta.encode(id));
    db.disk.pwrite(id.get() * u64::from(db.page_size), &page)
}

fn check_key(key: &[u8]) -> Result<(), Error> {
    if key.is_empty() {
        return Err(Error::KeyRequired);
    }
    if key.len() > MAX_KEY_SIZE {
        return Err(Error::KeyTooLarge(key.len()));
    }
    Ok(())
}

fn check_pair(path: &[&[u8]], key: &[u8], value_len: usize) -> Result<(), Error> {
    check_key(key)?;
    if value_len > MAX_VALUE_SIZE {
        return Err(Error::ValueTooLarge(value_len));
    }
    if path.is_empty() {
        return Err(Error::BucketNotFound(
            "(the root holds buckets only)".to_owned(),
        ));
    }
    Ok(())
}
