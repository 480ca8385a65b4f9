//! A model of a cluster, its files, images and manifests, with faults: it stands
//! behind [`Cluster`] and [`Driver`], so that the product's own engine decides. It
//! knows etcd's rules on versions and quorums, and notes what the tool did wrong.
//! The future of a command is dropped where it is killed.

mod boundaries;
mod lines;
mod seeds;
mod settling;
mod silence;
mod stock;
mod turns;
mod world;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    path::{Path, PathBuf},
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use membership::cluster::{ClusterId, Downgrade, Member, MemberId};
use proto::pintlepb::{Finding, ShowResponse};
use semver::Version;
use world::World;

use super::{
    Driver, Engine, Journal, Stop, Way,
    begin::Allow,
    cluster::{Answer, Ask, CallError, Cluster, Lock, is_of},
    driver::{Launch, Managed, Process},
};
use crate::{
    facts::{Database, Facts, Hash, Live},
    failure::{Failure, Outcome},
    steps::Step,
    target::Target,
};

/// The id of the modelled cluster.
const CLUSTER: ClusterId = ClusterId(7);
/// What a member may take to stop, and to be looked at.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where a member is asked: its name is never taken for that, nor the other way round.
fn endpoint_of(member: &str) -> String {
    format!("http://{member}:2379")
}

/// The name of the member at an endpoint.
fn name_at(endpoint: &str) -> &str {
    let inner = endpoint.strip_prefix("http://");
    let name = inner.and_then(|inner| inner.strip_suffix(":2379"));
    name.expect("an endpoint of the model")
}

/// The world, as the engine has it in hand twice: as a cluster and as a driver.
#[derive(Clone)]
struct Handle(Rc<RefCell<World>>);

/// Runs a command; `None` where it was killed.
fn drive<T>(command: impl Future<Output = T>) -> Option<T> {
    let mut command = pin!(command);
    match command
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(done) => Some(done),
        // Nothing here waits but for its end.
        Poll::Pending => None,
    }
}

impl Handle {
    /// Where a command may be killed, and where faults happen.
    async fn point(&self) {
        let killed = self.0.borrow_mut().point();
        if killed {
            std::future::pending::<()>().await;
        }
    }

    fn asked(&self, endpoint: &str) -> Answer<Facts> {
        let member = name_at(endpoint);
        let mut world = self.0.borrow_mut();
        world.settle();
        match world.ask(member) {
            Answer::Told(()) => Answer::Told(world.facts(member)),
            Answer::Silent(why) => Answer::Silent(why),
            Answer::Refused(why) => Answer::Refused(why),
        }
    }

    /// A request that takes a quorum.
    async fn served(&self, endpoint: &str) -> Result<(), CallError> {
        self.read(endpoint).await.told().map(drop)
    }
}

impl Cluster for Handle {
    async fn answers(&self, endpoint: &str) -> Answer<Facts> {
        self.point().await;
        self.asked(endpoint)
    }

    async fn everything(&self, endpoint: &str) -> Answer<Facts> {
        self.point().await;
        let mut answer = self.asked(endpoint);
        if let Answer::Told(facts) = &mut answer {
            facts.database = Some(self.0.borrow().database(name_at(endpoint)));
        }
        answer
    }

    async fn listens(&self, endpoint: &str) -> bool {
        self.point().await;
        self.0.borrow().listens(name_at(endpoint))
    }

    fn files(&self, directory: &Path) -> Option<Facts> {
        self.0.borrow().files(directory)
    }

    fn process_in(&self, directory: &Path) -> Process {
        self.0
            .borrow()
            .process(directory.to_str().unwrap_or_default())
    }

    async fn moments(&self, _members: &mut [Facts]) {
        self.point().await;
    }

    async fn cluster_version(&self, endpoint: &str) -> Option<Version> {
        self.point().await;
        let world = self.0.borrow();
        world.reaches(name_at(endpoint)).then(|| world.version())
    }

    async fn is_pintle(&self, endpoint: &str) -> Option<bool> {
        self.point().await;
        let world = self.0.borrow();
        let member = name_at(endpoint);
        world.reaches(member).then(|| world.runs_pintle(member))
    }

    async fn started_at(&self, endpoint: &str) -> Option<String> {
        self.point().await;
        let member = name_at(endpoint);
        let mut world = self.0.borrow_mut();
        if let Some(at) = world.falls_when_measured.take() {
            world.crash(at, true);
        }
        world.reaches(member).then(|| world.started_at(member))
    }

