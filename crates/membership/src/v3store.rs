//! The projection of membership into the database: buckets `members`,
//! `members_removed`, `cluster`, and `meta/confState`. Written from the truth
//! alone. What older releases left there is read as a view, never trusted.

use bolt::{Batch, ReadTx};
use bytes::Bytes;
use proto::raftpb::ConfState;
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::{
    cluster::{Cluster, ClusterId, Downgrade, Member, MemberId},
    id::parse_hex_id,
    json,
};

/// Membership as the buckets have it, for comparison.
#[derive(Clone, Debug, Default)]
pub struct V3View {
    /// Bucket `members`, in the order of its keys.
    pub members: Vec<Member>,
    /// Bucket `members_removed`.
    pub removed: Vec<MemberId>,
    /// `cluster/clusterVersion`.
    pub cluster_version: Option<Version>,
    /// `cluster/downgrade`.
    pub downgrade: Downgrade,
    /// `meta/storageVersion`, which etcd 3.6 and later write once the cluster version is theirs:
    /// then these buckets are the authority on membership.
    pub storage_version: Option<Version>,
    /// `meta/confState`, written since 3.5; stale after a restore.
    pub conf_state: Option<ConfState>,
    /// Records that say nothing. They hinder no one up to etcd 3.5, which
    /// believes the v2 tree, and everyone after.
    pub unreadable: Vec<Unreadable>,
}

impl Cluster {
    /// The cluster as the buckets have it, the authority from etcd 3.6 on.
    pub fn of_buckets(id: ClusterId, v3: &V3View) -> Cluster {
        let mut cluster = Cluster::new(id);
        for member in &v3.members {
            cluster.insert(member.clone());
        }
        cluster.set_removed(&v3.removed);
        cluster.set_version(v3.cluster_version.clone());
        cluster.recover_downgrade(v3);
        cluster
    }

    /// Takes over what only the database knows: a downgrade.
    pub fn recover_downgrade(&mut self, v3: &V3View) {
        self.set_downgrade_record(v3.downgrade.clone());
    }
}

/// A record that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Bucket name.
    pub bucket: &'static str,
    /// Its key.
    pub key: Bytes,
    /// What is wrong with it.
    pub why: String,
}

/// Reads the buckets; those that are not there count as empty.
pub fn read(tx: &ReadTx) -> Result<V3View, bolt::Error> {
    let mut view = V3View::default();
    let mut unreadable = Vec::new();
    each(tx, "members", &mut unreadable, |key, value| {
        let member: Member = serde_json::from_slice(value).map_err(|e| e.to_string())?;
        if parse_hex_id(key) != Some(member.id) {
            return Err(format!("holds the record of member {}", member.id));
        }
        view.members.push(member);
        Ok(())
    })?;
    each(tx, "members_removed", &mut unreadable, |key, _| {
        view.removed
            .push(parse_hex_id(key).ok_or("is not a member id")?);
        Ok(())
    })?;
    each(tx, "cluster", &mut unreadable, |key, value| {
        match key {
            "clusterVersion" => {
                let text = std::str::from_utf8(value).map_err(|e| e.to_string())?;
                view.cluster_version = Some(Version::parse(text).map_err(|e| e.to_string())?);
            }
            "downgrade" => {
                let record: DowngradeRecord =
                    serde_json::from_slice(value).map_err(|e| e.to_string())?;
                view.downgrade = if record.enabled {
                    Downgrade::To(record.target_version)
                } else {
                    Downgrade::Ended
                };
            }
            _ => {}
        }
        Ok(())
    })?;
    read_meta(tx, &mut view, &mut unreadable)?;
    view.unreadable = unreadable;
    Ok(view)
}

/// Where the database says which version its schema has.
const STORAGE_VERSION: &str = "storageVersion";

fn read_meta(
    tx: &ReadTx,
    view: &mut V3View,
    unreadable: &mut Vec<Unreadable>,
) -> Result<(), bolt::Error> {
    let Some(meta) = tx.bucket(b"meta")? else {
        return Ok(());
    };
    if let Some(value) = meta.get(b"confState")? {
        match serde_json::from_slice::<ConfStateRecord>(value) {
            Ok(record) => view.conf_state = Some(record.into()),
            Err(error) => unreadable.push(Unreadable {
                bucket: "meta",
                key: Bytes::from_static(b"confState"),
                why: error.to_string(),
            }),
        }
    }
    if let Some(value) = meta.get(STORAGE_VERSION.as_bytes())? {
        // etcd takes one that it cannot read for none.
        view.storage_version = Version::parse(&String::from_utf8_lossy(value)).ok();
    }
    Ok(())
}

