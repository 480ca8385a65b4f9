//! The one truth about membership.

use std::collections::{BTreeMap, BTreeSet};

use proto::etcdserverpb::Request;
use semver::Version;

pub use crate::{
    downgrade::Downgrade,
    error::Error,
    id::{ClusterId, MemberId, cluster_id, member_id, member_id_at},
    member::Member,
};
use crate::{
    member::{Published, attributes_path, is_plain_put},
    urls,
    v2store::Tree,
};

/// Who is in the cluster, as of one index.
#[derive(Clone, Debug)]
pub struct Cluster {
    id: ClusterId,
    members: BTreeMap<MemberId, Member>,
    removed: BTreeSet<MemberId>,
    version: Option<Version>,
    downgrade: Downgrade,
    /// Members whose vote the releases disagree about, see [`Cluster::is_disputed`].
    disputed: BTreeSet<MemberId>,
    /// A setting of this server, not part of the truth: no copy on disk has it.
    learners_max: usize,
}

/// Learners a cluster may have, unless a server of etcd 3.6 is told otherwise.
const LEARNERS_MAX: usize = 1;

impl Default for Cluster {
    fn default() -> Cluster {
        Cluster {
            id: ClusterId::default(),
            members: BTreeMap::new(),
            removed: BTreeSet::new(),
            version: None,
            downgrade: Downgrade::default(),
            disputed: BTreeSet::new(),
            learners_max: LEARNERS_MAX,
        }
    }
}

impl Cluster {
    /// A cluster from `--initial-cluster-token` and `--initial-cluster`:
    /// `name=url` pairs, a name repeated for each of its URLs.
    pub fn from_initial(token: &str, initial: &str) -> Result<Cluster, Error> {
        let names = urls::by_name(initial)?;
        if names.is_empty() {
            return Err(Error::Malformed("it names no member".into()));
        }
        let mut cluster = Cluster::default();
        for (name, peer_urls) in names {
            let id = member_id(&peer_urls, token);
            if id.0 == 0 || cluster.members.contains_key(&id) {
                return Err(Error::Malformed(format!(
                    "member {name} would have the id {id}, which is taken or reserved"
                )));
            }
            let member = Member {
                id,
                peer_urls,
                name,
                ..Member::default()
            };
            cluster.members.insert(id, member);
        }
        cluster.id = cluster_id(cluster.members.keys().copied());
        Ok(cluster)
    }

    /// A cluster of which nothing but its id is known.
    pub(crate) fn new(id: ClusterId) -> Cluster {
        Cluster {
            id,
            ..Cluster::default()
        }
    }

    /// The cluster as the v2 tree of a snapshot has it, the authority up to etcd 3.5.
    pub fn recover(id: ClusterId, tree: &Tree) -> Result<Cluster, Error> {
        let mut cluster = Cluster::new(id);
        for member in tree.members()? {
            cluster.members.insert(member.id, member);
        }
        cluster.removed = tree.removed()?.into_iter().collect();
        cluster.version = tree.version()?;
        Ok(cluster)
    }

    /// Sets how many learners there may be. Changes are checked against it when
    /// they are applied, so all members must be told the same.
    pub fn limit_learners(&mut self, max: usize) {
        self.learners_max = max;
    }

    /// True if there are more learners than may be.
    pub fn has_too_many_learners(&self) -> bool {
        self.learners() > self.learners_max
    }

    fn learners(&self) -> usize {
        self.members().filter(|member| member.is_learner).count()
    }

    /// Learners there may be.
    pub fn learners_max(&self) -> usize {
        self.learners_max
    }

    /// True if the last update of the member named another vote than it has. etcd up to 3.5.30
    /// takes that over, so that `member update` of a learner makes it a voter in its lists and
    /// keeps it a learner for raft; later releases keep what was. Until another update names
    /// the vote it has, they judge its promotion, and the next learner, differently.
    pub fn is_disputed(&self, id: impl Into<MemberId>) -> bool {
        self.disputed.contains(&id.into())
    }

    /// Members that the releases disagree about, in the order of their ids.
    pub fn disputed(&self) -> impl Iterator<Item = &Member> {
        self.disputed.iter().filter_map(|id| self.members.get(id))
    }

    /// An update said whether the member is a learner.
    pub(crate) fn dispute(&mut self, id: MemberId, said_learner: bool) {
        let is_learner = self.members.get(&id).is_some_and(|m| m.is_learner);
        if said_learner == is_learner {
            self.disputed.remove(&id);
        } else {
            self.disputed.insert(id);
        }
    }

    /// The cluster's id.
    pub fn id(&self) -> ClusterId {
        self.id
    }