    async fn read(&self, endpoint: &str) -> Answer<Duration> {
        self.point().await;
        let world = self.0.borrow();
        match world.reaches(name_at(endpoint)) && world.has_quorum() {
            true => Answer::Told(Duration::from_millis(1)),
            false => Answer::Silent("etcdserver: request timed out".into()),
        }
    }

    async fn make_entries(&self, endpoint: &str, _count: usize) -> Result<(), CallError> {
        self.served(endpoint).await
    }

    async fn hash(&self, endpoint: &str, revision: i64) -> Result<Hash, CallError> {
        self.served(endpoint).await?;
        Ok(Hash {
            revision,
            hash: 1,
            compacted: 1,
        })
    }

    async fn move_leader(&self, endpoint: &str, to: u64) -> Result<(), CallError> {
        self.served(endpoint).await?;
        self.0.borrow_mut().lead(to).map_err(CallError::Failed)
    }

    async fn announce(&self, endpoint: &str, _member: &Member) -> Result<(), CallError> {
        self.served(endpoint).await?;
        let mut world = self.0.borrow_mut();
        if world.failing_changes > 0 {
            world.failing_changes -= 1;
            return Err(CallError::Failed("etcdserver: leader changed".into()));
        }
        world.stale.clear();
        Ok(())
    }

    async fn downgrade(&self, endpoint: &str, ask: Ask, version: &str) -> Result<(), CallError> {
        self.served(endpoint).await?;
        let to = Version::parse(version).map_err(|e| CallError::Failed(e.to_string()))?;
        self.0
            .borrow_mut()
            .go_down(ask, to.minor)
            .map_err(CallError::Failed)
    }

    async fn lines(&self, endpoint: &str, target: &str) -> Result<ShowResponse, CallError> {
        self.served(endpoint).await?;
        let mut world = self.0.borrow_mut();
        world.settle();
        world.lines(name_at(endpoint), target)
    }

    async fn set_line(&self, endpoint: &str, target: &str) -> Result<Vec<Finding>, CallError> {
        self.served(endpoint).await?;
        let mut world = self.0.borrow_mut();
        world.set_line(name_at(endpoint), target)
    }

    async fn lock(
        &self,
        endpoint: &str,
        value: &str,
        run: &str,
        seconds: u64,
    ) -> Result<Lock, CallError> {
        self.served(endpoint).await?;
        let mut world = self.0.borrow_mut();
        if !world.alarms.is_empty() {
            return Err(CallError::Failed(
                "etcdserver: mvcc: database space exceeded".into(),
            ));
        }
        let now = world.now;
        let held = world.lock.clone().filter(|(_, ends)| *ends > now);
        if let Some((holder, _)) = &held
            && !is_of(holder, run)
        {
            return Ok(Lock::Of(holder.clone()));
        }
        world.lock = Some((value.to_owned(), now + Duration::from_secs(seconds)));
        let was_held = held.is_some();
        Ok(Lock::Ours { was_held })
    }

    async fn unlock(&self, endpoint: &str, run: &str) -> Result<(), CallError> {
        self.served(endpoint).await?;
        let mut world = self.0.borrow_mut();
        world.lock.take_if(|(holder, _)| is_of(holder, run));
        Ok(())
    }

    fn now(&self) -> Duration {
        self.0.borrow().now
    }

    async fn sleep(&self, time: Duration) {
        self.point().await;
        let mut world = self.0.borrow_mut();
        world.now += time;
        world.settle();
    }

    async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        let latest = self.now() + limit;
        let outcome = work.await;
        let mut world = self.0.borrow_mut();
        let is_in_time = world.now <= latest;
        world.now = world.now.min(latest);
        is_in_time.then_some(outcome)
    }
}

impl Driver for Handle {
    fn members(&self) -> Vec<Managed> {
        let world = self.0.borrow();
        let named = world.members.iter().filter(|m| m.in_file);
        named
            .map(|member| Managed {
                data_dir: world.reads_files.then(|| PathBuf::from(&member.name)),
                ..Managed::at(&member.name, &endpoint_of(&member.name))
            })
            .collect()
    }

    fn available(&self) -> Vec<Version> {
        self.0.borrow().path.clone()
    }

    fn manages(&self, member: &str) -> bool {
        !self.0.borrow().elsewhere.contains(member)
    }

    fn edits_flags(&self) -> bool {
        true
    }

