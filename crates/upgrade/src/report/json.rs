//! The report for programs. Keys are never renamed; new ones may come.

use serde_json::{Value, json};

use super::{context::Context, summary::verdict};
use crate::{checks::Report, facts::Facts};

/// The report as one JSON object.
pub fn json(report: &Report) -> Value {
    let mut value = json!({
        "verdict": verdict(report).to_lowercase(),
        "exitCode": report.exit_code(),
        "target": {
            "given": report.target.given,
            "version": report.target.version.to_string(),
            "pintle": report.target.is_pintle,
        },
        "findings": report.findings,
        "missing": report.missing,
        "checks": report.checks,
        "boots": report.boots,
        "members": report.members.iter().map(member).collect::<Vec<_>>(),
    });
    join(&mut value, &Context::of(&report.members));
    value
}

/// Adds the fields of a context to an object.
pub fn join(value: &mut Value, context: &Context) {
    if let (Some(to), Ok(Value::Object(fields))) =
        (value.as_object_mut(), serde_json::to_value(context))
    {
        to.extend(fields);
    }
}

fn member(facts: &Facts) -> Value {
    let list = |members: &[membership::cluster::Member]| {
        let values = members.iter().map(|m| m.to_json_value());
        values
            .map(|mut value| {
                // As etcd writes ids in text: a number of 64 bits is not safe in JSON.
                if let Some(id) = value.get("id").and_then(Value::as_u64) {
                    value["id"] = format!("{id:x}").into();
                }
                value
            })
            .collect::<Vec<_>>()
    };
    let mut value = json!({
        "label": facts.label,
        "id": facts.id.map(|id| id.to_string()),
        "cluster": facts.cluster.map(|id| id.to_string()),
        "clusterVersion": facts.cluster_version().map(|v| v.to_string()),
        "unread": facts.unread,
    });
    if let Some((truth, source)) = facts.truth() {
        value["members"] = json!({ "source": source, "list": list(&truth) });
    }
    if let Some(log) = &facts.log {
        value["log"] = json!({
            "snapshotIndex": log.snapshot.index,
            "commit": log.commit,
            "last": log.last,
            "v2Records": log.v2_records.iter().map(|r| json!({"index": r.index, "what": r.what, "membership": r.is_membership})).collect::<Vec<_>>(),
            "v2Keys": log.v2_keys,
            "voters": log.conf_state.voters.iter().map(|id| format!("{id:x}")).collect::<Vec<_>>(),
            "learners": log.conf_state.learners.iter().map(|id| format!("{id:x}")).collect::<Vec<_>>(),
            "torn": log.torn.as_ref().map(|(path, at)| json!({"path": path.display().to_string(), "offset": at})),
        });
    }
    if let Some(database) = &facts.database {
        value["database"] = json!({
            "size": database.size,
            "inUse": database.in_use,
            "consistentIndex": database.consistent_index,
            "revision": database.revision,
            "compactRevision": database.compacted,
            "storageVersion": database.storage_version,
            "members": list(&database.members.members),
            "removed": database.members.removed.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "pagesChecked": database.pages_checked,
        });
    }
    if let Some(live) = &facts.live {
        value["live"] = json!({
            "endpoint": live.endpoint,
            "pintle": live.is_pintle,
            "version": live.version.as_ref().map(ToString::to_string),
            "leader": format!("{:x}", live.leader),
            "term": live.term,
            "raftIndex": live.raft_index,
            "appliedIndex": live.applied,
            "dbSize": live.db_size,
            "isLearner": live.is_learner,
            "commandLine": live.command_line,
            "metrics": live.metrics,
            "certificates": live.certificates.iter().map(|c| json!({"what": c.what, "names": c.names, "notAfter": c.not_after})).collect::<Vec<_>>(),
            "hash": live.hash.map(|h| json!({"revision": h.revision, "hash": h.hash})),
        });
    }
    value
}
