//! A driver that remembers which member is between its stop and the start that it is left
//! with, so that a signal is held back there and nowhere else, and a run which is cut off
//! there can say so.

use std::{cell::RefCell, fmt, path::PathBuf};

use semver::Version;

use super::driver::{Driver, Launch, Managed, Process};
use crate::failure::Outcome;

/// A member that must not be left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InHand {
    /// It is stopped.
    Stopped(String),
    /// It runs with flags for one start.
    Flagged(String, Vec<&'static str>),
}

impl InHand {
    fn member(&self) -> &str {
        match self {
            InHand::Stopped(member) | InHand::Flagged(member, _) => member,
        }
    }
}

impl fmt::Display for InHand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InHand::Stopped(member) => write!(f, "{member} is stopped and was not started again"),
            InHand::Flagged(member, flags) => write!(
                f,
                "{member} runs with {} and was not restarted with its own flags",
                flags.join(" ")
            ),
        }
    }
}

/// Passes everything on.
pub(crate) struct Watched<'a, D> {
    inner: &'a mut D,
    in_hand: &'a RefCell<Option<InHand>>,
}

impl<'a, D> Watched<'a, D> {
    /// Watches `inner`, and notes in `in_hand` what must not be left as it is.
    pub(crate) fn new(inner: &'a mut D, in_hand: &'a RefCell<Option<InHand>>) -> Watched<'a, D> {
        Watched { inner, in_hand }
    }
}

impl<D: Driver> Driver for Watched<'_, D> {
    fn members(&self) -> Vec<Managed> {
        self.inner.members()
    }

    fn available(&self) -> Vec<Version> {
        self.inner.available()
    }

    fn manages(&self, member: &str) -> bool {
        self.inner.manages(member)
    }

    fn edits_flags(&self) -> bool {
        self.inner.edits_flags()
    }

    fn directory(&self, member: &str) -> Option<PathBuf> {
        self.inner.directory(member)
    }

    fn ready_for(&self, member: &str, launch: &Launch) -> Outcome<()> {
        self.inner.ready_for(member, launch)
    }

    fn preview(&self, member: &str, from: &Version, to: &Version, pintle: bool) -> Outcome<String> {
        self.inner.preview(member, from, to, pintle)
    }

    fn commands(&self, member: &str, launch: &Launch) -> Vec<String> {
        self.inner.commands(member, launch)
    }

    fn is_same_build(&self, member: &str, launch: &Launch) -> bool {
        self.inner.is_same_build(member, launch)
    }

    fn is_in_place(&self, member: &str, launch: &Launch) -> bool {
        self.inner.is_in_place(member, launch)
    }

    fn is_in_hand(&self, member: &str) -> bool {
        let in_hand = self.in_hand.borrow();
        in_hand.as_ref().is_some_and(|one| one.member() == member)
    }

    fn replaces(&self, member: &str, launch: &Launch) -> bool {
        self.inner.replaces(member, launch)
    }

    async fn process(&self, member: &str) -> Process {
        self.inner.process(member).await
    }

    fn prepare(&mut self, member: &str, launch: &Launch) -> Outcome<()> {
        self.inner.prepare(member, launch)
    }

    async fn stop(&mut self, member: &str) -> Outcome<()> {
        let before = self
            .in_hand
            .replace(Some(InHand::Stopped(member.to_owned())));
        let stopped = self.inner.stop(member).await;
        if stopped.is_err() {
            self.in_hand.replace(before);
        }
        stopped
    }

    async fn start(&mut self, member: &str, launch: &Launch) -> Outcome<()> {
        let started = self.inner.start(member, launch).await;
        // One that failed is over too: who runs is for the cluster to say.
        let flagged = || InHand::Flagged(member.to_owned(), launch.flags.clone());
        let is_flagged = started.is_ok() && !launch.flags.is_empty();
        self.in_hand.replace(is_flagged.then(flagged));
        started
    }

    fn restore(&mut self, member: &str) -> Outcome<bool> {
        self.inner.restore(member)
    }
}
