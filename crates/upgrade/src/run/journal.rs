//! What a run has done, on disk: one JSON object per line, synced before the step
//! that it announces begins. A line that was torn by a crash counts as not there.

use std::{
    fs::{self, File},
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use cli::private;
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::{
    failure::{Failure, Outcome},
    steps::Step,
};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Event {
    /// The plan, once, at the head.
    Plan {
        /// All steps.
        steps: Vec<Step>,
        /// The id of the cluster they are for.
        cluster: String,
    },
    /// In the place of a plan: steps that were found done where no journal told of them.
    /// One line, so that no kill leaves some of them looking as if they had not begun.
    Found {
        /// All steps.
        steps: Vec<Step>,
        /// The id of the cluster they are for.
        cluster: String,
    },
    /// A step begins.
    Begin {
        /// Its place in the plan.
        at: usize,
    },
    /// A step is done.
    Done {
        /// Its place in the plan.
        at: usize,
        /// What was seen.
        note: String,
    },
    /// A step deviated; the run stopped.
    Stopped {
        /// Its place in the plan.
        at: usize,
        /// Why.
        why: String,
    },
    /// A member was taken back to what it ran before this step.
    Undone {
        /// The place of its step.
        at: usize,
    },
    /// A member is about to be stopped.
    Stopping {
        /// Which.
        member: String,
        /// The cluster version, as it was seen just before.
        cluster: Version,
    },
    /// A member that is stopped is about to be started.
    Starting {
        /// Which.
        member: String,
        /// With what.
        release: Version,
    },
}

/// How a run has left a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// It did nothing with it, or all that it began with it is done.
    Alone,
    /// It was stopping it.
    Stopped,
    /// It has started it, and was cut off before it saw what came of that.
    Starting,
    /// It has started it and waited in vain.
    Failed,
}

/// The journal of one run.
pub(crate) struct Journal {
    dir: PathBuf,
    path: PathBuf,
    file: File,
    events: Vec<Event>,
    /// Whose turn it is in the cluster is told by this.
    id: String,
    /// A finished journal that was read in the place of an empty present one.
    finished: Option<PathBuf>,
    /// Whether what is written stays in memory: this command only looks.
    is_dry: bool,
    /// Two runs on one folder are one too many; held as long as the journal is open.
    _lock: File,
}

const NAME: &str = "journal.jsonl";
const LOCK: &str = "journal.lock";

impl Journal {
    /// Opens the journal in `dir`, which is made if need be. Held by a lock as long
    /// as it is open.
    pub(crate) fn open(dir: &Path) -> Outcome<Journal> {
        private::folder(dir).map_err(|e| Failure::io("create", dir, &e))?;
        private::trusted(dir).map_err(|e| Failure::io("keep a journal in", dir, &e))?;
        let (lock, id) = lock(dir)?;
        let path = dir.join(NAME);
        let failed = |e: std::io::Error| Failure::io("open", &path, &e);
        let file = appending(&path)?;
        let text = fs::read_to_string(&path).map_err(failed)?;
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        if whole < text.len() {
            // Torn: what it announced has not begun.
            file.set_len(whole as u64).map_err(failed)?;
        }
        let events = events(&path, &text[..whole])?;
        Ok(Journal {
            dir: dir.to_owned(),
            path,
            file,
            events,
            id,
            finished: None,
            is_dry: false,
            _lock: lock,
        })
    }

    /// Whether a run is under way by the journal in `dir`.
    pub(crate) fn is_in(dir: &Path) -> bool {
        fs::metadata(dir.join(NAME)).is_ok_and(|journal| journal.len() > 0)
    }

    /// Every write fails from here on, as on a full disk.
    #[cfg(test)]
    pub(super) fn can_no_longer_write(&mut self) {
        self.file = File::open(&self.path).expect("the journal");
    }

    /// Keeps what is written from here on in memory alone: for a command that only looks.
    pub(crate) fn stay_in_memory(&mut self) {
        self.is_dry = true;
    }

    /// The id of this run, which outlives its processes.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Writes the plan at the head.
    pub(crate) fn begin(&mut self, steps: Vec<Step>, cluster: String) -> Outcome<()> {
        self.write(Event::Plan { steps, cluster })
    }

