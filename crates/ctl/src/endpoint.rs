//! `endpoint health`, `status`, `hashkv`: one client per endpoint, so that each
//! line speaks of the member it names.

use std::time::Instant;

use cli::{flags::Parsed, table::Table, text::size};
use futures_util::future::join_all;
use proto::etcdserverpb as api;

use crate::{
    alarm,
    failure::{EXIT_ERROR, Failure, Outcome, cause},
    global::{Global, took},
    output::{Format, Object, Output},
    terminal::print_all,
};

/// The key that a health check reads; it need not exist.
const HEALTH_KEY: &[u8] = b"health";
/// A refusal that proves the member committed the check nevertheless.
const PERMISSION_DENIED: &str = "etcdserver: permission denied";

/// The endpoints a command speaks to: `--endpoints`, or the client URLs of all
/// members for `--cluster`.
pub(crate) async fn targets(global: &Global, cluster: bool) -> Outcome<Vec<String>> {
    if !cluster {
        return Ok(global.endpoints.clone());
    }
    let request = api::MemberListRequest { linearizable: true };
    let response = global.client().await?.member_list(request).await;
    let members = response
        .map_err(|error| {
            let message =
                format!("failed to fetch endpoints from etcd cluster member list: {error}");
            let failure = Failure::new(EXIT_ERROR, message);
            match cause(&error) {
                Some(cause) => failure.with_hint(cause),
                None => failure,
            }
        })?
        .members;
    Ok(members
        .into_iter()
        .flat_map(|member| member.client_ur_ls)
        .collect())
}

struct Health {
    endpoint: String,
    took: String,
    error: Option<String>,
}

/// `etcdctl endpoint health`: all endpoints at once, printed in their order.
pub(crate) async fn health(parsed: &mut Parsed) -> Outcome {
    let cluster = parsed.bool("cluster");
    let global = Global::resolve(parsed)?;
    global.output.refuse_protobuf()?;
    let endpoints = targets(&global, cluster).await?;
    let checks = endpoints
        .into_iter()
        .map(|endpoint| check(&global, endpoint));
    let healths = join_all(checks).await;
    show_health(&global.output, &healths)?;
    if healths.iter().any(|health| health.error.is_some()) {
        return Err(Failure::new(EXIT_ERROR, "unhealthy cluster"));
    }
    Ok(())
}

async fn check(global: &Global, endpoint: String) -> Health {
    let start = Instant::now();
    let result = async {
        let client = global.connect([endpoint.as_str()].into_iter()).await?;
        let request = api::RangeRequest {
            key: HEALTH_KEY.into(),
            ..Default::default()
        };
        match client.range(request).await {
            Err(error) if !error.is(PERMISSION_DENIED) => return Err(error),
            _ => {}
        }
        Ok(client.alarm(alarm::list_all()).await)
    }
    .await;
    let error = match result {
        Err(error) => Some(error.to_string()),
        Ok(Err(error)) if error.is(PERMISSION_DENIED) => None,
        Ok(Err(_)) => Some("Unable to fetch the alarm list".to_owned()),
        Ok(Ok(alarms)) if alarms.alarms.is_empty() => None,
        Ok(Ok(alarms)) => Some(format!("Active Alarm(s): {}", alarm::names(&alarms))),
    };
    Health {
        endpoint,
        took: took(start),
        error,
    }
}

fn show_health(output: &Output, healths: &[Health]) -> Outcome {
    let mut page = output.page();
    match output.format() {
        Format::Json => {
            Object::array(&mut page.bytes, healths, |object, health| {
                object.text_always("endpoint", &health.endpoint);
                object.always("health", health.error.is_none());
                object.text_always("took", &health.took);
                object.text("error", health.error.as_deref().unwrap_or_default());
            });
            page.line("");
        }
        Format::Fields => {
            for health in healths {
                page.quoted("Endpoint", health.endpoint.as_bytes());
                page.field("Health", health.error.is_none());
                page.field("Took", &health.took);
                page.field("Error", health.error.as_deref().unwrap_or_default());
                page.line("");
            }
        }
        Format::Table => {
            let mut table = Table::new(&["endpoint", "health", "took", "error"]);
            for health in healths {
                table.row(vec![
                    health.endpoint.clone(),
                    health.error.is_none().to_string(),
                    health.took.clone(),
                    health.error.clone().unwrap_or_default(),
                ]);
            }
            page.text(table.draw());
        }
        Format::Simple | Format::Protobuf => {
            for health in healths {
                let (endpoint, took) = (&health.endpoint, &health.took);
                match &health.error {
                    None => page.line(format!(
                        "{endpoint} is healthy: successfully committed proposal: took = {took}"
                    )),
                    Some(error) => {
                        eprintln!("{endpoint} is unhealthy: failed to commit proposal: {error}");
                    }
                }
            }
        }
    }
    print_all(&page.bytes)
}

