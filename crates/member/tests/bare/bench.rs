//! A cluster of one, driven by hand: the parts of a member with queues between them.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use auth::tokens::{Provider, Simple};
use bytes::Bytes;
use consensus::Node;
use line::{Choice, Line};
use member::{
    At as _, Command, Effects, Error, Fatal, Files, Host, Machine, Outcome, State, Waiter,
    apply::Options,
    host::Step,
    log::{LogCommand, LogWriter},
    open::{self, Dirs, Founding, Log, MembershipCheck, Setup},
    propose::HandOff,
    snapshot::Job,
    state::Identity,
    status::Status,
};
use membership::{
    Cluster,
    conf_change::{self, Rules},
};
use mvcc::backend::{Backend, BackendOptions};
use prost::Message as _;
use proto::{
    etcdserverpb::{
        InternalRaftRequest, PutRequest, RangeRequest, RequestHeader, internal_raft_request::Op,
    },
    raftpb::{Entry, EntryType, HardState, Snapshot},
};
use wal::disk::{Disk, OsDisk};

/// Files of the operating system; what cannot be committed fails the test.
pub(crate) struct TestFiles(Arc<dyn Disk>);

impl Files for TestFiles {
    fn disk(&self) -> &Arc<dyn Disk> {
        &self.0
    }

    fn is_unwritten(&self, path: &Path) -> Result<bool, bolt::Error> {
        bolt::Db::is_unwritten(path)
    }

    fn read_database(&self, path: &Path) -> Result<bolt::Db, bolt::Error> {
        let options = bolt::Options {
            read_only: true,
            ..bolt::Options::default()
        };
        bolt::Db::open(path, options)
    }

    fn open_backend(&self, path: &Path) -> Result<Arc<Backend>, Error> {
        let db = bolt::Db::open(path, bolt::Options::default()).at("cannot open", path)?;
        Backend::open(db, BackendOptions::default()).at("cannot open", path)
    }

    fn open_store(
        &self,
        backend: Arc<Backend>,
        leased: &mut dyn FnMut(Bytes, i64),
    ) -> Result<Arc<mvcc::Store>, mvcc::OpenError> {
        mvcc::Store::open(backend, mvcc::StoreOptions::default(), leased)
    }
}

/// The process around the machine.
pub(crate) struct TestHost {
    pub(crate) node: Node,
    pub(crate) now_ms: u64,
    /// A snapshot that was started and is not written yet.
    pub(crate) job: Option<Job>,
    pub(crate) entries: usize,
    pub(crate) log: VecDeque<LogCommand>,
    pub(crate) apply: VecDeque<Command>,
}

impl TestHost {
    pub(crate) fn hand_on(&mut self) {
        while let Some(work) = HandOff::next(&mut self.node) {
            let commands = [work.role, work.reads, work.committed];
            self.apply.extend(commands.into_iter().flatten());
            self.log.push_back(work.append);
        }
    }

    /// Makes the steps of a snapshot that was started.
    pub(crate) fn write_snapshot(&mut self) {
        if let Some(job) = self.job.take() {
            job.commit().expect("the database is committed");
            job.save().expect("the snapshot is saved");
            self.log.push_back(job.record());
        }
    }
}

impl Host for TestHost {
    fn now_ms(&self) -> u64 {
        self.now_ms
    }

    fn consensus<R>(&mut self, event: impl FnOnce(&mut Node) -> R) -> R {
        let result = event(&mut self.node);
        self.hand_on();
        result
    }

    fn rules(&self) -> Rules<'static> {
        Rules::Newer
    }

    fn is_sending_snapshot(&self) -> bool {
        false
    }

    fn start_snapshot(&mut self, job: Job) -> bool {
        self.job = Some(job);
        true
    }

    fn await_snapshot(&mut self) {
        self.write_snapshot();
    }

    fn observe(&mut self, step: Step<'_>) {
        if let Step::Entry(..) = step {
            self.entries += 1;
        }
    }
}

/// A member, its directory, and the queues between its parts.
pub(crate) struct Bench {
    pub(crate) dir: Rc<tempfile::TempDir>,
    pub(crate) machine: Machine,
    pub(crate) state: Arc<State>,
    pub(crate) writer: LogWriter,
    pub(crate) host: TestHost,
    pub(crate) effects: Effects,
    next_request: u64,
}

/// Entries between two snapshots.
pub(crate) const SNAPSHOT_COUNT: u64 = 20;

