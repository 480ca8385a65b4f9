//! Machines, their disks, the network between them, clients, an operator and
//! bad luck, in virtual time. One thread; what happens next is the earliest
//! event, and what it brings is drawn from the seed.

use std::collections::{BTreeMap, BTreeSet};

use membership::Cluster;
use proto::{
    etcdserverpb::internal_raft_request::Op,
    membershippb::ClusterVersionSetRequest,
    raftpb::{self as pb, MessageType},
};
use wal::sim::{Fault, Seed, SimulatedDisk};

use crate::{
    client,
    member::{Ask, Down, Member, Out, start::Birth},
    model::Reply,
    oracle::{Oracle, Reached, Violation},
    plant::Plant,
    random::Random,
    shared::{Shared, TICK_US, Wire},
};

const MS: u64 = 1000;
const S: u64 = 1_000_000;

/// In one of so many seeds the operator replaces all members, down to one vote, between two
/// snapshots: what a restart makes of the changes since the older one shows nowhere else.
const RESTLESS: u64 = 8;
/// There the operator acts so many times in all ways, then as often removes voters only.
const PHASE: u64 = 8;

/// What happens at a time.
#[derive(Debug)]
enum Event {
    Tick(u64, u64),
    Log(u64, u64),
    Apply(u64, u64),
    Commit(u64, u64),
    Snapshot(u64, u64),
    Compact(u64, u64),
    Inspect,
    Deliver(Box<Wire>),
    Report { to: u64, about: u64, arrived: bool },
    Boot(u64),
    Client(usize),
    Answer(u64, Reply),
    Timeout(u64),
    Fault,
    Mend,
    Reconcile,
    Heal,
    Stop,
    Settled,
}

/// A member's machine.
struct Machine {
    id: u64,
    member: Option<Member>,
    disk: SimulatedDisk,
    birth: Birth,
    /// Numbers the lives of the member, so that events of an earlier one are known.
    life: u64,
    booting: bool,
    paused_until: u64,
    /// Until then nothing becomes durable.
    hung_until: u64,
    /// What is armed on its disk ends the process, and not the machine.
    soft: bool,
    /// Its disk takes so many times as long.
    slow: u64,
    /// Removed from the cluster, and ended.
    retired: bool,
    /// So many times in a row all others were seen to know that it is removed.
    farewell: u64,
    log_busy: bool,
    apply_busy: bool,
    commit_busy: bool,
    snapshot_busy: bool,
}

/// How bad the luck is.
struct Weather {
    /// Of a thousand messages, so many are lost, doubled, late.
    lost: u64,
    doubled: u64,
    late: u64,
    /// Mean time between two faults in us.
    fault_us: u64,
    /// Mean time between two acts of the operator in us.
    operator_us: u64,
    /// The operator leaves so many voters at least.
    voters_min: u64,
    /// Clients wait up to this long between two operations, in us.
    think_us: u64,
}

struct Pending {
    client: usize,
    ask: Ask,
}

/// A crash in the middle of an install: at which operation on the disk, counted from
/// the arrival of the first snapshot, and whether the machine survives it.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// Number of the operation, from 1.
    pub at: u64,
    /// Only the process ends.
    pub soft: bool,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The first broken promise.
    pub violation: Option<Violation>,
    /// What was reached.
    pub reached: Reached,
    /// A hash over everything that happened, in order.
    pub trace: u64,
    /// Events.
    pub events: u64,
}

/// See the module's page.
pub struct World {
    shared: Shared,
    machines: BTreeMap<u64, Machine>,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    random: Random,
    weather: Weather,
    /// Happens to the first member that receives a snapshot.
    install_cut: Option<Cut>,
    /// Directed links that carry nothing.
    cut: BTreeSet<(u64, u64)>,
    pending: BTreeMap<u64, Pending>,
    clients: usize,
    /// Faults are over.
    healed: bool,
    /// Clients are done.
    stopped: bool,
    over: bool,
    deadline: u64,
    members_made: u64,
    /// The operator replaces members all the time.
    restless: bool,
    versioned: bool,
    trace: u64,
    events: u64,
}