    fn directory(&self, member: &str) -> Option<PathBuf> {
        let reads = self.0.borrow().reads_files;
        reads.then(|| PathBuf::from(member))
    }

    fn ready_for(&self, _member: &str, launch: &Launch) -> Outcome<()> {
        let mut world = self.0.borrow_mut();
        world.looked_at_binaries();
        match launch.pintle || world.binaries.contains(&launch.version) {
            true => Ok(()),
            false => Err(Failure::new(format!("no binary for {}", launch.version))),
        }
    }

    fn is_in_place(&self, member: &str, launch: &Launch) -> bool {
        let mut world = self.0.borrow_mut();
        let present = world.find(member).manifest.present.as_ref();
        present.is_some_and(|present| world::is_same_program(present, launch))
    }

    fn replaces(&self, member: &str, launch: &Launch) -> bool {
        let mut world = self.0.borrow_mut();
        let present = world.find(member).manifest.present.as_ref();
        present.is_some_and(|present| !world::is_same_text(present, launch))
    }

    fn prepare(&mut self, member: &str, launch: &Launch) -> Outcome<()> {
        let mut world = self.0.borrow_mut();
        let is_full = world.disk_full;
        let manifest = &mut world.find(member).manifest;
        if manifest.staged.as_ref() == Some(launch) {
            return Ok(());
        }
        if is_full {
            return Err(Failure::new("No space left on device"));
        }
        manifest.staged = Some(launch.clone());
        Ok(())
    }

    async fn stop(&mut self, member: &str) -> Outcome<()> {
        self.point().await;
        if self.0.borrow().commands_do_nothing {
            return Ok(());
        }
        self.0.borrow_mut().take_out(member);
        self.point().await;
        let deadline = self.now() + PATIENCE;
        loop {
            if !self.0.borrow_mut().runs_at_all(member) {
                return Ok(());
            }
            if self.now() >= deadline {
                return Err(Failure::new("it still listens; is the kubelet running?"));
            }
            self.sleep(Duration::from_secs(1)).await;
        }
    }

    async fn start(&mut self, member: &str, launch: &Launch) -> Outcome<()> {
        self.point().await;
        if self.0.borrow().commands_do_nothing {
            return Ok(());
        }
        self.0.borrow_mut().put(member, launch)?;
        self.point().await;
        Ok(())
    }

    fn restore(&mut self, member: &str) -> Outcome<bool> {
        Ok(self.0.borrow_mut().put_back(member))
    }
}

/// How a command came out.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Came {
    /// To its end: "done", or "taken back".
    Done,
    /// There was nothing to do.
    Nothing,
    /// It stopped or did not begin; in its own words.
    Refused(String),
    /// It was killed.
    Killed,
}

fn came(outcome: Option<Result<bool, Stop>>) -> Came {
    match outcome {
        None => Came::Killed,
        Some(Ok(true)) => Came::Done,
        Some(Ok(false)) => Came::Nothing,
        Some(Err(Stop::Failed(failure))) => Came::Refused(failure.0),
        Some(Err(Stop::Others(text))) => Came::Refused(text),
        Some(Err(Stop::Cut(in_hand))) => Came::Refused(in_hand.to_string()),
        Some(Err(Stop::Asked { signal, .. })) => Came::Refused(signal.to_owned()),
        Some(Err(Stop::Deviated { step, why, state })) => {
            Came::Refused(format!("{step}: {why}; {state}"))
        }
    }
}

/// A cluster with a folder for the journal.
struct Model {
    world: Handle,
    state: tempfile::TempDir,
    /// What each member ran before, by the journal of the last rollback.
    before: RefCell<BTreeMap<String, (Version, bool)>>,
    /// The last words of the last rollback that was done.
    words: Cell<&'static str>,
}

impl Model {
    fn new(world: World) -> Model {
        // In memory, where there is such a place: a journal is synced at every line.
        let shm = Path::new("/dev/shm");
        let state = match shm.is_dir() {
            true => tempfile::tempdir_in(shm),
            false => tempfile::tempdir(),
        };
        Model {
            world: Handle(Rc::new(RefCell::new(world))),
            state: state.expect("a folder"),
            before: RefCell::default(),
            words: Cell::default(),
        }
    }

