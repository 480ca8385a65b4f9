//! A person who does literally what `pintle upgrade plan` prints, and nothing else.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, bail, ensure};
use peers::peer;
use proto::etcdserverpb::{DeleteRangeRequest, MoveLeaderRequest};
use serde_json::Value;

use super::{Bench, need};
use crate::{
    rows::Row,
    script::{Op, line_of, named},
};

/// How a plan begins the flag of a flush.
const SNAPSHOT_FLAG: &str = "--snapshot-count=";

/// How the plan is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Made once, then carried out to its end.
    Once,
    /// Made again after every step that changes something.
    Again,
    /// Made from the directories of stopped members.
    Directories,
}

/// Where the plan led.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Led {
    /// Every step was carried out, and every member runs the target.
    ToTheTarget,
    /// It said that the next step must not begin.
    Blocked(String),
}

/// A plan made again and again is over after so many steps.
const STEPS_MAX: usize = 60;
/// What the exit code of `plan` and `check` says where something blocks.
const BLOCKED: i32 = 3;

/// Brings a row to where its first recorded step is an upgrade, and goes on as the plan
/// to that release says. `None` where no upgrade is recorded.
///
/// # Errors
/// A step of the plan could not be carried out: a member did not start, first of all.
pub async fn follow(row: &Row, pintle: &Path, how: Follow) -> Result<Option<Led>> {
    let mut bench = Bench::new(row)?;
    for (step, op) in row.script.iter().enumerate() {
        match op {
            Op::Upgrade(target, ..) => {
                return bench.go(pintle, target, how).await.map(Some);
            }
            op if op.ends().is_some() => return Ok(None),
            op => bench.perform(step, op).await.with_context(|| op.words())?,
        };
    }
    Ok(None)
}

impl Bench {
    async fn go(&mut self, pintle: &Path, target: &str, how: Follow) -> Result<Led> {
        if self.alive().iter().any(|p| !self.is_up(*p)) {
            // A history that ends with stopped members: one alone is no quorum.
            for place in self.alive() {
                if !self.is_up(place) {
                    self.cluster()?.spawn(place)?;
                }
            }
            for place in self.alive() {
                self.cluster()?.serving(place).await?;
            }
        }
        self.cluster()?.settled().await?;
        let mut done: Vec<String> = Vec::new();
        let mut plan = match how {
            Follow::Directories => {
                self.cluster()?.end().await?;
                self.plan(pintle, target, true)?
            }
            _ => self.plan(pintle, target, false)?,
        };
        loop {
            let steps = match plan {
                Ok(steps) => steps,
                Err(why) => return Ok(Led::Blocked(why)),
            };
            if steps.is_empty() {
                break;
            }
            let mut changed = false;
            for step in &steps {
                let what = step["what"].as_str().unwrap_or_default().to_owned();
                ensure!(done.len() < STEPS_MAX, "no end: {}", done.join("; "));
                let so_far = done.join("; ");
                let outcome = self.carry_out(pintle, step).await;
                let outcome = outcome.with_context(|| format!("{what} (after: {so_far})"))?;
                done.push(what);
                match outcome {
                    Step::Stop(why) => return Ok(Led::Blocked(why)),
                    Step::Changed if how == Follow::Again => {
                        changed = true;
                        break;
                    }
                    Step::Changed | Step::Nothing => {}
                }
            }
            if !changed {
                break;
            }
            plan = self.plan(pintle, target, false)?;
        }
        for place in self.alive() {
            let status = self.cluster()?.members()[place].status().await?;
            let is_expected = match line_of(target) {
                Some(line) => status.version.starts_with(&format!("{line}.")),
                None => status.version == need(target)?.version,
            };
            ensure!(
                is_expected,
                "m{place} runs {} at the end of the plan to {target}: {}",
                status.version,
                done.join("; ")
            );
        }
        Ok(Led::ToTheTarget)
    }

    fn is_up(&self, place: usize) -> bool {
        let cluster = self.cluster.as_ref();
        cluster.is_some_and(|cluster| cluster.is_running(place))
    }

    /// The steps, or why there are none.
    fn plan(
        &mut self,
        pintle: &Path,
        target: &str,
        dirs: bool,
    ) -> Result<Result<Vec<Value>, String>> {
        let target = named(target);
        let mut command = Command::new(pintle);
        command.args(["upgrade", "plan", "-w", "json", "--target", target]);
        command.args(["--dial-timeout=8s", "--command-timeout=20s"]);
        let available = peer::installed();
        command.args(["--available", &available.join(",")]);
        let (flag, of) = self.sources(dirs)?;
        let answer = command.args([flag, &of]).output()?;
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        ensure!(!said.contains("panicked"), "{said}");
        match answer.status.code() {
            Some(0 | 5) => {
                let plan: Value = serde_json::from_slice(&answer.stdout)?;
                let steps = plan["steps"].as_array().context("no steps")?;
                Ok(Ok(steps.clone()))
            }
            Some(BLOCKED) => Ok(Err(String::from_utf8_lossy(&answer.stdout).into_owned())),
            // It knows no such path.
            Some(1) => Ok(Err(said)),
            code => bail!("plan: {code:?}: {said}"),
        }
    }