fn options(snap_dir: PathBuf) -> Options {
    Options {
        snapshot_count: Some(SNAPSHOT_COUNT),
        snapshot_catchup_entries: 5,
        drop_v2_keys: false,
        max_learners: 1,
        membership_check: MembershipCheck::Heal,
        quota_backend_bytes: None,
        lease_extension_ms: 1000,
        lease: lease::Options {
            min_ttl_secs: 1,
            ..lease::Options::default()
        },
        auth: auth::Options::default(),
        snap_dir,
    }
}

fn dirs(dir: &tempfile::TempDir) -> Dirs {
    Dirs {
        wal: dir.path().join("wal"),
        snap: dir.path().join("snap"),
    }
}

impl Bench {
    /// A cluster of one, whose only member leads.
    pub(crate) fn leading() -> Bench {
        let mut bench = Bench::new(|_| {});
        bench.campaign();
        bench
    }

    /// A member that has not begun; `change` may set its options.
    pub(crate) fn new(change: impl FnOnce(&mut Options)) -> Bench {
        Bench::new_at(Choice::Fixed(Line::DEFAULT), change)
    }

    /// The same with a choice of its line.
    pub(crate) fn new_at(line: Choice, change: impl FnOnce(&mut Options)) -> Bench {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("snap")).expect("a directory");
        let cluster = Cluster::from_initial("bare", "m=http://127.0.0.1:1").expect("a cluster");
        let entries = conf_change::bootstrap_entries(&cluster);
        let founding = Founding {
            identity: Identity {
                cluster_id: cluster.id().0,
                member_id: cluster.members().next().expect("a member").id.0,
            },
            entries: &entries,
            hard_state: HardState {
                term: 1,
                vote: 0,
                commit: entries.len() as u64,
            },
        };
        let log = Log::found(&dirs(&dir), &founding, wal::Options::default()).expect("a log");
        Bench::start(Rc::new(dir), log, line, change).expect("it starts")
    }

    /// The process ends without a word, and another one starts on the directory.
    pub(crate) fn restart(self) -> Result<Bench, Error> {
        Bench::on(&self.end())
    }

    /// A member on a directory that has one's files.
    pub(crate) fn on(dir: &Rc<tempfile::TempDir>) -> Result<Bench, Error> {
        let dirs = dirs(dir);
        let hold = Log::hold(&dirs, &OsDisk)?;
        let log = Log::open(&dirs, hold, wal::Options::default())?;
        Bench::start(dir.clone(), log, Choice::Fixed(Line::DEFAULT), |_| {})
    }

    /// The process ends without a word.
    pub(crate) fn end(self) -> Rc<tempfile::TempDir> {
        let Bench { dir, state, .. } = self;
        let store = state.store.load_full();
        store.stop();
        store.backend().close().expect("the database is closed");
        dir
    }

    fn start(
        dir: Rc<tempfile::TempDir>,
        log: Log,
        line: Choice,
        change: impl FnOnce(&mut Options),
    ) -> Result<Bench, Error> {
        let dirs = dirs(&dir);
        let mut machine = options(dirs.snap.clone());
        change(&mut machine);
        let setup = Setup {
            line,
            line_kept: line::Kept::Nothing,
            dirs,
            data_dir: dir.path().to_owned(),
            machine,
            consensus: consensus::Config::default(),
            tokens: Arc::new(Provider::Simple(Simple::new(Duration::ZERO))),
            force_new_cluster: false,
        };
        let files: Arc<dyn Files> = Arc::new(TestFiles(Arc::new(OsDisk)));
        let parts = open::start(&setup, files, log)?;
        let mut bench = Bench {
            machine: parts.machine,
            state: parts.state,
            writer: parts.log,
            host: TestHost {
                node: parts.node,
                now_ms: 0,
                job: None,
                entries: 0,
                log: VecDeque::new(),
                apply: VecDeque::new(),
            },
            effects: Effects::default(),
            next_request: 100,
            dir,
        };
        bench.host.hand_on();
        bench.settle();
        Ok(bench)
    }

    /// This member asks to lead; as the sole voter it does.
    pub(crate) fn campaign(&mut self) {
        self.host.node.campaign().expect("a sole voter may");
        self.host.hand_on();
        self.settle();
    }

    /// The log writer's turn, and what the core makes of it.
    pub(crate) fn log_turn(&mut self) {
        let apply = &mut self.host.apply;
        let written = self
            .writer
            .write(&mut self.host.log, &mut |command| apply.push_back(command))
            .expect("the log is written");
        if let Some(number) = written.number {
            self.host.node.persisted(number);
            self.host.hand_on();
        }
    }

    /// Has the log writer append a snapshot of another member, whose install is left out.
    pub(crate) fn append_received(&mut self, snapshot: &Snapshot, state: HardState) {
        let append = LogCommand::Append {
            snapshot: Some(Box::new(snapshot.clone())),
            bytes: 0,
            entries: Vec::new(),
            state: Some(state),
            must_sync: true,
            number: 1,
            messages: Vec::new(),
        };
        let written = self.writer.write(&mut [append].into(), &mut drop);
        assert!(written.expect("the log is written").installs);
    }

    /// The machine's turn.
    pub(crate) fn apply_turn(&mut self) -> Result<(), Fatal> {
        let mut commands = std::mem::take(&mut self.host.apply);
        self.machine
            .turn(&mut commands, &mut self.host, &mut self.effects)?;
        self.machine.upkeep(&mut self.host);
        Ok(())
    }

    /// Turns until nothing is queued.
    pub(crate) fn settle(&mut self) {
        while !self.host.log.is_empty() || !self.host.apply.is_empty() {
            self.log_turn();
            self.apply_turn().expect("entries are applied");
        }
    }

    /// Proposes an operation; its result comes with the waiter's slot.
    pub(crate) fn propose(&mut self, op: Op) -> u32 {
        self.next_request += 1;
        let request = InternalRaftRequest {
            header: Some(RequestHeader {
                id: self.next_request,
                ..RequestHeader::default()
            }),
            op: Some(op),
            ..InternalRaftRequest::default()
        };
        let slot = self.next_request as u32;
        let waiter = Waiter {
            runtime: 0,
            slot,
            generation: 0,
            deadline_ms: u64::MAX,
        };
        let data = request.encode_to_vec().into();
        self.host.node.propose(vec![data]).expect("it leads");
        let run = vec![(self.next_request, waiter)];
        self.host.apply.push_back(Command::Register(run));
        self.host.hand_on();
        slot
    }

    /// Puts an operation through log and machine.
    pub(crate) fn run(&mut self, op: Op) -> Result<Outcome, Status> {
        let slot = self.propose(op);
        self.settle();
        self.answer(slot).expect("it was applied")
    }

    /// The answer to whoever waits at `slot`, if there is one.
    pub(crate) fn answer(&mut self, slot: u32) -> Option<Result<Outcome, Status>> {
        let answers = &mut self.effects.answers;
        let at = answers.iter().position(|(waiter, _)| waiter.slot == slot)?;
        Some(answers.swap_remove(at).1)
    }

    /// Has the machine apply an entry that no log brought.
    pub(crate) fn apply_raw(&mut self, data: &[u8]) -> Result<(), Fatal> {
        let entry = Entry {
            r#type: EntryType::EntryNormal as i32,
            term: 2,
            index: self.machine.applied() + 1,
            data: Some(Bytes::copy_from_slice(data)),
        };
        self.host.apply.push_back(Command::Committed(vec![entry]));
        self.apply_turn()
    }

    pub(crate) fn get(&self, key: &str) -> Option<Bytes> {
        let request = RangeRequest {
            key: Bytes::copy_from_slice(key.as_bytes()),
            ..RangeRequest::default()
        };
        let answer = self
            .state
            .store
            .load()
            .range(&request, self.state.line())
            .expect("a range");
        let kvs = answer.into_response().kvs;
        kvs.into_iter().next().map(|kv| kv.value)
    }

    pub(crate) fn snap_dir(&self) -> PathBuf {
        self.dir.path().join("snap")
    }

    /// The state as of now, as it is sent to another member: the snapshot, and its database.
    pub(crate) fn image(&self) -> (Snapshot, bolt::ReadTx) {
        let store = self.state.store.load_full();
        let members = self.machine.members_to_send();
        let view = store.backend().snapshot().expect("a view");
        let snapshot = members.with(&self.machine, &view).expect("readable");
        (snapshot.expect("nothing changed meanwhile"), view)
    }
}

pub(crate) fn put(key: &str, value: &str) -> Op {
    Op::Put(PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        ..PutRequest::default()
    })
}
