//! `--membership-check`: holds the copies of the membership against each other
//! when a directory is opened and when a snapshot is received, says each
//! disagreement in one line and as a metric, and writes the database anew from
//! the truth. The truth is what the log says; one member alone never changes
//! that, nor what raft counts by.

use std::{collections::BTreeSet, path::Path};

use bolt::Batch;
use line::{Choice, Feature, Kept, Known, Line, Truth, Unfit};
use membership::{
    Cluster, Disagreement, Payload, Replay, disagreement,
    v3store::{self, V3View},
};
use proto::{
    etcdserverpb::internal_raft_request::Op,
    raftpb::{ConfState, Entry},
};
use semver::Version;

use crate::{
    alarms::Alarms,
    error::{At as _, Error},
    host::Files,
};

/// What to do about copies of the membership that disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MembershipCheck {
    /// Say so, and write the database anew from the truth.
    Heal,
    /// Say so.
    Report,
    /// Say so and do not start.
    Refuse,
}

impl MembershipCheck {
    /// What it comes to on a database. Where the buckets are the authority there is nothing to
    /// write over them.
    pub fn by_line(self, line: Line, view: &V3View) -> MembershipCheck {
        match self {
            MembershipCheck::Heal if buckets_rule(line, view) => MembershipCheck::Report,
            check => check,
        }
    }
}

/// What a database holds that the log is judged by, the membership above all, and where in the log
/// that belongs.
pub struct Stored {
    view: V3View,
    alarms: Alarms,
    consistent_index: u64,
}

impl Stored {
    /// Reads it from a database file that no one has open, without writing to
    /// it. `None` where there is none yet.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(files: &dyn Files, path: &Path) -> Result<Option<Stored>, Error> {
        if files
            .is_unwritten(path)
            .at("cannot read the database", path)?
        {
            return Ok(None);
        }
        let db = files
            .read_database(path)
            .at("cannot open the database", path)?;
        let tx = db.begin_read();
        let view = v3store::read(&tx).at("cannot read the membership in", path)?;
        let held = mvcc::backend::consistent_index(&tx).at("cannot read the database", path)?;
        let alarms = Alarms::recover(&tx).at("cannot read the alarms in", path)?;
        Ok(Some(Stored {
            view,
            alarms,
            consistent_index: held.index,
        }))
    }

    /// What its buckets tell.
    pub fn view(&self) -> &V3View {
        &self.view
    }

    /// The alarms that are raised.
    pub fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    /// Index of the last entry whose effects the database holds.
    pub fn consistent_index(&self) -> u64 {
        self.consistent_index
    }
}

/// What was found, and the truth to heal it with.
pub struct Verdict {
    found: Vec<Disagreement>,
    stored: Stored,
    /// The truth as of the database.
    truth: Replay,
}

/// Compares a database with the log behind a snapshot. A database that has seen
/// nothing yet, or is behind the snapshot, gives no verdict. Nor does one that is
/// ahead of the log, as a release that put a received snapshot in place too early
/// could leave it: the log does not know the members as of its index.
///
/// What the next entries bring about is no disagreement: 3.4 writes its index
/// down with keys only, so that its buckets may be ahead of it.
pub fn compare(
    snapshot: Replay,
    snapshot_index: u64,
    entries: &[Entry],
    commit: u64,
    stored: Stored,
) -> Option<Verdict> {
    if stored.consistent_index == 0 || stored.consistent_index < snapshot_index {
        return None;
    }
    let last = entries.last().map_or(snapshot_index, |entry| entry.index);
    if stored.consistent_index > last {
        tracing::warn!(
            "consistent-index" = stored.consistent_index,
            "last-index" = last,
            "the database is ahead of the log; their membership is not compared"
        );
        return None;
    }
    let mut truth = snapshot;
    truth.outcome = stored.view.conf_state.clone();
    let mut rest = entries.iter().peekable();
    while let Some(entry) = rest.next_if(|entry| entry.index <= stored.consistent_index) {
        // What cannot be decoded ends the server when it is applied.
        let _ = truth.follow(entry);
    }
    truth.cluster.recover_downgrade(&stored.view);
    let mut found = disagreement::find(&truth.cluster, &truth.conf_state, &stored.view);
    if !found.is_empty() {
        let mut later = truth.clone();
        for entry in rest.take_while(|entry| entry.index <= commit) {
            let _ = later.follow(entry);
        }
        let lasting = disagreement::find(&later.cluster, &later.conf_state, &stored.view);
        found.retain(|one| lasting.contains(one));
    }
    Some(Verdict {
        found,
        stored,
        truth,
    })
}