    fn sources(&mut self, dirs: bool) -> Result<(&'static str, String)> {
        let alive = self.alive();
        let members = self.cluster()?.members();
        let shown = alive.iter().map(|p| match dirs {
            true => members[*p].dir.display().to_string(),
            false => format!("http://127.0.0.1:{}", members[*p].client_port),
        });
        let flag = if dirs { "--data-dir" } else { "--endpoints" };
        Ok((flag, shown.collect::<Vec<_>>().join(",")))
    }

    /// The place of a member by the name that a plan gives it.
    fn place(&mut self, name: &str) -> Result<usize> {
        let alive = self.alive();
        let members = self.cluster()?.members();
        let found = alive.into_iter().find(|p| members[*p].name == name);
        found.with_context(|| format!("no member is called {name:?}"))
    }

    async fn carry_out(&mut self, pintle: &Path, step: &Value) -> Result<Step> {
        let text = |name: &str| step[name].as_str().unwrap_or_default().to_owned();
        let (version, member) = (text("version"), text("member"));
        let is_pintle = text("what").contains("start pintle");
        let program = || match is_pintle {
            // It finds its line by itself: one that is named keeps it there.
            true => peer::subject().context("no pintle"),
            false => need(&version),
        };
        match text("action").as_str() {
            "backup" | "soak" => return Ok(Step::Nothing),
            "start-all" => {
                for place in self.alive() {
                    self.cluster()?.spawn(place)?;
                }
                for place in self.alive() {
                    self.cluster()?.serving(place).await?;
                }
                self.cluster()?.settled().await?;
            }
            "check" => return self.check(pintle, &version),
            "move-leader" => {
                let place = self.place(&member)?;
                if self.cluster()?.leader().await? == place {
                    let other = self.alive().into_iter().find(|p| *p != place);
                    let other = other.context("no one else")?;
                    let id = self.cluster()?.members()[other].id;
                    let request = MoveLeaderRequest { target_id: id };
                    self.cluster()?.api(place).move_leader(request).await?;
                }
                return Ok(Step::Nothing);
            }
            "swap" | "restart" => {
                let place = self.place(&member)?;
                let program = program()?;
                self.restart(place, &program, &[]).await?;
                self.cluster()?.settled().await?;
            }
            "flush" => {
                let place = self.place(&member)?;
                let program = program()?;
                let what = text("what");
                let flag = what
                    .split([' ', ','])
                    .find(|w| w.starts_with(SNAPSHOT_FLAG));
                let flag = flag.with_context(|| format!("no flag in {what:?}"))?;
                let count: usize = flag[SNAPSHOT_FLAG.len()..].parse()?;
                self.restart(place, &program, &[flag]).await?;
                self.make_entries(place, count + 1).await?;
                self.cluster()?.settled().await?;
                self.restart(place, &program, &[]).await?;
                self.cluster()?.settled().await?;
                // The next plan would show it again: nothing tells that it was done.
                return Ok(Step::Nothing);
            }
            "line" => return self.set_line(pintle, &version),
            "settle" => {
                self.cluster()?.settled().await?;
                return Ok(Step::Nothing);
            }
            other => bail!("the plan has a step {other:?}, which no one knows how to do"),
        }
        Ok(Step::Changed)
    }

    /// What the plan has a person make with `etcdctl del` at one member.
    async fn make_entries(&mut self, place: usize, count: usize) -> Result<()> {
        let api = self.cluster()?.api(place);
        for _ in 0..count {
            let delete = DeleteRangeRequest {
                key: "pintle-upgrade".into(),
                ..DeleteRangeRequest::default()
            };
            api.delete_range(delete).await?;
        }
        Ok(())
    }

    fn set_line(&mut self, pintle: &Path, release: &str) -> Result<Step> {
        let (_, endpoints) = self.sources(false)?;
        let line = release.rsplit_once('.').map_or(release, |(line, _)| line);
        let answer = Command::new(pintle)
            .args(["ctl", "--command-timeout=2m", "--endpoints", &endpoints])
            .args(["line", "set", line])
            .output()?;
        let said = String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).into_owned();
        ensure!(answer.status.success(), "line set {line}: {said}");
        Ok(Step::Changed)
    }

    fn check(&mut self, pintle: &Path, version: &str) -> Result<Step> {
        let (flag, of) = self.sources(false)?;
        let answer = Command::new(pintle)
            .args([
                "upgrade",
                "check",
                "--no-pages",
                "--target",
                version,
                flag,
                &of,
            ])
            .args(["--dial-timeout=8s", "--command-timeout=20s"])
            .output()?;
        let said = String::from_utf8_lossy(&answer.stdout).into_owned();
        match answer.status.code() {
            Some(BLOCKED) => Ok(Step::Stop(said)),
            Some(0 | 4 | 5) => Ok(Step::Nothing),
            code => bail!(
                "{code:?}: {said}{}",
                String::from_utf8_lossy(&answer.stderr)
            ),
        }
    }
}

enum Step {
    /// Something restarted.
    Changed,
    Nothing,
    /// The plan says to stop here.
    Stop(String),
}
