//! A driver that remembers which member is stopped, so that a run which is cut off
//! can say so.

use std::cell::RefCell;

use semver::Version;

use super::{Driver, driver::Managed};
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

    fn ready_for(&self, member: &str, to: &Version, pintle: bool) -> Outcome<()> {
        self.inner.ready_for(member, to, pintle)
    }

    fn preview(&self, member: &str, from: &Version, to: &Version, pintle: bool) -> Outcome<String> {
        self.inner.preview(member, from, to, pintle)
    }

    async fn stop(&mut self, member: &str) -> Outcome<()> {
        *self.down.borrow_mut() = Some(member.to_owned());
        self.inner.stop(member).await
    }

    async fn start(
        &mut self,
        member: &str,
        version: &Version,
        pintle: bool,
        flags: &[&str],
    ) -> Outcome<()> {
        self.inner.start(member, version, pintle, flags).await?;
        *self.down.borrow_mut() = None;
        Ok(())
    }

    async fn put_back(&mut self, member: &str, version: &Version, pintle: bool) -> Outcome<()> {
        self.inner.put_back(member, version, pintle).await?;
        *self.down.borrow_mut() = None;
        Ok(())
    }
}
