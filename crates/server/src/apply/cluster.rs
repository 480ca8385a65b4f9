//! Membership in the apply machine: conf changes, attributes, versions. Each
//! changes the one truth, then its projections: the v2 tree always (it is what
//! the next `.snap` holds), the buckets of the database when the entry is new
//! to it.

use bolt::Batch;
use membership::conf_change;
use mvcc::Writer;
use prost::Message as _;
use proto::{
    etcdserverpb::Request,
    membershippb::{ClusterMemberAttrSetRequest, DowngradeInfoSetRequest},
    raftpb::{ConfChange, Entry},
};

use super::{Machine, Outcome};
use crate::status::{Code, Status};

impl Machine {
    fn publish_cluster(&self) {
        self.core
            .cluster
            .store(std::sync::Arc::new(self.cluster.clone()));
    }

    fn project(&self, fresh: bool, writer: &mut Writer<'_>) {
        if fresh {
            let mut batch = Batch::default();
            membership::v3store::project(&self.cluster, &mut batch);
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
        let data = entry.data.clone().unwrap_or_default();
        let mut change = match ConfChange::decode(data) {
            Ok(change) => change,
            Err(error) => {
                self.core.fatal.report(
                    "cannot decode a committed configuration change",
                    &format!("index {}: {error}", entry.index),
                );
                return;
            }
        };
        let id = change.id;
        let result = conf_change::apply(&mut self.cluster, &mut self.tree, &change);
        if let Err(rejection) = &result {
            tracing::error!(index = entry.index, error = %rejection, "rejected a configuration change");
            change.node_id = 0;
        }
        self.conf_state = self.core.raft.drive(|node| node.apply_conf_change(&change));
        if result.is_ok() {
            let voters: Vec<String> = self
                .conf_state
                .voters
                .iter()
                .map(|v| format!("{v:x}"))
                .collect();
            tracing::info!(
                "cluster-id" = format!("{:x}", self.core.cluster_id),
                "local-member-id" = format!("{:x}", self.core.member_id),
                voters = voters.join(" "),
                "added member"
            );
        }
        if fresh {
            let mut batch = Batch::default();
            membership::v3store::project_conf_state(&self.conf_state, &mut batch);
            writer.write(batch);
        }
        self.project(fresh, writer);
        self.publish_cluster();
        self.answer(
            id,
            result
                .map(|_| Outcome::Done)
                .map_err(|rejection| Status::new(Code::FailedPrecondition, rejection.to_string())),
        );
    }

    /// A request of the v2 API, which etcd up to 3.5 uses for its own membership.
    pub(super) fn apply_v2(&mut self, request: &Request, fresh: bool, writer: &mut Writer<'_>) {
        self.tree.apply(request);
        match self.cluster.apply_v2(request) {
            Ok(true) => {
                self.project(fresh, writer);
                self.publish_cluster();
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(path = request.path, error = %error, "ignored a v2 request")
            }
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
        let own = crate::version::own();
        if (parsed.major, parsed.minor) > (own.major, own.minor) {
            self.core.fatal.report(
                "cluster version is newer than this server",
                &format!("cluster {version}, server {own}"),
            );
            return Err(crate::status::errors::STOPPED);
        }
        let before = self.cluster.version().map(ToString::to_string);
        self.set_version(parsed);
        self.project(fresh, writer);
        self.publish_cluster();
        match before {
            None => tracing::info!(
                "cluster-id" = format!("{:x}", self.core.cluster_id),
                "cluster-version" = version,
                "set initial cluster version"
            ),
            Some(before) => tracing::info!(from = before, to = version, "updated cluster version"),
        }
        tracing::info!(
            "cluster-version" = version,
            "enabled capabilities for version"
        );
        tracing::info!("cluster-version" = version, "cluster version is updated");
        Ok(Outcome::Done)
    }

    fn set_version(&mut self, version: semver::Version) {
        self.tree.set_version(&version);
        self.cluster.set_version(Some(version));
    }

    pub(super) fn set_attributes(
        &mut self,
        set: &ClusterMemberAttrSetRequest,
        fresh: bool,
        writer: &mut Writer<'_>,
    ) -> Result<Outcome, Status> {
        let attributes = set.member_attributes.clone().unwrap_or_default();
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
            Err(error) => {
                tracing::warn!(
                    "member-id" = format!("{:x}", set.member_id),
                    error = %error,
                    "skipped attributes of a member that is not there"
                );
            }
        }
        self.project(fresh, writer);
        self.publish_cluster();
        Ok(Outcome::Done)
    }

    pub(super) fn set_downgrade(
        &mut self,
        set: &DowngradeInfoSetRequest,
        fresh: bool,
        writer: &mut Writer<'_>,
    ) -> Result<Outcome, Status> {
        self.cluster
            .set_downgrade(set.enabled.then(|| set.ver.clone()));
        self.project(fresh, writer);
        self.publish_cluster();
        Ok(Outcome::Done)
    }
}
