//! The world: members as processes, what their files hold, and the rules of etcd.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use super::*;

/// What makes a member run: a manifest in a folder, as the kubelet reads it. A driver
/// of commands is one whose kubelet acts at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Manifest {
    /// What is in the folder.
    pub(super) present: Option<Launch>,
    /// What waits next to it.
    pub(super) staged: Option<Launch>,
    /// What was taken out.
    pub(super) out: Option<Launch>,
}

#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) in_file: bool,
    pub(super) manifest: Manifest,
    /// What its process runs, if it has one.
    pub(super) process: Option<Launch>,
    /// Its processes so far.
    pub(super) processes: u64,
    /// Whether it has published itself since its start: before that it does not answer.
    pub(super) is_ready: bool,
    /// Whether its machine is dead: nothing starts there.
    pub(super) is_dead: bool,
    /// It does not answer until then, though it runs.
    pub(super) slow_until: Duration,
    /// Whether its process is stopped: it takes connections, and answers nothing.
    pub(super) is_frozen: bool,
    /// Whether what starts it fails at once.
    pub(super) refuses_starts: bool,
    /// Its kubelet waits until then before it starts it again.
    pub(super) down_until: Duration,
    /// Releases that do not start here, whatever the reason.
    pub(super) broken: BTreeSet<Version>,
    /// The minor version of the cluster in its directory.
    pub(super) seen_version: u64,
    /// When it last crashed by itself, and last answered the tool.
    pub(super) crashed_at: u64,
    pub(super) answered_at: u64,
    /// When the release that it runs was put in the place of another one.
    pub(super) was_up_at_stop: bool,
}

/// Small, fast, the same everywhere.
#[derive(Clone, Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n.max(1)
    }

    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// Another run: when that time has come, and that call, it brings members to a release and gives
/// its turn back.
#[derive(Clone, Debug)]
pub(super) struct Another {
    pub(super) at: Duration,
    pub(super) call: u64,
    pub(super) members: Vec<String>,
    pub(super) release: Version,
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) members: Vec<Peer>,
    pub(super) now: Duration,
    /// Counts everything that happens.
    pub(super) clock: u64,
    /// When the tool last stopped, started or waited.
    pub(super) acted_at: u64,
    /// Voters as the tool last read them, and when.
    pub(super) listed: (u64, usize),
    pub(super) leader: u64,
    /// The minor version of the cluster.
    pub(super) cluster_version: u64,
    pub(super) downgrade: Option<u64>,
    pub(super) alarms: Vec<(u64, String)>,
    pub(super) lock: Option<(String, Duration)>,
    /// What another run does.
    pub(super) another: Option<Another>,
    pub(super) binaries: BTreeSet<Version>,
    pub(super) binaries_at: (u64, u64),
    pub(super) disk_full: bool,
    pub(super) kubelets_run: bool,
    /// Who crashes for long when a member is next asked for the start of its process.
    pub(super) falls_when_measured: Option<usize>,
    /// Whether stop and start commands return and nothing happens.
    pub(super) commands_do_nothing: bool,
    pub(super) reads_files: bool,
    /// Members that are driven from their own nodes.
    pub(super) elsewhere: BTreeSet<String>,
    /// Members whose records are stale in the databases.
    pub(super) stale: BTreeSet<u64>,
    /// The releases of the way.
    pub(super) path: Vec<Version>,
    /// Where the way leads, as the command line names it.
    pub(super) target: String,
    /// Whether the members ran Pintle at its beginning.
    pub(super) was_pintle: bool,
    /// The change of the line that the members have in hand: from one minor version to another.
    pub(super) line: Option<(u64, u64)>,
    /// The call at which the command is killed.
    pub(super) kill_at: Option<u64>,
    pub(super) calls: u64,
    /// So many changes of the membership fail, as in an election.
    pub(super) failing_changes: u64,
    /// Members that refuse the tool: its TLS files are wrong.
    pub(super) refusing: BTreeSet<String>,
    /// Whether the tool reaches no member, though they reach one another.
    pub(super) is_cut_off: bool,
    /// Whether something in front of the members takes every connection.
    pub(super) is_behind: bool,
    /// What a member takes from its start until its process is there.
    pub(super) starts_take: Duration,
    /// The call at which a member begins to refuse it.
    pub(super) refuse_at: Option<(u64, String)>,
    /// What clients write.
    pub(super) entries_per_second: u64,
    /// What it takes to find out that a member does not answer.
    pub(super) silence_costs: Duration,
    /// How rare faults are; 0 for none.
    pub(super) rarity: u64,
    pub(super) random: Random,
    /// Whether membership was changed, or a machine died: not everything can succeed then.
    pub(super) is_changed: bool,
    /// What the tool did wrong.
    pub(super) wrong: Vec<String>,
    /// What happened, for a person who looks at a seed.
    pub(super) history: Vec<String>,
}

