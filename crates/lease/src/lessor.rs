//! The leases and their lifetimes.
//!
//! Invariants: every lease of a primary lessor is exactly once in
//! `schedule`, at a time not later than any expiry it can have without the
//! schedule being updated: so a renewal writes one atomic and nothing else. A key
//! is in `items` with a lease exactly if it is among that lease's keys. A lessor
//! that is not primary has no expiry and no schedule.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
};

use bolt::{Batch, ReadTx};
use bytes::Bytes;

use crate::{
    Error, LeaseId, RecoverError, record,
    spread::{SPREAD_FROM, spread},
};

/// Largest TTL that a grant may ask for.
pub const MAX_TTL_SECS: i64 = 9_000_000_000;
/// Leases of any kind that [`Lessor::expired`] names per second at most.
pub const REVOKES_PER_SECOND: usize = 1000;
/// How often the owner asks for expired leases; the rate is counted over it.
pub const EXPIRY_CHECK_MS: u64 = 500;
/// An expired lease that is still there after this time is named again.
pub const REVOKE_RETRY_MS: u64 = 3000;
/// Leases longer than this are checkpointed, each time this long passes.
pub const CHECKPOINT_INTERVAL_SECS: i64 = 300;
/// Most checkpoints in one request.
pub const CHECKPOINT_BATCH: usize = 1000;

/// Not primary: the lease does not end here.
const FOREVER: u64 = u64::MAX;
/// What Go's largest duration is in seconds: shown for a lease without an end.
const FOREVER_SECS: i64 = i64::MAX / 1_000_000_000;

/// What the server's flags say about leases.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Shorter TTLs are raised to this; etcd takes 1.5 election timeouts,
    /// rounded up to seconds.
    pub min_ttl_secs: i64,
    /// Replicate the remaining TTL of long leases (`LeaseCheckpoint`).
    pub checkpoint: bool,
    /// Write applied checkpoints to the file (`LeaseCheckpointPersist`).
    pub checkpoint_persist: bool,
}

impl Default for Options {
    /// The minimum that follows from etcd's default election timeout of 1 s, no
    /// checkpoints.
    fn default() -> Options {
        Options {
            min_ttl_secs: 2,
            checkpoint: false,
            checkpoint_persist: false,
        }
    }
}

/// The outcome of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// Granted TTL, which the lease now has again in full.
    pub ttl_secs: i64,
    /// The lease had a checkpoint, which is void now: propose a checkpoint with
    /// remaining TTL 0, so that the next leader does not go by the old one.
    pub clear_checkpoint: bool,
}

/// What is known about a lease at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeToLive {
    /// Seconds left, cut toward zero; negative when the lease is over for more
    /// than a second and not yet revoked.
    pub remaining_secs: i64,
    /// TTL at the grant.
    pub granted_secs: i64,
}

/// A checkpoint to be proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which lease.
    pub id: LeaseId,
    /// Seconds it has left, rounded up.
    pub remaining_secs: i64,
}

/// See the crate's page.
#[derive(Debug)]
pub struct Lessor {
    options: Options,
    /// The term that this lessor is primary in.
    primary: Option<u64>,
    leases: HashMap<LeaseId, Lease>,
    items: HashMap<Bytes, LeaseId>,
    /// When to look at a lease, in ms.
    schedule: BTreeSet<(u64, LeaseId)>,
    /// When to checkpoint a lease, in ms.
    checkpoints: BTreeSet<(u64, LeaseId)>,
    rate: Rate,
}

#[derive(Debug)]
struct Lease {
    ttl_secs: i64,
    /// From a checkpoint; 0 or less means none.
    remaining_secs: AtomicI64,
    expiry_ms: AtomicU64,
    /// Place in `schedule` and in `checkpoints`, if it has one.
    scheduled_ms: Option<u64>,
    checkpoint_ms: Option<u64>,
    keys: HashSet<Bytes>,
}

/// Counts what was named in the current half second.
#[derive(Debug, Default)]
struct Rate {
    since_ms: u64,
    taken: usize,
}

impl Lease {
    fn new(ttl_secs: i64, remaining_secs: i64) -> Lease {
        Lease {
            ttl_secs,
            remaining_secs: AtomicI64::new(remaining_secs),
            expiry_ms: AtomicU64::new(FOREVER),
            scheduled_ms: None,
            checkpoint_ms: None,
            keys: HashSet::new(),
        }
    }

    /// Seconds that a new leader grants it: what the checkpoint left, or all.
    fn effective_secs(&self) -> i64 {
        match self.remaining_secs.load(Relaxed) {
            left if left > 0 => left,
            _ => self.ttl_secs,
        }
    }