    /// Writes an event and makes it durable. One that could not be written whole is
    /// taken out again: what is written later must not stand behind half a line.
    pub(crate) fn write(&mut self, event: Event) -> Outcome<()> {
        if self.is_dry {
            self.events.push(event);
            return Ok(());
        }
        let line = serde_json::to_string(&event).map_err(Failure::new)?;
        let failed = |e: std::io::Error| Failure::io("write", &self.path, &e);
        let length = self.file.metadata().map_err(failed)?.len();
        let written = self
            .file
            .write_all(format!("{line}\n").as_bytes())
            .and_then(|()| self.file.sync_data());
        if let Err(e) = written {
            let _ = self.file.set_len(length);
            return Err(failed(e));
        }
        self.events.push(event);
        Ok(())
    }

    /// The plan, if there is one, and the cluster it is for. What was found last counts.
    pub(crate) fn plan(&self) -> Option<(&[Step], &str)> {
        self.events.iter().rev().find_map(|event| match event {
            Event::Plan { steps, cluster } | Event::Found { steps, cluster } => {
                Some((&steps[..], cluster.as_str()))
            }
            _ => None,
        })
    }

    /// Whether its steps were found done, where no journal told of them.
    pub(crate) fn is_found(&self) -> bool {
        let mut events = self.events.iter();
        events.any(|event| matches!(event, Event::Found { .. }))
    }

    /// Whether a step is done, and was not undone after that.
    pub(crate) fn is_done(&self, step: usize) -> bool {
        self.events.iter().fold(false, |done, event| match event {
            Event::Found { .. } => true,
            Event::Done { at, .. } if *at == step => true,
            Event::Undone { at } if *at == step => false,
            _ => done,
        })
    }

    /// Whether a step has begun, and was not undone after that.
    pub(crate) fn has_begun(&self, step: usize) -> bool {
        self.events.iter().fold(false, |begun, event| match event {
            Event::Found { .. } => true,
            Event::Begin { at } if *at == step => true,
            Event::Undone { at } if *at == step => false,
            _ => begun,
        })
    }

    /// The steps that were taken back, by this command or one that was killed before it.
    pub(crate) fn undone(&self) -> Vec<(&[Step], usize)> {
        self.places(|event| match event {
            Event::Undone { at } => Some(*at),
            _ => None,
        })
    }

    /// The steps that have ever begun, also those that were undone after that.
    pub(crate) fn ever_begun(&self) -> Vec<(&[Step], usize)> {
        self.places(|event| match event {
            Event::Begin { at } => Some(*at),
            _ => None,
        })
    }

    /// The places that `place` finds in the events, each with the plan that it is in.
    fn places(&self, place: impl Fn(&Event) -> Option<usize>) -> Vec<(&[Step], usize)> {
        let (mut plan, mut found) = (&[][..], Vec::new());
        for event in &self.events {
            match event {
                Event::Plan { steps, .. } | Event::Found { steps, .. } => plan = steps,
                _ => found.extend(
                    place(event)
                        .filter(|at| *at < plan.len())
                        .map(|at| (plan, at)),
                ),
            }
        }
        found
    }

    /// Whether `member` may have been stopped in `step`, in any attempt since that was
    /// last done or undone.
    pub(crate) fn was_stopped_in(&self, step: usize, member: &str) -> bool {
        let (mut is_under_way, mut was_stopped) = (false, false);
        for event in &self.events {
            match event {
                Event::Begin { at } if *at == step => is_under_way = true,
                Event::Done { at, .. } | Event::Undone { at } if *at == step => {
                    (is_under_way, was_stopped) = (false, false);
                }
                Event::Stopping { member: m, .. } if m == member => was_stopped |= is_under_way,
                _ => {}
            }
        }
        was_stopped
    }

    /// How this run has left `member`.
    pub(crate) fn left(&self, member: &str) -> Left {
        let events = self.events.iter();
        events.fold(Left::Alone, |left, event| match event {
            Event::Stopping { member: m, .. } if m == member => Left::Stopped,
            Event::Starting { member: m, .. } if m == member => Left::Starting,
            Event::Stopped { .. } if left == Left::Starting => Left::Failed,
            Event::Done { .. } | Event::Undone { .. } => Left::Alone,
            _ => left,
        })
    }

