//! The answers that this proxy may give, and what keeps it from giving them.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use proto::etcdserverpb::{RangeRequest, RangeResponse, ResponseHeader};
use tokio::{sync::Notify, time::Instant};

use super::super::operation::Keys;

/// After a key was given up, others have it for so long.
const BACKOFF: Duration = Duration::from_secs(2);
/// Keys at most, and bytes of their values; beyond that reads go to the cluster.
const KEYS_MAX: usize = 16 << 10;
const BYTES_MAX: usize = 64 << 20;

/// The answers.
#[derive(Default)]
pub(super) struct Entries {
    session: Option<Session>,
    entries: HashMap<Bytes, Entry>,
    bytes: usize,
    given_up: HashMap<Bytes, Instant>,
    /// Keys that are being acquired: how many times, and the newest revision at which one was
    /// wanted back meanwhile.
    acquiring: HashMap<Bytes, (usize, i64)>,
}

struct Session {
    lease: i64,
    /// Until then the lease is certain to last.
    until: Instant,
}

struct Entry {
    response: RangeResponse,
    /// Its leasing key was created at this revision, or before.
    revision: i64,
    busy: Rc<Busy>,
}

impl Entry {
    fn size(&self) -> usize {
        let kv = self.response.kvs.first();
        kv.map_or(0, |kv| kv.key.len() + kv.value.len())
    }
}

/// Writes of a key that are under way.
#[derive(Default)]
pub(super) struct Busy {
    writes: Cell<usize>,
    idle: Notify,
}

impl Busy {
    /// Returns when there is none.
    pub(super) async fn idle(self: Rc<Self>) {
        while self.writes.get() > 0 {
            self.idle.notified().await;
        }
    }
}

/// A write that is under way, until it is dropped.
pub(super) struct Writing(Rc<Busy>);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.writes.set(self.0.writes.get() - 1);
        self.0.idle.notify_waiters();
    }
}

/// A key that is being acquired, until it is dropped.
pub(super) struct Acquiring<'a> {
    entries: &'a RefCell<Entries>,
    key: Bytes,
}

impl Acquiring<'_> {
    pub(super) fn of<'a>(entries: &'a RefCell<Entries>, key: &Bytes) -> Acquiring<'a> {
        let key = key.clone();
        entries
            .borrow_mut()
            .acquiring
            .entry(key.clone())
            .or_default()
            .0 += 1;
        Acquiring { entries, key }
    }
}

impl Drop for Acquiring<'_> {
    fn drop(&mut self) {
        let acquiring = &mut self.entries.borrow_mut().acquiring;
        if let Some((times, _)) = acquiring.get_mut(&self.key) {
            *times -= 1;
            if *times == 0 {
                acquiring.remove(&self.key);
            }
        }
    }
}

impl Entries {
    /// A session has begun, or has been renewed.
    pub(super) fn lasts(&mut self, lease: i64, until: Instant) {
        self.session = Some(Session { lease, until });
    }

    /// There is no session any more: nothing is certain.
    pub(super) fn end(&mut self) {
        self.session = None;
        self.entries.clear();
        self.bytes = 0;
    }

    fn lease(&self) -> Option<i64> {
        let session = self.session.as_ref();
        let session = session.filter(|session| Instant::now() < session.until);
        session.map(|session| session.lease)
    }

