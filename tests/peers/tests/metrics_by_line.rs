//! `/metrics` of Pintle at 3.6 and at 3.7 next to real etcd of that line: families with their
//! types, methods, and what the gates of features say.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use peers::{api, http, lockstep::Pair, peer};

/// What a page has, as far as both should have it: values of gates, and names of the rest.
fn names(page: &str) -> BTreeSet<String> {
    // Go's runtime, and Pintle's own.
    let is_own = |line: &str| line.contains(" go_") || line.contains(" pintle_");
    let families = page
        .lines()
        .filter(|line| line.starts_with("# TYPE ") && !is_own(line));
    // Those of locks and elections are in etcd only once they are called.
    let methods = page
        .lines()
        .filter(|line| line.starts_with("grpc_server_started_total{"))
        .filter(|line| line.contains("\"etcdserverpb."))
        .filter_map(|line| {
            let (_, name) = line.split_once("grpc_method=\"")?;
            Some(name.split_once('}')?.0)
        });
    let gates = page
        .lines()
        .filter(|line| line.starts_with("etcd_server_feature_enabled{"));
    let timed = page
        .lines()
        .filter(|line| line.starts_with("etcd_server_request_duration_seconds_count{"))
        .filter(|line| line.contains("Range") || line.contains("\"Put\"") || line.contains("Txn"));
    families
        .chain(methods)
        .chain(gates)
        .chain(timed)
        .map(str::to_owned)
        .collect()
}

async fn page(api: &api::Api) -> Result<BTreeSet<String>> {
    api.put(api::put("a", "1")).await?;
    api.range(api::get("a")).await?;
    let read = proto::etcdserverpb::TxnRequest {
        success: vec![api::op_range(api::get("a"))],
        ..Default::default()
    };
    api.txn(read).await?;
    let future = proto::etcdserverpb::RangeRequest {
        revision: 1_000_000,
        ..api::get("a")
    };
    ensure!(api.range(future).await.is_err(), "a revision of the future");
    let answer = http::send(api.port(), "GET", "/metrics", "").await?;
    Ok(names(&answer.text()))
}

fn same_series(line: &str, flags: &[&str]) {
    let Some((subject, reference)) = peer::pair_at(line) else {
        return;
    };
    peers::run(60, async {
        let pair = Pair::start(&subject, &reference, flags).await?;
        let (ours, theirs) = (page(pair.subject()).await?, page(pair.reference()).await?);
        let missing: Vec<_> = theirs.difference(&ours).collect();
        let odd: Vec<_> = ours.difference(&theirs).collect();
        ensure!(
            missing.is_empty() && odd.is_empty(),
            "missing {missing:#?}\nnot in etcd {odd:#?}"
        );
        peer::say(&format!("RAN: metrics at {line}, {} names", ours.len()));
        pair.stop().await
    });
}

#[test]
fn the_series_of_3_6() {
    same_series("3.6", &[]);
}

#[test]
fn the_series_of_3_7() {
    same_series("3.7", &[]);
}

#[test]
fn gates_of_3_7_that_are_set() {
    let gates = "--feature-gates=PriorityRequest=true,AllBeta=false,InitialCorruptCheck=true,\
                 TxnModeWriteWithSharedBuffer=true";
    same_series("3.7", &[gates]);
}

#[test]
fn gates_of_3_6_that_are_set() {
    same_series(
        "3.6",
        &["--feature-gates=CompactHashCheck=true,LeaseCheckpoint=true"],
    );
}