    fn world(&self) -> std::cell::RefMut<'_, World> {
        self.world.0.borrow_mut()
    }

    fn engine<'a>(
        &self,
        driver: &'a mut Handle,
        cluster: &'a Handle,
        journal: Journal,
    ) -> Engine<'a, Handle, Handle> {
        Engine {
            driver,
            cluster,
            journal,
            patience: PATIENCE,
            others: PATIENCE,
            only_here: false,
            baseline: None,
            awaited: RefCell::default(),
            is_turn_new: Cell::default(),
            goes_on: Cell::default(),
            say: &|_| {},
        }
    }

    /// `pintle upgrade run`.
    fn run(&self) -> Came {
        let (mut driver, cluster) = (self.world.clone(), self.world.clone());
        let target = Target::parse(&self.world().target).expect("a target");
        came(drive(async {
            let journal = Journal::open(self.state.path())?;
            let mut engine = self.engine(&mut driver, &cluster, journal);
            engine.is_let_in().await?;
            engine.first_turn().await?;
            let steps = engine.begin(&target, Allow::default(), true).await;
            if !steps.as_ref().is_ok_and(|steps| !steps.is_empty()) {
                engine.leave().await;
                return Ok(!steps?.is_empty());
            }
            engine.run().await?;
            engine.journal.retire()?;
            Ok(true)
        }))
    }

    /// `pintle upgrade rollback`, without `--to`.
    fn roll_back(&self) -> Came {
        let (mut driver, cluster) = (self.world.clone(), self.world.clone());
        came(drive(async {
            let journal = Journal::reopen(self.state.path())?;
            let mut engine = self.engine(&mut driver, &cluster, journal);
            let Some(steps) = engine.journal.plan().map(|(steps, _)| steps.to_vec()) else {
                return Err(Failure::new("there is no journal").into());
            };
            let begun = (0..steps.len()).any(|at| engine.journal.has_begun(at));
            if engine.journal.is_finished() && !begun {
                return Ok(false);
            }
            *self.before.borrow_mut() = before(&cluster.members(), &steps);
            engine.is_let_in().await?;
            engine.may_go_back(&steps).await?;
            engine.journal.take_up()?;
            engine.rollback().await?;
            self.words.set(engine.close()?);
            Ok(true)
        }))
    }

    /// `pintle upgrade rollback --to`.
    fn roll_back_to(&self, release: &Version) -> Came {
        let (mut driver, cluster) = (self.world.clone(), self.world.clone());
        let target = Target::parse(&release.to_string()).expect("a target");
        came(drive(async {
            let journal = Journal::open(self.state.path())?;
            let mut engine = self.engine(&mut driver, &cluster, journal);
            engine.is_let_in().await?;
            if engine.journal.plan().is_none() {
                engine.first_turn().await?;
                match engine.find(&target).await? {
                    Way::Nothing => return Ok(false),
                    Way::Otherwise { found, .. } => return Err(Failure::new(found).into()),
                    Way::Steps { steps, cluster, .. } => engine.adopt(steps, cluster)?,
                }
            }
            engine.rollback().await?;
            self.words.set(engine.close()?);
            Ok(true)
        }))
    }

    /// `pintle upgrade repair --yes`, of running members.
    fn repair(&self) -> Came {
        let cluster = self.world.clone();
        let members = cluster.members().into_iter();
        let endpoints: Vec<String> = members.map(|m| m.endpoint).collect();
        came(drive(async {
            let plan = crate::repair::online::plan(&cluster, &endpoints).await?;
            let is_needed = !plan.wrong.is_empty();
            if is_needed {
                crate::repair::online::carry_out(&cluster, &endpoints).await?;
            }
            Ok(is_needed)
        }))
    }

    /// What went wrong, and everything that happened before.
    fn with_history(&self, why: &str) -> String {
        format!("{why}\n{}", self.world().history.join("\n"))
    }

    /// What the journal has begun, as steps.
    fn begun(&self) -> Vec<Step> {
        let Ok(journal) = Journal::open(self.state.path()) else {
            return Vec::new();
        };
        let steps = journal
            .plan()
            .map_or(Vec::new(), |(steps, _)| steps.to_vec());
        let begun = steps.into_iter().enumerate();
        begun
            .filter(|(at, _)| journal.has_begun(*at) && !journal.is_done(*at))
            .map(|(_, step)| step)
            .collect()
    }
}

/// What each of `members` ran before the steps, and whether that was Pintle.
fn before(members: &[Managed], steps: &[Step]) -> BTreeMap<String, (Version, bool)> {
    let known = members.iter().filter_map(|member| {
        let first = steps.iter().find_map(|step| step.before(&member.name));
        first.map(|(version, pintle)| (member.name.clone(), (version.clone(), pintle)))
    });
    known.collect()
}
