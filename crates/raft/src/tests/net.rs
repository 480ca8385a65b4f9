//! Members, disks and a network in memory, driven by one seed: messages are
//! delayed, reordered, doubled and lost, writes become durable late, and a
//! crash takes what was not. Every step is checked against Raft's promises.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use prost::Message as _;
use proto::raftpb as pb;

use crate::*;

const SNAPSHOT: i32 = pb::MessageType::MsgSnap as i32;

/// What a member has on its disk.
#[derive(Clone, Default)]
struct Disk {
    hard_state: pb::HardState,
    snapshot: pb::Snapshot,
    entries: Vec<pb::Entry>,
}

impl Disk {
    fn write(&mut self, work: &Work) {
        if let Some(snapshot) = &work.snapshot {
            self.snapshot = snapshot.clone();
            self.entries.clear();
        }
        if let Some(first) = work.entries.first() {
            let keep = first.index - self.snapshot.metadata.index - 1;
            self.entries.truncate(keep as usize);
            self.entries.extend(work.entries.iter().cloned());
        }
        if let Some(state) = &work.hard_state {
            self.hard_state = *state;
        }
    }
}

struct Member {
    node: Option<Node>,
    disk: Disk,
    /// Works that are not durable yet, oldest first.
    writing: VecDeque<Work>,
    applied: u64,
    /// Hash over everything applied: the state machine.
    state: u64,
    conf_state: pb::ConfState,
    boots: u64,
}

/// What has been seen to hold, by anybody, at any time.
#[derive(Default)]
pub(super) struct Oracle {
    /// Term and state after each applied index.
    history: BTreeMap<u64, (u64, u64)>,
    leaders: BTreeMap<u64, u64>,
    /// Highest index that was applied when a read was asked for, by context.
    reads: BTreeMap<Bytes, u64>,
    pub(super) answered: usize,
    pub(super) installed: usize,
}

impl Oracle {
    fn applied(&mut self, entry: &pb::Entry, state: u64) {
        let now = (entry.term, state);
        let first = *self.history.entry(entry.index).or_insert(now);
        assert_eq!(
            first, now,
            "index {} was applied with other content",
            entry.index
        );
    }

    fn last(&self) -> u64 {
        self.history.keys().next_back().copied().unwrap_or(0)
    }
}

pub(super) struct Net {
    members: BTreeMap<u64, Member>,
    wires: Vec<pb::Message>,
    /// Members that nothing reaches and that reach no one.
    pub(super) cut_off: BTreeSet<u64>,
    /// How members are configured that start from now on.
    pub(super) pre_vote: bool,
    /// Members whose disk does not answer.
    pub(super) hung: BTreeSet<u64>,
    /// A kind of message that never arrives.
    pub(super) lost_kind: Option<pb::MessageType>,
    pub(super) oracle: Oracle,
    seed: u64,
    random: u64,
    next: u64,
}

fn mix(state: u64, entry: &pb::Entry) -> u64 {
    let mut hash = state ^ entry.index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for byte in entry.data.iter().flatten() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash
}

impl Net {
    pub(super) fn new(voters: &[u64], seed: u64) -> Net {
        let mut net = Net {
            members: BTreeMap::new(),
            wires: Vec::new(),
            cut_off: BTreeSet::new(),
            pre_vote: true,
            hung: BTreeSet::new(),
            lost_kind: None,
            oracle: Oracle::default(),
            seed,
            random: seed,
            next: 0,
        };
        // As etcd bootstraps: the first members are committed entries of term 1.
        let entries: Vec<_> = voters
            .iter()
            .zip(1..)
            .map(|(&id, index)| pb::Entry {
                r#type: 1,
                term: 1,
                index,
                data: Some(change(pb::ConfChangeType::ConfChangeAddNode, id)),
            })
            .collect();
        let disk = Disk {
            hard_state: pb::HardState {
                term: 1,
                vote: 0,
                commit: entries.len() as u64,
            },
            snapshot: pb::Snapshot::default(),
            entries,
        };
        for &id in voters {
            net.add(id, disk.clone());
        }
        net
    }

    /// A member that joins: nothing on its disk.
    pub(super) fn join(&mut self, id: u64) {
        self.add(id, Disk::default());
    }

    fn add(&mut self, id: u64, disk: Disk) {
        let member = Member {
            node: None,
            disk,
            writing: VecDeque::new(),
            applied: 0,
            state: 0,
            conf_state: pb::ConfState::default(),
            boots: 0,
        };
        self.members.insert(id, member);
        self.boot(id);
    }

