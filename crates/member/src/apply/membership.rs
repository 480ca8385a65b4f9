//! Membership in the apply machine: conf changes, attributes, versions. Each
//! changes the one truth, then its projections: the v2 tree always (it is what
//! the next `.snap` holds), the buckets of the database when the entry is new
//! to it.

use std::sync::atomic::Ordering;

use bolt::Batch;
use line::Line;
use membership::{
    Cluster, Refusal,
    conf_change::{self, Done, Rejection, Rules},
    v2store::Blocked,
};
use proto::{
    etcdserverpb::Request,
    membershippb::{ClusterMemberAttrSetRequest, DowngradeInfoSetRequest},
    raftpb::{ConfChange, Entry},
    wire::Read as _,
};

use super::{
    command::{Outcome, PeerChange},
    entry::{self, At, Failure, refuse},
    machine::{Machine, Run},
};
use crate::{
    error::Fatal,
    host::Host,
    plant::{Plant, broken},
    status::{Code, Status, errors},
};

/// What the caller of a change that does not hold is told.
fn rejected(rejection: &Rejection) -> Status {
    match rejection {
        Rejection::Removed | Rejection::NotFound => errors::MEMBER_NOT_FOUND,
        Rejection::Exists => errors::MEMBER_EXISTS,
        Rejection::PeerUrlExists => errors::PEER_URL_EXISTS,
        Rejection::NotLearner => errors::NOT_A_LEARNER,
        Rejection::TooManyLearners => errors::TOO_MANY_LEARNERS,
        Rejection::Malformed(_) | Rejection::Blocked(_) => {
            Status::new(Code::Unknown, rejection.to_string())
        }
    }
}

/// The v2 tree has something else where an entry writes.
fn blocked(index: u64, place: &Blocked) -> Fatal {
    refuse(index, &place.clone().into())
}

impl Machine {
    /// Brings the buckets from what the truth was to what it is.
    fn project<H>(&self, before: &Cluster, fresh: bool, run: &mut Run<'_, H>) {
        if fresh {
            let mut batch = Batch::default();
            membership::v3store::project_change(before, &self.cluster, &mut batch);
            run.writer.write(batch);
        }
    }

    /// A change of the configuration. One that does not hold still goes to raft, as a change of
    /// no one, so that every member counts the same.
    pub(super) fn apply_conf_change<H: Host>(
        &mut self,
        entry: &Entry,
        fresh: bool,
        run: &mut Run<'_, H>,
    ) -> Result<entry::Done, Fatal> {
        self.generation += 1;
        let data = entry.data.clone().unwrap_or_default();
        let mut change =
            ConfChange::read(&data).map_err(|error| refuse(entry.index, &error.into()))?;
        let id = change.id;
        let before = self.cluster.clone();
        let rules = match &self.judged {
            Some(outcome) if !fresh => Rules::Outcome(outcome),
            _ => run.host.rules(),
        };
        let result = conf_change::apply(&mut self.cluster, &mut self.tree, &change, rules);
        match &result {
            Ok(_) if run.host.consensus(|node| node.takes_last_vote(&change)) => {
                return Err(refuse(entry.index, &Refusal::LastVote));
            }
            Ok(_) => {}
            Err(Rejection::Malformed(_)) => {
                return Err(refuse(
                    entry.index,
                    &Refusal::Invalid("configuration change"),
                ));
            }
            Err(Rejection::Blocked(place)) => return Err(blocked(entry.index, place)),
            Err(rejection) => {
                tracing::error!(index = entry.index, error = %rejection, "rejected a configuration change");
                if !broken(Plant::RejectedChangeToRaft) {
                    change.node_id = 0;
                }
            }
        }
        // Before anyone else counts: what is local is no longer all there is.
        let kept = broken(Plant::SoleLeaderKept) && self.state.sole_leader.load(Ordering::Acquire);
        self.state.sole_leader.store(kept, Ordering::Release);
        self.conf_state = run.host.consensus(|node| node.apply_conf_change(&change));
        if !kept {
            self.follow_sole_leader();
        }
        if fresh {
            let mut batch = Batch::default();
            membership::v3store::project_conf_state(&self.conf_state, &mut batch);
            run.writer.write(batch);
        }
        let promoted = matches!(result, Ok(Done::Promoted(_)));
        if !(promoted && broken(Plant::PromotionNotProjected)) {
            self.project(&before, fresh, run);
        }
        self.publish_cluster();
        if let Ok(done) = result {
            run.effects.peers.extend(self.follow_change(done));
            run.effects.peers.extend(self.follow_dispute(done));
        }
        let members = self.cluster.members().cloned().collect();
        let result = result
            .map(|_| Outcome::Members(members))
            .map_err(|rejection| rejected(&rejection));
        Ok(entry::Done {
            id,
            kind: None,
            result: Some(result),
        })
    }