impl World {
    /// A cluster about to start.
    pub fn new(seed: u64, plant: Option<Plant>) -> World {
        let mut random = Random::new(seed);
        let first = match random.below(10) {
            0 => 1,
            1..3 => 5,
            _ => 3,
        };
        let initial: Vec<String> = (1..=first)
            .map(|n| format!("m{n}=http://10.0.0.{n}:2380"))
            .collect();
        let rough = random.below(3);
        let restless = seed % RESTLESS == RESTLESS - 1;
        let mut weather = Weather {
            lost: rough * random.below(25),
            doubled: rough * random.below(15),
            late: rough * random.below(40),
            fault_us: random.between(400, 2500) * MS,
            operator_us: random.between(300, 4000) * MS,
            voters_min: if random.chance(250) { 1 } else { 3 },
            think_us: random.between(2, 20) * MS,
        };
        let mut shared = Shared {
            oracle: Oracle::default(),
            plant,
            now_us: 0,
            pre_vote: random.chance(750),
            snapshot_count: random.between(30, 150),
            catch_up: random.between(1, 30),
            next_request: 0,
        };
        if restless {
            shared.snapshot_count *= 10;
            weather.operator_us = 100 * MS;
            weather.voters_min = 1;
        }
        let mut world = World {
            shared,
            machines: BTreeMap::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            random,
            weather,
            install_cut: None,
            cut: BTreeSet::new(),
            pending: BTreeMap::new(),
            clients: 6,
            healed: false,
            stopped: false,
            over: false,
            deadline: u64::MAX,
            members_made: 10,
            restless,
            versioned: false,
            trace: 0,
            events: 0,
        };
        match Cluster::from_initial("simulated", &initial.join(",")) {
            Ok(cluster) => {
                let ids: Vec<u64> = cluster.members().map(|m| m.id.0).collect();
                for id in ids {
                    world.make(id, Birth::First(cluster.clone()));
                }
            }
            Err(error) => world.fail("start", error.to_string()),
        }
        for client in 0..=world.clients {
            world.after(300 * MS, Event::Client(client));
        }
        world.after(500 * MS, Event::Fault);
        world.after(500 * MS, Event::Reconcile);
        world.after(700 * MS, Event::Inspect);
        let heal = world.random.between(8, 24) * S;
        world.after(heal, Event::Heal);
        world
    }

    /// The same with a crash in the middle of the first install, soon after which
    /// everything is well.
    pub fn cutting(mut self, cut: Cut) -> World {
        self.install_cut = Some(cut);
        self
    }

    fn fail(&mut self, check: &'static str, text: String) {
        self.shared.oracle.fail(check, text);
    }

    fn make(&mut self, id: u64, birth: Birth) {
        let machine = Machine {
            id,
            member: None,
            disk: SimulatedDisk::default(),
            birth,
            life: 0,
            booting: true,
            paused_until: 0,
            hung_until: 0,
            soft: false,
            slow: 1,
            retired: false,
            farewell: 0,
            log_busy: false,
            apply_busy: false,
            commit_busy: false,
            snapshot_busy: false,
        };
        self.machines.insert(id, machine);
        let delay = self.random.below(200 * MS);
        self.after(delay, Event::Boot(id));
    }

    fn after(&mut self, delay_us: u64, event: Event) {
        self.sequence += 1;
        let at = self.shared.now_us + delay_us;
        self.queue.insert((at, self.sequence), event);
    }

    /// Runs to the end, or to the first broken promise.
    pub fn run(mut self) -> Outcome {
        while !self.over && self.shared.oracle.violation.is_none() {
            let Some(((at, _), event)) = self.queue.pop_first() else {
                self.fail("recovers", "nothing happens any more".into());
                break;
            };
            self.shared.now_us = at;
            self.events += 1;
            self.note(at, &event);
            self.happen(event);
        }
        Outcome {
            violation: self.shared.oracle.violation.clone(),
            reached: self.shared.oracle.reached,
            trace: self.trace,
            events: self.events,
        }
    }

