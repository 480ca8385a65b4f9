//! Performs a script on real processes. Before a release is started on a
//! directory that another one wrote, the directory is copied, so that every
//! recorded outcome has the bytes it came from. It must never start anything
//! on such a copy, and it ends every process it started.

pub mod planned;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use peers::{
    api::Api,
    cluster::{Cluster, Plan, Role, until},
    dirs, http,
    peer::{self, Program},
};
use proto::etcdserverpb::{
    DowngradeRequest, MemberAddRequest, MemberListRequest, MemberRemoveRequest,
    MemberUpdateRequest, PutRequest, StatusRequest, downgrade_request::DowngradeAction,
};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::{
    bucket,
    case::Case,
    reality::{self, Ends, Reality},
    rows::Row,
    script::{Op, PINTLE, Who, line_of},
    tool::Tool,
};

/// Releases that only these rows ask for, besides the harness's own list: built
/// as Go modules by `.ci/peers.sh 3.5.21 3.6.0 3.6.4`.
pub const EXTRA: [&str; 3] = ["3.5.21", "3.6.0", "3.6.4"];

/// Until then a start has served, ended, or is stuck.
const SERVES_WITHIN: Duration = Duration::from_secs(25);
/// Until then a cluster has a leader and takes a write, or has lost its quorum.
const WRITES_WITHIN: Duration = Duration::from_secs(12);
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// One recorded step.
#[derive(Debug)]
pub struct Outcome {
    /// The step in words.
    pub step: String,
    /// What the row says that it ends in.
    pub expected: Ends,
    /// What happened.
    pub real: Reality,
    /// What is wrong in the databases before it, each distinct state once.
    pub before: String,
    /// What else happened: other members that ended by themselves, a cluster
    /// version that did not move.
    pub meanwhile: Vec<String>,
    /// After a failed start: whether the old release went on with the same
    /// directory, or why not.
    pub rolled_back: Option<Result<String, String>>,
}

/// A row that ran.
#[derive(Debug)]
pub struct Record {
    /// Its id.
    pub id: &'static str,
    /// What happened at each recorded step.
    pub outcomes: Vec<Outcome>,
    /// The directories from before each start.
    pub cases: Vec<Case>,
    /// How long it took.
    pub seconds: u64,
    _kept: TempDir,
}

impl Record {
    /// The outcomes that are not what the row says.
    pub fn differences(&self) -> Vec<String> {
        let wrong = self.outcomes.iter().filter(|o| !o.expected.is(&o.real));
        wrong
            .map(|o| {
                format!(
                    "{}: {}: {:?}, really: {}",
                    self.id, o.step, o.expected, o.real
                )
            })
            .collect()
    }
}

/// The program a version word stands for.
pub fn program(version: &str) -> Option<Program> {
    if let Some(line) = line_of(version) {
        // By itself it would follow the cluster.
        let mut pintle = peer::subject().filter(|p| p.is_pintle)?;
        pintle.words.push(format!("--line={line}"));
        return Some(pintle);
    }
    peer::etcd(version)
}

/// The releases of a row that this machine does not have, with the way to get them.
pub fn missing(row: &Row) -> Vec<String> {
    let versions: BTreeSet<_> = row.script.iter().filter_map(Op::version).collect();
    let absent = versions.into_iter().filter(|v| program(v).is_none());
    absent
        .map(|v| match v {
            v if line_of(v).is_some() => "no pintle binary: set PINTLE_BIN".to_owned(),
            v if EXTRA.contains(&v) => format!("etcd {v} not installed: `.ci/peers.sh {v}`"),
            v => format!("etcd {v} not installed: `.ci/peers.sh`"),
        })
        .collect()
}

/// No row takes longer, even on a loaded machine.
const ROW_WITHIN: Duration = Duration::from_secs(240);

/// Performs a row on a runtime of its own, within a limit.
pub fn run_alone(row: &Row) -> Result<Record> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    peers::server::forget_logs();
    let work = async { tokio::time::timeout(ROW_WITHIN, run(row)).await };
    runtime
        .block_on(work)
        .unwrap_or_else(|_| Err(anyhow::anyhow!("not finished after {ROW_WITHIN:?}")))
}