impl World {
    pub(super) fn new(count: u64, path: Vec<Version>, seed: u64) -> World {
        let first = path[0].clone();
        let launch = Launch::of(&first, false);
        let members = (1..=count)
            .map(|id| Peer {
                id,
                name: format!("n{id}"),
                in_file: true,
                manifest: Manifest {
                    present: Some(launch.clone()),
                    ..Manifest::default()
                },
                process: Some(launch.clone()),
                processes: 1,
                is_ready: true,
                is_dead: false,
                slow_until: Duration::ZERO,
                is_frozen: false,
                refuses_starts: false,
                down_until: Duration::ZERO,
                broken: BTreeSet::new(),
                seen_version: first.minor,
                crashed_at: 0,
                answered_at: 0,
                was_up_at_stop: false,
            })
            .collect();
        World {
            members,
            now: Duration::ZERO,
            clock: 1,
            acted_at: 0,
            listed: (0, usize::try_from(count).unwrap_or(0)),
            leader: 1,
            cluster_version: first.minor,
            downgrade: None,
            alarms: Vec::new(),
            lock: None,
            another: None,
            binaries: path.iter().cloned().collect(),
            binaries_at: (0, 0),
            disk_full: false,
            kubelets_run: true,
            falls_when_measured: None,
            commands_do_nothing: false,
            reads_files: true,
            elsewhere: BTreeSet::new(),
            stale: BTreeSet::new(),
            target: path.last().map(ToString::to_string).unwrap_or_default(),
            path,
            was_pintle: false,
            line: None,
            kill_at: None,
            calls: 0,
            failing_changes: 0,
            refusing: BTreeSet::new(),
            is_cut_off: false,
            is_behind: false,
            starts_take: Duration::ZERO,
            refuse_at: None,
            entries_per_second: 0,
            silence_costs: Duration::ZERO,
            rarity: 0,
            random: Random(seed),
            is_changed: false,
            wrong: Vec::new(),
            history: Vec::new(),
        }
    }

    pub(super) fn note(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.history.push(format!("{:>5} {what}", self.clock));
    }

    /// Another run brings a member to a release.
    pub(super) fn raise(&mut self, member: &str, release: &Version) {
        self.find(member).manifest.present = Some(Launch::of(release, false));
        self.note(format!("another run brings {member} to {release}"));
    }

    fn is_wrong(&mut self, what: String) {
        self.note(format!("WRONG: {what}"));
        self.wrong.push(what);
    }

    pub(super) fn find(&mut self, member: &str) -> &mut Peer {
        let found = self.members.iter_mut().find(|m| m.name == member);
        found.expect("a member of the model")
    }

    /// Returns whether the command is killed here.
    pub(super) fn point(&mut self) -> bool {
        self.clock += 1;
        self.calls += 1;
        if self.kill_at.is_some_and(|at| self.calls >= at) {
            self.note("the tool is killed");
            return true;
        }
        if let Some((at, member)) = &self.refuse_at
            && self.calls >= *at
        {
            self.refusing.insert(member.clone());
        }
        if self.rarity > 0 && self.random.one_in(self.rarity) {
            self.fault();
        }
        false
    }

