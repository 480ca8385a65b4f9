//! `/health`, `/livez` and `/readyz`: what probes ask, answered by doing what a
//! client would do.

use std::rc::Rc;

use http::{Response, StatusCode};
use member::alarms;
use proto::etcdserverpb::AlarmType;

use super::{
    Body,
    plain::{plain, unsniffed},
};
use crate::{
    runtime::Runtime,
    status::{Status, errors},
};

/// The values of one query parameter.
fn values<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    query.split('&').filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}

fn has(query: &str, name: &str) -> bool {
    values(query, name).next().is_some()
}

/// A read as a client would make it, of nothing.
async fn probe(rt: &Rc<Runtime>, serializable: bool) -> Result<(), Status> {
    if !serializable {
        rt.linearizable().await?;
    }
    // The store answers from memory; reaching it is the check.
    let _ = rt.core.store().revision();
    rt.core.metrics.ranges.inc();
    Ok(())
}

/// `/health`
pub(super) async fn health(rt: &Rc<Runtime>, query: &str) -> Response<Body> {
    let serializable = values(query, "serializable").any(|v| v == "true");
    let reason = health_reason(rt, query, serializable).await;
    match &reason {
        None => {
            rt.core.metrics.health_success.inc();
            plain(StatusCode::OK, "{\"health\":\"true\",\"reason\":\"\"}")
        }
        Some(reason) => {
            rt.core.metrics.health_failures.inc();
            let reason = serde_json::Value::from(reason.as_str());
            let body = format!("{{\"health\":\"false\",\"reason\":{reason}}}\n");
            unsniffed(StatusCode::SERVICE_UNAVAILABLE, body)
        }
    }
}

async fn health_reason(rt: &Rc<Runtime>, query: &str, serializable: bool) -> Option<String> {
    let excluded: Vec<&str> = values(query, "exclude").collect();
    for alarm in rt.core.state.alarms.read().all() {
        let name = alarms::name(alarm.alarm);
        if excluded.contains(&&*name) {
            continue;
        }
        tracing::warn!(
            alarm = alarms::text(&alarm),
            "serving /health false due to an alarm"
        );
        let is_known = AlarmType::try_from(alarm.alarm).is_ok();
        return Some(format!(
            "ALARM {}",
            if is_known { &name } else { "UNKNOWN" }
        ));
    }
    if !serializable && rt.core.leader() == 0 {
        tracing::warn!("serving /health false; no leader");
        return Some("RAFT NO LEADER".to_owned());
    }
    if let Err(error) = probe(rt, serializable).await {
        tracing::warn!(error = %error, "serving /health false; Range fails");
        return Some(format!("RANGE ERROR:{error}"));
    }
    None
}

/// A page of named checks.
#[derive(Clone, Copy)]
pub(super) struct CheckPage {
    kind: &'static str,
    checks: &'static [&'static str],
    /// All checks of the kind, of which some may be left out; not a single one by name.
    whole: bool,
}

const LIVEZ: &[&str] = &["serializable_read"];
const READYZ: &[&str] = &[
    "data_corruption",
    "serializable_read",
    "linearizable_read",
    "non_learner",
];

/// The page of a path: all checks of a kind, or a single one.
pub(super) fn check_page(path: &str) -> Option<CheckPage> {
    let mut parts = path.strip_prefix('/')?.splitn(2, '/');
    let (kind, all) = match parts.next()? {
        "livez" => ("livez", LIVEZ),
        "readyz" => ("readyz", READYZ),
        _ => return None,
    };
    let (checks, whole) = match parts.next() {
        None => (all, true),
        Some(one) => {
            let i = all.iter().position(|name| *name == one)?;
            (&all[i..=i], false)
        }
    };
    Some(CheckPage {
        kind,
        checks,
        whole,
    })
}

/// `/livez` and `/readyz`
pub(super) async fn checks(rt: &Rc<Runtime>, page: CheckPage, query: &str) -> Response<Body> {
    let excluded: Vec<&str> = values(query, "exclude")
        .filter(|name| page.whole && !name.is_empty())
        .collect();
    let unknown: Vec<&str> = excluded
        .iter()
        .copied()
        .filter(|name| !page.checks.contains(name))
        .collect();
    if !unknown.is_empty() {
        tracing::warn!(
            exclude = unknown.join(","),
            "some health checks cannot be excluded"
        );
    }
    let metrics = &rt.core.metrics;
    let mut lines = String::new();
    let mut failed = Vec::new();
    for &name in page.checks.iter().filter(|name| !excluded.contains(name)) {
        let error = match name {
            "data_corruption" => rt
                .core
                .state
                .alarms
                .read()
                .is_active(AlarmType::Corrupt)
                .then(|| "alarm activated: CORRUPT".to_owned()),
            "non_learner" => {
                let cluster = rt.core.state.cluster.load();
                cluster
                    .member(rt.core.member_id)
                    .is_some_and(|m| m.is_learner)
                    .then(|| "not supported for learner".to_owned())
            }
            "serializable_read" => probe(rt, true)
                .await
                .err()
                .map(|e| format!("range error: {e}")),
            _ if rt.core.leader() == 0 => Some(errors::NO_LEADER.to_string()),
            _ => probe(rt, false)
                .await
                .err()
                .map(|e| format!("range error: {e}")),
        };
        let (gauge, label) = if error.is_none() {
            (1, "success")
        } else {
            (0, "error")
        };
        metrics
            .healthcheck
            .with_label_values(&[page.kind, name])
            .set(gauge);
        metrics
            .healthchecks_total
            .with_label_values(&[page.kind, name, label])
            .inc();
        match error {
            None => lines.push_str(&format!("[+]{name} ok\n")),
            Some(reason) => {
                lines.push_str(&format!("[-]{name} failed: {reason}\n"));
                failed.push(format!("[-]{name} failed: {reason}"));
            }
        }
    }
    if failed.is_empty() {
        let shown = if has(query, "verbose") { &lines } else { "" };
        return unsniffed(StatusCode::OK, format!("{shown}ok\n"));
    }
    tracing::error!(
        path = format!("/{}", page.kind),
        reason = failed.join("\n"),
        "status-code" = 503,
        "Health check error"
    );
    unsniffed(StatusCode::SERVICE_UNAVAILABLE, format!("{lines}\n"))
}