/// JSON of `cluster/downgrade`.
#[derive(Serialize, Deserialize)]
struct DowngradeRecord {
    #[serde(rename = "target-version", default)]
    target_version: String,
    #[serde(default)]
    enabled: bool,
}

/// JSON of `meta/confState`.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct ConfStateRecord {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    voters: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    learners: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    voters_outgoing: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    learners_next: Vec<u64>,
    auto_leave: bool,
}

impl From<ConfStateRecord> for ConfState {
    fn from(record: ConfStateRecord) -> ConfState {
        ConfState {
            voters: record.voters,
            learners: record.learners,
            voters_outgoing: record.voters_outgoing,
            learners_next: record.learners_next,
            auto_leave: record.auto_leave,
        }
    }
}

fn each(
    tx: &ReadTx,
    bucket: &'static str,
    unreadable: &mut Vec<Unreadable>,
    mut visit: impl FnMut(&str, &[u8]) -> Result<(), String>,
) -> Result<(), bolt::Error> {
    let Some(found) = tx.bucket(bucket.as_bytes())? else {
        return Ok(());
    };
    let mut cursor = found.cursor();
    let mut item = cursor.first()?;
    while let Some((key, value)) = item {
        let text = String::from_utf8_lossy(key);
        if let Err(why) = visit(&text, value) {
            unreadable.push(Unreadable {
                bucket,
                key: Bytes::copy_from_slice(key),
                why,
            });
        }
        item = cursor.next()?;
    }
    Ok(())
}

/// Writes the truth into the buckets: every member, every removed id, the
/// version, a downgrade if there ever was one.
pub fn project(cluster: &Cluster, batch: &mut Batch) {
    project_change(&Cluster::default(), cluster, batch);
}

/// Writes what a change of the truth changes in the buckets, and nothing else:
/// a record that was wrong before stays wrong.
pub fn project_change(before: &Cluster, after: &Cluster, batch: &mut Batch) {
    for member in after.members() {
        if before.member(member.id) != Some(member) {
            batch.put("members", member.id.to_string(), member.to_json());
        }
    }
    for id in after.removed().filter(|id| !before.is_removed(*id)) {
        batch.delete("members", id.to_string());
        batch.put(
            "members_removed",
            id.to_string(),
            Bytes::from_static(b"removed"),
        );
    }
    if let Some(version) = after.version()
        && before.version() != Some(version)
    {
        batch.put(
            "cluster",
            Bytes::from_static(b"clusterVersion"),
            version.to_string(),
        );
    }
    if before.downgrade_record() == after.downgrade_record() {
        return;
    }
    let record = match after.downgrade_record() {
        Downgrade::Never => return,
        Downgrade::Ended => DowngradeRecord {
            target_version: String::new(),
            enabled: false,
        },
        Downgrade::To(target) => DowngradeRecord {
            target_version: target.clone(),
            enabled: true,
        },
    };
    batch.put(
        "cluster",
        Bytes::from_static(b"downgrade"),
        json::to_string(&record),
    );
}

/// Writes the truth over what a view read earlier has: members that are not
/// there go, with those no one can read, and no one who is there counts as removed.
pub fn project_over(cluster: &Cluster, view: &V3View, batch: &mut Batch) {
    project(cluster, batch);
    for member in &view.members {
        if cluster.member(member.id).is_none() {
            batch.delete("members", member.id.to_string());
        }
    }
    for id in &view.removed {
        if cluster.member(*id).is_some() {
            batch.delete("members_removed", id.to_string());
        }
    }
    for record in view.unreadable.iter().filter(|r| r.bucket == "members") {
        let known = std::str::from_utf8(&record.key)
            .ok()
            .and_then(parse_hex_id)
            .filter(|id| id.to_string().as_bytes() == &record.key[..])
            .is_some_and(|id| cluster.member(id).is_some());
        if !known {
            batch.delete("members", record.key.clone());
        }
    }
}

/// Writes which version the schema has: `None` for one before 3.6, which does not say.
pub fn project_storage_version(version: Option<&Version>, batch: &mut Batch) {
    match version {
        Some(version) => batch.put("meta", STORAGE_VERSION, version.to_string()),
        None => batch.delete("meta", STORAGE_VERSION),
    }
}

/// Writes the configuration that raft counts votes by.
pub fn project_conf_state(state: &ConfState, batch: &mut Batch) {
    let record = ConfStateRecord {
        voters: state.voters.clone(),
        learners: state.learners.clone(),
        voters_outgoing: state.voters_outgoing.clone(),
        learners_next: state.learners_next.clone(),
        auto_leave: state.auto_leave,
    };
    batch.put(
        "meta",
        Bytes::from_static(b"confState"),
        json::to_string(&record),
    );
}
