//! `endpoint health`, `status`, `hashkv`: one client per endpoint, so that each
//! line is about the member it names.

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

/// The endpoints that a command uses: `--endpoints`, or the client URLs of all
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
                if speaks_of_storage(status) {
                    page.quoted("StorageVersion", status.storage_version.as_bytes());
                }
                page.field("DBSize", status.db_size);
                if speaks_of_storage(status) {
                    page.field("DBSizeInUse", status.db_size_in_use);
                    page.field("DBSizeQuota", status.db_size_quota);
                }
                page.field("Leader", status.leader);
                page.field("IsLearner", status.is_learner);
                page.field("RaftIndex", status.raft_index);
                if !speaks_of_storage(status) {
                    page.field("RaftTerm", status.raft_term);
                }
                page.field("RaftAppliedIndex", status.raft_applied_index);
                page.field("Errors", format!("[{}]", status.errors.join(" ")));
                page.quoted("Endpoint", endpoint.as_bytes());
                if speaks_of_storage(status) {
                    let downgrade = status.downgrade_info.clone().unwrap_or_default();
                    let target = downgrade.target_version.as_bytes();
                    page.quoted("DowngradeTargetVersion", target);
                    page.field("DowngradeEnabled", downgrade.enabled);
                }
                page.line("");
            }
        }
        Format::Table => {
            let columns = status_columns(statuses);
            let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
            let mut table = Table::new(&names);
            for (endpoint, status) in statuses {
                table.row(status_row(&columns, endpoint, status));
            }
            page.text(table.draw());
        }
        Format::Simple | Format::Protobuf => {
            let columns = status_columns(statuses);
            for (endpoint, status) in statuses {
                page.line(status_row(&columns, endpoint, status).join(", "));
            }
        }
    }
    print_all(&page.bytes)
}

/// Whether a member is of a line whose etcdctl shows more: it says what its database is like.
fn speaks_of_storage(status: &api::StatusResponse) -> bool {
    status.downgrade_info.is_some()
}

/// The name of a column, and what is in it for a member.
type Column = (&'static str, fn(&api::StatusResponse) -> String);

/// The columns of the newest of the members.
fn status_columns(statuses: &[(String, api::StatusResponse)]) -> Vec<Column> {
    let later = statuses.iter().any(|(_, status)| speaks_of_storage(status));
    let of_storage = [
        "storage version",
        "in use",
        "percentage not in use",
        "quota",
    ];
    let of_downgrade = ["downgrade target version", "downgrade enabled"];
    let columns = STATUS_COLUMNS
        .iter()
        .filter(|(name, _)| later || !of_storage.iter().chain(&of_downgrade).any(|of| of == name));
    columns.copied().collect()
}

const STATUS_COLUMNS: [Column; 16] = [
    ("endpoint", |_| String::new()),
    ("ID", |s| format!("{:x}", member_id(s))),
    ("version", |s| s.version.clone()),
    ("storage version", |s| s.storage_version.clone()),
    ("db size", |s| size(s.db_size.unsigned_abs())),
    ("in use", |s| size(s.db_size_in_use.unsigned_abs())),
    ("percentage not in use", |s| {
        let used = s.db_size_in_use.saturating_mul(100).checked_div(s.db_size);
        format!("{}%", 100 - used.unwrap_or(100))
    }),
    ("quota", |s| size(s.db_size_quota.unsigned_abs())),
    ("is leader", |s| (s.leader == member_id(s)).to_string()),
    ("is learner", |s| s.is_learner.to_string()),
    ("raft term", |s| s.raft_term.to_string()),
    ("raft index", |s| s.raft_index.to_string()),
    ("raft applied index", |s| s.raft_applied_index.to_string()),
    ("errors", |s| s.errors.join(", ")),
    ("downgrade target version", |s| {
        let downgrade = s.downgrade_info.as_ref();
        downgrade.map_or_else(String::new, |d| d.target_version.clone())
    }),
    ("downgrade enabled", |s| {
        s.downgrade_info
            .as_ref()
            .is_some_and(|d| d.enabled)
            .to_string()
    }),
];

fn member_id(status: &api::StatusResponse) -> u64 {
    status.header.unwrap_or_default().member_id
}

fn status_row(columns: &[Column], endpoint: &str, status: &api::StatusResponse) -> Vec<String> {
    let (_, rest) = columns.split_first().unwrap_or((&STATUS_COLUMNS[0], &[]));
    let rest = rest.iter().map(|(_, value)| value(status));
    std::iter::once(endpoint.to_owned()).chain(rest).collect()
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
    let later = hashes.iter().any(|(_, hash)| hash.hash_revision != 0);
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
                if later {
                    page.field("HashRevision", hash.hash_revision);
                }
                page.line("");
            }
        }
        Format::Table => {
            let names = ["endpoint", "hash", "hash revision"];
            let mut table = Table::new(if later { &names } else { &names[..2] });
            for (endpoint, hash) in hashes {
                table.row(hash_row(endpoint, hash, later));
            }
            page.text(table.draw());
        }
        Format::Simple | Format::Protobuf => {
            for (endpoint, hash) in hashes {
                page.line(hash_row(endpoint, hash, later).join(", "));
            }
        }
    }
    print_all(&page.bytes)
}

/// With the revision of the hash, if a member says it.
fn hash_row(endpoint: &str, hash: &api::HashKvResponse, later: bool) -> Vec<String> {
    let revision = later.then(|| hash.hash_revision.to_string());
    let row = [endpoint.to_owned(), hash.hash.to_string()];
    row.into_iter().chain(revision).collect()
}