impl Verdict {
    /// True if another release would show wrong members, or end.
    pub fn is_serious(&self) -> bool {
        self.found.iter().any(is_serious)
    }

    /// What was found.
    pub fn found(&self) -> &[Disagreement] {
        &self.found
    }

    /// Logs each disagreement; returns what becomes of them.
    pub fn report(&self, check: MembershipCheck) -> &'static str {
        let action = match check {
            MembershipCheck::Heal if self.is_certain() => "healed",
            _ => "reported",
        };
        for one in &self.found {
            let (copy, kind) = (one.copy(), one.kind());
            let detail = one.to_string();
            if !is_serious(one) {
                tracing::info!(copy, kind, action, detail, "{MESSAGE}");
            } else if one.is_healable() {
                tracing::warn!(copy, kind, action, detail, "{MESSAGE}");
            } else {
                tracing::error!(copy, kind, action, detail, "{MESSAGE}");
            }
        }
        action
    }

    /// With `--membership-check=refuse`, why the server does not go on.
    pub fn refusal(&self, path: &Path) -> Error {
        let mut text = format!(
            "{}: the copies of the membership disagree, and --membership-check=refuse says to stop",
            path.display()
        );
        for one in self.found.iter().filter(|one| is_serious(one)) {
            text.push_str("; ");
            text.push_str(&one.to_string());
        }
        text.push_str(
            ". Nothing was changed. --membership-check=heal repairs the database; `pintle upgrade check --data-dir` says more",
        );
        Error::new(text)
    }

    /// False where raft and the v2 store do not have the same members.
    fn is_certain(&self) -> bool {
        self.found.iter().all(Disagreement::is_healable)
    }

    /// Writes the truth over what the database has. Empty if there is nothing to
    /// heal, also where raft itself disagrees: then the truth is not certain.
    pub fn healing(&self) -> Batch {
        let mut batch = Batch::default();
        if !self.found.is_empty() && self.is_certain() {
            v3store::project_over(&self.truth.cluster, &self.stored.view, &mut batch);
            v3store::project_conf_state(&self.truth.conf_state, &mut batch);
        }
        batch
    }
}

/// True where another release would show wrong members, or end.
/// Every directory of 3.5.1 to 3.5.19 lacks names and client URLs in the
/// database: the next publication of each member brings them.
pub fn is_serious(one: &Disagreement) -> bool {
    !one.is_harmless() && !matches!(one, Disagreement::Attributes(_))
}

/// Monitoring looks for it.
const MESSAGE: &str = "the copies of the membership disagree";

/// The line to speak in the cluster that a directory belongs to.
///
/// # Errors
/// None fits; the text says what to do.
pub(super) fn choose_line(
    choice: Choice,
    kept: Kept,
    snapshot: &Cluster,
    entries: &[Entry],
    stored: Option<&Stored>,
) -> Result<Line, Error> {
    let view = stored.map(Stored::view);
    let mut cluster: Vec<Version> = entries.iter().filter_map(version_in).collect();
    cluster.extend(view.and_then(|view| view.cluster_version.clone()));
    // All that is applied anew counts: on a version above its own a member ends, and be it that
    // a later entry lowers it again. A snapshot follows each lowering.
    cluster.extend(snapshot.version().cloned());
    let known = Known {
        cluster,
        storage: view.and_then(|view| view.storage_version.clone()),
        kept,
    };
    choice
        .resolve(&known)
        .map_err(|error| Error(error.to_string()))
}

