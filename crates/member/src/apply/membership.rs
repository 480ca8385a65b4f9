//! Membership in the apply machine: conf changes, attributes, versions. Each
//! changes the one truth, then its projections: the v2 tree always (it is what
//! the next `.snap` holds), the buckets of the database when the entry is new
//! to it.

use std::sync::atomic::Ordering;

use bolt::Batch;
use membership::{
    Cluster, Refusal,
    conf_change::{self, Done, Rejection, Rules},
};
use mvcc::Writer;
use proto::{
    etcdserverpb::Request,
    membershippb::{ClusterMemberAttrSetRequest, DowngradeInfoSetRequest},
    raftpb::{ConfChange, Entry},
    wire::Read as _,
};

use super::{Machine, Outcome};
use crate::{
    disputes,
    runtime::Delivery,
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
        Rejection::Malformed(_) => Status::new(Code::Unknown, rejection.to_string()),
    }
}

impl Machine {
    pub(super) fn publish_cluster(&self) {
        let own = self.cluster.member(self.core.member_id);
        let is_learner = own.is_some_and(|member| member.is_learner);
        self.core.is_learner.store(is_learner, Ordering::Relaxed);
        self.core
            .cluster
            .store(std::sync::Arc::new(self.cluster.clone()));
    }

    /// Brings the buckets from what the truth was to what it is.
    fn project(&self, before: &Cluster, fresh: bool, writer: &mut Writer<'_>) {
        if fresh {
            let mut batch = Batch::default();
            membership::v3store::project_change(before, &self.cluster, &mut batch);
            writer.write(batch);
        }
    }

    /// A change of the configuration. One that does not hold is still told to
    /// raft, as a change of nobody, so that every member counts the same.
    pub(super) fn apply_conf_change(
        &mut self,
        entry: &Entry,
        fresh: bool,
        writer: &mut Writer<'_>,
    ) {
        self.generation += 1;
        let data = entry.data.clone().unwrap_or_default();
        let mut change = match ConfChange::read(&data) {
            Ok(change) => change,
            Err(error) => return self.refuse(entry.index, &error.into()),
        };
        let id = change.id;
        let before = self.cluster.clone();
        let rules = match &self.judged {
            Some(outcome) if !fresh => Rules::Outcome(outcome),
            _ => disputes::rules(&self.core),
        };
        let result = conf_change::apply(&mut self.cluster, &mut self.tree, &change, rules);
        if let Err(Rejection::Malformed(_)) = result {
            return self.refuse(entry.index, &Refusal::Invalid("configuration change"));
        }
        if let Err(rejection) = &result {
            tracing::error!(index = entry.index, error = %rejection, "rejected a configuration change");
            change.node_id = 0;
        }
        // Before anybody else counts: what is local is no longer all there is.
        self.core.sole_leader.store(false, Ordering::Release);
        self.conf_state = self.core.raft.drive(|node| node.apply_conf_change(&change));
        self.follow_sole_leader();
        if fresh {
            let mut batch = Batch::default();
            membership::v3store::project_conf_state(&self.conf_state, &mut batch);
            writer.write(batch);
        }
        self.project(&before, fresh, writer);
        self.publish_cluster();
        if let Ok(done) = result {
            self.follow_change(done);
            self.follow_dispute(done);
        }
        let members = self.cluster.members().cloned().collect();
        self.answer(
            id,
            result
                .map(|_| Outcome::Members(members))
                .map_err(|rejection| rejected(&rejection)),
        );
    }

    /// Has a dispute about a vote ended that an update began.
    fn follow_dispute(&mut self, done: Done) {
        let Done::Updated(id) = done else { return };
        let Some(member) = self.cluster.member(id) else {
            return;
        };
        let raft_has_learner = self.conf_state.learners.contains(&id.0);
        if self.cluster.is_disputed(id)
            && let Some(work) = disputes::follow(&self.core, member, raft_has_learner)
        {
            self.deliveries[0].push(Delivery::Spawn(work));
        }
    }

    /// Tells the way to the other members, and the log, what changed.
    fn follow_change(&self, done: Done) {
        let core = &self.core;
        let (cluster_id, own) = (format!("{:x}", core.cluster_id), core.member_id);
        let local = format!("{own:x}");
        match done {
            Done::Added(id) => {
                let Some(member) = self.cluster.member(id) else {
                    return;
                };
                tracing::info!(
                    "cluster-id" = cluster_id,
                    "local-member-id" = local,
                    "added-peer-id" = %id,
                    "added-peer-peer-urls" = member.peer_urls.join(","),
                    "added-peer-is-learner" = member.is_learner,
                    "added member"
                );
                if let Some(peers) = core.raft.peers().filter(|_| id.0 != own) {
                    peers.add_peer(id.0, &member.peer_urls);
                }
            }
            Done::Promoted(id) => {
                tracing::info!(
                    "cluster-id" = cluster_id,
                    "local-member-id" = local,
                    "promoted-member-id" = %id,
                    "promote member"
                );
            }
            Done::Updated(id) => {
                let Some(member) = self.cluster.member(id) else {
                    return;
                };
                tracing::info!(
                    "cluster-id" = cluster_id,
                    "local-member-id" = local,
                    "updated-remote-peer-id" = %id,
                    "updated-remote-peer-urls" = member.peer_urls.join(","),
                    "updated member"
                );
                if let Some(peers) = core.raft.peers().filter(|_| id.0 != own) {
                    peers.update_peer(id.0, &member.peer_urls);
                }
            }
            Done::Removed(id) => {
                tracing::info!(
                    "cluster-id" = cluster_id,
                    "local-member-id" = local,
                    "removed-remote-peer-id" = %id,
                    "removed member"
                );
                if id.0 == own {
                    core.leave();
                } else if let Some(peers) = core.raft.peers() {
                    peers.remove_peer(id.0);
                }
            }
        }
    }

