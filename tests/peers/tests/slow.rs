//! What takes too long is logged as etcd logs it: the same lines with the same fields, for the same
//! requests, when any time at all is too long.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use peers::{
    peer::{self, Program},
    run,
    server::Launch,
};
use proto::etcdserverpb::{
    AlarmRequest, AuthRoleAddRequest, AuthRoleGrantPermissionRequest, AuthUserAddRequest,
    AuthUserGrantRoleRequest, CompactionRequest, Compare, DeleteRangeRequest, LeaseGrantRequest,
    LeaseRevokeRequest, MemberListRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    compare::TargetUnion, request_op::Request,
};
use serde_json::{Map, Value};

const WITHIN: Duration = Duration::from_secs(30);
/// The line that has both settings; etcd 3.5 has the time of unary calls built in.
const LINE_3_6: &str = "3.6.14";

/// Fields that differ between two runs, and between any two programs.
const OWN: [&str; 7] = [
    "ts",
    "caller",
    "took",
    "start time",
    "time spent",
    "remote",
    "level",
];

fn put(key: &[u8], value: &[u8]) -> PutRequest {
    PutRequest {
        key: key.to_vec().into(),
        value: value.to_vec().into(),
        ..PutRequest::default()
    }
}

fn get(key: &[u8]) -> RangeRequest {
    RangeRequest {
        key: key.to_vec().into(),
        ..RangeRequest::default()
    }
}

fn op(request: Request) -> RequestOp {
    RequestOp {
        request: Some(request),
    }
}

fn nested() -> TxnRequest {
    let compare = |union| Compare {
        key: b"foo".to_vec().into(),
        target_union: Some(union),
        ..Compare::default()
    };
    let inner = TxnRequest {
        success: vec![op(Request::RequestPut(put(b"in\"ner", b"secret")))],
        ..TxnRequest::default()
    };
    let delete = DeleteRangeRequest {
        key: b"b".to_vec().into(),
        ..DeleteRangeRequest::default()
    };
    TxnRequest {
        compare: vec![
            Compare {
                target: 3,
                ..compare(TargetUnion::Value(b"secret".to_vec().into()))
            },
            Compare {
                target: 2,
                result: 1,
                ..compare(TargetUnion::ModRevision(0))
            },
        ],
        success: vec![
            op(Request::RequestPut(put(b"a", b"secret"))),
            op(Request::RequestRange(get(b"a"))),
        ],
        failure: vec![
            op(Request::RequestTxn(inner)),
            op(Request::RequestDeleteRange(delete)),
        ],
    }
}

/// The same requests to whoever it is; what is refused is refused by both.
async fn ask(server: &peers::server::Server) -> Result<()> {
    let api = server.api();
    let (mut kv, mut lease) = (api.kv(), api.lease());
    kv.put(put(b"foo", b"secret")).await?;
    kv.put(put(b"\xff\x01\n\t\x7f\"\\", b"secret")).await?;
    kv.range(get(b"foo")).await?;
    let sorted = RangeRequest {
        range_end: b"z".to_vec().into(),
        limit: 3,
        revision: 2,
        sort_order: 2,
        sort_target: 2,
        serializable: true,
        keys_only: true,
        min_mod_revision: 1,
        ..get(b"a")
    };
    kv.range(sorted).await?;
    let delete = DeleteRangeRequest {
        key: b"foo".to_vec().into(),
        prev_kv: true,
        ..DeleteRangeRequest::default()
    };
    kv.delete_range(delete).await?;
    kv.txn(nested()).await?;
    let reads = TxnRequest {
        failure: vec![op(Request::RequestRange(get(b"c")))],
        success: vec![op(Request::RequestRange(get(b"a")))],
        ..TxnRequest::default()
    };
    kv.txn(reads).await?;
    lease
        .lease_grant(LeaseGrantRequest { ttl: 100, id: 77 })
        .await?;
    let _ = lease
        .lease_grant(LeaseGrantRequest { ttl: 100, id: 77 })
        .await;
    let _ = kv
        .put(PutRequest {
            lease: 78,
            ..put(b"leased", b"secret")
        })
        .await;
    lease.lease_revoke(LeaseRevokeRequest { id: 77 }).await?;
    kv.compact(CompactionRequest {
        revision: 2,
        physical: true,
    })
    .await?;
    api.maintenance().alarm(AlarmRequest::default()).await?;
    api.cluster()
        .member_list(MemberListRequest::default())
        .await?;
    let mut auth = api.auth();
    let user = AuthUserAddRequest {
        name: "u".into(),
        password: "secret".into(),
        ..AuthUserAddRequest::default()
    };
    auth.user_add(user).await?;
    auth.role_add(AuthRoleAddRequest { name: "r".into() })
        .await?;
    let grant = AuthRoleGrantPermissionRequest {
        name: "r".into(),
        perm: Some(proto::authpb::Permission {
            perm_type: 2,
            key: b"a".to_vec().into(),
            range_end: b"b".to_vec().into(),
        }),
    };
    auth.role_grant_permission(grant).await?;
    let role = AuthUserGrantRoleRequest {
        user: "u".into(),
        role: "r".into(),
    };
    auth.user_grant_role(role).await?;
    // The last, for whoever waits for the lines.
    kv.put(put(b"the end", b"")).await?;
    Ok(())
}