    /// Members in the order of their ids.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// One member.
    pub fn member(&self, id: impl Into<MemberId>) -> Option<&Member> {
        self.members.get(&id.into())
    }

    /// Ids that were members once, in order.
    pub fn removed(&self) -> impl Iterator<Item = MemberId> {
        self.removed.iter().copied()
    }

    /// True if the id was a member once.
    pub fn is_removed(&self, id: MemberId) -> bool {
        self.removed.contains(&id)
    }

    /// The cluster version, once decided.
    pub fn version(&self) -> Option<&Version> {
        self.version.as_ref()
    }

    /// Target version of a downgrade under way.
    pub fn downgrade(&self) -> Option<&str> {
        match &self.downgrade {
            Downgrade::To(target) => Some(target),
            Downgrade::Never | Downgrade::Ended => None,
        }
    }

    pub(crate) fn downgrade_record(&self) -> &Downgrade {
        &self.downgrade
    }

    /// Sets or clears the cluster version.
    pub fn set_version(&mut self, version: Option<Version>) {
        self.version = version;
    }

    /// Starts a downgrade, or ends the one under way.
    pub fn set_downgrade(&mut self, target: Option<String>) {
        self.downgrade = target.map_or(Downgrade::Ended, Downgrade::To);
    }

    pub(crate) fn set_downgrade_record(&mut self, record: Downgrade) {
        self.downgrade = record;
    }

    /// What a member published of itself.
    pub fn set_attributes(
        &mut self,
        id: MemberId,
        name: &str,
        client_urls: &[String],
    ) -> Result<(), Error> {
        match self.members.get_mut(&id) {
            Some(member) => {
                member.name = name.to_owned();
                member.client_urls = client_urls.to_vec();
                Ok(())
            }
            None if self.removed.contains(&id) => Err(Error::Removed(id)),
            None => Err(Error::Unknown(id)),
        }
    }

    /// Follows a v2 request as far as it speaks of membership: true if it did.
    pub fn apply_v2(&mut self, request: &Request) -> Result<bool, Error> {
        if !is_plain_put(request) {
            return Ok(false);
        }
        if request.path == "/0/version" {
            let version = Version::parse(&request.val).map_err(|error| {
                Error::Malformed(format!("cluster version {:?}: {error}", request.val))
            })?;
            self.version = Some(version);
            return Ok(true);
        }
        let Some(id) = attributes_path(&request.path) else {
            return Ok(false);
        };
        let published = Published::parse(&request.val)
            .map_err(|error| Error::Malformed(format!("attributes of member {id}: {error}")))?;
        self.set_attributes(id, &published.name, &published.client_urls)?;
        Ok(true)
    }

    pub(crate) fn set_removed(&mut self, removed: &[MemberId]) {
        self.removed = removed.iter().copied().collect();
    }

    pub(crate) fn insert(&mut self, member: Member) {
        self.members.insert(member.id, member);
    }

    pub(crate) fn member_mut(&mut self, id: MemberId) -> Option<&mut Member> {
        self.members.get_mut(&id)
    }

    /// A v2 tree made anew of what is known, which is all that a `.snap` of etcd 3.6 and later
    /// holds. Like there, a member that has not published its client URLs has no attributes.
    pub fn to_tree(&self) -> Tree {
        let mut tree = Tree::new();
        // Nothing is in the way in a new tree.
        for member in self.members() {
            let _ = tree.add_member(member);
            if !member.client_urls.is_empty() {
                let _ = tree.set_attributes(member.id, &member.name, &member.client_urls);
            }
        }
        for id in self.removed() {
            let _ = tree.remember_removed(id);
        }
        if let Some(version) = self.version() {
            let _ = tree.set_version(version);
        }
        tree
    }

    /// Gives those their vote that have it in `other`: promotions that the buckets missed
    /// (etcd#19557). Returns who they are.
    pub fn promote_as_in(&mut self, other: &Cluster) -> Vec<MemberId> {
        let votes = |id: MemberId| other.member(id).is_some_and(|member| !member.is_learner);
        let learners = self.members().filter(|member| member.is_learner);
        let missed: Vec<_> = learners.map(|member| member.id).collect();
        let missed: Vec<_> = missed.into_iter().filter(|id| votes(*id)).collect();
        for id in &missed {
            self.promote(*id);
        }
        missed
    }

    /// Gives a learner its vote, and ends every dispute about that.
    pub(crate) fn promote(&mut self, id: MemberId) {
        if let Some(member) = self.members.get_mut(&id) {
            member.is_learner = false;
        }
        self.disputed.remove(&id);
    }

    pub(crate) fn remove(&mut self, id: MemberId) {
        self.members.remove(&id);
        self.disputed.remove(&id);
        self.removed.insert(id);
    }
}
