//! A driver that remembers which member is between its stop and its start, so that a
//! signal is held back there and nowhere else, and a run which is cut off there can say so.

use std::{cell::RefCell, path::PathBuf};

use semver::Version;

use super::driver::{Driver, Launch, Managed};
use crate::failure::Outcome;

/// Passes everything on.
pub(crate) struct Watched<'a, D> {
    inner: &'a mut D,
    down: &'a RefCell<Option<String>>,
}

impl<'a, D> Watched<'a, D> {
    /// Watches `inner`; `down` is the member between its stop and its start.
    pub(crate) fn new(inner: &'a mut D, down: &'a RefCell<Option<String>>) -> Watched<'a, D> {
        Watched { inner, down }
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

    fn is_same_build(&self, member: &str, launch: &Launch) -> bool {
        self.inner.is_same_build(member, launch)
    }

    fn is_in_place(&self, member: &str, launch: &Launch) -> bool {
        self.inner.is_in_place(member, launch)
    }

    fn prepare(&mut self, member: &str, launch: &Launch) -> Outcome<()> {
        self.inner.prepare(member, launch)
    }

    async fn stop(&mut self, member: &str) -> Outcome<()> {
        *self.down.borrow_mut() = Some(member.to_owned());
        let stopped = self.inner.stop(member).await;
        if stopped.is_err() {
            *self.down.borrow_mut() = None;
        }
        stopped
    }

    async fn start(&mut self, member: &str, launch: &Launch) -> Outcome<()> {
        let started = self.inner.start(member, launch).await;
        // One that failed is over too: who runs is for the cluster to say.
        *self.down.borrow_mut() = None;
        started
    }

    fn restore(&mut self, member: &str) -> Outcome<bool> {
        self.inner.restore(member)
    }
}