    pub(super) fn draw(&mut self, below: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % below as u64) as usize
    }

    pub(super) fn ids(&self) -> Vec<u64> {
        self.members.keys().copied().collect()
    }

    pub(super) fn any(&mut self) -> u64 {
        let ids = self.ids();
        ids[self.draw(ids.len())]
    }

    pub(super) fn crash(&mut self, id: u64) {
        let member = self.members.get_mut(&id).expect("member");
        member.node = None;
        member.writing.clear();
    }

    /// Starts a member from its disk.
    pub(super) fn boot(&mut self, id: u64) {
        let seed = self.seed;
        let member = self.members.get_mut(&id).expect("member");
        if member.node.is_some() {
            return;
        }
        member.boots += 1;
        let at = &member.disk.snapshot.metadata;
        member.applied = at.index;
        member.state = member
            .disk
            .snapshot
            .data
            .as_deref()
            .map_or(0, |data| u64::from_be_bytes(data.try_into().expect("8")));
        member.conf_state = at.conf_state.clone();
        let initial = Initial {
            hard_state: member.disk.hard_state,
            conf_state: at.conf_state.clone(),
            snapshot: at.into(),
            entries: member.disk.entries.clone(),
            applied: at.index,
        };
        let config = Config {
            id,
            seed: seed ^ (member.boots << 32),
            max_size_per_msg: 64,
            max_inflight: 4,
            pre_vote: self.pre_vote,
            ..Config::default()
        };
        let mut node = Node::new(config, initial).expect("the disk is sound");
        if at.index > 0 {
            node.create_snapshot(member.disk.snapshot.clone());
        }
        member.node = Some(node);
        self.work(id);
    }

    /// An event for a member that is up, and what follows from it.
    pub(super) fn with<R>(&mut self, id: u64, event: impl FnOnce(&mut Node) -> R) -> Option<R> {
        let result = self.members.get_mut(&id)?.node.as_mut().map(event);
        self.work(id);
        result
    }

    fn work(&mut self, id: u64) {
        let member = self.members.get_mut(&id).expect("member");
        let Some(node) = member.node.as_mut() else {
            return;
        };
        while node.has_work() {
            let mut work = node.work();
            if work.soft.is_some_and(|soft| soft.role == Role::Leader) {
                let term = node.status().term;
                let leader = *self.oracle.leaders.entry(term).or_insert(id);
                assert_eq!(leader, id, "two leaders in term {term}");
            }
            if let Some(snapshot) = &work.snapshot {
                let at = &snapshot.metadata;
                let data = snapshot.data.as_deref().expect("content");
                member.state = u64::from_be_bytes(data.try_into().expect("8"));
                member.applied = at.index;
                member.conf_state = at.conf_state.clone();
                assert_eq!(
                    self.oracle.history.get(&at.index),
                    Some(&(at.term, member.state)),
                    "a snapshot of what never was"
                );
                self.oracle.installed += 1;
                node.applied_to(at.index);
            }
            for entry in std::mem::take(&mut work.committed) {
                assert_eq!(entry.index, member.applied + 1, "an entry was left out");
                member.applied = entry.index;
                member.state = mix(member.state, &entry);
                self.oracle.applied(&entry, member.state);
                if entry.r#type == 1 {
                    let change = pb::ConfChange::decode(entry.data.unwrap_or_default())
                        .expect("conf change");
                    member.conf_state = node.apply_conf_change(&change);
                }
                node.applied_to(member.applied);
            }
            for (index, context) in std::mem::take(&mut work.read_states) {
                let asked_at = self.oracle.reads[&context];
                assert!(
                    index >= asked_at,
                    "a read at {index} misses what was applied at {asked_at}"
                );
                self.oracle.answered += 1;
            }
            self.wires.append(&mut work.messages);
            member.writing.push_back(work);
        }
    }

    /// The oldest write of a member becomes durable.
    pub(super) fn sync(&mut self, id: u64) {
        if self.hung.contains(&id) {
            return;
        }
        let member = self.members.get_mut(&id).expect("member");
        let (Some(mut work), Some(node)) = (member.writing.pop_front(), member.node.as_mut())
        else {
            return;
        };
        member.disk.write(&work);
        if let Some(snapshot) = &work.snapshot {
            node.create_snapshot(snapshot.clone());
        }
        node.persisted(work.number);
        self.wires.append(&mut work.messages_after_persist);
        self.work(id);
    }

    /// A message, any of those under way, arrives.
    pub(super) fn deliver(&mut self) {
        if self.wires.is_empty() {
            return;
        }
        let pick = self.draw(self.wires.len());
        let message = self.wires.swap_remove(pick);
        let lost = self
            .lost_kind
            .is_some_and(|kind| message.r#type == kind as i32);
        if lost || self.cut_off.contains(&message.to) || self.cut_off.contains(&message.from) {
            self.lost(&message);
            return;
        }
        // Through etcd's encoding, as on the wire.
        let read = pb::Message::decode(Bytes::from(message.encode_to_vec())).expect("own encoding");
        match self.with(message.to, |node| node.step(read)) {
            Some(result) => result.expect("a correct member's message"),
            None => return self.lost(&message),
        }
        if message.r#type == SNAPSHOT {
            self.with(message.from, |node| node.report_snapshot(message.to, true));
        }
    }

    /// As etcd's transport does: a snapshot's sender learns what became of it.
    fn lost(&mut self, message: &pb::Message) {
        if message.r#type == SNAPSHOT {
            self.with(message.from, |node| node.report_snapshot(message.to, false));
        }
    }

    pub(super) fn lose(&mut self) {
        if !self.wires.is_empty() {
            let pick = self.draw(self.wires.len());
            let message = self.wires.swap_remove(pick);
            self.lost(&message);
        }
    }

    pub(super) fn double(&mut self) {
        if !self.wires.is_empty() {
            let pick = self.draw(self.wires.len());
            let message = self.wires[pick].clone();
            self.wires.push(message);
        }
    }

    pub(super) fn propose(&mut self, id: u64, count: usize) -> bool {
        let data = (0..count)
            .map(|_| {
                self.next += 1;
                Bytes::copy_from_slice(&self.next.to_be_bytes())
            })
            .collect();
        self.with(id, |node| node.propose(data)) == Some(Ok(()))
    }

    pub(super) fn read(&mut self, id: u64) {
        self.next += 1;
        let context = Bytes::copy_from_slice(&self.next.to_be_bytes());
        self.oracle
            .reads
            .insert(context.clone(), self.oracle.last());
        self.with(id, |node| node.read_index(context));
    }

    /// A member takes a snapshot of what it has applied, as far as its log
    /// knows that on disk, and forgets the entries before it.
    pub(super) fn compact(&mut self, id: u64) {
        let oracle = &self.oracle;
        let member = self.members.get_mut(&id).expect("member");
        let Some(node) = member.node.as_mut() else {
            return;
        };
        let index = member.applied;
        let before = member.disk.snapshot.metadata.index;
        let held = before + member.disk.entries.len() as u64;
        let (Some(&(term, state)), true) = (
            oracle.history.get(&index),
            index > before && index <= member.disk.hard_state.commit && index <= held,
        ) else {
            return;
        };
        member.disk.entries.drain(..(index - before) as usize);
        member.disk.snapshot = pb::Snapshot {
            data: Some(Bytes::copy_from_slice(&state.to_be_bytes())),
            metadata: pb::SnapshotMetadata {
                conf_state: member.conf_state.clone(),
                index,
                term,
            },
        };
        node.create_snapshot(member.disk.snapshot.clone());
        node.compact_log(index);
    }

    /// Everything works again, until there is a leader and all have applied the same.
    pub(super) fn heal(&mut self) {
        self.cut_off.clear();
        self.hung.clear();
        self.lost_kind = None;
        for id in self.ids() {
            self.boot(id);
        }
        for _ in 0..400 {
            self.calm();
            let leads = self.leader().is_some();
            let last = self.oracle.last();
            if leads && self.members.values().all(|m| m.applied == last) {
                return;
            }
            for id in self.ids() {
                self.with(id, Node::tick);
            }
        }
        let states: Vec<_> = self.statuses().collect();
        panic!(
            "seed {}: the cluster does not recover: {states:?}",
            self.seed
        );
    }

    /// Until nothing is under way.
    pub(super) fn calm(&mut self) {
        for _ in 0..100_000 {
            for id in self.ids() {
                while !self.hung.contains(&id) && !self.members[&id].writing.is_empty() {
                    self.sync(id);
                }
            }
            if self.wires.is_empty() {
                return;
            }
            self.deliver();
        }
        panic!("seed {}: the network does not come to rest", self.seed);
    }

    pub(super) fn ticks(&mut self, count: usize) {
        for _ in 0..count {
            for id in self.ids() {
                self.with(id, Node::tick);
            }
            self.calm();
        }
    }

    /// The leader of the highest term, if it is up.
    pub(super) fn leader(&self) -> Option<u64> {
        self.statuses()
            .filter(|(_, status)| status.role == Role::Leader)
            .max_by_key(|(_, status)| status.term)
            .map(|(id, _)| id)
    }

    pub(super) fn statuses(&self) -> impl Iterator<Item = (u64, Status)> {
        self.members
            .iter()
            .filter_map(|(&id, member)| Some((id, member.node.as_ref()?.status())))
    }

    pub(super) fn conf_state(&self, id: u64) -> pb::ConfState {
        self.members[&id].conf_state.clone()
    }

    pub(super) fn state(&self, id: u64) -> (u64, u64) {
        (self.members[&id].applied, self.members[&id].state)
    }
}

pub(super) fn change(kind: pb::ConfChangeType, node_id: u64) -> Bytes {
    let change = pb::ConfChange {
        id: 0,
        r#type: kind as i32,
        node_id,
        context: Some(Bytes::from_static(b"{}")),
    };
    change.encode_to_vec().into()
}
