//! Clusters that are upgraded by `pintle upgrade run`: the run itself, killed in
//! every step, and writers beside it whose acknowledged keys must all be there at
//! the end.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Child, Command},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use peers::{
    api::{self, Api},
    peer::{self, Program},
};
use proto::etcdserverpb::*;
use tokio::task::JoinHandle;

/// A whole run, however often it is killed and however slow the machine is.
const RUN_WITHIN: Duration = Duration::from_secs(900);

/// What a cluster has not done by then, under any load, it will not do.
const DONE_WITHIN: Duration = Duration::from_secs(120);

/// Repeats until there is no error.
///
/// # Errors
/// The last one.
pub async fn until<T>(attempt: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    peers::cluster::until("a cluster", DONE_WITHIN, attempt).await
}

/// Adds a learner with this peer URL, however often the answer is lost, and returns its id.
///
/// # Errors
/// The cluster does not take it.
pub async fn add_learner(api: &Api, peer_url: &str) -> Result<u64> {
    until(async || {
        let list = MemberListRequest { linearizable: true };
        let members = api.member_list(list).await?.members;
        let has_url = |m: &&Member| m.peer_ur_ls.iter().any(|url| url == peer_url);
        if let Some(member) = members.iter().find(has_url) {
            return Ok(member.id);
        }
        let request = MemberAddRequest {
            peer_ur_ls: vec![peer_url.to_owned()],
            is_learner: true,
        };
        let added = api.member_add(request).await?.member;
        Ok(added.map_or(0, |member| member.id))
    })
    .await
}

/// Promotes a learner, however often the answer is lost.
///
/// # Errors
/// It does not catch up.
pub async fn promote(api: &Api, id: u64) -> Result<()> {
    until(async || {
        let list = MemberListRequest { linearizable: true };
        let members = api.member_list(list).await?.members;
        if members.iter().any(|m| m.id == id && m.is_learner) {
            api.member_promote(MemberPromoteRequest { id }).await?;
        }
        Ok(())
    })
    .await
}

/// How many steps a journal says to have begun.
pub fn begun(journal: &Path) -> usize {
    let text = fs::read_to_string(journal).unwrap_or_default();
    text.lines().filter(|l| l.contains("\"begin\"")).count()
}

/// Runs to the end; with `kill` each step is killed once, a moment after it began.
///
/// # Errors
/// It deviated, or was not finished in time.
pub fn run(command: impl Fn() -> Command, dir: &Path, kill: bool) -> Result<usize> {
    let (said_to, journal) = (dir.join("run.log"), dir.join("state/journal.jsonl"));
    let deadline = Instant::now() + RUN_WITHIN;
    let mut kills = 0;
    let mut steps: BTreeMap<usize, ()> = BTreeMap::new();
    'again: loop {
        let log = fs::File::create(&said_to)?;
        let mut child: Child = command().stdout(log.try_clone()?).stderr(log).spawn()?;
        loop {
            if let Some(status) = child.try_wait()? {
                let said = fs::read_to_string(&said_to)?;
                ensure!(status.success(), "{status}\n{said}");
                return Ok(kills);
            }
            ensure!(Instant::now() < deadline, "not finished in {RUN_WITHIN:?}");
            let step = last_begun(&journal);
            if kill
                && let Some(step) = step
                && steps.insert(step, ()).is_none()
            {
                // In the middle of it, at another moment each time.
                std::thread::sleep(Duration::from_millis((step as u64 * 137) % 900));
                if child.try_wait()?.is_none() {
                    child.kill()?;
                    child.wait()?;
                    kills += 1;
                    continue 'again;
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The step that the journal's last `begin` names.
fn last_begun(journal: &Path) -> Option<usize> {
    let text = fs::read_to_string(journal).ok()?;
    let line = text.lines().rfind(|l| l.contains("\"begin\""))?;
    let event: serde_json::Value = serde_json::from_str(line).ok()?;
    usize::try_from(event["at"].as_u64()?).ok()
}

/// Writes as the API server does, one key after the other, anywhere.
async fn write(
    apis: Vec<Api>,
    number: usize,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<String>>>,
) {
    let mut at = number;
    for turn in 0u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let key = format!("/registry/{number}/{turn}");
        let txn = TxnRequest {
            compare: vec![Compare {
                key: key.clone().into(),
                target: compare::CompareTarget::Mod.into(),
                result: compare::CompareResult::Equal.into(),
                target_union: Some(compare::TargetUnion::ModRevision(0)),
                ..Default::default()
            }],
            success: vec![api::op_put(api::put(key.clone(), "v".repeat(300)))],
            failure: vec![api::op_range(api::get(key.clone()))],
        };
        match tokio::time::timeout(Duration::from_secs(8), apis[at % apis.len()].txn(txn)).await {
            Ok(Ok(answer)) if answer.succeeded => {
                acknowledged.lock().expect("no panic").push(key);
            }
            Ok(Ok(_)) => {}
            _ => at += 1,
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Writers at all members.
pub struct Writers {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<String>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Writers {
    /// Starts four of them.
    pub fn start(members: &[Api]) -> Writers {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let tasks = (0..4)
            .map(|n| {
                let apis = members.to_vec();
                tokio::spawn(write(apis, n, stop.clone(), acknowledged.clone()))
            })
            .collect();
        Writers {
            stop,
            acknowledged,
            tasks,
        }
    }

    /// Ends them and looks for every acknowledged key on every member. Gives their number.
    ///
    /// # Errors
    /// One is lost, or a member does not run `version`.
    pub async fn end(self, members: &[Api], version: &str) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await?;
        }
        let acknowledged = std::mem::take(&mut *self.acknowledged.lock().expect("no panic"));
        for (n, api) in members.iter().enumerate() {
            let all = until(async || {
                let status = api.status(StatusRequest {}).await?;
                ensure!(status.version == version, "m{n} runs {}", status.version);
                Ok(api.everything(0).await?)
            })
            .await?;
            let keys: std::collections::BTreeSet<_> =
                all.kvs.iter().map(|kv| kv.key.to_vec()).collect();
            let lost = acknowledged.iter().filter(|k| !keys.contains(k.as_bytes()));
            let lost: Vec<_> = lost.collect();
            ensure!(lost.is_empty(), "m{n} lost {lost:?}");
        }
        Ok(acknowledged.len())
    }
}

/// The Pintle under test.
pub fn subject() -> Option<Program> {
    let subject = peer::subject().filter(|p| p.is_pintle);
    if subject.is_none() {
        peer::say("SKIP: upgrade run: no pintle binary, set PINTLE_BIN");
    }
    subject
}

thread_local! {
    static LOGS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Keeps the end of what a member of this test logged, for the message of its failure.
pub fn remember_log(path: &Path) {
    /// More than a start and an election write.
    const LINES: usize = 60;
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let end = lines[lines.len().saturating_sub(LINES)..].join("\n");
    LOGS.with_borrow_mut(|logs| logs.push(format!("---- the end of {}\n{end}", path.display())));
}

/// Runs a test's work to its end.
///
/// # Panics
/// It failed; then the logs of its members are printed.
pub fn block_on(work: impl Future<Output = Result<()>>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a tokio runtime");
    if let Err(error) = runtime.block_on(work) {
        LOGS.with_borrow(|logs| logs.iter().for_each(|log| println!("{log}")));
        panic!("{error:#}");
    }
}