    /// What goes on by itself: kubelets, elections, the cluster version.
    pub(super) fn settle(&mut self) {
        let (now, calls) = (self.now, self.calls);
        let is_due = |another: &mut Another| another.at <= now && another.call <= calls;
        if let Some(another) = self.another.take_if(is_due) {
            for member in &another.members {
                self.raise(member, &another.release);
            }
            self.lock = None;
        }
        if self.kubelets_run {
            for at in 0..self.members.len() {
                self.kubelet(at);
            }
        }
        if !self.has_quorum() {
            self.leader = 0;
            return;
        }
        let has_quorum = true;
        for member in &mut self.members {
            if member.process.is_some() {
                member.is_ready |= has_quorum;
            }
        }
        let up = |m: &&Peer| m.process.is_some() && !m.is_frozen;
        if !self.members.iter().filter(up).any(|m| m.id == self.leader) {
            self.leader = self.members.iter().find(up).map_or(0, |m| m.id);
        }
        self.follow_lines();
        self.follow_versions();
        let version = self.cluster_version;
        for member in self.members.iter_mut().filter(|m| m.process.is_some()) {
            member.seen_version = version;
        }
    }

    /// The leader moves the cluster version when all members are there.
    fn follow_versions(&mut self) {
        let minors: Option<Vec<u64>> = self
            .members
            .iter()
            .map(|m| m.process.as_ref().map(|p| p.version.minor))
            .collect();
        let Some(lowest) = minors.and_then(|minors| minors.into_iter().min()) else {
            return;
        };
        match self.downgrade {
            Some(to) => {
                let highest = self.members.iter().filter_map(|m| m.process.as_ref());
                if highest.map(|p| p.version.minor).max() == Some(to) {
                    self.downgrade = None;
                    self.note("the downgrade has ended");
                }
            }
            None if lowest > self.cluster_version => {
                self.cluster_version = lowest;
                self.note(format!("the cluster version is 3.{lowest}"));
            }
            None => {}
        }
    }

    fn kubelet(&mut self, at: usize) {
        let wanted = self.members[at].manifest.present.clone();
        let is_there = match (self.members[at].process.as_ref(), &wanted) {
            (Some(process), Some(wanted)) => is_same_text(process, wanted),
            (None, None) => true,
            _ => false,
        };
        if is_there || self.members[at].is_dead {
            return;
        }
        self.members[at].process = None;
        self.members[at].is_frozen = false;
        self.members[at].is_ready = false;
        let Some(mut launch) = wanted else { return };
        if self.members[at].down_until > self.now {
            return;
        }
        if launch.pintle {
            launch.version = self.line_found(at);
        }
        if let Some(why) = self.refuses(at, &launch) {
            let (name, was_up) = (
                self.members[at].name.clone(),
                self.members[at].was_up_at_stop,
            );
            self.note(format!(
                "{name} does not start with {}: {why}",
                launch.version
            ));
            if was_up && why == REFUSED_BY_VERSION {
                self.is_wrong(format!(
                    "{name} was stopped for {}, which the cluster version 3.{} keeps from starting",
                    launch.version, self.cluster_version
                ));
            }
            self.members[at].was_up_at_stop = false;
            return;
        }
        self.members[at].was_up_at_stop = false;
        self.members[at].process = Some(launch);
        self.members[at].processes += 1;
        // It publishes itself, and who runs a late 3.5 writes its record anew.
        let late = |m: &Peer| m.process.as_ref().is_some_and(|p| p.version >= HEALS);
        if self.members.iter().all(late) {
            let id = self.members[at].id;
            self.stale.remove(&id);
        }
    }

