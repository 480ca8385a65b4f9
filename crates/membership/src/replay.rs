//! The membership as the log tells it: from a snapshot on, entry by entry, by
//! the rules of etcd 3.5. What runs, what boots and what only looks at files
//! must come to the same members, so the rules stand here once.

use line::Line;
use proto::{
    etcdserverpb::{Request, internal_raft_request::Op},
    raftpb::{ConfChange, ConfChangeType, ConfState, Entry, EntryType},
    wire::{Malformed, Read as _},
};
use semver::Version;

use crate::{
    cluster::{Cluster, ClusterId, Error, MemberId},
    conf_change::{self, Done, Rules},
    entry::{Payload, decode_entry},
    v2store::Tree,
};

/// Everything about the membership as of one index.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The truth.
    pub cluster: Cluster,
    /// The v2 tree, which the next `.snap` holds.
    pub tree: Tree,
    /// Who counts for raft.
    pub conf_state: ConfState,
    /// The configuration as of a later index, which shows how changes were judged where
    /// the releases differ.
    pub outcome: Option<ConfState>,
    /// The line whose members read the log. Only what none of them writes do the lines read
    /// differently.
    pub line: Line,
}

/// What an entry was, as far as the membership goes.
#[derive(Debug)]
pub enum Followed {
    /// Nothing that speaks of members.
    Other,
    /// A request of the v2 API.
    V2(Request),
    /// A v3 request about attributes, the version or a downgrade.
    V3,
    /// A change of the configuration that holds.
    Changed(Done),
    /// A change of the configuration that does not hold.
    Rejected(conf_change::Rejection),
}

impl Replay {
    /// As of a snapshot; without one, an empty tree and no one.
    ///
    /// # Errors
    /// The tree's members cannot be understood.
    pub fn from_snapshot(
        id: ClusterId,
        tree: Tree,
        conf_state: ConfState,
    ) -> Result<Replay, Error> {
        Ok(Replay {
            cluster: Cluster::recover(id, &tree)?,
            tree,
            conf_state,
            outcome: None,
            line: Line::DEFAULT,
        })
    }

    /// Applies a committed entry. Where the v2 tree is blocked it is left as it is: no etcd
    /// gets past such an entry, so there is no membership to agree with.
    ///
    /// # Errors
    /// The entry cannot be decoded.
    pub fn follow(&mut self, entry: &Entry) -> Result<Followed, Malformed> {
        let data = entry.data.clone().unwrap_or_default();
        match EntryType::try_from(entry.r#type) {
            Ok(EntryType::EntryNormal) => match decode_entry(&data, self.line)? {
                Payload::V2(request) => {
                    let _ = self.tree.apply(&request);
                    // Attributes of a member that is gone change nothing.
                    let _ = self.cluster.apply_v2(&request);
                    Ok(Followed::V2(request))
                }
                Payload::Internal(request) => Ok(self.follow_v3(request.op.as_ref())),
                Payload::Empty => Ok(Followed::Other),
            },
            Ok(EntryType::EntryConfChange) => {
                let change = ConfChange::read(&data)?;
                let rules = self.outcome.as_ref().map_or(Rules::Newer, Rules::Outcome);
                let (cluster, tree) = (&mut self.cluster, &mut self.tree);
                Ok(match conf_change::apply(cluster, tree, &change, rules) {
                    Ok(done) => {
                        configure(&mut self.conf_state, &change);
                        Followed::Changed(done)
                    }
                    Err(rejection) => Followed::Rejected(rejection),
                })
            }
            _ => Ok(Followed::Other),
        }
    }

    fn follow_v3(&mut self, op: Option<&Op>) -> Followed {
        match op {
            Some(Op::ClusterMemberAttrSet(set)) => {
                let (id, to) = (
                    MemberId(set.member_id),
                    set.member_attributes.clone().unwrap_or_default(),
                );
                let known = self.cluster.set_attributes(id, &to.name, &to.client_urls);
                if known.is_ok() {
                    let _ = self.tree.set_attributes(id, &to.name, &to.client_urls);
                }
            }
            Some(Op::ClusterVersionSet(set)) => {
                if let Ok(version) = Version::parse(&set.ver) {
                    let _ = self.tree.set_version(&version);
                    self.cluster.set_version(Some(version));
                }
            }
            Some(Op::DowngradeInfoSet(set)) => {
                self.cluster
                    .set_downgrade(set.enabled.then(|| set.ver.clone()));
            }
            _ => return Followed::Other,
        }
        Followed::V3
    }
}

/// What a change that holds makes of raft's configuration.
fn configure(state: &mut ConfState, change: &ConfChange) {
    let id = change.node_id;
    let Ok(kind) = ConfChangeType::try_from(change.r#type) else {
        return;
    };
    if kind == ConfChangeType::ConfChangeUpdateNode {
        return;
    }
    state.voters.retain(|voter| *voter != id);
    state.learners.retain(|learner| *learner != id);
    match kind {
        ConfChangeType::ConfChangeAddNode => state.voters.push(id),
        ConfChangeType::ConfChangeAddLearnerNode => state.learners.push(id),
        _ => {}
    }
}