/// Performs a row.
pub async fn run(row: &Row) -> Result<Record> {
    let started = Instant::now();
    let mut bench = Bench::new(row)?;
    for (step, op) in row.script.iter().enumerate() {
        let goes_on = bench
            .perform(step, op)
            .await
            .with_context(|| format!("{}, step {step} ({})", row.id, op.words()))?;
        if !goes_on {
            break;
        }
    }
    drop(bench.cluster);
    Ok(Record {
        id: row.id,
        outcomes: bench.outcomes,
        cases: bench.cases,
        seconds: started.elapsed().as_secs(),
        _kept: bench.kept,
    })
}

/// Makes the directories of a row as they are before its first recorded step,
/// all members stopped. One case per member, its own directory first. They
/// live as long as the returned guard.
pub async fn make(row: &Row) -> Result<(TempDir, Vec<Case>)> {
    let mut bench = Bench::new(row)?;
    let mut target = String::new();
    for (step, op) in row.script.iter().enumerate() {
        if op.ends().is_some() {
            target = op.version().unwrap_or_default().to_owned();
            break;
        }
        bench.perform(step, op).await.with_context(|| op.words())?;
    }
    bench.cluster()?.end().await?;
    let mut copies = Vec::new();
    for place in bench.alive() {
        copies.push(bench.copy("made", place)?);
    }
    let mut cases = Vec::new();
    for (nth, place) in bench.alive().into_iter().enumerate() {
        let mut dirs = copies.clone();
        dirs.swap(0, nth);
        let member = &bench.cluster()?.members()[place];
        cases.push(Case {
            id: format!("{}/{}", row.id, member.name),
            source: word(&member.program),
            target: target.clone(),
            sick: bucket::judge(&dirs[0], &bench.truth()?)?,
            truth: bench.truth()?,
            dirs,
            real: None,
        });
    }
    Ok((bench.kept, cases))
}

fn word(program: &Program) -> String {
    match program.is_pintle {
        true => PINTLE.to_owned(),
        false => program.version.clone(),
    }
}

struct Bench {
    row: &'static str,
    cluster: Option<Cluster>,
    gone: BTreeSet<usize>,
    kept: TempDir,
    written: u32,
    cases: Vec<Case>,
    outcomes: Vec<Outcome>,
}

impl Bench {
    fn new(row: &Row) -> Result<Bench> {
        let kept = tempfile::Builder::new()
            .prefix("pintle-upgrades")
            .tempdir()?;
        Ok(Bench {
            row: row.id,
            cluster: None,
            gone: BTreeSet::new(),
            kept,
            written: 0,
            cases: Vec::new(),
            outcomes: Vec::new(),
        })
    }

    fn cluster(&mut self) -> Result<&mut Cluster> {
        self.cluster.as_mut().context("no cluster yet")
    }

    /// The places of members that were not removed.
    fn alive(&self) -> Vec<usize> {
        let places = self.cluster.as_ref().map_or(0..0, Cluster::places);
        places.filter(|p| !self.gone.contains(p)).collect()
    }

    fn truth(&self) -> Result<BTreeMap<u64, bool>> {
        let cluster = self.cluster.as_ref().context("no cluster yet")?;
        let alive = self.alive();
        let members = alive.iter().map(|p| &cluster.members()[*p]);
        Ok(members.map(|m| (m.id, m.is_learner)).collect())
    }

    /// A running member that was not removed.
    fn via(&self) -> Result<usize> {
        let cluster = self.cluster.as_ref().context("no cluster yet")?;
        let alive = self.alive();
        let up = alive.iter().find(|p| cluster.members()[**p].is_up());
        up.copied().context("no member runs")
    }

    fn api(&self) -> Result<Api> {
        let via = self.via()?;
        let cluster = self.cluster.as_ref().context("no cluster yet")?;
        Ok(cluster.api(via).clone())
    }

