//! What has been seen to hold, by anybody, at any time: the one log, the
//! results its entries have, who led, who voted, what was promised to clients.
//! Every step of every member is held against it. It sees what members do and
//! say, never what they mean, and changes nothing in them.

use std::collections::BTreeMap;

use bytes::Bytes;
use proto::{
    etcdserverpb::internal_raft_request::Op,
    raftpb::{self as pb, MessageType},
};

use crate::model::{Kv, Model, Reply};

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which check saw it.
    pub check: &'static str,
    /// What it saw.
    pub text: String,
}

/// An entry of the one log, as its first applier had it.
struct Slot {
    term: u64,
    kind: i32,
    data: Option<Bytes>,
    /// Revision of the store after it.
    revision: i64,
    /// Its result on every member.
    reply: Option<Reply>,
}

/// What a member told others of its disk.
#[derive(Clone, Copy, Default)]
struct Told {
    term: u64,
    /// Term and last index of entries it said to have.
    entries: (u64, u64),
}

/// An operation of a client.
struct Asked {
    at_us: u64,
    /// The newest index whose effects somebody had been told of by then.
    index: u64,
    revision: i64,
    /// The newest index that anybody had applied by then.
    applied: u64,
}

/// One life of a lease.
struct Life {
    granted: u64,
    revoked: Option<u64>,
    /// Its holder was told that it lasts until then.
    until_us: u64,
}

/// See the module's page.
#[derive(Default)]
pub struct Oracle {
    log: Vec<Slot>,
    /// Keys and leases as of the end of the log.
    pub model: Model,
    leaders: BTreeMap<u64, u64>,
    votes: BTreeMap<(u64, u64), u64>,
    told: BTreeMap<u64, Told>,
    hashes: BTreeMap<(i64, i64), (u32, u64)>,
    results: BTreeMap<u64, u64>,
    asked: BTreeMap<u64, Asked>,
    /// Writes that were acknowledged before their entry was applied anywhere.
    early: BTreeMap<u64, Reply>,
    leases: BTreeMap<i64, Vec<Life>>,
    /// Requests that end a lease because its time is over, and the newest entry
    /// that whoever asked had applied.
    expiries: BTreeMap<u64, u64>,
    /// Newest index and revision that a client was told of.
    known: (u64, i64),
    /// Whether the term of a leader is told apart from what it does.
    pub violation: Option<Violation>,
    /// Counts of what the run reached.
    pub reached: Reached,
}

/// What a run reached, so that a run that reaches nothing is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Entries in the one log.
    pub entries: u64,
    /// Writes acknowledged to clients.
    pub writes: u64,
    /// Linearizable reads answered.
    pub reads: u64,
    /// Keepalives answered.
    pub renewals: u64,
    /// Terms with a leader.
    pub terms: u64,
    /// Members ended by power cuts, process deaths and broken disks.
    pub crashes: u64,
    /// Starts from what a disk held.
    pub restarts: u64,
    /// Snapshots taken.
    pub snapshots: u64,
    /// Snapshots received and put in place.
    pub installs: u64,
    /// Changes of the configuration that held.
    pub changes: u64,
    /// Leases that ended because their time was over.
    pub expired: u64,
    /// Compactions of the store that were carried out.
    pub compactions: u64,
}

impl Oracle {
    /// Remembers the first broken promise.
    pub fn fail(&mut self, check: &'static str, text: String) {
        self.violation.get_or_insert(Violation { check, text });
    }

    /// The end of the one log.
    pub fn last(&self) -> u64 {
        self.log.len() as u64
    }

    /// Revision of the store after entry `index`.
    pub fn revision_at(&self, index: u64) -> i64 {
        match index.checked_sub(1) {
            None => 1,
            Some(slot) => self.log.get(slot as usize).map_or(-1, |slot| slot.revision),
        }
    }

    /// Term of entry `index`.
    pub fn term_at(&self, index: u64) -> Option<u64> {
        let slot = index.checked_sub(1)?;
        self.log.get(slot as usize).map(|slot| slot.term)
    }

