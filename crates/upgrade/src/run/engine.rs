//! What carries the steps out, and how that can end. The files next to this one give it its
//! abilities; it knows none of them.

use std::{
    cell::{Cell, RefCell},
    pin::pin,
    time::Duration,
};

use cli::interrupt;
use futures_util::future::{Either, select};
use semver::Version;

use super::{
    awaited::Awaited,
    cluster::{Answer, Cluster},
    deviation::Deviation,
    driver::{Driver, Launch, Managed},
    journal::Journal,
    safety,
    view::answers_within,
    watched::InHand,
};
use crate::{
    facts::Facts,
    failure::{Failure, Outcome},
};

/// How long one look may take before it is said that it does.
const SLOW: Duration = Duration::from_secs(6);
/// How long a signal waits for what the cluster says of itself.
pub(super) const LAST_LOOK: Duration = Duration::from_secs(4);

/// Why a run ended before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It could not begin, or its journal could not be written.
    Failed(Failure),
    /// A step deviated. The journal knows where it stands.
    Deviated {
        /// The step in words.
        step: String,
        /// What was seen.
        why: String,
        /// Whether the cluster serves: asked, not assumed.
        state: String,
    },
    /// Another node is next; in words.
    Others(String),
    /// A signal came. No member is between its stop and its start.
    Asked {
        /// Its human-readable name.
        signal: &'static str,
        /// Whether the cluster serves: asked, not assumed.
        state: String,
    },
    /// A second signal came while this member had to be finished with.
    Cut(InHand),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failed(failure)
    }
}

/// Why a step is not done.
pub(super) enum Pause {
    /// Another node is next; in words.
    Others(String),
    /// What was seen.
    Deviated(Deviation),
}

impl<E: Into<Deviation>> From<E> for Pause {
    fn from(why: E) -> Pause {
        Pause::Deviated(why.into())
    }
}

/// A run.
pub(crate) struct Engine<'a, D, C> {
    pub(crate) driver: &'a mut D,
    pub(crate) cluster: &'a C,
    pub(crate) journal: Journal,
    /// Limit for a member to come back.
    pub(crate) patience: Duration,
    /// Limit for the members of other nodes to follow.
    pub(crate) others: Duration,
    /// Whether it ends where it would wait for the members of other nodes.
    pub(crate) only_here: bool,
    /// What reads took before anything was changed.
    pub(crate) baseline: Option<Duration>,
    /// The members that do not answer, and since when.
    pub(crate) awaited: RefCell<Awaited>,
    /// Whether this command has the turn, and took it up from no killed one before it.
    pub(crate) is_turn_new: Cell<bool>,
    /// Whether the members have a change in hand that continues without this command.
    pub(crate) goes_on: Cell<bool>,
    /// Told about every step.
    pub(crate) say: &'a dyn Fn(&str),
}

impl<D: Driver, C: Cluster> Engine<'_, D, C> {
    pub(super) fn endpoints(&self) -> Vec<(String, String)> {
        let members = self.driver.members();
        members.into_iter().map(|m| (m.name, m.endpoint)).collect()
    }

    pub(super) fn of(&self, member: &str) -> Outcome<Managed> {
        let found = self.driver.members().into_iter().find(|m| m.name == member);
        found.ok_or_else(|| {
            Failure::new(format!(
                "member {member} has no place in the file of members"
            ))
        })
    }

    /// A stop, with what the cluster says of itself when it had the time to settle. After a
    /// signal there is no such time.
    pub(super) async fn deviated(&self, step: String, why: Deviation) -> Stop {
        if let Some(signal) = interrupt::is_asked() {
            (self.say)(&format!("        {why}"));
            return self.asked(signal).await;
        }
        let state = self.settled().await.state();
        Stop::Deviated {
            step,
            why: why.to_string(),
            state,
        }
    }

    /// A stop by a signal, with what the cluster says of itself, if that does not
    /// take long.
    pub(crate) async fn asked(&self, signal: &'static str) -> Stop {
        self.awaited.borrow_mut().end();
        let view = self.cluster.within(LAST_LOOK, self.known_view()).await;
        let state = view.map_or_else(
            || format!("whether the cluster serves was not seen within {LAST_LOOK:?}"),
            |view| view.state(),
        );
        Stop::Asked { signal, state }
    }

    /// What `member` answers, without its database: one look, as long as its time lasts.
    pub(super) async fn ask(&self, member: &str, endpoint: &str) -> Answer<Facts> {
        let began = self.cluster.now();
        let limit = self.awaited.borrow().limit(member, began, self.patience);
        let look = pin!(answers_within(self.cluster, endpoint, limit));
        let slow = pin!(self.cluster.sleep(SLOW));
        let answer = match select(look, slow).await {
            Either::Left((answer, _)) => answer,
            Either::Right(((), look)) => {
                if self.awaited.borrow_mut().is_news(member) {
                    (self.say)(&format!("        waiting: {member} does not answer yet"));
                }
                look.await
            }
        };
        match &answer {
            Answer::Told(_) => self.awaited.borrow_mut().heard(member),
            Answer::Silent(_) => {
                let mut awaited = self.awaited.borrow_mut();
                awaited.silent(member, began);
                if !limit.is_zero() {
                    awaited.asked(member, self.cluster.now());
                }
            }
            Answer::Refused(_) => {}
        }
        answer
    }

    /// Whether the member runs what `launch` starts already.
    pub(super) async fn runs(&self, member: &str, launch: &Launch) -> bool {
        let (Some(version), Ok(managed)) = (self.heard_version(member).await, self.of(member))
        else {
            return false;
        };
        let endpoint = &managed.endpoint;
        version == launch.version
            && safety::is_there(&version, self.cluster.is_pintle(endpoint).await, launch)
    }

    /// Whether the member runs that, and would run it again.
    pub(super) async fn has(&self, member: &str, launch: &Launch) -> bool {
        self.runs(member, launch).await && self.driver.is_in_place(member, launch)
    }

    /// What the member answers as its version.
    pub(super) async fn version_of(&self, managed: &Managed) -> Option<Version> {
        let answer = self.ask(&managed.name, &managed.endpoint).await;
        answer.told().ok()?.live?.version
    }
}
