//! The projection of membership into the database: buckets `members`,
//! `members_removed`, `cluster`, and `meta/confState`. Written from the truth
//! alone. What older releases left there is read as a view, never trusted.

use bolt::{Batch, ReadTx};
use bytes::Bytes;
use proto::raftpb::ConfState;
use semver::Version;
use serde_json::json;

use crate::cluster::{Cluster, Member, MemberId, parse_hex_id};

/// Membership as the buckets have it, for comparison.
#[derive(Clone, Debug, Default)]
pub struct V3View {
    /// Bucket `members`, by id.
    pub members: Vec<Member>,
    /// Bucket `members_removed`.
    pub removed: Vec<MemberId>,
    /// `cluster/clusterVersion`.
    pub cluster_version: Option<Version>,
    /// `cluster/downgrade`, target when enabled.
    pub downgrade: Option<String>,
}

/// What cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file itself.
    #[error(transparent)]
    Bolt(#[from] bolt::Error),
    /// A record.
    #[error("bucket {bucket}, key {key:?}: {why}")]
    Record {
        /// Bucket name.
        bucket: &'static str,
        /// Key, as text.
        key: String,
        /// What is wrong.
        why: String,
    },
}

/// Reads the buckets; those that are not there count as empty.
pub fn read(tx: &ReadTx) -> Result<V3View, Error> {
    let mut view = V3View::default();
    each(tx, "members", |key, value| {
        let member: Member = serde_json::from_slice(value).map_err(|e| e.to_string())?;
        if parse_hex_id(key) != Some(member.id) {
            return Err(format!("holds the record of member {}", member.id));
        }
        view.members.push(member);
        Ok(())
    })?;
    each(tx, "members_removed", |key, _| {
        view.removed
            .push(parse_hex_id(key).ok_or("is not a member id")?);
        Ok(())
    })?;
    each(tx, "cluster", |key, value| {
        match key {
            "clusterVersion" => {
                let text = std::str::from_utf8(value).map_err(|e| e.to_string())?;
                view.cluster_version = Some(Version::parse(text).map_err(|e| e.to_string())?);
            }
            "downgrade" => {
                let value: serde_json::Value =
                    serde_json::from_slice(value).map_err(|e| e.to_string())?;
                if value["enabled"] == json!(true) {
                    view.downgrade = value["target-version"].as_str().map(str::to_owned);
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(view)
}

fn each(
    tx: &ReadTx,
    bucket: &'static str,
    mut visit: impl FnMut(&str, &[u8]) -> Result<(), String>,
) -> Result<(), Error> {
    let Some(found) = tx.bucket(bucket.as_bytes())? else {
        return Ok(());
    };
    let mut cursor = found.cursor();
    let mut item = cursor.first()?;
    while let Some((key, value)) = item {
        let text = String::from_utf8_lossy(key);
        visit(&text, value).map_err(|why| Error::Record {
            bucket,
            key: text.into_owned(),
            why,
        })?;
        item = cursor.next()?;
    }
    Ok(())
}

/// Writes the truth into the buckets: every member, every removed id, the version.
pub fn project(cluster: &Cluster, batch: &mut Batch) {
    for member in cluster.members() {
        // Strings and numbers always serialize.
        let value = serde_json::to_vec(member).unwrap_or_default();
        batch.put("members", member.id.to_string(), value);
    }
    for id in cluster.removed() {
        batch.delete("members", id.to_string());
        batch.put(
            "members_removed",
            id.to_string(),
            Bytes::from_static(b"removed"),
        );
    }
    if let Some(version) = cluster.version() {
        batch.put(
            "cluster",
            Bytes::from_static(b"clusterVersion"),
            version.to_string(),
        );
    }
    if let Some(target) = cluster.downgrade() {
        let value = json!({"target-version": target, "enabled": true}).to_string();
        batch.put("cluster", Bytes::from_static(b"downgrade"), value);
    }
}

/// Ends a downgrade in the buckets.
pub fn project_downgrade_end(batch: &mut Batch) {
    batch.put(
        "cluster",
        Bytes::from_static(b"downgrade"),
        r#"{"target-version":"","enabled":false}"#,
    );
}

/// Removes members that the truth does not have from a view read earlier.
pub fn project_absent(cluster: &Cluster, view: &V3View, batch: &mut Batch) {
    for member in &view.members {
        if cluster.member(member.id).is_none() {
            batch.delete("members", member.id.to_string());
        }
    }
}

/// Writes the configuration that raft counts votes by.
pub fn project_conf_state(state: &ConfState, batch: &mut Batch) {
    let mut fields = vec![];
    let list = |ids: &[u64]| ids.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    for (name, ids) in [
        ("voters", &state.voters),
        ("learners", &state.learners),
        ("voters_outgoing", &state.voters_outgoing),
        ("learners_next", &state.learners_next),
    ] {
        if !ids.is_empty() {
            fields.push(format!("\"{name}\":[{}]", list(ids)));
        }
    }
    fields.push(format!("\"auto_leave\":{}", state.auto_leave));
    batch.put(
        "meta",
        Bytes::from_static(b"confState"),
        format!("{{{}}}", fields.join(",")),
    );
}