    /// Whether an owner of a leasing key is this proxy.
    pub(super) fn is_own(&self, lease: i64) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| session.lease == lease)
    }

    /// The lease to acquire a key with; `None` if that is not to be tried.
    pub(super) fn may_acquire(&self, key: &Bytes) -> Option<i64> {
        let is_free = self
            .given_up
            .get(key)
            .is_none_or(|since| since.elapsed() > BACKOFF);
        let has_room = self.entries.len() < KEYS_MAX && self.bytes < BYTES_MAX;
        self.lease().filter(|_| is_free && has_room)
    }

    /// The answer to a read of one key.
    pub(super) fn answer(&self, range: &RangeRequest) -> Option<RangeResponse> {
        self.lease()?;
        let entry = self.entries.get(&range.key)?;
        Some(shown(&entry.response, range))
    }

    /// Keeps what was read as a key was acquired.
    pub(super) fn add(&mut self, lease: i64, key: &Bytes, response: &RangeResponse) {
        let revision = response.header.map_or(0, |header| header.revision);
        let wanted_back = self.acquiring.get(key).map_or(0, |(_, revision)| *revision);
        if self.lease() != Some(lease) || wanted_back > revision {
            return;
        }
        self.remove(key);
        let entry = Entry {
            response: response.clone(),
            revision,
            busy: Rc::default(),
        };
        self.bytes += entry.size();
        self.entries.insert(key.clone(), entry);
    }

    /// What a write must wait for, and the revision up to which a leasing key is this proxy's own;
    /// 0 if it is not.
    pub(super) fn begin(&self, key: &Bytes) -> (Option<Writing>, i64) {
        match self.entries.get(key) {
            Some(entry) => (Some(entry.begin()), entry.revision),
            None => (None, 0),
        }
    }

    /// The same for all keys of a range.
    pub(super) fn begin_all(&self, keys: &Keys) -> Vec<Writing> {
        let entries = self.entries.iter();
        let inside = entries.filter(|(key, _)| keys.holds(key));
        inside.map(|(_, entry)| entry.begin()).collect()
    }

    /// Writes of this key that are under way.
    pub(super) fn busy(&self, key: &Bytes) -> Option<Rc<Busy>> {
        let busy = &self.entries.get(key)?.busy;
        (busy.writes.get() > 0).then(|| busy.clone())
    }

    /// A key was put.
    pub(super) fn put(&mut self, key: &Bytes, value: &Bytes, header: Option<ResponseHeader>) {
        self.change(key, header, |response, revision| {
            let mut kv = response.kvs.pop().unwrap_or_default();
            if kv.create_revision == 0 {
                kv.key = key.clone();
                kv.create_revision = revision;
            }
            kv.version += 1;
            kv.mod_revision = revision;
            kv.value = value.clone();
            response.kvs.push(kv);
            response.count = 1;
        });
    }

    /// All keys of a range were deleted.
    pub(super) fn deleted(&mut self, keys: &Keys, header: Option<ResponseHeader>) {
        let inside = self.entries.keys().filter(|key| keys.holds(key));
        let inside: Vec<Bytes> = inside.cloned().collect();
        for key in inside {
            self.change(&key, header, |response, _| {
                response.kvs.clear();
                response.count = 0;
            });
        }
    }

    fn change(
        &mut self,
        key: &Bytes,
        header: Option<ResponseHeader>,
        change: impl FnOnce(&mut RangeResponse, i64),
    ) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let revision = header.map_or(0, |header| header.revision);
        let known = entry.response.header.map_or(0, |header| header.revision);
        // A change that is overtaken by a later one is part of that.
        if revision < known {
            return;
        }
        self.bytes -= entry.size();
        change(&mut entry.response, revision);
        entry.response.header = header;
        self.bytes += entry.size();
    }

    /// Gives a key up; returns the revision up to which its leasing key was this proxy's.
    pub(super) fn give_up(&mut self, key: &Bytes) -> i64 {
        let now = Instant::now();
        self.given_up.retain(|_, since| since.elapsed() <= BACKOFF);
        self.given_up.insert(key.clone(), now);
        self.remove(key)
    }

    /// Someone wants a key back, as of this revision.
    pub(super) fn wanted_back(&mut self, key: &Bytes, revision: i64) {
        if let Some((_, newest)) = self.acquiring.get_mut(key) {
            *newest = revision.max(*newest);
        }
    }

    /// Gives all keys of a range up.
    pub(super) fn give_up_all(&mut self, keys: &Keys) {
        let inside = self.entries.keys().filter(|key| keys.holds(key));
        let inside: Vec<Bytes> = inside.cloned().collect();
        for key in inside {
            self.give_up(&key);
        }
    }

    fn remove(&mut self, key: &Bytes) -> i64 {
        let removed = self.entries.remove(key);
        removed.map_or(0, |entry| {
            self.bytes -= entry.size();
            entry.revision
        })
    }
}

impl Entry {
    fn begin(&self) -> Writing {
        self.busy.writes.set(self.busy.writes.get() + 1);
        Writing(self.busy.clone())
    }
}

/// What a read of one key shows of all that is known of it.
pub(super) fn shown(known: &RangeResponse, range: &RangeRequest) -> RangeResponse {
    let within = |number: i64, min: i64, max: i64| number >= min && (max == 0 || number <= max);
    let mut answer = known.clone();
    answer.kvs.retain_mut(|kv| {
        if range.keys_only {
            kv.value.clear();
        }
        !range.count_only
            && within(
                kv.mod_revision,
                range.min_mod_revision,
                range.max_mod_revision,
            )
            && within(
                kv.create_revision,
                range.min_create_revision,
                range.max_create_revision,
            )
    });
    answer
}