    /// Performs one step; whether the next one makes sense.
    async fn perform(&mut self, step: usize, op: &Op) -> Result<bool> {
        match *op {
            Op::Start(size, version) => {
                let programs = vec![need(version)?; size];
                self.cluster = Some(Plan::of(&programs).unverified().start().await?);
            }
            Op::Learners(size, version) => self.grow(size, version, Role::Learner, true).await?,
            Op::Voters(size, version) => self.grow(size, version, Role::Voter, false).await?,
            Op::Learner(version) => {
                let size = self.alive().len() + 1;
                self.grow(size, version, Role::Learner, false).await?;
            }
            Op::Keys(count) => self.write(count).await?,
            Op::Restart(flags) => {
                for place in self.alive() {
                    let program = self.cluster()?.member(place).program.clone();
                    self.restart(place, &program, flags).await?;
                }
                self.cluster()?.settled().await?;
            }
            Op::Roll(count, version) => {
                let program = need(version)?;
                for place in self.alive().into_iter().take(count) {
                    self.restart(place, &program, &[]).await?;
                }
                self.cluster()?.settled().await?;
            }
            Op::Replace(version) => self.replace(version).await?,
            Op::Replaced(version, expected) => {
                let real = match self.replace(version).await {
                    Ok(()) => self.listed(self.via()?).await?,
                    Err(error) => self.newcomer_failed(&error).await?,
                };
                let words = op.words().replace("**", "");
                self.record(words, expected, real, String::new(), None);
                // A newcomer that lists nonsense has no good history after it.
                return Ok(false);
            }
            Op::Restore(version) => self.restore(version).await?,
            Op::V2Put => self.v2("PUT", "/v2/keys/foo?value=bar", "").await?,
            Op::V2Delete => self.v2("DELETE", "/v2/keys/foo", "").await?,
            Op::V2User => {
                let user = r#"{"user":"u","password":"p"}"#;
                self.v2("PUT", "/v2/auth/users/u", user).await?;
                self.v2("DELETE", "/v2/auth/users/u", "").await?;
            }
            Op::PlantZombies(count) => {
                self.edit(|dir, _| bucket::plant_zombies(dir, count))
                    .await?;
            }
            Op::PlantLearners => {
                self.edit(bucket::plant_learners).await?;
            }
            Op::Repair(flags) => self.repair(flags).await?,
            Op::RemoveZombies(expected) => return self.remove_zombies(expected).await,
            Op::Downgrade(to) => self.downgrade(to).await?,
            Op::CancelDowngrade => {
                let request = DowngradeRequest {
                    action: DowngradeAction::Cancel as i32,
                    ..DowngradeRequest::default()
                };
                // The last one has not gone down yet: 3.5 carries this out and never answers.
                let last = self.alive().last().copied().context("no member runs")?;
                self.cluster()?.api(last).downgrade(request).await?;
            }
            Op::UpdateLearner => {
                let alive = self.alive();
                let cluster = self.cluster()?;
                let learner = alive
                    .iter()
                    .map(|p| &cluster.members()[*p])
                    .find(|m| m.is_learner)
                    .context("no learner")?;
                let request = MemberUpdateRequest {
                    id: learner.id,
                    peer_ur_ls: vec![learner.peer_url.clone()],
                };
                self.api()?.member_update(request).await?;
            }
            Op::AddWhileOneIsDown(expected) => self.add_while_one_is_down(expected).await?,
            Op::Upgrade(version, who, flags, expected) => {
                return self.upgrade(step, version, who, flags, expected).await;
            }
            Op::Refused(version, expected) => {
                return self.refused(step, version, expected).await;
            }
            Op::LoseOne(expected) => {
                let last = *self.alive().last().context("no member")?;
                self.cluster()?.stop(last).await?;
                let via = self.via()?;
                let real = match self.takes_a_write(via, WRITES_WITHIN).await {
                    Ok(()) => Reality::Boots {
                        healed: Vec::new(),
                        zombies: Vec::new(),
                        learners_shown: Vec::new(),
                    },
                    Err(error) => Reality::Stuck {
                        text: format!("{error:#}").chars().take(200).collect(),
                    },
                };
                self.record(op.words(), expected, real, String::new(), None);
            }
        }
        Ok(true)
    }

