//! What a run has done, on disk: one JSON object per line, synced before the step
//! that it announces begins. A line that was torn by a crash counts as not there.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

use cli::private;
use serde::{Deserialize, Serialize};

use super::Step;
use crate::failure::{Failure, Outcome};

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
}

/// The journal of one run.
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    events: Vec<Event>,
}

const NAME: &str = "journal.jsonl";

impl Journal {
    /// Opens the journal in `dir`, which is made if need be. Held by a lock as long
    /// as it is open: two runs on one cluster are one too many.
    pub(crate) fn open(dir: &Path) -> Outcome<Journal> {
        private::folder(dir).map_err(|e| Failure::io("create", dir, &e))?;
        private::trusted(dir).map_err(|e| Failure::io("keep a journal in", dir, &e))?;
        let path = dir.join(NAME);
        let failed = |e: std::io::Error| Failure::io("open", &path, &e);
        let file = private::append(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(Failure::new(format!(
                    "{} is in use: another run is under way",
                    path.display()
                )));
            }
            Err(fs::TryLockError::Error(e)) => return Err(failed(e)),
        }
        let text = fs::read_to_string(&path).map_err(failed)?;
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        if whole < text.len() {
            // Torn: what it announced has not begun.
            file.set_len(whole as u64).map_err(failed)?;
        }
        let mut events = Vec::new();
        for (n, line) in text[..whole].lines().enumerate() {
            let event = serde_json::from_str(line).map_err(|error| {
                Failure::new(format!("{} line {}: {error}", path.display(), n + 1))
            })?;
            events.push(event);
        }
        Ok(Journal { path, file, events })
    }

    /// Writes the plan at the head.
    pub(crate) fn begin(&mut self, steps: Vec<Step>, cluster: String) -> Outcome<()> {
        self.write(Event::Plan { steps, cluster })
    }

    /// Writes an event and makes it durable.
    pub(crate) fn write(&mut self, event: Event) -> Outcome<()> {
        let line = serde_json::to_string(&event).map_err(Failure::new)?;
        self.file
            .write_all(format!("{line}\n").as_bytes())
            .and_then(|()| self.file.sync_data())
            .map_err(|e| Failure::io("write", &self.path, &e))?;
        self.events.push(event);
        Ok(())
    }

    /// The plan, if there is one, and the cluster it is for.
    pub(crate) fn plan(&self) -> Option<(&[Step], &str)> {
        self.events.iter().find_map(|event| match event {
            Event::Plan { steps, cluster } | Event::Found { steps, cluster } => {
                Some((&steps[..], cluster.as_str()))
            }
            _ => None,
        })
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

    /// Opens the journal in `dir`, or, where no run is under way, that of the last
    /// one that finished, which becomes the present one again.
    pub(crate) fn reopen(dir: &Path) -> Outcome<Journal> {
        let now = Journal::open(dir)?;
        if now.plan().is_some() {
            return Ok(now);
        }
        let last = (1..)
            .map(|n| now.path.with_extension(format!("{n}.jsonl")))
            .take_while(|path| path.exists())
            .last();
        let Some(last) = last else { return Ok(now) };
        fs::rename(&last, &now.path).map_err(|e| Failure::io("rename", &last, &e))?;
        Journal::open(dir)
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
}