#[cfg(test)]
mod tests {
    use proto::mvccpb::KeyValue;

    use super::*;

    fn header(revision: i64) -> Option<ResponseHeader> {
        Some(ResponseHeader {
            revision,
            ..ResponseHeader::default()
        })
    }

    fn response(revision: i64, value: Option<&'static str>) -> RangeResponse {
        let kv = |value: &'static str| KeyValue {
            key: "k".into(),
            value: value.into(),
            version: 1,
            create_revision: 2,
            mod_revision: 2,
            lease: 0,
        };
        RangeResponse {
            header: header(revision),
            count: i64::from(value.is_some()),
            kvs: value.map(kv).into_iter().collect(),
            more: false,
        }
    }

    fn range() -> RangeRequest {
        RangeRequest {
            key: "k".into(),
            ..RangeRequest::default()
        }
    }

    fn with_session() -> Entries {
        let mut entries = Entries::default();
        entries.lasts(7, Instant::now() + Duration::from_secs(60));
        entries
    }

    #[test]
    fn writes_of_this_proxy_change_its_answers() {
        let (mut entries, key) = (with_session(), Bytes::from("k"));
        entries.add(7, &key, &response(5, Some("v")));
        entries.put(&key, &"w".into(), header(9));
        let answer = entries.answer(&range()).expect("an answer");
        let kv = &answer.kvs[0];
        assert_eq!((&*kv.value, kv.version, kv.mod_revision), (&b"w"[..], 2, 9));
        // The answer to an earlier put comes later.
        entries.put(&key, &"x".into(), header(8));
        assert_eq!(entries.answer(&range()).expect("one").kvs[0].value, "w");
        entries.deleted(&Keys::new(&"a".into(), &"z".into()), header(10));
        let answer = entries.answer(&range()).expect("an answer");
        assert_eq!((answer.count, answer.kvs.len()), (0, 0));
        entries.put(&key, &"y".into(), header(11));
        let kv = entries.answer(&range()).expect("one").kvs[0].clone();
        assert_eq!((kv.create_revision, kv.version), (11, 1));
    }

    #[test]
    fn a_key_that_was_wanted_back_meanwhile_is_not_kept() {
        let entries = RefCell::new(with_session());
        let key = Bytes::from("k");
        let acquiring = Acquiring::of(&entries, &key);
        entries.borrow_mut().wanted_back(&key, 6);
        entries.borrow_mut().add(7, &key, &response(5, None));
        assert!(entries.borrow().answer(&range()).is_none());
        entries.borrow_mut().add(7, &key, &response(8, None));
        assert!(entries.borrow().answer(&range()).is_some());
        drop(acquiring);
        assert!(entries.borrow().acquiring.is_empty());
    }

    #[test]
    fn without_a_certain_lease_nothing_is_answered() {
        let (mut entries, key) = (with_session(), Bytes::from("k"));
        entries.add(8, &key, &response(5, None));
        assert!(entries.answer(&range()).is_none());
        entries.add(7, &key, &response(5, None));
        assert!(entries.answer(&range()).is_some());
        entries.lasts(7, Instant::now());
        assert!(entries.answer(&range()).is_none());
        assert!(entries.may_acquire(&key).is_none());
        entries.end();
        entries.lasts(8, Instant::now() + Duration::from_secs(60));
        assert!(entries.answer(&range()).is_none());
    }

    #[test]
    fn a_read_shows_what_it_asks_for() {
        let known = response(5, Some("v"));
        let count = |range: RangeRequest| shown(&known, &range).kvs.len();
        assert_eq!(count(range()), 1);
        for range in [
            RangeRequest {
                count_only: true,
                ..range()
            },
            RangeRequest {
                min_mod_revision: 3,
                ..range()
            },
            RangeRequest {
                max_create_revision: 1,
                ..range()
            },
        ] {
            assert_eq!(count(range), 0);
        }
        let keys_only = RangeRequest {
            keys_only: true,
            ..range()
        };
        assert!(shown(&known, &keys_only).kvs[0].value.is_empty());
    }
}