    async fn grow(&mut self, size: usize, version: &str, role: Role, promote: bool) -> Result<()> {
        let program = need(version)?;
        while self.alive().len() < size {
            let via = self.via()?;
            let place = self.cluster()?.add(&program, role, via).await?;
            if promote {
                self.cluster()?.promote(place, via).await?;
            }
        }
        self.cluster()?.settled().await
    }

    async fn write(&mut self, count: u32) -> Result<()> {
        let api = self.api()?;
        for _ in 0..count {
            self.written += 1;
            let put = PutRequest {
                key: format!("key{:06}", self.written).into(),
                value: "x".repeat(100).into(),
                ..PutRequest::default()
            };
            until("a write", WRITES_WITHIN, async || {
                Ok(api.put(put.clone()).await?)
            })
            .await?;
        }
        Ok(())
    }

    async fn restart(&mut self, place: usize, program: &Program, flags: &[&str]) -> Result<()> {
        let cluster = self.cluster()?;
        if cluster.is_running(place) {
            cluster.stop(place).await?;
        }
        cluster.refit(place, program, flags);
        cluster.start(place).await
    }

    /// One by one, the leader last: so that every newcomer gets its database
    /// from a member of the old release.
    async fn replace(&mut self, version: &str) -> Result<()> {
        let program = need(version)?;
        let leader = self.cluster()?.leader().await?;
        let mut old = self.alive();
        old.sort_by_key(|place| *place == leader);
        for old in old {
            let new = self.cluster()?.add(&program, Role::Learner, leader).await?;
            self.cluster()?.promote(new, leader).await?;
            self.cluster()?.settled().await?;
            if old == leader {
                self.cluster()?.move_leader(new).await?;
            }
            self.cluster()?.remove(old, new).await?;
            self.gone.insert(old);
        }
        Ok(())
    }

    /// What became of the newest member, which did not join.
    async fn newcomer_failed(&mut self, error: &anyhow::Error) -> Result<Reality> {
        let last = self.cluster()?.places().next_back().context("no member")?;
        let server = self.cluster()?.member(last).server()?;
        Ok(match server.poll_exit()? {
            Some(_) => reality::of_end(&server.log_text()),
            // It joined; what it lists is not what a cluster at rest lists.
            None if self.takes_a_write(last, Duration::ZERO).await.is_ok() => {
                self.listed(last).await?
            }
            None => Reality::Stuck {
                text: format!("{error:#}").chars().take(240).collect(),
            },
        })
    }

    async fn restore(&mut self, version: &str) -> Result<()> {
        let program = need(version)?;
        let (snapshot, _) = self.api()?.snapshot().await?;
        self.cluster()?.end().await?;
        let file = self.kept.path().join("saved.db");
        std::fs::write(&file, snapshot)?;
        let words: Vec<OsString> = match program.is_pintle {
            true => vec![program.path.clone().into_os_string(), "utl".into()],
            false => {
                let name = match program.minor() {
                    (3, ..=4) => "etcdctl",
                    _ => "etcdutl",
                };
                let tool = peer::tool(version, name).context("no tool to restore with")?;
                vec![tool.into_os_string()]
            }
        };
        let plan = Plan::of(&[program]).unverified().restored(words, &file);
        self.cluster = Some(plan.start().await?);
        self.gone.clear();
        Ok(())
    }

    async fn v2(&mut self, method: &str, path: &str, body: &str) -> Result<()> {
        let port = self.api()?.port();
        let kind = match body.is_empty() {
            true => "application/x-www-form-urlencoded",
            false => "application/json",
        };
        let headers = [("Content-Type", kind)];
        let answer = http::send_with(port, method, path, &headers, body).await?;
        ensure!(
            (200..300).contains(&answer.status),
            "{method} {path}: {} {}",
            answer.status,
            answer.text()
        );
        Ok(())
    }

    /// Edits the databases of all members, stopped; their ids without the first come along.
    async fn edit(&mut self, edit: impl Fn(&Path, &[u64]) -> Result<()>) -> Result<()> {
        let alive = self.alive();
        let cluster = self.cluster()?;
        cluster.end().await?;
        let others: Vec<u64> = alive[1..]
            .iter()
            .map(|p| cluster.members()[*p].id)
            .collect();
        for place in &alive {
            edit(&cluster.members()[*place].dir, &others)?;
        }
        for place in &alive {
            cluster.spawn(*place)?;
        }
        for place in &alive {
            cluster.serving(*place).await?;
        }
        Ok(())
    }

