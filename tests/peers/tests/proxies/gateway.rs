//! The gateway between clients and members that come and go.

use anyhow::{Result, ensure};
use peers::{
    peer::{self, Program},
    ports,
    server::Launch,
};
use proto::etcdserverpb::{PutRequest, RangeRequest};
use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::programs::{WITHIN, logged, proxy, started};

const READY: &str = "ready to proxy client requests";
const LEFT: &str = "deactivated endpoint";
const AGAIN: &str = "activated";

/// A member that is not there is left alone, and taken again once it is. Returns what is logged
/// about it.
async fn one_comes_later(gateway: &Program, server: &Program) -> Result<Vec<Map<String, Value>>> {
    let (dirs, late) = ((TempDir::new()?, TempDir::new()?), ports::claim()?);
    let there = Launch::new(server, dirs.0.path()).start().await?;
    let port = ports::claim()?;
    let launch = proxy(gateway, "gateway", port)
        .flag(&format!(
            "--endpoints=http://127.0.0.1:{late},127.0.0.1:{}",
            there.port()
        ))
        .flag("--retry-delay=300ms");
    let mut through = started(&launch, READY).await?;
    // More connections than members: none of them fails.
    for n in 0..4_u8 {
        let client = through.connect();
        let value = vec![n; 100_000];
        client
            .put(PutRequest {
                key: "k".into(),
                value: value.clone().into(),
                ..PutRequest::default()
            })
            .await?;
        let read = client
            .range(RangeRequest {
                key: "k".into(),
                ..RangeRequest::default()
            })
            .await?;
        ensure!(read.kvs.len() == 1 && read.kvs[0].value == value, "{n}");
    }
    through.wait_log(LEFT, WITHIN).await?;
    let other = Launch::new(server, dirs.1.path())
        .only_given_flags()
        .flag(&format!("--data-dir={}", dirs.1.path().display()))
        .flag(&format!("--listen-client-urls=http://127.0.0.1:{late}"))
        .flag(&format!("--advertise-client-urls=http://127.0.0.1:{late}"))
        .flag("--listen-peer-urls=http://127.0.0.1:0")
        .ports(late, 0)
        .start()
        .await?;
    through.wait_log(&format!("\"{AGAIN}\""), WITHIN).await?;
    drop(there);
    // The one that is gone is left, for the one that has come.
    let empty = through
        .connect()
        .range(RangeRequest {
            key: "k".into(),
            ..RangeRequest::default()
        })
        .await?;
    ensure!(empty.kvs.is_empty());
    drop(other);
    let log = through.log_text().replace(&late.to_string(), "LATE");
    let mut lines = logged(&log, &[LEFT, AGAIN]);
    lines.retain(|line| line.values().any(|value| value == "127.0.0.1:LATE"));
    lines.dedup();
    Ok(lines)
}

#[test]
fn a_gateway_leaves_members_and_finds_them_again() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(180, async {
        let own = one_comes_later(&subject, &subject).await?;
        let theirs = one_comes_later(&reference, &reference).await?;
        ensure!(
            !own.is_empty() && own == theirs,
            "{own:?}\nof etcd:\n{theirs:?}"
        );
        Ok(())
    });
}