    /// The trace takes the event in.
    fn note(&mut self, at: u64, event: &Event) {
        let (kind, a, b) = match event {
            Event::Tick(id, life) => (1, *id, *life),
            Event::Log(id, life) => (2, *id, *life),
            Event::Apply(id, life) => (3, *id, *life),
            Event::Commit(id, life) => (4, *id, *life),
            Event::Snapshot(id, life) => (5, *id, *life),
            Event::Compact(id, life) => (6, *id, *life),
            Event::Inspect => (7, self.shared.oracle.last(), 0),
            Event::Deliver(wire) => {
                let m = &wire.message;
                let what = m.r#type as u64 ^ m.index << 8 ^ m.term << 32 ^ m.commit << 40;
                (8, m.to ^ m.from.rotate_left(7), what)
            }
            Event::Report { to, about, .. } => (9, *to, *about),
            Event::Boot(id) => (10, *id, 0),
            Event::Client(client) => (11, *client as u64, 0),
            Event::Answer(request, reply) => (12, *request, reply.revision().unwrap_or(0) as u64),
            Event::Timeout(request) => (13, *request, 0),
            Event::Fault => (14, 0, 0),
            Event::Mend => (15, 0, 0),
            Event::Reconcile => (16, 0, 0),
            Event::Heal => (17, 0, 0),
            Event::Stop => (18, 0, 0),
            Event::Settled => (19, 0, 0),
        };
        for number in [at, kind, a, b] {
            self.trace = Seed(self.trace ^ number).next();
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick(id, life) => {
                self.turn(id, life, |member, shared| {
                    member.tick(shared);
                    Ok(())
                });
                // Clocks run apart a little.
                let next = TICK_US + self.random.below(6 * MS) - 3 * MS;
                if self.machines.get(&id).is_some_and(|m| m.life == life) {
                    self.after(next, Event::Tick(id, life));
                }
            }
            Event::Log(id, life) => {
                let hung_until = self.machines.get(&id).map_or(0, |m| m.hung_until);
                if hung_until > self.shared.now_us {
                    let delay = hung_until - self.shared.now_us;
                    return self.after(delay, Event::Log(id, life));
                }
                self.with(id, |m| m.log_busy = false);
                self.turn(id, life, Member::log_turn);
            }
            Event::Apply(id, life) => {
                self.with(id, |m| m.apply_busy = false);
                self.turn(id, life, Member::apply_turn);
            }
            Event::Commit(id, life) => {
                self.with(id, |m| m.commit_busy = false);
                self.turn(id, life, |member, _| member.commit_turn());
                if self.random.chance(300) {
                    let delay = self.random.below(S);
                    self.after(delay, Event::Compact(id, life));
                }
            }
            Event::Snapshot(id, life) => {
                self.with(id, |m| m.snapshot_busy = false);
                self.turn(id, life, Member::snapshot_turn);
            }
            Event::Compact(id, life) => self.turn(id, life, |member, _| member.compact_turn()),
            Event::Inspect => {
                for machine in self.machines.values_mut() {
                    if let Some(member) = &machine.member {
                        member.inspect(&mut self.shared);
                    }
                }
                self.after(700 * MS, Event::Inspect);
            }
            Event::Deliver(wire) => self.deliver(*wire),
            Event::Report { to, about, arrived } => {
                let life = self.machines.get(&to).map_or(0, |m| m.life);
                self.turn(to, life, |member, shared| {
                    member.report_snapshot(shared, about, arrived);
                    Ok(())
                });
            }
            Event::Boot(id) => self.boot(id),
            Event::Client(client) => self.ask(client),
            Event::Answer(request, reply) => self.answer(request, reply),
            Event::Timeout(request) => {
                if let Some(pending) = self.pending.remove(&request) {
                    self.after(MS, Event::Client(pending.client));
                }
            }
            Event::Fault => self.fault(),
            Event::Mend => {
                self.cut.clear();
                self.with_all(|m| m.slow = 1);
            }
            Event::Reconcile => self.reconcile(),
            Event::Heal => self.heal(),
            Event::Stop => {
                self.stopped = true;
                self.deadline = self.shared.now_us + 60 * S;
                self.after(500 * MS, Event::Settled);
            }
            Event::Settled => self.settle(),
        }
    }

    fn with(&mut self, id: u64, change: impl FnOnce(&mut Machine)) {
        if let Some(machine) = self.machines.get_mut(&id) {
            change(machine);
        }
    }

    fn with_all(&mut self, mut change: impl FnMut(&mut Machine)) {
        self.machines.values_mut().for_each(&mut change);
    }