    /// `member` has told others that it leads in `term`. A sole voter leads before its term is
    /// durable, and says nothing until then: a crash may take that back.
    fn leads(&mut self, member: u64, term: u64) {
        let first = *self.leaders.entry(term).or_insert(member);
        self.reached.terms = self.leaders.len() as u64;
        if first != member {
            let text = format!("{first:x} and {member:x} both lead in term {term}");
            self.fail("one leader per term", text);
        }
    }

    /// `member` lets a message out.
    pub fn sends(&mut self, member: u64, message: &pb::Message) {
        let kind = MessageType::try_from(message.r#type);
        let told = self.told.entry(member).or_default();
        // A pre-vote speaks of a term that is not begun. The others promise nothing that a crash
        // could take back, and leave before the term is durable.
        if !matches!(
            kind,
            Ok(MessageType::MsgPreVote
                | MessageType::MsgPreVoteResp
                | MessageType::MsgHeartbeatResp
                | MessageType::MsgReadIndex
                | MessageType::MsgProp)
        ) {
            told.term = told.term.max(message.term);
        }
        match kind {
            Ok(MessageType::MsgAppResp) if !message.reject => {
                let (term, index) = told.entries;
                if message.term > term {
                    told.entries = (message.term, message.index);
                } else if message.term == term {
                    told.entries.1 = index.max(message.index);
                }
            }
            Ok(MessageType::MsgVoteResp) if !message.reject => {
                self.votes_for(member, message.term, message.to);
            }
            Ok(MessageType::MsgVote) => self.votes_for(member, message.term, member),
            Ok(MessageType::MsgApp | MessageType::MsgHeartbeat | MessageType::MsgSnap) => {
                self.leads(member, message.term);
            }
            _ => {}
        }
    }

    fn votes_for(&mut self, member: u64, term: u64, candidate: u64) {
        let first = *self.votes.entry((member, term)).or_insert(candidate);
        if first != candidate {
            let text =
                format!("{member:x} votes for {first:x} and for {candidate:x} in term {term}");
            self.fail("one vote per term", text);
        }
    }

    /// `member` starts from a disk that holds this.
    pub fn starts(&mut self, member: u64, state: &pb::HardState, last_index: u64) {
        let told = self.told.get(&member).copied().unwrap_or_default();
        if state.term < told.term {
            let text = format!(
                "{member:x} spoke in term {} and starts in term {}",
                told.term, state.term
            );
            self.fail("what was said is durable", text);
        }
        let (term, index) = told.entries;
        if state.term == term && last_index < index {
            let text = format!(
                "{member:x} acknowledged entry {index} in term {term} and has {last_index} only"
            );
            self.fail("what was said is durable", text);
        }
    }

    /// `member` applies an entry. `reply` is what it would answer, if the entry
    /// has an answer and is new to the database, which is cut short unless its own client `asked`;
    /// `revision` is the store's after it.
    #[allow(clippy::too_many_arguments)]
    pub fn applies(
        &mut self,
        member: u64,
        entry: &pb::Entry,
        op: Option<(u64, &Op)>,
        reply: Option<&Reply>,
        asked: bool,
        revision: Option<i64>,
        min_ttl: i64,
        now_us: u64,
    ) {
        let next = self.last() + 1;
        if entry.index > next {
            let text = format!(
                "{member:x} applies entry {} after {}",
                entry.index,
                next - 1
            );
            return self.fail("the log has no hole", text);
        }
        if entry.index == next {
            self.extends(entry, op, reply, min_ttl, now_us);
        }
        let slot = &self.log[entry.index as usize - 1];
        if (slot.term, slot.kind, &slot.data) != (entry.term, entry.r#type, &entry.data) {
            let text = format!(
                "{member:x} applies another entry {}: of term {} instead of {}",
                entry.index, entry.term, slot.term
            );
            return self.fail("same index, same entry", text);
        }
        let Some(revision) = revision else { return };
        if slot.revision != revision {
            let text = format!(
                "{member:x} is at revision {revision} after entry {}, not at {}",
                entry.index, slot.revision
            );
            return self.fail("same entry, same state", text);
        }
        if let (Some(expected), Some(reply)) = (&slot.reply, reply)
            && !(expected == reply || !asked && expected.without_ranges() == *reply)
        {
            let text = format!(
                "{member:x} has {reply:?} for entry {}, not {expected:?}",
                entry.index
            );
            self.fail("same entry, same state", text);
        }
    }

    fn extends(
        &mut self,
        entry: &pb::Entry,
        op: Option<(u64, &Op)>,
        reply: Option<&Reply>,
        min_ttl: i64,
        now_us: u64,
    ) {
        let mut known = reply.cloned();
        if let Some((id, op)) = op {
            let modelled = self.model.apply(op, min_ttl);
            self.lives(entry.index, id, op, &modelled, now_us);
            if id != 0 {
                if let Some(first) = self.results.insert(id, entry.index) {
                    let text = format!("request {id} is entry {first} and {}", entry.index);
                    self.fail("a request is carried out once", text);
                }
                if let Some(early) = self.early.remove(&id)
                    && !matches!(early, Reply::Done)
                    && early != modelled
                {
                    let text = format!("request {id} was answered {early:?}, it is {modelled:?}");
                    self.fail("answers are those of the log", text);
                }
            }
            if !matches!(modelled, Reply::Done) {
                known = Some(modelled);
            }
        }
        self.log.push(Slot {
            term: entry.term,
            kind: entry.r#type,
            data: entry.data.clone(),
            revision: self.model.revision,
            reply: known,
        });
        self.reached.entries += 1;
    }

    fn lives(&mut self, index: u64, id: u64, op: &Op, reply: &Reply, now_us: u64) {
        match (op, reply) {
            (Op::LeaseGrant(grant), Reply::Granted(_)) => {
                let life = Life {
                    granted: index,
                    revoked: None,
                    until_us: 0,
                };
                self.leases.entry(grant.id).or_default().push(life);
            }
            (Op::LeaseRevoke(revoke), Reply::Done) => {
                let Some(life) = self.leases.get_mut(&revoke.id).and_then(|l| l.last_mut()) else {
                    return;
                };
                life.revoked = Some(index);
                let (until, granted) = (life.until_us, life.granted);
                if let Some(applied) = self.expiries.get(&id) {
                    self.reached.expired += 1;
                    // One granted anew since then falls with the old one, as in etcd.
                    if now_us < until && granted <= *applied {
                        let text = format!(
                            "lease {} was promised until {until} us and ended at {now_us} us",
                            revoke.id
                        );
                        self.fail("leases last as promised", text);
                    }
                }
            }
            (Op::Compaction(_), Reply::Done) => self.reached.compactions += 1,
            _ => {}
        }
    }

    /// A leader asks for the end of a lease whose time is over.
    pub fn expires(&mut self, request: u64, applied: u64) {
        self.expiries.insert(request, applied);
    }

    /// A client asks.
    pub fn asks(&mut self, request: u64, now_us: u64) {
        let asked = Asked {
            at_us: now_us,
            index: self.known.0,
            revision: self.known.1,
            applied: self.last(),
        };
        self.asked.insert(request, asked);
    }

    /// A read index was given for a request.
    pub fn read_index(&mut self, member: u64, request: u64, index: u64) {
        if let Some(asked) = self.asked.get(&request)
            && index < asked.applied
        {
            let text = format!(
                "{member:x} reads at index {index} when {} had been applied before it was asked",
                asked.applied
            );
            self.fail("read index", text);
        }
    }

    /// A client is told the result of a write.
    pub fn told_write(&mut self, request: u64, reply: &Reply) {
        self.reached.writes += 1;
        let Some(asked) = self.asked.get(&request) else {
            return;
        };
        let Some(&index) = self.results.get(&request) else {
            self.early.insert(request, reply.clone());
            return;
        };
        let (before, at_us) = (asked.index, asked.at_us);
        if index <= before {
            let text = format!("a write at index {index} was asked for after {before} was known");
            return self.fail("linearizability", text);
        }
        let slot = &self.log[index as usize - 1];
        let plain = matches!(reply, Reply::Done);
        if slot.reply.as_ref().is_some_and(|r| r != reply && !plain) {
            let text = format!(
                "entry {index} was answered {reply:?}, it is {:?}",
                slot.reply
            );
            return self.fail("answers are those of the log", text);
        }
        let revision = slot.revision;
        self.known = (self.known.0.max(index), self.known.1.max(revision));
        if let Reply::Granted(ttl) = reply {
            let lives = self.leases.values_mut().flatten();
            for life in lives.filter(|life| life.granted == index) {
                life.until_us = life.until_us.max(at_us + *ttl as u64 * 1_000_000);
            }
        }
    }

    /// A client is told what it asked to read.
    pub fn told_read(
        &mut self,
        request: u64,
        key: &Bytes,
        end: &Bytes,
        reply: &Reply,
        linearizable: bool,
    ) {
        let Reply::Range(revision, kvs) = reply else {
            return;
        };
        if *revision > self.model.revision {
            let text = format!(
                "a read shows revision {revision}, the log is at {}",
                self.model.revision
            );
            return self.fail("answers are those of the log", text);
        }
        let expected = self.model.range(key, end, *revision);
        if *kvs != expected {
            let text = format!("at revision {revision} a read shows {kvs:?}, not {expected:?}");
            return self.fail("answers are those of the log", text);
        }
        if !linearizable {
            return;
        }
        self.reached.reads += 1;
        let floor = self.asked.get(&request).map_or(0, |asked| asked.revision);
        if *revision < floor {
            let text = format!("a read shows revision {revision} after {floor} was known");
            return self.fail("linearizability", text);
        }
        self.known.1 = self.known.1.max(*revision);
    }

    /// A client is told that its lease was renewed.
    pub fn told_renewal(&mut self, request: u64, lease: i64, ttl: i64) {
        self.reached.renewals += 1;
        let Some(asked) = self.asked.get(&request) else {
            return;
        };
        let (index, until) = (asked.index, asked.at_us + ttl as u64 * 1_000_000);
        let applied = asked.applied;
        let lives = self.leases.entry(lease).or_default();
        let mut held = lives
            .iter_mut()
            .filter(|life| life.revoked.is_none_or(|revoked| revoked > index));
        match held.next_back() {
            // One granted since then may not be the one that was renewed.
            Some(life) if life.revoked.is_none() && life.granted <= applied => {
                life.until_us = life.until_us.max(until);
            }
            Some(_) => {}
            None => {
                let text = format!("lease {lease} was renewed after its end at or before {index}");
                self.fail("leases last as promised", text);
            }
        }
    }

    /// A member's hash of its keys.
    pub fn hash(&mut self, member: u64, hash: &mvcc::HashKv) {
        let at = (hash.revision, hash.compact_revision);
        let (first, by) = *self.hashes.entry(at).or_insert((hash.hash, member));
        if first != hash.hash {
            let text = format!(
                "{by:x} has {first:08x} and {member:x} has {:08x} at revision {} compacted to {}",
                hash.hash, hash.revision, hash.compact_revision
            );
            self.fail("same revision, same hash", text);
        }
    }

    /// A member's whole store, which holds the effects of entries up to `index`.
    pub fn contents(&mut self, member: u64, index: u64, revision: i64, kvs: &[Kv]) {
        let expected = self.revision_at(index);
        if expected != revision {
            let text = format!(
                "{member:x} claims entries up to {index}, which is revision {expected}, and holds revision {revision}"
            );
            return self.fail("consistent_index is that of the data", text);
        }
        let model = self.model.range(
            &Bytes::from_static(&[0]),
            &Bytes::from_static(&[0]),
            revision,
        );
        if model != kvs {
            let text = format!("{member:x} at revision {revision} holds {kvs:?}, not {model:?}");
            self.fail("consistent_index is that of the data", text);
        }
    }

    /// Nothing is under way any more.
    pub fn ends(&mut self) {
        if let Some(request) = self.early.keys().next() {
            let text = format!("request {request} was acknowledged and is not in the log");
            self.fail("acknowledged writes survive", text);
        }
    }
}