    /// Tells the way to the other members who they are, as after a snapshot. What is on its
    /// way to those who stay is not lost.
    pub(super) fn meet_everybody(&self) {
        let Some(peers) = self.core.raft.peers() else {
            return;
        };
        let known = peers.peers();
        for peer in &known {
            if self.cluster.member(peer.id).is_none() {
                peers.remove_peer(peer.id);
            }
        }
        for member in self.cluster.members() {
            let id = member.id.0;
            match known.iter().find(|peer| peer.id == id) {
                Some(peer) if peer.urls == member.peer_urls => {}
                Some(_) => peers.update_peer(id, &member.peer_urls),
                None if id == self.core.member_id => {}
                None => peers.add_peer(id, &member.peer_urls),
            }
        }
    }

    /// A request of the v2 API, which etcd up to 3.5 uses for its own membership.
    pub(super) fn apply_v2(
        &mut self,
        index: u64,
        request: &Request,
        fresh: bool,
        writer: &mut Writer<'_>,
    ) {
        self.generation += 1;
        self.is_in_the_way = true;
        if membership::entry::is_membership(request) || !self.core.config.drop_v2_keys {
            self.tree.apply(request);
        }
        let before = self.cluster.clone();
        match self.cluster.apply_v2(request) {
            Ok(true) => {
                self.follow_version(before.version());
                self.project(&before, fresh, writer);
                self.publish_cluster();
            }
            Ok(false) => {}
            Err(error) => self.skip_removed(index, &error),
        }
    }

    pub(super) fn set_cluster_version(
        &mut self,
        version: &str,
        fresh: bool,
        writer: &mut Writer<'_>,
    ) -> Result<Outcome, Status> {
        let parsed = semver::Version::parse(version).map_err(|error| {
            Status::new(
                Code::InvalidArgument,
                format!("cluster version {version:?}: {error}"),
            )
        })?;
        let before = self.cluster.clone();
        self.set_version(parsed);
        self.follow_version(before.version());
        self.project(&before, fresh, writer);
        self.publish_cluster();
        Ok(Outcome::Done)
    }

    /// Says that the cluster version has changed; a server that is older than
    /// its cluster must not go on.
    fn follow_version(&self, before: Option<&semver::Version>) {
        let Some(version) = self.cluster.version().filter(|v| Some(*v) != before) else {
            return;
        };
        let own = crate::version::own();
        if (version.major, version.minor) > (own.major, own.minor) {
            self.core.fatal.report(
                "invalid downgrade; server version is lower than determined cluster version",
                &format!("cluster {version}, server {own}"),
            );
            return;
        }
        match before {
            None => tracing::info!(
                "cluster-id" = format!("{:x}", self.core.cluster_id),
                "cluster-version" = %version,
                "set initial cluster version"
            ),
            Some(before) => {
                tracing::info!(from = %before, to = %version, "updated cluster version");
            }
        }
        tracing::info!("cluster-version" = %version, "enabled capabilities for version");
        tracing::info!("cluster-version" = %version, "cluster version is updated");
    }

    fn set_version(&mut self, version: semver::Version) {
        self.generation += 1;
        self.tree.set_version(&version);
        self.cluster.set_version(Some(version));
    }

    pub(super) fn set_attributes(
        &mut self,
        index: u64,
        set: &ClusterMemberAttrSetRequest,
        fresh: bool,
        writer: &mut Writer<'_>,
    ) -> Result<Outcome, Status> {
        self.generation += 1;
        let attributes = set.member_attributes.clone().unwrap_or_default();
        let before = self.cluster.clone();
        match self.cluster.set_attributes(
            set.member_id.into(),
            &attributes.name,
            &attributes.client_urls,
        ) {
            Ok(()) => self.tree.set_attributes(
                set.member_id.into(),
                &attributes.name,
                &attributes.client_urls,
            ),
            Err(error) => self.skip_removed(index, &error),
        }
        self.project(&before, fresh, writer);
        self.publish_cluster();
        Ok(Outcome::Done)
    }

    /// A member that is gone may still publish itself; one that no one knows ends etcd.
    fn skip_removed(&self, index: u64, error: &membership::Error) {
        match error {
            membership::Error::Removed(_) => {
                tracing::warn!(index, error = %error, "skipped attributes of a removed member");
            }
            _ => self.refuse(index, &Refusal::Invalid("member")),
        }
    }

    pub(super) fn set_downgrade(
        &mut self,
        set: &DowngradeInfoSetRequest,
        fresh: bool,
        writer: &mut Writer<'_>,
    ) -> Result<Outcome, Status> {
        let before = self.cluster.clone();
        self.cluster
            .set_downgrade(set.enabled.then(|| set.ver.clone()));
        self.project(&before, fresh, writer);
        self.publish_cluster();
        Ok(Outcome::Done)
    }
}