    /// A turn of a member that is still in that life, and what follows from it.
    fn turn(
        &mut self,
        id: u64,
        life: u64,
        turn: impl FnOnce(&mut Member, &mut Shared) -> Result<(), Down>,
    ) {
        let Some(machine) = self.machines.get_mut(&id) else {
            return;
        };
        let Some(member) = machine.member.as_mut().filter(|_| machine.life == life) else {
            return;
        };
        let result = turn(member, &mut self.shared);
        if result.is_ok() && machine.disk.has_died() {
            // The operation that died was one whose error nobody looks at.
            return self.died(id);
        }
        match result {
            Ok(()) => self.follow(id),
            Err(_) => self.died(id),
        }
    }

    /// Sends, answers and plans what a member's turn brought.
    fn follow(&mut self, id: u64) {
        let Some(machine) = self.machines.get_mut(&id) else {
            return;
        };
        let Some(member) = machine.member.as_mut() else {
            return;
        };
        let (life, slow) = (machine.life, machine.slow);
        let Out { messages, answers } = member.take_out();
        let mut plan = Vec::new();
        if member.wants_log() && !std::mem::replace(&mut machine.log_busy, true) {
            let mut took = self.random.between(100, 3 * MS) * slow;
            if self.random.chance(10) {
                took += self.random.below(300 * MS);
            }
            plan.push((took, Event::Log(id, life)));
        }
        if member.wants_apply() && !machine.apply_busy {
            machine.apply_busy = true;
            let mut took = self.random.between(20, MS);
            if self.random.chance(30) {
                took += self.random.below(200 * MS);
            }
            plan.push((took, Event::Apply(id, life)));
        }
        if member.wants_commit() && !machine.commit_busy {
            machine.commit_busy = true;
            let took = self.random.between(50, 250) * MS * slow;
            plan.push((took, Event::Commit(id, life)));
        }
        if member.wants_snapshot() && !machine.snapshot_busy {
            machine.snapshot_busy = true;
            let took = self.random.between(MS, 30 * MS) * slow;
            plan.push((took, Event::Snapshot(id, life)));
        }
        for (delay, event) in plan {
            self.after(delay, event);
        }
        for wire in messages {
            self.post(wire);
        }
        for (request, reply) in answers {
            let delay = self.random.between(100, 2 * MS);
            self.after(delay, Event::Answer(request, reply));
        }
    }