    /// The highest that the cluster version can be by what this run has seen and done,
    /// if no one else did anything: as it was before the last stop, or the highest
    /// release that was started since.
    pub(crate) fn height(&self) -> Option<Version> {
        let line = |at: usize| match self.plan()?.0.get(at)? {
            Step::Line { from, to } => Some((from, to)),
            _ => None,
        };
        let cluster = |release: &Version| Version::new(release.major, release.minor, 0);
        self.events.iter().fold(None, |height, event| match event {
            Event::Stopping { cluster, .. } => Some(cluster.clone()),
            // No member restarts there, and the cluster version moves all the same.
            Event::Begin { at } if let Some((_, to)) = line(*at) => Some(cluster(to)),
            Event::Undone { at } if let Some((from, _)) = line(*at) => Some(cluster(from)),
            Event::Starting { release, .. } => {
                height.map(|height: Version| height.max(cluster(release)))
            }
            _ => height,
        })
    }

    /// Opens the journal in `dir`, or, where no run is under way, reads that of the last
    /// one that finished. Nothing is changed until [`Journal::take_up`].
    pub(crate) fn reopen(dir: &Path) -> Outcome<Journal> {
        let mut now = Journal::open(dir)?;
        if now.plan().is_some() {
            return Ok(now);
        }
        let last = (1..)
            .map(|n| now.path.with_extension(format!("{n}.jsonl")))
            .take_while(|path| path.exists())
            .last();
        let Some(last) = last else { return Ok(now) };
        let text = fs::read_to_string(&last).map_err(|e| Failure::io("read", &last, &e))?;
        now.events = events(&last, &text)?;
        now.finished = Some(last);
        Ok(now)
    }

    /// Whether this is the journal of a run that finished.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished.is_some()
    }

    /// Makes a finished journal the present one again.
    pub(crate) fn take_up(&mut self) -> Outcome<()> {
        let Some(last) = self.finished.take() else {
            return Ok(());
        };
        fs::rename(&last, &self.path).map_err(|e| Failure::io("rename", &last, &e))?;
        self.file = appending(&self.path)?;
        Ok(())
    }

    /// Puts a finished journal aside, so that the next run begins anew.
    pub(crate) fn retire(&self) -> Outcome<PathBuf> {
        let aside = (1..)
            .map(|n| self.path.with_extension(format!("{n}.jsonl")))
            .find(|path| !path.exists())
            .unwrap_or_default();
        fs::rename(&self.path, &aside).map_err(|e| Failure::io("rename to", &aside, &e))?;
        Ok(aside)
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

fn appending(path: &Path) -> Outcome<File> {
    private::append(path).map_err(|e| Failure::io("open", path, &e))
}

fn events(path: &Path, text: &str) -> Outcome<Vec<Event>> {
    let lines = text.lines().enumerate();
    lines
        .map(|(n, line)| {
            serde_json::from_str(line).map_err(|error| {
                Failure::new(format!("{} line {}: {error}", path.display(), n + 1))
            })
        })
        .collect()
}

/// Locks the folder, and reads the id of its run, or gives it one.
fn lock(dir: &Path) -> Outcome<(File, String)> {
    let path = dir.join(LOCK);
    let failed = |e: std::io::Error| Failure::io("open", &path, &e);
    let mut file = appending(&path)?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            // What a run has forked holds its files until it has become another program.
            Err(fs::TryLockError::WouldBlock) if began.elapsed() < FORKED => {
                std::thread::sleep(FORKED / 20);
            }
            Err(fs::TryLockError::WouldBlock) => {
                return Err(Failure::new(format!(
                    "{} is in use: another run is under way",
                    dir.display()
                )));
            }
            Err(fs::TryLockError::Error(e)) => return Err(failed(e)),
        }
    }
    let text = fs::read_to_string(&path).map_err(failed)?;
    if let Some(id) = text.strip_suffix('\n').filter(|id| id.len() == ID_DIGITS) {
        return Ok((file, id.to_owned()));
    }
    let id = format!("{:016x}", RandomState::new().build_hasher().finish());
    file.set_len(0)
        .and_then(|()| file.write_all(format!("{id}\n").as_bytes()))
        .and_then(|()| file.sync_data())
        .map_err(failed)?;
    Ok((file, id))
}

const ID_DIGITS: usize = 16;
/// How long a child of a run that was killed may hold its lock.
const FORKED: Duration = Duration::from_secs(1);
