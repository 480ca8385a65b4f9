//! Where the copies of the membership contradict each other. etcd keeps four:
//! the v2 tree, the raft configuration, the buckets of the database, and the
//! configuration beside them; which one a release believes differs, so that a
//! cluster can run well for years and fail at its next upgrade. This finds the
//! differences; it heals nothing.

use std::{collections::BTreeSet, fmt};

use proto::raftpb::ConfState;
use semver::Version;

use crate::{
    cluster::{Cluster, MemberId},
    v3store::{Unreadable, V3View},
};

/// One difference between the truth (the v2 tree with the log applied to it)
/// and another copy as of the same index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disagreement {
    /// raft counts a member that the tree does not have.
    OnlyInConfState(MemberId),
    /// raft does not know a member that the tree has.
    MissingInConfState(MemberId),
    /// raft and the tree differ on whether a member votes.
    Vote {
        /// Whose vote.
        id: MemberId,
        /// What raft says.
        raft_votes: bool,
    },
    /// A removed member that the database still lists: a zombie (etcd#20967).
    Zombie(MemberId),
    /// The database lists a member that was never heard of.
    OnlyInDatabase(MemberId),
    /// The database does not list a member.
    MissingInDatabase(MemberId),
    /// The database takes a voter for a learner: a lost promotion (etcd#19557).
    StaleLearner(MemberId),
    /// The database takes a learner for a voter.
    StaleVoter(MemberId),
    /// The database has other peer URLs.
    PeerUrls {
        /// Whose.
        id: MemberId,
        /// What the tree has.
        tree: Vec<String>,
        /// What the database has.
        database: Vec<String>,
    },
    /// The database has another name or other client URLs, as 3.5.0 to 3.5.19 leave it.
    Attributes(MemberId),
    /// The database does not know that a member was removed.
    RemovalMissing(MemberId),
    /// The database takes a member for removed.
    RemovalOfMember(MemberId),
    /// The cluster versions differ.
    ClusterVersion {
        /// What the tree has.
        tree: Option<Version>,
        /// What the database has.
        database: Option<Version>,
    },
    /// The configuration stored in the database differs from raft's, as after a restore.
    StoredConfState,
    /// A record in the database that cannot be understood.
    Unreadable(Unreadable),
}

impl Disagreement {
    /// The copy that differs from the v2 store: `raft` or `database`.
    pub fn copy(&self) -> &'static str {
        use Disagreement::*;
        match self {
            OnlyInConfState(_) | MissingInConfState(_) | Vote { .. } => "raft",
            _ => "database",
        }
    }

    /// One word for metrics and logs, such as `zombie`.
    pub fn kind(&self) -> &'static str {
        use Disagreement::*;
        match self {
            OnlyInConfState(_) => "only_in_conf_state",
            MissingInConfState(_) => "missing_in_conf_state",
            Vote { .. } => "vote",
            Zombie(_) => "zombie",
            OnlyInDatabase(_) => "only_in_database",
            MissingInDatabase(_) => "missing_in_database",
            StaleLearner(_) => "stale_learner",
            StaleVoter(_) => "stale_voter",
            PeerUrls { .. } => "peer_urls",
            Attributes(_) => "attributes",
            RemovalMissing(_) => "removal_missing",
            RemovalOfMember(_) => "removal_of_member",
            ClusterVersion { .. } => "cluster_version",
            StoredConfState => "stored_conf_state",
            Unreadable(_) => "unreadable",
        }
    }

    /// True if no release fails on it or shows anything wrong: 3.4 writes some of
    /// the records later or never, and a restore leaves the stored configuration
    /// of the cluster that the backup came from.
    pub fn is_harmless(&self) -> bool {
        use Disagreement::*;
        matches!(
            self,
            ClusterVersion { .. } | RemovalMissing(_) | StoredConfState
        )
    }

    /// True if writing the database anew from the truth ends it. What raft and the
    /// v2 store do not agree on is not for one member to decide.
    pub fn is_healable(&self) -> bool {
        self.copy() == "database"
    }
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Disagreement::*;
        match self {
            OnlyInConfState(id) => write!(
                f,
                "raft counts member {id}, which the v2 store does not have"
            ),
            MissingInConfState(id) => {
                write!(f, "raft does not count member {id}, which the v2 store has")
            }
            Vote {
                id,
                raft_votes: true,
            } => write!(
                f,
                "member {id} votes in raft and is a learner in the v2 store"
            ),
            Vote {
                id,
                raft_votes: false,
            } => write!(
                f,
                "member {id} is a learner in raft and votes in the v2 store"
            ),
            Zombie(id) => write!(
                f,
                "member {id} was removed and is still in the database (etcd#20967)"
            ),
            OnlyInDatabase(id) => {
                write!(f, "member {id} is in the database and not in the v2 store")
            }
            MissingInDatabase(id) => {
                write!(f, "member {id} is in the v2 store and not in the database")
            }
            StaleLearner(id) => write!(
                f,
                "member {id} was promoted and is still a learner in the database (etcd#19557)"
            ),
            StaleVoter(id) => write!(f, "member {id} is a learner and votes in the database"),
            PeerUrls { id, tree, database } => write!(
                f,
                "member {id} has the peer URLs {} in the v2 store and {} in the database",
                tree.join(","),
                database.join(",")
            ),
            Attributes(id) => write!(
                f,
                "the name or client URLs of member {id} are not those of the v2 store in the database"
            ),
            RemovalMissing(id) => {
                write!(f, "the database does not know that member {id} was removed")
            }
            RemovalOfMember(id) => write!(f, "member {id} counts as removed in the database"),
            ClusterVersion { tree, database } => {
                let text =
                    |v: &Option<Version>| v.as_ref().map_or("none".to_owned(), Version::to_string);
                write!(
                    f,
                    "the cluster version is {} in the v2 store and {} in the database",
                    text(tree),
                    text(database)
                )
            }
            StoredConfState => write!(
                f,
                "the raft configuration stored in the database is not the one raft uses"
            ),
            Unreadable(record) => write!(
                f,
                "bucket {}, key {:?} of the database cannot be understood: {}",
                record.bucket,
                String::from_utf8_lossy(&record.key),
                record.why
            ),
        }
    }
}