    fn post(&mut self, wire: Wire) {
        let kind = MessageType::try_from(wire.message.r#type);
        let snapshot = wire.db.is_some();
        if !self.healed {
            if self.random.chance(self.weather.lost) {
                return self.lost(&wire);
            }
            // A stream carries each message once; doubled are those that raft
            // itself must bear: requests handed on to the leader are not among them.
            let bearable = !snapshot && kind != Ok(MessageType::MsgProp);
            if bearable && self.random.chance(self.weather.doubled) {
                let delay = self.random.between(200, 300 * MS);
                self.after(delay, Event::Deliver(Box::new(wire.clone())));
            }
        }
        let mut delay = self.random.between(200, 3 * MS);
        if snapshot {
            delay += self.random.below(200 * MS);
        }
        if !self.healed && self.random.chance(self.weather.late) {
            delay += self.random.below(1500 * MS);
        }
        self.after(delay, Event::Deliver(Box::new(wire)));
    }

    /// As etcd's transport does: a snapshot's sender learns what became of it.
    fn lost(&mut self, wire: &Wire) {
        if wire.db.is_some() {
            let (to, about) = (wire.message.from, wire.message.to);
            let arrived = false;
            self.after(50 * MS, Event::Report { to, about, arrived });
        }
    }

    fn deliver(&mut self, wire: Wire) {
        let pb::Message { from, to, .. } = wire.message;
        let open = !self.cut.contains(&(from, to));
        let now = self.shared.now_us;
        let Some(machine) = self.machines.get_mut(&to).filter(|_| open) else {
            return self.lost(&wire);
        };
        let Some(member) = &machine.member else {
            return self.lost(&wire);
        };
        if machine.paused_until > now {
            let delay = machine.paused_until - now;
            return self.after(delay, Event::Deliver(Box::new(wire)));
        }
        if member.cluster.is_removed(from.into()) {
            return self.lost(&wire);
        }
        let (life, snapshot) = (machine.life, wire.db.is_some());
        if snapshot && let Some(cut) = self.install_cut.take() {
            machine.disk.arm(cut.at, Fault::Crash, 0);
            machine.soft = cut.soft;
            self.after(3 * S, Event::Heal);
        }
        self.turn(to, life, |member, shared| member.receive(shared, wire));
        if snapshot {
            let (to, about, arrived) = (from, to, true);
            self.after(MS, Event::Report { to, about, arrived });
        }
    }

    /// What was armed has happened, or the disk failed.
    fn died(&mut self, id: u64) {
        let machine = self.machines.get(&id);
        if machine.is_some_and(|m| m.soft && m.disk.has_died()) {
            self.kill(id);
        } else {
            self.down(id);
        }
    }

    /// The machine loses power.
    fn down(&mut self, id: u64) {
        self.shared.oracle.reached.crashes += 1;
        let seed = self.random.number();
        let Some(machine) = self.machines.get_mut(&id) else {
            return;
        };
        machine.member = None;
        machine.life += 1;
        machine.disk.crash(&mut Seed(seed));
        self.reboot(id);
    }

    /// The process dies, the machine lives on.
    fn kill(&mut self, id: u64) {
        self.shared.oracle.reached.crashes += 1;
        self.with(id, |machine| {
            machine.member = None;
            machine.life += 1;
            machine.disk.kill();
        });
        self.reboot(id);
    }

    fn reboot(&mut self, id: u64) {
        let longest = if self.healed { 100 } else { 2500 };
        let delay = self.random.between(10, longest) * MS;
        let Some(machine) = self.machines.get_mut(&id) else {
            return;
        };
        if !machine.retired && !std::mem::replace(&mut machine.booting, true) {
            self.after(delay, Event::Boot(id));
        }
    }

    fn boot(&mut self, id: u64) {
        let seed = self.random.number();
        let Some(machine) = self.machines.get_mut(&id) else {
            return;
        };
        machine.booting = false;
        if machine.member.is_some() || machine.retired {
            return;
        }
        machine.life += 1;
        machine.log_busy = false;
        machine.apply_busy = false;
        machine.commit_busy = false;
        machine.snapshot_busy = false;
        let disk = machine.disk.clone();
        match Member::start(&mut self.shared, id, disk, &machine.birth, seed) {
            Ok(member) => {
                machine.member = Some(member);
                let life = machine.life;
                let first = self.random.below(TICK_US);
                self.after(first, Event::Tick(id, life));
                self.after(first, Event::Compact(id, life));
                self.follow(id);
            }
            Err(_) if machine.disk.has_died() => self.died(id),
            Err(text) => self.fail("a member starts from its disk", format!("{id:x}: {text}")),
        }
    }

    fn up(&self) -> Vec<u64> {
        let up = self.machines.iter();
        up.filter(|(_, m)| m.member.is_some())
            .map(|(id, _)| *id)
            .collect()
    }

    /// The member that is furthest.
    fn furthest(&self) -> Option<&Member> {
        let members = self.machines.values().filter_map(|m| m.member.as_ref());
        members.max_by_key(|member| (member.applied, member.id()))
    }

    fn ask(&mut self, client: usize) {
        if self.stopped {
            return;
        }
        let operator = client == self.clients;
        let think = if operator {
            self.weather.operator_us
        } else {
            self.weather.think_us
        };
        let up = self.up();
        let Some(id) = self.random.pick(&up) else {
            return self.after(50 * MS, Event::Client(client));
        };
        self.shared.next_request += 1;
        let request = self.shared.next_request;
        let mut random = self.random.branch();
        let ask = if operator {
            self.operate(&mut random, request)
        } else {
            Some(client::next(
                &mut random,
                request,
                &self.shared.oracle.model,
            ))
        };
        let Some(ask) = ask else {
            return self.after(think, Event::Client(client));
        };
        self.shared.oracle.asks(request, self.shared.now_us);
        let pending = Pending {
            client,
            ask: ask.clone(),
        };
        self.pending.insert(request, pending);
        let patience = self.random.between(500, 3000) * MS;
        self.after(patience, Event::Timeout(request));
        let life = self.machines.get(&id).map_or(0, |m| m.life);
        self.turn(id, life, |member, shared| {
            member.ask(shared, request, ask);
            Ok(())
        });
    }

    fn operate(&mut self, random: &mut Random, request: u64) -> Option<Ask> {
        if !std::mem::replace(&mut self.versioned, true) {
            let set = ClusterVersionSetRequest {
                ver: "3.5.0".into(),
            };
            return Some(Ask::Write(Op::ClusterVersionSet(set)));
        }
        self.members_made += 1;
        let furthest = self.furthest()?;
        if self.restless && self.members_made / PHASE % 2 == 1 {
            let leader = furthest.status().leader;
            return client::shrink(random, request, furthest.conf_state(), leader);
        }
        client::operate(
            random,
            request,
            self.members_made,
            &furthest.cluster,
            furthest.conf_state(),
            self.weather.voters_min,
        )
    }

    fn answer(&mut self, request: u64, reply: Reply) {
        let Some(pending) = self.pending.remove(&request) else {
            return;
        };
        let oracle = &mut self.shared.oracle;
        match (&pending.ask, &reply) {
            (_, Reply::Refused(_)) => {}
            (Ask::Read(range), reply) => {
                let linearizable = !range.serializable && range.revision == 0;
                oracle.told_read(request, &range.key, &range.range_end, reply, linearizable);
            }
            (Ask::Renew(lease), Reply::Renewed(ttl)) => {
                oracle.told_renewal(request, *lease, *ttl);
            }
            (Ask::Write(_), reply) => oracle.told_write(request, reply),
            _ => {}
        }
        let think = if pending.client == self.clients {
            self.random.between(100 * MS, self.weather.operator_us)
        } else {
            self.random.below(self.weather.think_us)
        };
        self.after(think, Event::Client(pending.client));
    }

    fn fault(&mut self) {
        if self.healed {
            return;
        }
        let next = self.random.below(2 * self.weather.fault_us);
        self.after(next, Event::Fault);
        let up = self.up();
        let Some(id) = self.random.pick(&up) else {
            return;
        };
        let seed = self.random.number();
        let life = self.machines.get(&id).map_or(0, |m| m.life);
        match self.random.below(20) {
            0..3 => self.down(id),
            3..6 => self.kill(id),
            6..10 => {
                let at = self.random.between(1, 40);
                let fault = if self.random.chance(200) {
                    Fault::FailedSync
                } else {
                    Fault::Crash
                };
                let soft = self.random.chance(400);
                self.with(id, |m| {
                    m.disk.arm(at, fault, seed);
                    m.soft = soft;
                });
            }
            10 => {
                for id in up {
                    self.down(id);
                }
            }
            11..14 => self.part(id),
            14 => {
                let until = self.shared.now_us + self.random.below(3 * S);
                self.with(id, |m| m.paused_until = until);
            }
            15 => {
                let slow = self.random.between(3, 60);
                self.with(id, |m| m.slow = slow);
            }
            16 => {
                let until = self.shared.now_us + self.random.below(5 * S);
                self.with(id, |m| m.hung_until = until);
            }
            17 => {
                let to = self.random.pick(&up).unwrap_or(id);
                self.turn(id, life, |member, shared| {
                    member.transfer(shared, to);
                    Ok(())
                });
            }
            _ => {
                let delay = self.random.below(S);
                self.after(delay, Event::Mend);
            }
        }
    }

    /// Cuts links: around one member, between two halves, or in one direction.
    fn part(&mut self, id: u64) {
        let all: Vec<u64> = self.machines.keys().copied().collect();
        let style = self.random.below(4);
        for &other in all.iter().filter(|other| **other != id) {
            match style {
                0 => self.cut.extend([(id, other), (other, id)]),
                1 => drop(self.cut.insert((id, other))),
                2 => drop(self.cut.insert((other, id))),
                _ if self.random.chance(500) => self.cut.extend([(id, other), (other, id)]),
                _ => {}
            }
        }
        let delay = self.random.between(300, 5000) * MS;
        self.after(delay, Event::Mend);
    }

    /// Whoever was added gets a machine. Whoever was removed ends once all others
    /// have known for a while; etcd waits a second instead, within which a cluster
    /// that shrinks twice can lose the quorum of those who have not heard, or
    /// have heard and lost it: a commit index is not synced. So few that this can
    /// happen to keep the removed until faults are over.
    fn reconcile(&mut self) {
        self.after(300 * MS, Event::Reconcile);
        let Some(furthest) = self.furthest() else {
            return;
        };
        let cluster = furthest.cluster.clone();
        let safe = self.healed || cluster.members().count() >= 3;
        let known = |id: u64| {
            safe && cluster.members().all(|other| {
                let machine = self.machines.get(&other.id.0);
                let member = machine.and_then(|machine| machine.member.as_ref());
                member.is_some_and(|member| member.cluster.is_removed(id.into()))
            })
        };
        let gone: Vec<u64> = cluster
            .removed()
            .map(|id| id.0)
            .filter(|id| known(*id))
            .collect();
        self.with_all(|machine| {
            machine.farewell *= u64::from(gone.contains(&machine.id));
        });
        for id in gone {
            self.with(id, |machine| {
                machine.farewell += 1;
                if machine.farewell > 20 {
                    machine.member = None;
                    machine.life += 1;
                    machine.retired = true;
                }
            });
        }
        for member in cluster.members() {
            if !self.machines.contains_key(&member.id.0) {
                self.make(member.id.0, Birth::Joining(cluster.as_ref().clone()));
            }
        }
    }

    fn heal(&mut self) {
        if std::mem::replace(&mut self.healed, true) {
            return;
        }
        self.cut.clear();
        self.with_all(|machine| {
            machine.slow = 1;
            machine.paused_until = 0;
            machine.hung_until = 0;
            // What was armed does not happen.
            if machine.disk.has_died() {
                return;
            }
            machine.disk.kill();
        });
        let ids: Vec<u64> = self.machines.keys().copied().collect();
        for id in ids {
            if self.machines.get(&id).is_some_and(|m| m.member.is_none()) {
                self.reboot(id);
            }
        }
        let delay = self.random.between(500, 2500) * MS;
        self.after(delay, Event::Stop);
    }

    /// Over once all members have everything; broken if that never comes.
    fn settle(&mut self) {
        let last = self.shared.oracle.last();
        let members: Vec<u64> = self.furthest().map_or(Vec::new(), |member| {
            member.cluster.members().map(|m| m.id.0).collect()
        });
        let calm = |id: &u64| {
            let member = self.machines.get(id).and_then(|m| m.member.as_ref());
            member.is_some_and(|member| {
                let status = member.status();
                member.is_published()
                    && member.applied == last
                    && status.last_index == last
                    && status.leader != 0
            })
        };
        let busy = self.shared.oracle.model.leases().next().is_some();
        if self.pending.is_empty() && !busy && !members.is_empty() && members.iter().all(calm) {
            self.over = true;
            return self.judge(&members);
        }
        if self.shared.now_us > self.deadline {
            let states: Vec<String> = self
                .machines
                .iter()
                .map(|(id, m)| match &m.member {
                    Some(member) => format!(
                        "{id:x}: applied {} {:?} {:?} {:?}",
                        member.applied,
                        member.status(),
                        member.conf_state(),
                        member.cluster.removed().collect::<Vec<_>>()
                    ),
                    None => format!("{id:x}: down, retired {}", m.retired),
                })
                .collect();
            let text = format!("the log has {last} entries; {}", states.join("; "));
            return self.fail("recovers", text);
        }
        self.after(200 * MS, Event::Settled);
    }

    /// Everything is at rest: all copies of everything must be the same.
    fn judge(&mut self, members: &[u64]) {
        self.shared.oracle.ends();
        let mut first = None;
        for id in members {
            let Some(member) = self.machines.get_mut(id).and_then(|m| m.member.as_mut()) else {
                continue;
            };
            match member.at_rest(&mut self.shared) {
                Ok(copies) => {
                    let first = first.get_or_insert_with(|| copies.clone());
                    if *first != copies {
                        let text = format!("{id:x} has {copies:?}, another {first:?}");
                        self.shared
                            .oracle
                            .fail("members agree on the members", text);
                    }
                }
                Err(down) => {
                    let text = format!("{id:x}: {down:?}");
                    self.shared.oracle.fail("recovers", text);
                }
            }
        }
    }
}
