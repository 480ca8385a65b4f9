//! A driver that remembers which member is stopped, so that a run which is cut off
//! can say so.

use std::{cell::RefCell, path::PathBuf};

use semver::Version;

use super::{
    Driver,
    driver::{Launch, Managed},
};
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

    fn is_in_place(&self, member: &str, launch: &Launch) -> bool {
        self.inner.is_in_place(member, launch)
    }

    fn prepare(&mut self, member: &str, launch: &Launch) -> Outcome<()> {
        self.inner.prepare(member, launch)
    }

    async fn stop(&mut self, member: &str) -> Outcome<()> {
        *self.down.borrow_mut() = Some(member.to_owned());
        self.inner.stop(member).await
    }

    async fn start(&mut self, member: &str, launch: &Launch) -> Outcome<()> {
        self.inner.start(member, launch).await?;
        *self.down.borrow_mut() = None;
        Ok(())
    }

    fn restore(&mut self, member: &str) -> Outcome<bool> {
        let is_back = self.inner.restore(member)?;
        if is_back {
            *self.down.borrow_mut() = None;
        }
        Ok(is_back)
    }
}
