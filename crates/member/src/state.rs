//! What readers see of a member: the state as of the last entry that was applied. Only the apply
//! machine changes it; everyone else reads, under locks that are held for microseconds.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64},
};

use arc_swap::ArcSwap;
use auth::tokens::Provider;
use line::{Feature, Line, Spoken};
use membership::Cluster;
use parking_lot::RwLock;
use semver::Version;

use crate::alarms::Alarms;

/// Who a member is: from the head of its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its cluster.
    pub cluster_id: u64,
    /// This member.
    pub member_id: u64,
}

/// See the module's page.
pub struct State {
    /// The line that this member speaks.
    pub spoken: Spoken,
    /// Keys, values, history, over the database file after the log. A received
    /// snapshot puts another one in its place.
    pub store: ArcSwap<mvcc::Store>,
    /// Leases.
    pub lessor: RwLock<lease::Lessor>,
    /// Active alarms.
    pub alarms: RwLock<Alarms>,
    /// Users and roles. Who needs the lessor too takes that first.
    pub auth: RwLock<auth::Store>,
    /// What users show in place of their passwords.
    pub tokens: Arc<Provider>,
    /// Membership as last applied.
    pub cluster: ArcSwap<Cluster>,
    /// Version of the database's schema.
    pub storage_version: ArcSwap<Version>,
    /// Index of the last applied entry.
    pub applied: AtomicU64,
    /// True while this member is the only voter, leads, and has applied an
    /// entry of its own term: then its applied state is the linearizable state.
    pub sole_leader: AtomicBool,
    /// This member is a learner, which serves only a few methods.
    pub is_learner: AtomicBool,
}

impl State {
    /// The state as a database has it, which holds the effects of entries up to `applied`.
    pub fn new(
        line: Line,
        store: Arc<mvcc::Store>,
        lessor: lease::Lessor,
        alarms: Alarms,
        auth: (auth::Store, Arc<Provider>),
        cluster: Cluster,
        applied: u64,
    ) -> State {
        let (users, tokens) = auth;
        if users.is_enabled() {
            tokens.accept();
        }
        State {
            spoken: Spoken::new(line),
            store: ArcSwap::new(store),
            lessor: RwLock::new(lessor),
            alarms: RwLock::new(alarms),
            auth: RwLock::new(users),
            tokens,
            cluster: ArcSwap::from_pointee(cluster),
            storage_version: ArcSwap::from_pointee(Line::V3_5.cluster_version()),
            applied: AtomicU64::new(applied),
            sole_leader: AtomicBool::new(false),
            is_learner: AtomicBool::new(false),
        }
    }

    /// The line that this member speaks.
    pub fn line(&self) -> Line {
        self.spoken.line()
    }

    /// Whether every member of the cluster takes an alarm of a kind that it does not know: none can
    /// be of 3.5.
    pub fn takes_any_alarm(&self) -> bool {
        let cluster = self.cluster.load();
        let line_of_all = cluster.version().and_then(Line::of);
        line_of_all.is_some_and(|line| line.has(Feature::AlarmsOfAnyKind))
    }
}