    fn expiry_ms(&self) -> u64 {
        self.expiry_ms.load(Relaxed)
    }
}

/// `now` plus seconds; what does not fit is the end of time minus one, since
/// the very end means forever.
fn after(now_ms: u64, secs: i64) -> u64 {
    let ms = u64::try_from(secs).unwrap_or(0).saturating_mul(1000);
    now_ms.saturating_add(ms).min(FOREVER - 1)
}

impl Lessor {
    /// No leases, not primary.
    pub fn new(options: Options) -> Lessor {
        Lessor {
            options,
            primary: None,
            leases: HashMap::new(),
            items: HashMap::new(),
            schedule: BTreeSet::new(),
            checkpoints: BTreeSet::new(),
            rate: Rate::default(),
        }
    }

    /// The leases of a file, not primary, without keys: the caller attaches the
    /// newest version of every key that has a lease. A TTL below the minimum
    /// is raised, as a grant would.
    ///
    /// # Errors
    /// A file that cannot be read, or a record that is no lease.
    pub fn recover(options: Options, tx: &ReadTx) -> Result<Lessor, RecoverError> {
        let mut lessor = Lessor::new(options);
        for lease in record::read_all(tx)? {
            let ttl_secs = lease.ttl.max(options.min_ttl_secs);
            lessor
                .leases
                .insert(LeaseId(lease.id), Lease::new(ttl_secs, lease.remaining_ttl));
        }
        Ok(lessor)
    }

    /// Grants a lease and returns its actual TTL. The id is already chosen.
    ///
    /// # Errors
    /// [`Error::NotFound`] for id zero, [`Error::TtlTooLarge`], [`Error::Exists`],
    /// in this order.
    pub fn grant(
        &mut self,
        id: LeaseId,
        ttl_secs: i64,
        now_ms: u64,
        batch: &mut Batch,
    ) -> Result<i64, Error> {
        if id.0 == 0 {
            return Err(Error::NotFound);
        }
        if ttl_secs > MAX_TTL_SECS {
            return Err(Error::TtlTooLarge);
        }
        if self.leases.contains_key(&id) {
            return Err(Error::Exists);
        }
        let ttl_secs = ttl_secs.max(self.options.min_ttl_secs);
        record::put(batch, id, ttl_secs, 0);
        self.leases.insert(id, Lease::new(ttl_secs, 0));
        if self.primary.is_some() {
            self.start(id, after(now_ms, ttl_secs), now_ms);
        }
        Ok(ttl_secs)
    }