/// The id of an entry is a program's own.
fn without_ids(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("ID:") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    out + rest
}

/// The lines with a message, in order, without what is a program's own.
fn lines(log: &str, message: &str) -> Vec<BTreeMap<String, Value>> {
    log.lines()
        .filter_map(|line| serde_json::from_str::<Map<String, Value>>(line).ok())
        .filter(|line| line.get("msg").and_then(Value::as_str) == Some(message))
        .map(|line| {
            line.into_iter()
                .filter(|(name, _)| !OWN.contains(&name.as_str()))
                .map(|(name, value)| match value {
                    Value::String(text) => (name, Value::String(without_ids(&text))),
                    other => (name, other),
                })
                .collect()
        })
        .collect()
}

async fn logged(program: &Program, flags: &[&str], end: &str) -> Result<String> {
    let data = tempfile::tempdir()?;
    let mut launch = Launch::new(program, data.path());
    for flag in flags {
        launch = launch.flag(flag);
    }
    let mut server = launch.start().await?;
    ask(&server).await?;
    server.wait_log(end, WITHIN).await?;
    let log = server.log_text();
    server.no_panic()?;
    server.terminate().await?;
    ensure!(!log.contains("secret"), "{program} logs values");
    Ok(log)
}

#[test]
fn slow_applies_are_logged_as_by_etcd() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    run(120, async {
        let mut logs = Vec::new();
        for program in [&reference, &subject] {
            let flag = "--experimental-warning-apply-duration=1ns";
            logs.push(logged(program, &[flag], r#"put:<key:\"the end\" >"#).await?);
        }
        for message in ["apply request took too long", "failed to apply request"] {
            let [etcd, pintle] = [&logs[0], &logs[1]].map(|log| {
                let mut lines = lines(log, message);
                // What members write about themselves comes when it comes.
                lines.retain(|line| {
                    let request = line
                        .get("request")
                        .map(Value::to_string)
                        .unwrap_or_default();
                    !request.contains("Method:") && !request.contains("cluster_")
                });
                lines
            });
            ensure!(!etcd.is_empty(), "etcd logs no {message}");
            for (at, line) in etcd.iter().enumerate() {
                let here = pintle.get(at).context("a line is missing")?;
                ensure!(line == here, "{message}, line {at}:\n{line:#?}\n{here:#?}");
            }
            ensure!(
                etcd.len() == pintle.len(),
                "more lines: {:#?}",
                &pintle[etcd.len()..]
            );
        }
        Ok(())
    });
}

#[test]
fn slow_calls_are_logged_as_by_etcd() {
    let (Some((subject, _)), Some(reference)) = (peer::pair(), peer::etcd(LINE_3_6)) else {
        return;
    };
    run(120, async {
        let mut logs = Vec::new();
        for program in [&reference, &subject] {
            let flags = ["--warning-unary-request-duration=1ns"];
            logs.push(logged(program, &flags, r#"content":"key:\"the end\" "#).await?);
        }
        let [etcd, pintle] = [&logs[0], &logs[1]].map(|log| lines(log, "request stats"));
        // Before the first put it is asked again and again whether it is there.
        let is_first = |line: &BTreeMap<String, Value>| {
            let kind = line.get("response type").and_then(Value::as_str);
            kind.is_some_and(|kind| kind.ends_with("KV/Put"))
        };
        let [etcd, pintle] = [etcd, pintle].map(|lines| {
            let lines = lines.into_iter().skip_while(|line| !is_first(line));
            lines.collect::<Vec<_>>()
        });
        ensure!(etcd.len() > 10, "etcd logs {}", etcd.len());
        for (at, line) in etcd.iter().enumerate() {
            let here = pintle.get(at).context("a line is missing")?;
            ensure!(line == here, "line {at}:\n{line:#?}\n{here:#?}");
        }
        ensure!(
            etcd.len() == pintle.len(),
            "more lines: {:#?}",
            &pintle[etcd.len()..]
        );
        Ok(())
    });
}