/// The cluster version that an entry sets.
fn version_in(entry: &Entry) -> Option<Version> {
    let data = entry.data.clone().unwrap_or_default();
    match membership::decode_entry(&data, Line::DEFAULT).ok()? {
        Payload::V2(request) if request.path == "/0/version" => Version::parse(&request.val).ok(),
        Payload::Internal(request) => match &request.op {
            Some(Op::ClusterVersionSet(set)) => Version::parse(&set.ver).ok(),
            _ => None,
        },
        _ => None,
    }
}

/// Refuses a cluster newer than the line that this server speaks.
///
/// # Errors
/// The text says what to do.
pub fn check_version(line: Line, cluster: &Cluster, v3: &V3View) -> Result<(), Error> {
    let versions = [cluster.version(), v3.cluster_version.as_ref()];
    let known = Known {
        cluster: versions.into_iter().flatten().cloned().collect(),
        ..Known::default()
    };
    match Choice::Fixed(line).resolve(&known) {
        Err(error @ (Unfit::TooNew { .. } | Unfit::Newer { .. })) => Err(Error(error.to_string())),
        Ok(_) | Err(Unfit::Older { .. }) => Ok(()),
    }
}

/// Whether the buckets of a database are the authority on the membership: for a line that takes
/// them for it, once the cluster has been on such a line. Before that they are what 3.5 left.
pub fn buckets_rule(line: Line, view: &V3View) -> bool {
    line.facts().truth == Truth::V3Store && view.storage_version.is_some()
}

/// The members as of a database whose buckets are the authority.
pub struct Adopted {
    /// The members.
    pub cluster: Cluster,
    /// What was wrong in the buckets and is written anew: promotions that never reached them.
    pub healing: Batch,
}

/// What the buckets say, if they are the authority as of the entries that the database holds.
///
/// # Errors
/// raft would count other votes than the members of this line.
pub(super) fn adopt(
    line: Line,
    snapshot: &Replay,
    snapshot_index: u64,
    entries: &[Entry],
    stored: &Stored,
) -> Result<Option<Adopted>, Error> {
    let held = stored.consistent_index;
    if !buckets_rule(line, &stored.view) || held == 0 || held < snapshot_index {
        return Ok(None);
    }
    let mut log = snapshot.clone();
    log.outcome = stored.view.conf_state.clone();
    for entry in entries.iter().take_while(|entry| entry.index <= held) {
        // What cannot be decoded ends the server when it is applied.
        let _ = log.follow(entry);
    }
    let mut cluster = Cluster::of_buckets(snapshot.cluster.id(), &stored.view);
    cluster.limit_learners(snapshot.cluster.learners_max());
    if line.has(Feature::VotesFromMembers) {
        check_votes(&cluster, &log.conf_state)?;
        return Ok(Some(Adopted {
            cluster,
            healing: Batch::default(),
        }));
    }
    let written = cluster.clone();
    cluster.promote_as_in(&log.cluster);
    let mut healing = Batch::default();
    v3store::project_change(&written, &cluster, &mut healing);
    Ok(Some(Adopted { cluster, healing }))
}

/// etcd 3.7 builds the configuration of raft from the members, so that one which the log does
/// not count gets a vote there. This server counts by the log, and must not differ.
fn check_votes(cluster: &Cluster, counted: &ConfState) -> Result<(), Error> {
    let ids = |learner: bool| {
        let members = cluster.members().filter(|m| m.is_learner == learner);
        members.map(|m| m.id.0).collect::<BTreeSet<_>>()
    };
    let set = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<_>>();
    if ids(false) == set(&counted.voters) && ids(true) == set(&counted.learners) {
        return Ok(());
    }
    Err(Error::new(
        "the members in the database are not those that the log counts: etcd 3.7 would count votes by the first and others \
         by the second. Remove the members that should not be there while the cluster runs 3.6, or repair the directory \
         with `pintle upgrade repair`; nothing was changed",
    ))
}