    /// Why a release does not start at a member.
    fn refuses(&self, at: usize, launch: &Launch) -> Option<&'static str> {
        let member = &self.members[at];
        let minor = launch.version.minor;
        let known = match self.has_quorum() {
            true => self.cluster_version,
            false => member.seen_version,
        };
        if minor < known {
            return Some(REFUSED_BY_VERSION);
        }
        if minor <= 5 && self.downgrade.is_some_and(|to| to != minor) {
            return Some(REFUSED_BY_VERSION);
        }
        if launch.pintle {
            return None;
        }
        if member.broken.contains(&launch.version) {
            return Some("it is broken here");
        }
        (!self.binaries.contains(&launch.version)).then_some("its binary is gone")
    }

    pub(super) fn has_quorum(&self) -> bool {
        let up = |m: &&Peer| m.process.is_some() && !m.is_frozen;
        self.members.iter().filter(up).count() > self.members.len() / 2
    }

    pub(super) fn version(&self) -> Version {
        Version::new(3, self.cluster_version, 0)
    }

    /// Whether a member answers, without noting that it did.
    pub(super) fn reaches(&self, member: &str) -> bool {
        if self.is_cut_off || self.refusing.contains(member) {
            return false;
        }
        let found = self.members.iter().find(|m| m.name == member);
        found.is_some_and(|m| {
            m.process.is_some() && !m.is_frozen && m.is_ready && m.slow_until <= self.now
        })
    }

    /// Whether something takes connections at a member.
    pub(super) fn listens(&self, member: &str) -> bool {
        let found = self.members.iter().find(|m| m.name == member);
        self.is_behind || !self.is_cut_off && found.is_some_and(|m| m.process.is_some())
    }

    /// What tells the process of a member from the one before.
    pub(super) fn started_at(&self, member: &str) -> String {
        let found = self.members.iter().find(|m| m.name == member);
        found.map_or(0, |m| m.processes).to_string()
    }

    /// What the lock on the database of a member says.
    pub(super) fn process(&self, member: &str) -> Process {
        let found = self.members.iter().find(|m| m.name == member);
        match found.is_some_and(|m| m.process.is_some()) {
            _ if !self.reads_files => Process::Unknown,
            true => Process::Runs,
            false => Process::Ended,
        }
    }

    pub(super) fn ask(&mut self, member: &str) -> Answer<()> {
        if self.listens(member) && self.refusing.contains(member) {
            return Answer::Refused(format!("{member}: TLS: an unknown issuer"));
        }
        if !self.reaches(member) {
            self.now += self.silence_costs;
            return Answer::Silent(format!("{member}: no answer"));
        }
        let (clock, count, has_quorum) = (self.clock, self.members.len(), self.has_quorum());
        let found = self.find(member);
        found.answered_at = clock;
        if has_quorum && found.in_file {
            self.listed = (clock, count);
        }
        Answer::Told(())
    }

    fn list(&self) -> Vec<Member> {
        let members = self.members.iter().map(|m| Member {
            id: MemberId(m.id),
            name: m.name.clone(),
            client_urls: vec![endpoint_of(&m.name)],
            peer_urls: vec![format!("http://{}:2380", m.name)],
            is_learner: false,
        });
        members.collect()
    }

    pub(super) fn facts(&self, member: &str) -> Facts {
        let Some(found) = self.members.iter().find(|m| m.name == member) else {
            return Facts::default();
        };
        let version = found.process.as_ref().map(|p| p.version.clone());
        let minor = version.as_ref().map_or(0, |v| v.minor);
        let leads = self.has_quorum();
        let index = 100 + self.entries_per_second * self.now.as_secs();
        Facts {
            label: member.to_owned(),
            id: Some(MemberId(found.id)),
            cluster: Some(CLUSTER),
            live: Some(Live {
                endpoint: endpoint_of(member),
                version,
                leader: if leads { self.leader } else { 0 },
                raft_index: index,
                applied: index,
                revision: 1,
                cluster_version: Some(self.version()),
                downgrade: self
                    .downgrade
                    .filter(|_| minor >= 6)
                    .map(|to| Version::new(3, to, 0)),
                storage_version: match minor {
                    0..=5 => String::new(),
                    _ => format!("3.{}.0", minor.min(self.cluster_version)),
                },
                members: if leads { self.list() } else { Vec::new() },
                alarms: self
                    .alarms
                    .iter()
                    .map(|(id, kind)| (MemberId(*id), kind.clone()))
                    .collect(),
                errors: self.alarms.iter().map(|(_, kind)| kind.clone()).collect(),
                ..Live::default()
            }),
            ..Facts::default()
        }
    }

    pub(super) fn database(&self, member: &str) -> Database {
        let mut database = Database {
            path: member.into(),
            revision: 1,
            ..Database::default()
        };
        database.members.members = self.list();
        for record in &mut database.members.members {
            if self.stale.contains(&record.id.0) {
                record.client_urls.clear();
            }
        }
        let found = self.members.iter().find(|m| m.name == member);
        let version = found.map_or(0, |m| m.seen_version);
        database.members.cluster_version = Some(Version::new(3, version, 0));
        database.members.downgrade = match self.downgrade {
            Some(to) => Downgrade::To(format!("3.{to}.0")),
            None => Downgrade::Ended,
        };
        database
    }

    pub(super) fn files(&self, directory: &Path) -> Option<Facts> {
        let name = directory.to_str()?;
        Some(Facts {
            label: name.to_owned(),
            cluster: Some(CLUSTER),
            in_use: self.process(name) == Process::Runs,
            database: Some(self.database(name)),
            ..Facts::default()
        })
    }

    pub(super) fn lead(&mut self, to: u64) -> Result<(), String> {
        let member = self.members.iter().find(|m| m.id == to);
        match member.is_some_and(|m| m.process.is_some()) {
            true => {
                self.leader = to;
                Ok(())
            }
            false => Err("the leader was not moved".into()),
        }
    }

    pub(super) fn go_down(&mut self, ask: Ask, to: u64) -> Result<(), String> {
        if self.downgrade.is_some() {
            return Err("etcdserver: cluster has a downgrade job in progress".into());
        }
        if to + 1 != self.cluster_version || to < 5 {
            return Err("etcdserver: invalid downgrade target version".into());
        }
        if ask == Ask::Enable {
            self.downgrade = Some(to);
            self.cluster_version = to;
            self.note(format!("a downgrade to 3.{to} begins"));
        }
        Ok(())
    }

    pub(super) fn looked_at_binaries(&mut self) {
        self.binaries_at.0 = self.clock;
    }

    pub(super) fn runs_at_all(&mut self, member: &str) -> bool {
        self.settle();
        self.find(member).process.is_some()
    }

    /// The tool takes a member's manifest out.
    pub(super) fn take_out(&mut self, member: &str) {
        self.judge_stop(member);
        let clock = self.clock;
        self.acted_at = clock;
        let found = self.find(member);
        let was_up = found.process.is_some() && found.is_ready;
        found.was_up_at_stop |= was_up;
        if let Some(present) = found.manifest.present.take() {
            found.manifest.out = Some(present);
        }
        self.note(format!("{member} is stopped"));
        self.settle();
    }

    /// Whether the tool may do that, by what it could know: who crashed after it last
    /// answered, with nothing done in between, does not count against it.
    fn judge_stop(&mut self, member: &str) {
        let acted = self.acted_at;
        let serves = |m: &Peer| m.process.is_some() && m.is_ready;
        let seen = |m: &Peer| serves(m) || (m.answered_at > acted && m.crashed_at > m.answered_at);
        let voters = match self.listed.0 > acted {
            true => self.listed.1,
            false => self.members.len(),
        };
        let (mut rest, mut is_up) = (0, false);
        for peer in &self.members {
            match peer.name == member {
                true => is_up = serves(peer),
                false => rest += usize::from(seen(peer)),
            }
        }
        let needed = match voters {
            1 | 2 => voters - 1,
            _ => voters / 2 + 1,
        };
        if is_up && rest < needed {
            let text = format!("{member} is stopped, and {rest} of {voters} voters serve");
            self.is_wrong(text);
        }
        if is_up && self.binaries_at.0 < acted {
            self.is_wrong(format!("{member} is stopped, and no binary was looked for"));
        }
    }

    /// The tool puts a new manifest into the folder.
    pub(super) fn put(&mut self, member: &str, launch: &Launch) -> Outcome<()> {
        if self.find(member).refuses_starts {
            return Err(Failure::new("the start command failed"));
        }
        let manifest = &mut self.find(member).manifest;
        let Some(staged) = manifest.staged.take() else {
            return Err(Failure::new("nothing was prepared"));
        };
        let ends = |present: &Launch| !is_same_text(present, &staged);
        let is_stop = manifest.present.as_ref().is_some_and(ends);
        manifest.present = Some(staged);
        manifest.out = None;
        if is_stop {
            self.judge_stop(member);
        }
        let (clock, there) = (self.clock, self.now + self.starts_take);
        self.acted_at = clock;
        self.find(member).down_until = there;
        self.note(format!("{member} is started with {launch:?}"));
        self.settle();
        Ok(())
    }

    pub(super) fn put_back(&mut self, member: &str) -> bool {
        let manifest = &mut self.find(member).manifest;
        if manifest.present.is_some() || manifest.out.is_none() {
            return false;
        }
        manifest.present = manifest.out.take();
        self.note(format!("the manifest of {member} is put back"));
        self.settle();
        true
    }

    /// A process ends by itself. The kubelet starts it again, but for a while it is away.
    pub(super) fn crash(&mut self, at: usize, stays: bool) {
        let clock = self.clock;
        let now = self.now;
        let member = &mut self.members[at];
        member.process = None;
        member.is_ready = false;
        member.is_dead |= stays;
        member.down_until = now + Duration::from_secs(8);
        member.crashed_at = clock;
        let name = member.name.clone();
        self.note(format!(
            "{name} crashes{}",
            if stays { " for long" } else { "" }
        ));
        if !self.has_quorum() {
            self.leader = 0;
        }
    }

    fn fault(&mut self) {
        let at = usize::try_from(self.random.below(self.members.len() as u64)).unwrap_or(0);
        match self.random.below(12) {
            0 | 1 => self.crash(at, false),
            2 => self.crash(at, true),
            3 => {
                let dead = self.members.iter_mut().filter(|m| m.is_dead);
                dead.for_each(|m| m.is_dead = false);
            }
            // Slow for some seconds, and not soon again: for longer it would be down.
            4 => {
                let until = self.now + Duration::from_secs(1 + self.random.below(3));
                if self.members[at].slow_until + Duration::from_secs(20) < self.now {
                    self.members[at].slow_until = until;
                }
            }
            5 => match self.alarms.pop() {
                Some(_) => self.note("the alarm is disarmed"),
                None => {
                    let id = self.members[at].id;
                    self.alarms.push((id, "NOSPACE".into()));
                    self.note("an alarm is raised");
                }
            },
            6 => {
                self.disk_full = !self.disk_full;
                self.note(format!("disk full: {}", self.disk_full));
            }
            7 => {
                let version = self.path
                    [usize::try_from(self.random.below(self.path.len() as u64)).unwrap_or(0)]
                .clone();
                self.note(format!("the binary {version} comes or goes"));
                self.binaries_at.1 = self.clock;
                if !self.binaries.remove(&version) {
                    self.binaries.insert(version);
                }
            }
            8 => {
                let version = self.path.last().cloned().unwrap_or(Version::new(3, 6, 0));
                if !self.members[at].broken.remove(&version) {
                    self.members[at].broken.insert(version);
                }
            }
            9 => {
                self.kubelets_run = !self.kubelets_run;
                self.note(format!("kubelets run: {}", self.kubelets_run));
            }
            10 => {
                if self.lock.is_none() {
                    self.note("another operator takes the lock");
                    let ends = self.now + Duration::from_secs(30);
                    self.lock = Some(("n1 another".into(), ends));
                }
            }
            _ => self.change_members(),
        }
    }

    fn change_members(&mut self) {
        if !self.has_quorum() || !self.random.one_in(2) {
            return;
        }
        self.is_changed = true;
        let strangers = self.members.iter().position(|m| !m.in_file);
        if let Some(at) = strangers {
            let name = self.members.remove(at).name;
            self.note(format!("{name} is removed"));
            return;
        }
        let id = 90 + self.random.below(9);
        let version = self
            .members
            .iter()
            .find_map(|m| m.process.as_ref())
            .map(|p| p.version.clone());
        let launch = Launch::of(&version.unwrap_or(self.path[0].clone()), false);
        let is_up = self.random.one_in(2) && launch.version.minor >= self.cluster_version;
        self.note(format!(
            "n{id} is added, {}",
            if is_up { "up" } else { "dead" }
        ));
        let seen_version = self.cluster_version;
        self.members.push(Peer {
            id,
            name: format!("n{id}"),
            in_file: false,
            manifest: Manifest {
                present: is_up.then(|| launch.clone()),
                ..Manifest::default()
            },
            process: is_up.then_some(launch),
            processes: 1,
            is_ready: is_up,
            is_dead: !is_up,
            slow_until: Duration::ZERO,
            is_frozen: false,
            refuses_starts: false,
            down_until: Duration::ZERO,
            broken: BTreeSet::new(),
            seen_version,
            crashed_at: 0,
            answered_at: 0,
            was_up_at_stop: false,
        });
    }

    /// Someone sees to everything that the tool cannot.
    pub(super) fn see_to_it(&mut self) {
        self.rarity = 0;
        self.kill_at = None;
        self.alarms.clear();
        self.disk_full = false;
        self.kubelets_run = true;
        self.lock = None;
        self.binaries = self.path.iter().cloned().collect();
        self.members.retain(|m| m.in_file);
        for member in &mut self.members {
            member.is_dead = false;
            member.broken.clear();
            member.slow_until = Duration::ZERO;
            member.down_until = Duration::ZERO;
        }
        self.note("someone sees to everything");
        self.settle();
    }

    /// Whether the process of a member is Pintle.
    pub(super) fn runs_pintle(&self, member: &str) -> bool {
        let found = self.members.iter().find(|m| m.name == member);
        found.is_some_and(|m| m.process.as_ref().is_some_and(|p| p.pintle))
    }

    /// What every member in the file runs, with its flags.
    pub(super) fn running(&self) -> BTreeMap<String, Option<(Version, Vec<&'static str>)>> {
        let named = self.members.iter().filter(|m| m.in_file);
        named
            .map(|m| {
                let process = m.process.as_ref();
                let runs = process.map(|p| (p.version.clone(), p.flags.clone()));
                (m.name.clone(), runs)
            })
            .collect()
    }
}

/// Whether the manifests are one text: the one that a member had before, and the one of the
/// same release.
pub(super) fn is_same_text(one: &Launch, other: &Launch) -> bool {
    is_same_program(one, other) && one.flags == other.flags
}

/// Whether both start the same program. Pintle is one, at whichever line it finds.
pub(super) fn is_same_program(one: &Launch, other: &Launch) -> bool {
    one.pintle == other.pintle && (one.pintle || one.version == other.version)
}

/// From this release on a publication rewrites the record.
const HEALS: Version = Version::new(3, 5, 26);

/// The guard of etcd against older releases.
const REFUSED_BY_VERSION: &str = "the cluster version is above it";
