//! Who is awaited, and since when. The patience is for a member, not for a look at it: however
//! many steps of one command find it silent, we wait for it once.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How long a member that had its time in vain may take to answer: it is asked again and
/// again, by every look at the cluster.
const GLANCE: Duration = Duration::from_secs(2);
/// How long it is not asked again then: looks follow one another, and say the same of it.
const REST: Duration = Duration::from_secs(4);

/// The members that do not answer, by name.
#[derive(Debug, Default)]
pub(crate) struct Awaited {
    /// Since when they have not answered: since they were first asked in vain, or started.
    since: BTreeMap<String, Duration>,
    /// Those that were waited for in vain, and neither heard nor started since.
    given_up: BTreeSet<String>,
    /// Those that this command has tried to start, and what came of it.
    in_vain: BTreeMap<String, String>,
    /// Those that this command took down, and that were not heard since.
    down: BTreeSet<String>,
    /// When those that do not answer were last asked in vain.
    asked: BTreeMap<String, Duration>,
    /// Those of which it was said that they do not answer.
    said: BTreeSet<String>,
    /// Whether we wait for no one any more.
    is_over: bool,
}

impl Awaited {
    /// It has answered.
    pub(super) fn heard(&mut self, member: &str) {
        self.since.remove(member);
        self.asked.remove(member);
        self.given_up.remove(member);
        self.in_vain.remove(member);
        self.down.remove(member);
        self.said.remove(member);
    }

    /// It did not answer when it was asked at `now`. Returns since when it has not.
    pub(super) fn silent(&mut self, member: &str, now: Duration) -> Duration {
        *self.since.entry(member.to_owned()).or_insert(now)
    }

    /// It is about to be taken down.
    pub(super) fn taken_down(&mut self, member: &str) {
        self.down.insert(member.to_owned());
    }

    /// Those that were taken down, and not heard since.
    pub(super) fn not_up(&self) -> Vec<String> {
        self.down.iter().cloned().collect()
    }

    /// It was started: its time begins anew.
    pub(super) fn started(&mut self, member: &str, now: Duration) {
        self.since.insert(member.to_owned(), now);
        self.asked.remove(member);
        self.given_up.remove(member);
    }

    /// Whether it was not said yet that it does not answer. From here on it was.
    pub(super) fn is_news(&mut self, member: &str) -> bool {
        self.said.insert(member.to_owned())
    }

    /// It had its time.
    pub(super) fn give_up(&mut self, member: &str) {
        self.given_up.insert(member.to_owned());
    }

    /// Whether it had its time.
    pub(super) fn is_given_up(&self, member: &str) -> bool {
        self.given_up.contains(member)
    }

    /// Whether it did not answer when it was asked last.
    pub(super) fn is_silent(&self, member: &str) -> bool {
        self.since.contains_key(member)
    }

    /// From here on every look is a short one.
    pub(super) fn end(&mut self) {
        self.is_over = true;
    }

    /// It was started, or should have been, and does not answer.
    pub(super) fn failed(&mut self, member: &str, why: String) {
        self.give_up(member);
        self.in_vain.insert(member.to_owned(), why);
    }

    /// Why a start of this command did not bring it back.
    pub(super) fn failure(&self, member: &str) -> Option<&str> {
        self.in_vain.get(member).map(String::as_str)
    }

    /// When the time of a member that does not answer is over.
    pub(super) fn deadline(&self, member: &str, patience: Duration) -> Option<Duration> {
        self.since.get(member).map(|since| *since + patience)
    }

    /// It was asked in vain, until `now`.
    pub(super) fn asked(&mut self, member: &str, now: Duration) {
        self.asked.insert(member.to_owned(), now);
    }

    /// How long one look at it may take.
    pub(super) fn limit(&self, member: &str, now: Duration, patience: Duration) -> Duration {
        let deadline = self.deadline(member, patience);
        let is_over = self.is_over || self.is_given_up(member);
        match deadline.map(|deadline| deadline.saturating_sub(now)) {
            Some(left) if !is_over && left > GLANCE => left,
            None if !is_over => patience.max(GLANCE),
            _ if self.rests(member, now) => Duration::ZERO,
            _ => GLANCE,
        }
    }

    /// Whether it was asked in vain a moment ago.
    fn rests(&self, member: &str, now: Duration) -> bool {
        let asked = self.asked.get(member);
        asked.is_some_and(|asked| now.saturating_sub(*asked) < REST)
    }
}
