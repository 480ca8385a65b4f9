//! The HTTP side of the client port: health, version, metrics, and the JSON
//! gateway for KV, Watch, Lease and Maintenance, equal on both servers.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use peers::{
    api,
    http::{self, Answer},
    lockstep::Pair,
    peer, workload,
};
use proto::etcdserverpb::*;
use serde_json::Value;

/// Fields whose values two correct servers need not share.
const FREE: [&str; 8] = [
    "raft_term",
    "raftTerm",
    "raftIndex",
    "raftAppliedIndex",
    "dbSize",
    "dbSizeInUse",
    "version",
    "etcdserver",
];

fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            // An error: releases of the etcd project repeat the message under
            // "error", Debian's builds (on a newer gateway) do not; and a message
            // that is not etcd's own is the wording of a JSON library.
            if let Some(Value::String(message)) = map.get("message").cloned() {
                map.remove("error");
                if !message.starts_with("etcdserver:") {
                    map.insert("message".to_owned(), Value::Null);
                }
            }
            for (name, inner) in map.iter_mut() {
                if FREE.contains(&name.as_str()) {
                    // Present on both sides all the same.
                    *inner = Value::Null;
                } else {
                    strip(inner);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}

/// A body as it is compared: JSON by value, anything else by its bytes.
fn comparable(body: &str) -> String {
    body.split_inclusive('\n')
        .map(|line| match serde_json::from_str::<Value>(line) {
            Ok(mut value) => {
                strip(&mut value);
                let end = if line.ends_with('\n') { "\\n" } else { "" };
                format!("{value}{end}")
            }
            Err(_) => line.to_owned(),
        })
        .collect()
}

/// Check lines of livez and readyz come in any order.
fn sorted_lines(text: &str) -> String {
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    lines.sort();
    lines.concat()
}

fn shape(answer: &Answer) -> String {
    let kept: Vec<String> = [
        "content-type",
        "allow",
        "x-content-type-options",
        "access-control-allow-origin",
        "access-control-allow-methods",
        "access-control-allow-headers",
    ]
    .iter()
    .filter_map(|name| answer.header(name).map(|v| format!("{name}: {v}")))
    .collect();
    format!(
        "{} {kept:?}\n{}",
        answer.status,
        sorted_lines(&comparable(&answer.text()))
    )
}

async fn same(pair: &Pair, requests: &[(&str, &str, &str)]) -> Result<()> {
    let mut differences = Vec::new();
    for (method, path, body) in requests {
        let (ours, theirs) = tokio::join!(
            http::send(pair.subject().port(), method, path, body),
            http::send(pair.reference().port(), method, path, body),
        );
        let ours = ours.map_or_else(|e| format!("{e:#}"), |a| shape(&a));
        let theirs = shape(&theirs?);
        if ours != theirs {
            differences.push(format!(
                "{method} {path} {body}\n  subject:   {ours}\n  reference: {theirs}"
            ));
        }
    }
    ensure!(
        differences.is_empty(),
        "{} answers differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
    Ok(())
}

fn on_a_pair(name: &str, requests: &[(&str, &str, &str)]) {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(90, async {
        let pair = Pair::start(&subject, &reference, &[]).await?;
        same(&pair, requests).await?;
        pair.stop().await
    });
    peer::say(&format!("RAN: http, {name}, {} requests", requests.len()));
}

#[test]
fn health_and_version() {
    on_a_pair(
        "health and version",
        &[
            ("GET", "/version", ""),
            ("POST", "/version", ""),
            ("GET", "/health", ""),
            ("GET", "/health?serializable=true", ""),
            ("GET", "/health?exclude=NOSPACE", ""),
            ("POST", "/health", ""),
            ("GET", "/livez", ""),
            ("GET", "/livez?verbose", ""),
            ("GET", "/livez/serializable_read", ""),
            ("GET", "/livez?exclude=serializable_read&verbose", ""),
            ("GET", "/livez?exclude=nonsense", ""),
            ("GET", "/readyz", ""),
            ("GET", "/readyz?verbose", ""),
            ("GET", "/readyz/data_corruption", ""),
            ("GET", "/readyz/serializable_read", ""),
            ("GET", "/readyz/linearizable_read?verbose", ""),
            ("GET", "/readyz/non_learner", ""),
            ("GET", "/readyz/nonsense", ""),
            ("GET", "/nonsense", ""),
            ("GET", "/", ""),
            ("OPTIONS", "/version", ""),
        ],
    );
}

#[test]
fn alarms_show_in_health() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    let probes: Vec<(&str, &str, &str)> = [
        "/health",
        "/health?exclude=NOSPACE",
        "/health?exclude=NOSPACE&exclude=CORRUPT",
        "/livez",
        "/readyz",
        "/readyz?verbose",
        "/readyz?exclude=data_corruption&verbose",
    ]
    .map(|path| ("GET", path, ""))
    .to_vec();
    peers::run(90, async {
        let pair = Pair::start(&subject, &reference, &[]).await?;
        for alarm in [AlarmType::Nospace, AlarmType::Corrupt] {
            for api in [pair.subject(), pair.reference()] {
                // One at a time: which of two is named first is not fixed.
                workload::lift_alarms(api).await?;
                api.alarm(AlarmRequest {
                    action: alarm_request::AlarmAction::Activate as i32,
                    member_id: 7,
                    alarm: alarm as i32,
                })
                .await?;
            }
            same(&pair, &probes).await?;
        }
        pair.stop().await
    });
    peer::say("RAN: http, health under alarms");
}

#[test]
fn the_json_gateway() {
    on_a_pair(
        "the JSON gateway",
        &[
            ("POST", "/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#),
            (
                "POST",
                "/v3/kv/put",
                r#"{"key":"Zm9v","value":"YmF6","prev_kv":true}"#,
            ),
            (
                "POST",
                "/v3/kv/put",
                r#"{"key":"Zm9v","value":"YmF6","prevKv":true}"#,
            ),
            ("POST", "/v3/kv/put", r#"{"key":"YQ==","unknown":1}"#),
            ("POST", "/v3/kv/put", r#"{}"#),
            ("POST", "/v3/kv/put", r#"{"key":"not base64!"}"#),
            ("POST", "/v3/kv/put", r#"{"key":"#),
            ("POST", "/v3/kv/put", r#"{"key":"YQ==","lease":"12345"}"#),
            ("POST", "/v3/kv/range", r#"{"key":"Zm9v"}"#),
            (
                "POST",
                "/v3/kv/range",
                r#"{"key":"AA==","range_end":"AA=="}"#,
            ),
            (
                "POST",
                "/v3/kv/range",
                r#"{"key":"AA==","rangeEnd":"AA==","limit":1}"#,
            ),
            (
                "POST",
                "/v3/kv/range",
                r#"{"key":"AA==","range_end":"AA==","limit":"1","sort_order":"DESCEND","sort_target":"MOD"}"#,
            ),
            (
                "POST",
                "/v3/kv/range",
                r#"{"key":"AA==","range_end":"AA==","sort_order":2,"keys_only":true}"#,
            ),
            (
                "POST",
                "/v3/kv/range",
                r#"{"key":"AA==","range_end":"AA==","count_only":true}"#,
            ),
            ("POST", "/v3/kv/range", r#"{"key":"Zm9v","revision":"2"}"#),
            ("POST", "/v3/kv/range", r#"{"key":"Zm9v","revision":1000}"#),
            ("POST", "/v3beta/kv/range", r#"{"key":"Zm9v"}"#),
            ("GET", "/v3/kv/range", ""),
            ("POST", "/v3/kv/nonsense", "{}"),
            (
                "POST",
                "/v3/kv/txn",
                r#"{"compare":[{"key":"Zm9v","result":"EQUAL","target":"CREATE","create_revision":"2"}],"success":[{"request_put":{"key":"Zm9v","value":"dHhu"}},{"requestRange":{"key":"Zm9v"}}],"failure":[{"request_delete_range":{"key":"Zm9v"}}]}"#,
            ),
            (
                "POST",
                "/v3/kv/txn",
                r#"{"compare":[{"key":"Zm9v","target":"VALUE","value":"AAAA"}],"failure":[{"request_delete_range":{"key":"YQ==","prev_kv":true}},{"request_txn":{"success":[{"request_range":{"key":"Zm9v"}}]}}]}"#,
            ),
            (
                "POST",
                "/v3/kv/txn",
                r#"{"success":[{"request_put":{"key":"YQ=="}},{"request_put":{"key":"YQ=="}}]}"#,
            ),
            (
                "POST",
                "/v3/kv/deleterange",
                r#"{"key":"Zm9v","prev_kv":true}"#,
            ),
            ("POST", "/v3/kv/deleterange", r#"{"key":"Zm9v"}"#),
            ("POST", "/v3/kv/put", r#"{"key":"Zm9v","value":"bGFzdA=="}"#),
            (
                "POST",
                "/v3/kv/compaction",
                r#"{"revision":"4","physical":true}"#,
            ),
            ("POST", "/v3/kv/compaction", r#"{"revision":4}"#),
            ("POST", "/v3/lease/grant", r#"{"TTL":"5000","ID":"42"}"#),
            ("POST", "/v3/lease/grant", r#"{"TTL":5000,"ID":42}"#),
            ("POST", "/v3/kv/put", r#"{"key":"bGVhc2Vk","lease":"42"}"#),
            ("POST", "/v3/lease/keepalive", r#"{"ID":"42"}"#),
            ("POST", "/v3/lease/keepalive", r#"{"ID":"43"}"#),
            ("POST", "/v3/lease/leases", "{}"),
            ("POST", "/v3/kv/lease/leases", ""),
            ("POST", "/v3/lease/timetolive", r#"{"ID":"43","keys":true}"#),
            ("POST", "/v3/lease/revoke", r#"{"ID":"42"}"#),
            ("POST", "/v3/kv/lease/revoke", r#"{"ID":"42"}"#),
            ("POST", "/v3/maintenance/alarm", r#"{"action":"GET"}"#),
            (
                "POST",
                "/v3/maintenance/alarm",
                r#"{"action":"ACTIVATE","memberID":"9","alarm":"NOSPACE"}"#,
            ),
            ("POST", "/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#),
            ("POST", "/v3/maintenance/status", "{}"),
            (
                "POST",
                "/v3/maintenance/alarm",
                r#"{"action":"DEACTIVATE","memberID":"9","alarm":"NOSPACE"}"#,
            ),
            ("POST", "/v3/maintenance/status", "{}"),
            // Its answer covers the whole file, where two servers differ: the path only.
            ("PUT", "/v3/maintenance/hash", ""),
            ("POST", "/v3/maintenance/hashkv", "{}"),
            ("POST", "/v3/maintenance/hashkv", r#"{"revision":"3"}"#),
            ("POST", "/v3/maintenance/defragment", "{}"),
            (
                "POST",
                "/v3/maintenance/transfer-leadership",
                r#"{"targetID":"1"}"#,
            ),
            ("POST", "/v3/cluster/member/list", "{}"),
            (
                "POST",
                "/v3/cluster/member/list",
                r#"{"linearizable":true}"#,
            ),
            // Changes of membership that etcd refuses before anything is changed.
            ("POST", "/v3/cluster/member/remove", r#"{"ID":"1"}"#),
            ("POST", "/v3/cluster/member/promote", r#"{"ID":"1"}"#),
            (
                "POST",
                "/v3/cluster/member/update",
                r#"{"ID":"1","peerURLs":["http://127.0.0.1:9"]}"#,
            ),
            ("POST", "/v3/cluster/member/add", "{}"),
            (
                "POST",
                "/v3/cluster/member/add",
                r#"{"peerURLs":["nonsense"]}"#,
            ),
            (
                "POST",
                "/v3/cluster/member/add",
                r#"{"peerURLs":["http://127.0.0.1:9/path"]}"#,
            ),
            (
                "POST",
                "/v3/cluster/member/add",
                // The harness gives every server this one.
                r#"{"peerURLs":["http://127.0.0.1:2"],"isLearner":true}"#,
            ),
        ],
    );
}

/// A watch through the gateway is lines of JSON, each at once.
#[test]
fn a_watch_through_the_gateway() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(60, async {
        let pair = Pair::start(&subject, &reference, &[]).await?;
        let mut transcripts = Vec::new();
        for api in [pair.subject(), pair.reference()] {
            for value in ["1", "2"] {
                api.put(api::put("k", value)).await?;
            }
            api.delete_range(api::delete("k")).await?;
            let mut seen = Vec::new();
            for body in [
                r#"{"create_request":{"key":"aw==","start_revision":"2"}}"#,
                r#"{"create_request":{"key":"aw==","start_revision":3,"prev_kv":true,"watch_id":"7"}}"#,
                r#"{"createRequest":{"key":"aw==","startRevision":"2","filters":["NODELETE"]}}"#,
            ] {
                for line in http::first_lines(api.port(), "/v3/watch", body, 2).await? {
                    seen.push(comparable(&line));
                }
            }
            let refused = r#"{"create_request":{"key":"Yg==","range_end":"YQ=="}}"#;
            for line in http::first_lines(api.port(), "/v3/watch", refused, 1).await? {
                seen.push(comparable(&line));
            }
            transcripts.push(seen);
        }
        ensure!(
            transcripts[0] == transcripts[1],
            "subject   {:#?}\nreference {:#?}",
            transcripts[0],
            transcripts[1]
        );
        pair.stop().await
    });
    peer::say("RAN: http, a watch through the gateway");
}

/// Metrics of the reference that the subject must offer under the same name and
/// type: those that alerts, dashboards and Kubernetes read.
const METRICS: [&str; 40] = [
    "etcd_cluster_version",
    "etcd_debugging_mvcc_compact_revision",
    "etcd_debugging_mvcc_current_revision",
    "etcd_debugging_mvcc_db_compaction_keys_total",
    "etcd_debugging_mvcc_events_total",
    "etcd_debugging_mvcc_keys_total",
    "etcd_debugging_mvcc_pending_events_total",
    "etcd_debugging_mvcc_slow_watcher_total",
    "etcd_debugging_mvcc_watch_stream_total",
    "etcd_debugging_mvcc_watcher_total",
    "etcd_disk_backend_commit_duration_seconds",
    "etcd_disk_wal_fsync_duration_seconds",
    "etcd_disk_wal_write_bytes_total",
    "etcd_mvcc_db_open_read_transactions",
    "etcd_mvcc_db_total_size_in_bytes",
    "etcd_mvcc_db_total_size_in_use_in_bytes",
    "etcd_mvcc_delete_total",
    "etcd_mvcc_hash_duration_seconds",
    "etcd_mvcc_put_total",
    "etcd_mvcc_range_total",
    "etcd_mvcc_txn_total",
    "etcd_network_client_grpc_received_bytes_total",
    "etcd_network_client_grpc_sent_bytes_total",
    "etcd_server_apply_duration_seconds",
    "etcd_server_has_leader",
    "etcd_server_health_failures",
    "etcd_server_health_success",
    "etcd_server_heartbeat_send_failures_total",
    "etcd_server_id",
    "etcd_server_is_leader",
    "etcd_server_is_learner",
    "etcd_server_leader_changes_seen_total",
    "etcd_server_proposals_applied_total",
    "etcd_server_proposals_committed_total",
    "etcd_server_proposals_failed_total",
    "etcd_server_proposals_pending",
    "etcd_server_quota_backend_bytes",
    "etcd_server_read_indexes_failed_total",
    "etcd_server_slow_apply_total",
    "etcd_server_version",
];

/// Samples whose values follow from what clients did.
const COUNTED: [&str; 15] = [
    "etcd_debugging_mvcc_current_revision",
    "etcd_debugging_mvcc_compact_revision",
    "etcd_debugging_mvcc_keys_total",
    "etcd_debugging_mvcc_db_compaction_keys_total",
    "etcd_debugging_mvcc_range_total",
    "etcd_debugging_mvcc_total_put_size_in_bytes",
    "etcd_debugging_lease_ttl_total_sum",
    "etcd_mvcc_delete_total",
    "etcd_mvcc_put_total",
    "etcd_mvcc_range_total",
    "etcd_mvcc_txn_total",
    "etcd_server_has_leader",
    "etcd_server_is_leader",
    "etcd_server_quota_backend_bytes",
    "etcd_cluster_version{cluster_version=\"3.5\"}",
];

fn samples(text: &str) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let (mut types, mut values) = (BTreeMap::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            if let Some((name, kind)) = rest.split_once(' ') {
                types.insert(name.to_owned(), kind.to_owned());
            }
        } else if !line.starts_with('#')
            && let Some((name, value)) = line.rsplit_once(' ')
        {
            values.insert(name.to_owned(), value.to_owned());
        }
    }
    (types, values)
}

#[test]
fn metrics() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(60, async {
        let pair = Pair::start(&subject, &reference, &[]).await?;
        let mut found = Vec::new();
        for api in [pair.subject(), pair.reference()] {
            for i in 0..5 {
                api.put(api::put(format!("k{i}"), "v")).await?;
            }
            api.delete_range(api::delete("k1")).await?;
            api.range(api::get("k2")).await?;
            api.put(PutRequest {
                prev_kv: true,
                ..api::put("k3", "w")
            })
            .await?;
            // As Kubernetes writes: one compare, one put, or else a read.
            for create_revision in [0, 1] {
                api.txn(TxnRequest {
                    compare: vec![Compare {
                        key: "registry".into(),
                        target: compare::CompareTarget::Create as i32,
                        target_union: Some(compare::TargetUnion::CreateRevision(create_revision)),
                        ..Default::default()
                    }],
                    success: vec![api::op_put(api::put("registry", "1"))],
                    failure: vec![api::op_range(api::get("registry"))],
                })
                .await?;
            }
            let success = vec![
                api::op_put(api::put("t", "1")),
                api::op_put(api::put("u", "1")),
            ];
            api.txn(TxnRequest {
                success,
                ..Default::default()
            })
            .await?;
            api.compact(CompactionRequest {
                revision: 4,
                physical: true,
            })
            .await?;
            let answer = http::send(api.port(), "GET", "/metrics", "").await?;
            ensure!(answer.status == 200, "status {}", answer.status);
            found.push((
                answer.header("content-type").map(str::to_owned),
                samples(&answer.text()),
            ));
        }
        let (ours, theirs) = (&found[0], &found[1]);
        let mut differences = Vec::new();
        for name in METRICS {
            let (a, b) = (ours.1.0.get(name), theirs.1.0.get(name));
            ensure!(
                b.is_some(),
                "the list is wrong: {name} is not in {reference}"
            );
            if a != b {
                differences.push(format!("{name}: type {a:?}, reference {b:?}"));
            }
        }
        for name in COUNTED {
            let (a, b) = (ours.1.1.get(name), theirs.1.1.get(name));
            ensure!(
                b.is_some(),
                "the list is wrong: sample {name} is not in {reference}"
            );
            // One writes 2147483648, the other 2.147483648e+09.
            let number = |text: Option<&String>| text.and_then(|t| t.parse::<f64>().ok());
            if number(a) != number(b) {
                differences.push(format!("{name}: {a:?}, reference {b:?}"));
            }
        }
        ensure!(differences.is_empty(), "{}", differences.join("\n"));
        let format = ours.0.as_deref().unwrap_or_default();
        ensure!(
            format.starts_with("text/plain; version=0.0.4"),
            "content type {format:?}"
        );
        pair.stop().await
    });
    peer::say("RAN: http, metrics");
}