    /// Repairs every directory twice; the second time nothing may change.
    async fn repair(&mut self, flags: &[&str]) -> Result<()> {
        let pintle = peer::subject().filter(|p| p.is_pintle);
        let tool = Tool(pintle.context("no Pintle to repair with")?.path);
        self.cluster()?.end().await?;
        for place in self.alive() {
            let dir = self.cluster()?.members()[place].dir.clone();
            tool.repair(&dir, flags)?;
            let repaired = dirs::contents(&dir)?;
            let said = tool.repair(&dir, flags)?;
            ensure!(
                said.contains("nothing to repair"),
                "a second repair: {said}"
            );
            ensure!(
                dirs::contents(&dir)? == repaired,
                "a second repair changed {}",
                dir.display()
            );
        }
        Ok(())
    }

    async fn remove_zombies(&mut self, expected: Ends) -> Result<bool> {
        let via = self.via()?;
        let Reality::Boots { zombies, .. } = self.listed(via).await? else {
            bail!("a list is a list");
        };
        ensure!(!zombies.is_empty(), "no zombie is listed");
        let api = self.api()?;
        let mut real = None;
        for id in zombies {
            // Refused until the voters have been connected for five seconds.
            let removed = until("member remove", Duration::from_secs(12), async || {
                Ok(api.member_remove(MemberRemoveRequest { id }).await?)
            });
            if let Err(error) = removed.await {
                let server = self.cluster()?.member(via).server()?;
                real = Some(match server.poll_exit()? {
                    Some(_) => reality::of_end(&server.log_text()),
                    None => Reality::Refuses {
                        text: error.root_cause().to_string(),
                    },
                });
                break;
            }
        }
        let words = Op::RemoveZombies(expected).words().replace("**", "");
        let Some(real) = real else {
            let real = self.listed(via).await?;
            self.record(words, expected, real, String::new(), None);
            return Ok(true);
        };
        let meanwhile = self.others_ended(via)?;
        let source = self.cluster()?.members()[via].program.clone();
        let back = self.roll_back(via, &source).await;
        self.record(words, expected, real, String::new(), Some(back));
        if let Some(outcome) = self.outcomes.last_mut() {
            outcome.meanwhile = meanwhile;
        }
        Ok(false)
    }

