//! What a monitoring system reads: the metrics page has every series of etcd with
//! its type, and the log lines that programs look for have etcd's fields. Left out
//! of the comparison: the series of Go's runtime, `go_*`, which do not exist here,
//! and a line's time and place.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use peers::{
    api, http,
    peer::{self, Program},
    server::{Launch, Server},
};
use proto::etcdserverpb::{CompactionRequest, DefragmentRequest, LeaseGrantRequest};
use serde_json::{Map, Value};

const FLAGS: [&str; 2] = [
    "--experimental-bootstrap-defrag-threshold-megabytes=1000",
    "--experimental-stop-grpc-service-on-defrag",
];

/// Lines that operators and tests look for.
const MESSAGES: [&str; 3] = [
    "Skipping defragmentation",
    "finished scheduled compaction",
    "grpc service status changed",
];

/// A server that has done a little of everything.
async fn exercised(program: &Program, dir: &std::path::Path) -> Result<Server> {
    let launch = FLAGS
        .iter()
        .fold(Launch::new(program, dir), |launch, flag| launch.flag(flag));
    let server = launch.start().await?;
    let api = server.api();
    for value in ["1", "2", "3"] {
        api.put(api::put("k", value)).await?;
    }
    let lease = LeaseGrantRequest { ttl: 100, id: 0 };
    api.lease_grant(lease).await?;
    let compaction = CompactionRequest {
        revision: 3,
        physical: true,
    };
    api.compact(compaction).await?;
    api.defragment(DefragmentRequest {}).await?;
    Ok(server)
}

async fn types(server: &Server) -> Result<BTreeMap<String, String>> {
    let page = http::send(server.port(), "GET", "/metrics", "")
        .await?
        .text();
    let types = page.lines().filter_map(|line| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        Some((name.to_owned(), kind.to_owned()))
    });
    Ok(types.collect())
}

/// The fields that lines with this message have; etcd writes some of them more often.
fn fields(server: &Server, message: &str) -> BTreeSet<BTreeSet<String>> {
    let lines = server.log_text();
    let lines = lines.lines().filter_map(|line| {
        let line: Map<String, Value> = serde_json::from_str(line).ok()?;
        (line.get("msg")?.as_str()? == message).then_some(line)
    });
    lines
        .map(|line| line.into_iter().map(|(name, _)| name).collect())
        .collect()
}

#[test]
fn metrics_and_log_lines_have_the_names_of_etcd() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(120, async {
        let dir = tempfile::tempdir()?;
        let ours = exercised(&subject, &dir.path().join("ours")).await?;
        let theirs = exercised(&reference, &dir.path().join("theirs")).await?;
        let (here, there) = (types(&ours).await?, types(&theirs).await?);
        let different: Vec<_> = there
            .iter()
            .filter(|(name, _)| !name.starts_with("go_"))
            .filter(|(name, kind)| here.get(*name) != Some(*kind))
            .map(|(name, kind)| format!("{name}: {kind}, not {:?}", here.get(name)))
            .collect();
        ensure!(different.is_empty(), "{different:#?}");
        for message in MESSAGES {
            let here = fields(&ours, message);
            ensure!(!here.is_empty(), "no line {message:?}: {}", ours.tail());
            let there = fields(&theirs, message);
            ensure!(here == there, "{message:?}: {here:?}, not {there:?}");
        }
        ours.terminate().await.context("ours")?;
        theirs.terminate().await
    });
}