/// `etcdctl endpoint status`.
pub(crate) async fn status(parsed: &mut Parsed) -> Outcome {
    let cluster = parsed.bool("cluster");
    let global = Global::resolve(parsed)?;
    global.output.refuse_protobuf()?;
    let mut statuses = Vec::new();
    let mut failed = false;
    for endpoint in targets(&global, cluster).await? {
        let result = async {
            let client = global.connect([endpoint.as_str()].into_iter()).await?;
            client.status(api::StatusRequest {}).await
        }
        .await;
        match result {
            Ok(status) => statuses.push((endpoint, status)),
            Err(error) => {
                eprintln!("Failed to get the status of endpoint {endpoint} ({error})");
                if let Some(cause) = cause(&error) {
                    eprintln!("Warning: {cause}");
                }
                failed = true;
            }
        }
    }
    show_status(&global.output, &statuses)?;
    if failed {
        return Err(Failure::silent(EXIT_ERROR));
    }
    Ok(())
}

fn show_status(output: &Output, statuses: &[(String, api::StatusResponse)]) -> Outcome {
    let mut page = output.page();
    match output.format() {
        Format::Json => {
            Object::array(&mut page.bytes, statuses, |object, (endpoint, status)| {
                object.text_always("Endpoint", endpoint);
                object.child("Status", |object| object.status(status));
            });
            page.line("");
        }
        Format::Fields => {
            for (endpoint, status) in statuses {
                page.header_fields(status.header.as_ref());
                page.quoted("Version", status.version.as_bytes());
                page.field("DBSize", status.db_size);
                page.field("Leader", status.leader);
                page.field("IsLearner", status.is_learner);
                page.field("RaftIndex", status.raft_index);
                page.field("RaftTerm", status.raft_term);
                page.field("RaftAppliedIndex", status.raft_applied_index);
                page.field("Errors", format!("[{}]", status.errors.join(" ")));
                page.quoted("Endpoint", endpoint.as_bytes());
                page.line("");
            }
        }
        Format::Table => {
            let mut table = Table::new(&[
                "endpoint",
                "ID",
                "version",
                "db size",
                "is leader",
                "is learner",
                "raft term",
                "raft index",
                "raft applied index",
                "errors",
            ]);
            for (endpoint, status) in statuses {
                table.row(status_row(endpoint, status));
            }
            page.text(table.draw());
        }
        Format::Simple | Format::Protobuf => {
            for (endpoint, status) in statuses {
                page.line(status_row(endpoint, status).join(", "));
            }
        }
    }
    print_all(&page.bytes)
}

fn status_row(endpoint: &str, status: &api::StatusResponse) -> Vec<String> {
    let member = status.header.unwrap_or_default().member_id;
    vec![
        endpoint.to_owned(),
        format!("{member:x}"),
        status.version.clone(),
        size(status.db_size.unsigned_abs()),
        (status.leader == member).to_string(),
        status.is_learner.to_string(),
        status.raft_term.to_string(),
        status.raft_index.to_string(),
        status.raft_applied_index.to_string(),
        status.errors.join(", "),
    ]
}

/// `etcdctl endpoint hashkv`.
pub(crate) async fn hash_kv(parsed: &mut Parsed) -> Outcome {
    let cluster = parsed.bool("cluster");
    let revision = parsed.int("rev");
    let global = Global::resolve(parsed)?;
    global.output.refuse_protobuf()?;
    let mut hashes = Vec::new();
    let mut failure = None;
    for endpoint in targets(&global, cluster).await? {
        let result = async {
            let client = global.connect([endpoint.as_str()].into_iter()).await?;
            client.hash_kv(api::HashKvRequest { revision }).await
        }
        .await;
        match result {
            Ok(hash) => hashes.push((endpoint, hash)),
            Err(error) => {
                eprintln!("Failed to get the hash of endpoint {endpoint} ({error})");
                failure = Some(Failure::from(error));
            }
        }
    }
    show_hashes(&global.output, &hashes)?;
    failure.map_or(Ok(()), Err)
}

fn show_hashes(output: &Output, hashes: &[(String, api::HashKvResponse)]) -> Outcome {
    let mut page = output.page();
    match output.format() {
        Format::Json => {
            Object::array(&mut page.bytes, hashes, |object, (endpoint, hash)| {
                object.text_always("Endpoint", endpoint);
                object.child("HashKV", |object| object.hash_kv(hash));
            });
            page.line("");
        }
        Format::Fields => {
            for (endpoint, hash) in hashes {
                page.header_fields(hash.header.as_ref());
                page.quoted("Endpoint", endpoint.as_bytes());
                page.field("Hash", hash.hash);
                page.line("");
            }
        }
        Format::Table => {
            let mut table = Table::new(&["endpoint", "hash"]);
            for (endpoint, hash) in hashes {
                table.row(vec![endpoint.clone(), hash.hash.to_string()]);
            }
            page.text(table.draw());
        }
        Format::Simple | Format::Protobuf => {
            for (endpoint, hash) in hashes {
                page.line(format!("{endpoint}, {}", hash.hash));
            }
        }
    }
    print_all(&page.bytes)
}