    async fn downgrade(&mut self, to: &str) -> Result<()> {
        let api = self.api()?;
        let request = DowngradeRequest {
            action: DowngradeAction::Enable as i32,
            version: to.to_owned(),
        };
        // Right after an upgrade the members may not have told their versions yet.
        until("downgrade enable", Duration::from_secs(20), async || {
            Ok(api.downgrade(request.clone()).await?)
        })
        .await?;
        for place in self.alive() {
            let port = self.cluster()?.members()[place].client_port;
            until("the storage version", Duration::from_secs(30), async || {
                let version = http::send(port, "GET", "/version", "").await?.text();
                ensure!(
                    version.contains(&format!(r#""storage":"{to}"#)),
                    "{version}"
                );
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    async fn add_while_one_is_down(&mut self, expected: Ends) -> Result<()> {
        let last = *self.alive().last().context("no member")?;
        self.cluster()?.stop(last).await?;
        let via = self.via()?;
        self.takes_a_write(via, WRITES_WITHIN).await?;
        let api = self.api()?;
        let request = MemberAddRequest {
            peer_ur_ls: vec!["http://127.0.0.1:7".to_owned()],
            is_learner: true,
        };
        // Longer than the five seconds for which etcd wants its peers connected.
        let added = until("member add", Duration::from_secs(12), async || {
            Ok(api.member_add(request.clone()).await?)
        });
        let real = match added.await {
            Ok(_) => Reality::Boots {
                healed: Vec::new(),
                zombies: Vec::new(),
                learners_shown: Vec::new(),
            },
            Err(error) => Reality::Refuses {
                text: format!("{:#}", error.root_cause()),
            },
        };
        let words = Op::AddWhileOneIsDown(expected).words();
        self.record(words, expected, real, String::new(), None);
        Ok(())
    }

    fn record(
        &mut self,
        step: String,
        expected: Ends,
        real: Reality,
        before: String,
        rolled_back: Option<Result<String, String>>,
    ) {
        let right = if expected.is(&real) {
            ""
        } else {
            "  <-- not what the row says"
        };
        peer::say(&format!("  {}: {step}: {real}{right}", self.row));
        self.outcomes.push(Outcome {
            step,
            expected,
            real,
            before,
            meanwhile: Vec::new(),
            rolled_back,
        });
    }

    fn copy(&mut self, step: &str, place: usize) -> Result<PathBuf> {
        let to = self.kept.path().join(step).join(format!("m{place}"));
        let from = self.cluster()?.members()[place].dir.clone();
        dirs::copy(&from, &to)?;
        Ok(to)
    }

    /// Stops a member and keeps a copy of what it leaves.
    fn keep(&mut self, step: usize, place: usize, target: &str) -> Result<()> {
        let copy = self.copy(&format!("{step}"), place)?;
        let truth = self.truth()?;
        let member = &self.cluster()?.members()[place];
        let (id, source) = (member.name.clone(), word(&member.program));
        self.cases.push(Case {
            id: format!("{}/{step}/{id}", self.row),
            sick: bucket::judge(&copy, &truth)?,
            dirs: vec![copy],
            source,
            target: target.to_owned(),
            truth,
            real: None,
        });
        Ok(())
    }

    async fn upgrade(
        &mut self,
        step: usize,
        version: &str,
        who: Who,
        flags: &[&str],
        expected: Ends,
    ) -> Result<bool> {
        let target = need(version)?;
        let first_case = self.cases.len();
        let mut places = self.alive();
        if who == Who::First {
            places.truncate(1);
        }
        let mut failed = None;
        let mut meanwhile = Vec::new();
        if who == Who::Together {
            self.cluster()?.end().await?;
            for place in &places {
                self.keep(step, *place, version)?;
            }
            for place in &places {
                self.cluster()?.refit(*place, &target, flags);
                self.cluster()?.spawn(*place)?;
            }
        }
        for (nth, place) in places.iter().enumerate() {
            let source = self.cluster()?.members()[*place].program.clone();
            if who != Who::Together {
                self.cluster()?.stop(*place).await?;
                self.keep(step, *place, version)?;
                self.cluster()?.refit(*place, &target, flags);
                self.cluster()?.spawn(*place)?;
            }
            let real = self.observe(*place).await?;
            let boots = matches!(real, Reality::Boots { .. });
            self.cases[first_case + nth].real = Some(real.clone());
            if !boots {
                meanwhile = self.others_ended(*place)?;
                let back = match who {
                    Who::Together => None,
                    _ => Some(self.roll_back(*place, &source).await),
                };
                failed = Some((real, back));
                break;
            }
        }
        let mut before: Vec<String> = self.cases[first_case..]
            .iter()
            .map(|c| c.sick.summary())
            .filter(|s| !s.is_empty())
            .collect();
        before.dedup();
        let words = Op::Upgrade("", who, &[], expected).words();
        let words = words.replace("**", "") + version;
        let (real, back) = match failed {
            Some(found) => found,
            None => {
                if let Some(line) = self.version_stays(&places, &target).await? {
                    meanwhile.push(line);
                }
                (self.settled(&places).await?, None)
            }
        };
        let goes_on = matches!(real, Reality::Boots { .. });
        for line in &meanwhile {
            peer::say(&format!("  {}: meanwhile {line}", self.row));
        }
        self.record(words, expected, real, before.join("; "), back);
        if let Some(outcome) = self.outcomes.last_mut() {
            outcome.meanwhile = meanwhile;
        }
        Ok(goes_on)
    }

    /// A start that must fail and leave no trace: log and snapshots byte for byte, the
    /// database record for record (an empty transaction changes nothing that counts),
    /// and the release from before serves it again.
    async fn refused(&mut self, step: usize, version: &str, expected: Ends) -> Result<bool> {
        let target = need(version)?;
        let place = *self.alive().first().context("no member")?;
        let source = self.cluster()?.members()[place].program.clone();
        self.cluster()?.stop(place).await?;
        self.keep(step, place, version)?;
        let dir = self.cluster()?.members()[place].dir.clone();
        let files = |dir: &Path| -> Result<Vec<(PathBuf, Vec<u8>)>> {
            let mut files = dirs::contents(dir)?;
            files.retain(|(path, _)| !path.ends_with("snap/db"));
            Ok(files)
        };
        let (left, records) = (files(&dir)?, bucket::records(&dir)?);
        self.cluster()?.refit(place, &target, &[]);
        self.cluster()?.spawn(place)?;
        let real = self.observe(place).await?;
        if let Some(case) = self.cases.last_mut() {
            case.real = Some(real.clone());
        }
        let words = Op::Refused("", expected).words();
        let words = words.replace("**", "") + version;
        if matches!(real, Reality::Boots { .. }) {
            self.record(words, expected, real, String::new(), None);
            return Ok(false);
        }
        ensure!(
            files(&dir)? == left && bucket::records(&dir)? == records,
            "{version} changed {}, which it refused",
            dir.display()
        );
        let back = self.roll_back(place, &source).await;
        let failed = back.as_ref().err().cloned();
        self.record(words, expected, real, String::new(), Some(back));
        match failed {
            Some(why) => bail!("{} after a refusal: {why}", source.version),
            None => Ok(true),
        }
    }

    /// Which other members ended by themselves.
    fn others_ended(&mut self, place: usize) -> Result<Vec<String>> {
        let mut ended = Vec::new();
        for other in self.alive().into_iter().filter(|p| *p != place) {
            let member = self.cluster()?.member(other);
            let label = member.label();
            let server = member.server()?;
            if server.poll_exit()?.is_some() {
                ended.push(format!("{label} {}", reality::of_end(&server.log_text())));
            }
        }
        Ok(ended)
    }

    /// After a failed start: the release from before on the same directory.
    /// Members that end, whatever made them, are started again a few times.
    async fn roll_back(&mut self, place: usize, source: &Program) -> Result<String, String> {
        const ROUNDS: usize = 4;
        const SERVES_AGAIN_WITHIN: Duration = Duration::from_secs(10);
        let back = async {
            self.cluster()?.drop_process(place);
            self.cluster()?.refit(place, source, &[]);
            self.cluster()?.spawn(place)?;
            let mut started = BTreeMap::new();
            for _ in 0..ROUNDS {
                for other in self.alive() {
                    let member = self.cluster()?.member(other);
                    if member.server()?.poll_exit()?.is_some() {
                        *started.entry(member.name.clone()).or_insert(0) += 1;
                        self.cluster()?.drop_process(other);
                        self.cluster()?.spawn(other)?;
                    }
                }
                if self.takes_a_write(place, SERVES_AGAIN_WITHIN).await.is_ok() {
                    break;
                }
            }
            let again: Vec<String> = started
                .iter()
                .map(|(name, times)| format!("{name} x{times}"))
                .collect();
            let again = match again.is_empty() {
                true => String::new(),
                false => format!(", starts of members that had ended: {}", again.join(", ")),
            };
            self.takes_a_write(place, Duration::ZERO)
                .await
                .with_context(|| format!("no write taken{again}"))?;
            Ok::<_, anyhow::Error>(format!("goes on{again}"))
        };
        back.await.map_err(|e| e.to_string())
    }

    /// Waits for what a started member ends in.
    async fn observe(&mut self, place: usize) -> Result<Reality> {
        let deadline = Instant::now() + SERVES_WITHIN;
        loop {
            let server = self.cluster()?.member(place).server()?;
            if server.poll_exit()?.is_some() {
                return Ok(reality::of_end(&server.log_text()));
            }
            if self.takes_a_write(place, Duration::ZERO).await.is_ok() {
                return self.listed(place).await;
            }
            if Instant::now() >= deadline {
                let server = self.cluster()?.member(place).server()?;
                return Ok(Reality::Stuck {
                    text: reality::last_words(&server.log_text()),
                });
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn takes_a_write(&mut self, place: usize, within: Duration) -> Result<()> {
        let member = &self.cluster()?.members()[place];
        let (api, is_learner) = (member.api().clone(), member.is_learner);
        until("a write", within, async || {
            let status = timeout(ANSWER_WITHIN, api.status(StatusRequest {})).await??;
            ensure!(status.leader != 0, "no leader");
            if !is_learner {
                let put = PutRequest {
                    key: "takes a write".into(),
                    ..PutRequest::default()
                };
                timeout(ANSWER_WITHIN, api.put(put)).await??;
            }
            Ok(())
        })
        .await
    }

    /// Whom to ask for the members: a learner does not answer that.
    fn asked(&mut self, place: usize) -> Result<Api> {
        let member = &self.cluster()?.members()[place];
        match member.is_learner {
            true => self.api(),
            false => Ok(member.api().clone()),
        }
    }

    /// What the member list of one member, and its log, say.
    async fn listed(&mut self, place: usize) -> Result<Reality> {
        let truth = self.truth()?;
        let healed = match self.cluster()?.member(place).server() {
            Ok(server) => reality::healed_ids(&server.log_text()),
            Err(_) => Vec::new(),
        };
        let list = self.asked(place)?;
        let request = MemberListRequest {
            linearizable: false,
        };
        let list = list.member_list(request).await?.members;
        let mut zombies = Vec::new();
        let mut learners_shown = Vec::new();
        for listed in list {
            match truth.get(&listed.id) {
                None => zombies.push(listed.id),
                Some(false) if listed.is_learner => learners_shown.push(listed.id),
                Some(_) => {}
            }
        }
        Ok(Reality::Boots {
            healed,
            zombies,
            learners_shown,
        })
    }

    /// No one is lost: a member lists all that are in the cluster.
    async fn lists_everyone(&mut self, place: usize) -> Result<()> {
        let truth = self.truth()?;
        let api = self.asked(place)?;
        let label = self.cluster()?.members()[place].label();
        until("the member list", ANSWER_WITHIN, async || {
            let request = MemberListRequest {
                linearizable: false,
            };
            let list = api.member_list(request).await?.members;
            for id in truth.keys() {
                ensure!(list.iter().any(|m| m.id == *id), "{label} has lost {id:x}");
            }
            Ok(())
        })
        .await
    }

    /// When all members have started: the cluster version moves to theirs. What
    /// it stays at where it does not.
    async fn version_stays(
        &mut self,
        places: &[usize],
        target: &Program,
    ) -> Result<Option<String>> {
        // A cluster that also has older members stays at their version.
        if places.len() != self.alive().len() {
            return Ok(None);
        }
        let (major, minor) = target.minor();
        let want = format!(r#""etcdcluster":"{major}.{minor}."#);
        for place in places {
            let port = self.cluster()?.members()[*place].client_port;
            let moved = until("the cluster version", Duration::from_secs(15), async || {
                let version = http::send(port, "GET", "/version", "").await?.text();
                ensure!(version.contains(&want), "the versions stay {version}");
                Ok(())
            });
            if let Err(error) = moved.await {
                return Ok(Some(error.root_cause().to_string()));
            }
        }
        Ok(None)
    }

    /// What all of them say together; or how one of them ended meanwhile.
    async fn settled(&mut self, places: &[usize]) -> Result<Reality> {
        let (mut healed, mut zombies, mut learners) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for place in places {
            let server = self.cluster()?.member(*place).server()?;
            if server.poll_exit()?.is_some() {
                return Ok(reality::of_end(&server.log_text()));
            }
            self.lists_everyone(*place).await?;
            if let Reality::Boots {
                healed: h,
                zombies: z,
                learners_shown: l,
            } = self.listed(*place).await?
            {
                healed.extend(h);
                zombies.extend(z);
                learners.extend(l);
            }
        }
        Ok(Reality::Boots {
            healed: healed.into_iter().collect(),
            zombies: zombies.into_iter().collect(),
            learners_shown: learners.into_iter().collect(),
        })
    }
}

fn need(version: &str) -> Result<Program> {
    match program(version) {
        Some(program) => Ok(program),
        None => bail!("{version} is not on this machine"),
    }
}