    /// Ends a lease and returns its keys in ascending order. They are no longer
    /// attached; the caller deletes them in one transaction of the store.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn revoke(&mut self, id: LeaseId, batch: &mut Batch) -> Result<Vec<Bytes>, Error> {
        let lease = self.leases.remove(&id).ok_or(Error::NotFound)?;
        if let Some(at) = lease.scheduled_ms {
            self.schedule.remove(&(at, id));
        }
        if let Some(at) = lease.checkpoint_ms {
            self.checkpoints.remove(&(at, id));
        }
        record::delete(batch, id);
        let mut keys: Vec<Bytes> = lease.keys.into_iter().collect();
        for key in &keys {
            self.items.remove(key);
        }
        keys.sort_unstable();
        Ok(keys)
    }

    /// Binds a key to a lease; a lease that held it before loses it.
    ///
    /// # Errors
    /// [`Error::NotFound`]: nothing was changed, an old binding stays.
    pub fn attach(&mut self, id: LeaseId, key: &[u8]) -> Result<(), Error> {
        let lease = self.leases.get_mut(&id).ok_or(Error::NotFound)?;
        if lease.keys.contains(key) {
            return Ok(());
        }
        // Copied: the key given is often a slice of a whole request, which
        // would stay in memory as long as the lease.
        let key = Bytes::copy_from_slice(key);
        lease.keys.insert(key.clone());
        if let Some(old) = self.items.insert(key.clone(), id)
            && let Some(old) = self.leases.get_mut(&old)
        {
            old.keys.remove(&key);
        }
        Ok(())
    }

    /// Unbinds a key and says from which lease, if it had one.
    pub fn detach(&mut self, key: &[u8]) -> Option<LeaseId> {
        let id = self.items.remove(key)?;
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.keys.remove(key);
        }
        Some(id)
    }

    /// The lease that a key is bound to.
    pub fn lease_of(&self, key: &[u8]) -> Option<LeaseId> {
        self.items.get(key).copied()
    }

    /// Gives a lease its full TTL again. Needs no exclusive access.
    ///
    /// # Errors
    /// [`Error::NotPrimary`], [`Error::NotFound`], and [`Error::Expired`] for a
    /// lease that is over: it cannot be saved any more, since its revocation may
    /// be in the log already.
    pub fn renew(&self, id: LeaseId, now_ms: u64) -> Result<Renewal, Error> {
        if self.primary.is_none() {
            return Err(Error::NotPrimary);
        }
        let lease = self.leases.get(&id).ok_or(Error::NotFound)?;
        if lease.expiry_ms() <= now_ms {
            return Err(Error::Expired);
        }
        let clear_checkpoint = self.options.checkpoint && lease.remaining_secs.swap(0, Relaxed) > 0;
        lease
            .expiry_ms
            .store(after(now_ms, lease.ttl_secs), Relaxed);
        Ok(Renewal {
            ttl_secs: lease.ttl_secs,
            clear_checkpoint,
        })
    }

    /// True if the lease was granted and not revoked; it may be over.
    pub fn exists(&self, id: LeaseId) -> bool {
        self.leases.contains_key(&id)
    }

    /// Remaining and granted TTL, `None` for an unknown lease. Only the primary
    /// lessor knows how much is left.
    pub fn time_to_live(&self, id: LeaseId, now_ms: u64) -> Option<TimeToLive> {
        let lease = self.leases.get(&id)?;
        let remaining_secs = match lease.expiry_ms() {
            FOREVER => FOREVER_SECS,
            expiry if expiry >= now_ms => ((expiry - now_ms) / 1000) as i64,
            expiry => -(((now_ms - expiry) / 1000) as i64),
        };
        Some(TimeToLive {
            remaining_secs,
            granted_secs: lease.ttl_secs,
        })
    }

    /// Keys of a lease, in no order; `None` for an unknown lease.
    pub fn keys(&self, id: LeaseId) -> Option<impl ExactSizeIterator<Item = &Bytes>> {
        self.leases.get(&id).map(|lease| lease.keys.iter())
    }

    /// All leases: those that end first come first, equal ones by id.
    pub fn leases(&self) -> Vec<LeaseId> {
        let mut order: Vec<_> = self
            .leases
            .iter()
            .map(|(id, lease)| (lease.expiry_ms(), *id))
            .collect();
        order.sort_unstable();
        order.into_iter().map(|(_, id)| id).collect()
    }

    /// How many leases there are.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// True if there is no lease.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// True on the leader.
    pub fn is_primary(&self) -> bool {
        self.primary.is_some()
    }

    /// The term that this lessor is primary in. What [`Lessor::expired`] and
    /// [`Lessor::checkpoints`] name may be proposed by the leader of this term alone:
    /// a later leader may have renewed those leases.
    pub fn primary_term(&self) -> Option<u64> {
        self.primary
    }

    /// This member leads `term` now. Every lease gets its full TTL again, or what its
    /// checkpoint left, plus `extend_ms` (etcd: one election timeout), because
    /// renewals may have been lost during the election. If many would end in the
    /// same second, some are moved later.
    pub fn promote(&mut self, term: u64, now_ms: u64, extend_ms: u64) {
        self.clear_schedules();
        self.primary = Some(term);
        let mut order: Vec<(u64, LeaseId)> = self
            .leases
            .iter()
            .map(|(id, lease)| {
                (
                    after(now_ms.saturating_add(extend_ms), lease.effective_secs()),
                    *id,
                )
            })
            .collect();
        order.sort_unstable();
        let mut ends: Vec<u64> = order.iter().map(|(end, _)| *end).collect();
        if ends.len() >= SPREAD_FROM {
            spread(&mut ends);
        }
        for ((_, id), end) in order.into_iter().zip(ends) {
            self.start(id, end.min(FOREVER - 1), now_ms);
        }
    }

    /// This member leads no more: no lease ends here until it leads again.
    pub fn demote(&mut self) {
        self.primary = None;
        self.clear_schedules();
        for lease in self.leases.values_mut() {
            lease.expiry_ms.store(FOREVER, Relaxed);
        }
    }

    /// Names up to `limit` leases that are over, for revocation through the log,
    /// within [`REVOKES_PER_SECOND`]. A lease that is named and still not revoked
    /// is named again after [`REVOKE_RETRY_MS`].
    /// Empty on a lessor that is not primary.
    pub fn expired(&mut self, now_ms: u64, limit: usize) -> Vec<LeaseId> {
        let per_check = REVOKES_PER_SECOND * EXPIRY_CHECK_MS as usize / 1000;
        if now_ms >= self.rate.since_ms.saturating_add(EXPIRY_CHECK_MS) {
            self.rate = Rate {
                since_ms: now_ms,
                taken: 0,
            };
        }
        let limit = limit.min(per_check - self.rate.taken);
        let mut over = Vec::new();
        while over.len() < limit {
            let Some(&(due, id)) = self.schedule.first() else {
                break;
            };
            if due > now_ms {
                break;
            }
            let lease = &self.leases[&id];
            let expiry = lease.expiry_ms();
            let next = if expiry <= now_ms {
                over.push(id);
                now_ms.saturating_add(REVOKE_RETRY_MS)
            } else {
                look_again(lease, expiry, now_ms)
            };
            self.schedule_at(id, next);
        }
        self.rate.taken += over.len();
        over
    }

    /// Up to [`CHECKPOINT_BATCH`] checkpoints that are due, for one request.
    /// Call again while it returns a full batch. Empty unless checkpoints are
    /// switched on and the lessor is primary.
    pub fn checkpoints(&mut self, now_ms: u64) -> Vec<Checkpoint> {
        let mut due = Vec::new();
        while due.len() < CHECKPOINT_BATCH {
            let Some(&(at, id)) = self.checkpoints.first() else {
                break;
            };
            if at > now_ms {
                break;
            }
            let lease = &self.leases[&id];
            let left_ms = lease.expiry_ms().saturating_sub(now_ms);
            let remaining_secs = i64::try_from(left_ms.div_ceil(1000)).unwrap_or(i64::MAX);
            if left_ms > 0 && remaining_secs < lease.ttl_secs {
                due.push(Checkpoint { id, remaining_secs });
            }
            self.schedule_checkpoint(id, remaining_secs, now_ms);
        }
        due
    }

    /// Applies a checkpoint from the log. A remaining TTL of 0 removes it. `keep` has the database
    /// hold it too, as [`Options::checkpoint_persist`] does.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn checkpoint_apply(
        &mut self,
        id: LeaseId,
        remaining_secs: i64,
        now_ms: u64,
        keep: bool,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        let lease = self.leases.get_mut(&id).ok_or(Error::NotFound)?;
        *lease.remaining_secs.get_mut() = remaining_secs;
        let (ttl_secs, left_secs) = (lease.ttl_secs, lease.effective_secs());
        if self.options.checkpoint_persist || keep {
            record::put(batch, id, ttl_secs, remaining_secs);
        }
        if self.primary.is_some() {
            self.schedule_checkpoint(id, left_secs, now_ms);
        }
        Ok(())
    }

    /// Sets the end of a lease on a primary lessor.
    fn start(&mut self, id: LeaseId, expiry_ms: u64, now_ms: u64) {
        let lease = &self.leases[&id];
        lease.expiry_ms.store(expiry_ms, Relaxed);
        let (next, left_secs) = (look_again(lease, expiry_ms, now_ms), lease.effective_secs());
        self.schedule_at(id, next);
        self.schedule_checkpoint(id, left_secs, now_ms);
    }

    fn schedule_at(&mut self, id: LeaseId, at_ms: u64) {
        if let Some(lease) = self.leases.get_mut(&id) {
            if let Some(old) = lease.scheduled_ms.replace(at_ms) {
                self.schedule.remove(&(old, id));
            }
            self.schedule.insert((at_ms, id));
        }
    }

    /// Next checkpoint one interval from now, none if the lease is shorter.
    fn schedule_checkpoint(&mut self, id: LeaseId, left_secs: i64, now_ms: u64) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        let wanted = self.options.checkpoint && left_secs > CHECKPOINT_INTERVAL_SECS;
        let next = wanted.then(|| after(now_ms, CHECKPOINT_INTERVAL_SECS));
        if let Some(old) = std::mem::replace(&mut lease.checkpoint_ms, next) {
            self.checkpoints.remove(&(old, id));
        }
        if let Some(at) = next {
            self.checkpoints.insert((at, id));
        }
    }

    fn clear_schedules(&mut self) {
        self.schedule.clear();
        self.checkpoints.clear();
        for lease in self.leases.values_mut() {
            lease.scheduled_ms = None;
            lease.checkpoint_ms = None;
        }
    }
}

/// When a lease must be checked: at its expiry, but not later than a renewal
/// from now on could make it end, which may be earlier after a promotion that
/// extended it.
fn look_again(lease: &Lease, expiry_ms: u64, now_ms: u64) -> u64 {
    expiry_ms.min(after(now_ms, lease.ttl_secs.max(1)))
}