/// Compares the truth with raft's configuration and with the database, all as
/// of the same index. Ordered by copy, then by member.
pub fn find(cluster: &Cluster, conf_state: &ConfState, v3: &V3View) -> Vec<Disagreement> {
    let mut found = Vec::new();
    raft(cluster, conf_state, &mut found);
    database(cluster, v3, &mut found);
    let sorted = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<_>>();
    if let Some(stored) = &v3.conf_state
        && (sorted(&stored.voters) != sorted(&conf_state.voters)
            || sorted(&stored.learners) != sorted(&conf_state.learners))
    {
        found.push(Disagreement::StoredConfState);
    }
    found.extend(v3.unreadable.iter().cloned().map(Disagreement::Unreadable));
    found
}

fn raft(cluster: &Cluster, conf_state: &ConfState, found: &mut Vec<Disagreement>) {
    let voters = conf_state.voters.iter().map(|&id| (MemberId(id), true));
    let learners = conf_state.learners.iter().map(|&id| (MemberId(id), false));
    let counted: std::collections::BTreeMap<_, _> = voters.chain(learners).collect();
    for (&id, &raft_votes) in &counted {
        match cluster.member(id) {
            None => found.push(Disagreement::OnlyInConfState(id)),
            Some(member) if member.is_learner == raft_votes => {
                found.push(Disagreement::Vote { id, raft_votes });
            }
            Some(_) => {}
        }
    }
    let missing = cluster.members().filter(|m| !counted.contains_key(&m.id));
    found.extend(missing.map(|m| Disagreement::MissingInConfState(m.id)));
}

fn database(cluster: &Cluster, v3: &V3View, found: &mut Vec<Disagreement>) {
    for theirs in &v3.members {
        let id = theirs.id;
        let Some(ours) = cluster.member(id) else {
            found.push(if cluster.is_removed(id) {
                Disagreement::Zombie(id)
            } else {
                Disagreement::OnlyInDatabase(id)
            });
            continue;
        };
        match (ours.is_learner, theirs.is_learner) {
            (false, true) => found.push(Disagreement::StaleLearner(id)),
            (true, false) => found.push(Disagreement::StaleVoter(id)),
            _ => {}
        }
        if ours.peer_urls != theirs.peer_urls {
            found.push(Disagreement::PeerUrls {
                id,
                tree: ours.peer_urls.clone(),
                database: theirs.peer_urls.clone(),
            });
        }
        if ours.name != theirs.name || ours.client_urls != theirs.client_urls {
            found.push(Disagreement::Attributes(id));
        }
    }
    let listed: BTreeSet<_> = v3.members.iter().map(|m| m.id).collect();
    let missing = cluster.members().filter(|m| !listed.contains(&m.id));
    found.extend(missing.map(|m| Disagreement::MissingInDatabase(m.id)));
    let removed: BTreeSet<_> = v3.removed.iter().copied().collect();
    let unknown = cluster.removed().filter(|id| !removed.contains(id));
    found.extend(unknown.map(Disagreement::RemovalMissing));
    let alive = removed.iter().filter(|id| cluster.member(**id).is_some());
    found.extend(alive.map(|id| Disagreement::RemovalOfMember(*id)));
    if cluster.version() != v3.cluster_version.as_ref() {
        found.push(Disagreement::ClusterVersion {
            tree: cluster.version().cloned(),
            database: v3.cluster_version.clone(),
        });
    }
}