    /// Whether an update began a dispute about a vote.
    fn follow_dispute(&self, done: Done) -> Option<PeerChange> {
        let Done::Updated(id) = done else {
            return None;
        };
        let member = self.cluster.member(id)?;
        self.cluster.is_disputed(id).then(|| PeerChange::Disputed {
            member: member.clone(),
            raft_has_learner: self.conf_state.learners.contains(&id.0),
        })
    }

    /// Logs what changed, and returns what the transport to the other members must follow.
    fn follow_change(&self, done: Done) -> Option<PeerChange> {
        let own = self.identity.member_id;
        let cluster_id = format!("{:x}", self.identity.cluster_id);
        let local = format!("{own:x}");
        match done {
            Done::Added(id) => {
                let member = self.cluster.member(id)?;
                tracing::info!(
                    "cluster-id" = cluster_id,
                    "local-member-id" = local,
                    "added-peer-id" = %id,
                    "added-peer-peer-urls" = member.peer_urls.join(","),
                    "added-peer-is-learner" = member.is_learner,
                    "added member"
                );
                (id.0 != own).then(|| PeerChange::Added(member.clone()))
            }
            Done::Promoted(id) => {
                tracing::info!(
                    "cluster-id" = cluster_id,
                    "local-member-id" = local,
                    "promoted-member-id" = %id,
                    "promote member"
                );
                None
            }
            Done::Updated(id) => {
                let member = self.cluster.member(id)?;
                tracing::info!(
                    "cluster-id" = cluster_id,
                    "local-member-id" = local,
                    "updated-remote-peer-id" = %id,
                    "updated-remote-peer-urls" = member.peer_urls.join(","),
                    "updated member"
                );
                (id.0 != own).then(|| PeerChange::Updated(member.clone()))
            }
            Done::Removed(id) => {
                tracing::info!(
                    "cluster-id" = cluster_id,
                    "local-member-id" = local,
                    "removed-remote-peer-id" = %id,
                    "removed member"
                );
                Some(if id.0 == own {
                    PeerChange::Left
                } else {
                    PeerChange::Removed(id.0)
                })
            }
        }
    }

    /// A request of the v2 API, which etcd up to 3.5 uses for its own membership.
    pub(super) fn apply_v2<H>(
        &mut self,
        index: u64,
        request: &Request,
        fresh: bool,
        run: &mut Run<'_, H>,
    ) -> Result<(), Fatal> {
        self.generation += 1;
        self.blocks_newer_release = true;
        if membership::entry::is_membership(request) || !self.options.drop_v2_keys {
            let applied = self.tree.apply(request);
            applied.map_err(|place| blocked(index, &place))?;
        }
        let before = self.cluster.clone();
        match self.cluster.apply_v2(request) {
            Ok(true) => {
                self.follow_version(before.version())?;
                self.project(&before, fresh, run);
                self.publish_cluster();
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(error) => skip_removed(index, &error),
        }
    }

    pub(super) fn set_cluster_version<H>(
        &mut self,
        index: u64,
        version: &str,
        fresh: bool,
        run: &mut Run<'_, H>,
    ) -> Result<Outcome, Failure> {
        let parsed = semver::Version::parse(version).map_err(|error| {
            Status::new(
                Code::InvalidArgument,
                format!("cluster version {version:?}: {error}"),
            )
        })?;
        let before = self.cluster.clone();
        self.set_version(index, parsed)?;
        self.follow_version(before.version())?;
        self.project(&before, fresh, run);
        self.publish_cluster();
        Ok(Outcome::Done)
    }

    /// Logs that the cluster version has changed; a server that is older than
    /// its cluster must stop.
    fn follow_version(&mut self, before: Option<&semver::Version>) -> Result<(), Fatal> {
        let version = self.cluster.version().filter(|v| Some(*v) != before);
        let Some(version) = &version.cloned() else {
            return Ok(());
        };
        let mut line = self.state.line();
        if self.follow_up(version) {
            line = self.state.line();
        } else if !line.takes_part_in(version) {
            return Err(Fatal {
                what: "invalid downgrade; server version is lower than determined cluster version",
                error: format!("cluster {version}, server {}", line.release()),
            });
        }
        match before {
            None => tracing::info!(
                "cluster-id" = format!("{:x}", self.identity.cluster_id),
                "cluster-version" = %version,
                "set initial cluster version"
            ),
            Some(before) => {
                tracing::info!(from = %before, to = %version, "updated cluster version");
            }
        }
        if before.is_some_and(|before| before > version) && line.facts().stores_version {
            // What is on disk must suit the members that follow.
            self.forces_snapshot = true;
            tracing::info!("new-cluster-version" = %version, "Cluster version downgrade detected, forcing snapshot");
        }
        tracing::info!("cluster-version" = %version, "enabled capabilities for version");
        tracing::info!("cluster-version" = %version, "cluster version is updated");
        Ok(())
    }

    /// Speaks the line of a version that is above the one that is spoken, where it can. Whoever
    /// decided on the version may have asked before a change was given up, or the member restarted,
    /// and another start would find that line.
    pub(super) fn follow_up(&mut self, version: &semver::Version) -> bool {
        let above = |line: &Line| *line > self.state.line() && *line <= self.highest;
        let newer = Line::of(version).filter(above);
        if let Some(line) = newer {
            self.speak(line);
        }
        newer.is_some()
    }

    fn set_version(&mut self, index: u64, version: semver::Version) -> Result<(), Fatal> {
        self.generation += 1;
        let applied = self.tree.set_version(&version);
        applied.map_err(|place| blocked(index, &place))?;
        self.cluster.set_version(Some(version));
        Ok(())
    }

    pub(super) fn set_attributes<H>(
        &mut self,
        at: At,
        set: &ClusterMemberAttrSetRequest,
        run: &mut Run<'_, H>,
    ) -> Result<Outcome, Failure> {
        self.generation += 1;
        let attributes = set.member_attributes.clone().unwrap_or_default();
        let before = self.cluster.clone();
        match self.cluster.set_attributes(
            set.member_id.into(),
            &attributes.name,
            &attributes.client_urls,
        ) {
            Ok(()) => self
                .tree
                .set_attributes(
                    set.member_id.into(),
                    &attributes.name,
                    &attributes.client_urls,
                )
                .map_err(|place| blocked(at.index, &place))?,
            Err(error) => skip_removed(at.index, &error)?,
        }
        self.project(&before, at.fresh, run);
        self.publish_cluster();
        Ok(Outcome::Done)
    }

    pub(super) fn set_downgrade<H>(
        &mut self,
        set: &DowngradeInfoSetRequest,
        fresh: bool,
        run: &mut Run<'_, H>,
    ) -> Outcome {
        let before = self.cluster.clone();
        self.cluster
            .set_downgrade(set.enabled.then(|| set.ver.clone()));
        self.project(&before, fresh, run);
        self.publish_cluster();
        Outcome::Done
    }
}

/// A member that is gone may still publish itself; one that no one knows ends etcd.
fn skip_removed(index: u64, error: &membership::Error) -> Result<(), Fatal> {
    match error {
        membership::Error::Removed(_) => {
            tracing::warn!(index, error = %error, "skipped attributes of a removed member");
            Ok(())
        }
        _ => Err(refuse(index, &Refusal::Invalid("member"))),
    }
}
