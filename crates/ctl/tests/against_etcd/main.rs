//! This etcdctl beside etcd's own: the command lines of `cases.txt`, run by
//! both against servers in the same state. Each group starts a fresh etcd on
//! the same ports for each of the two, so that ids, revisions and terms agree
//! and outputs can be compared byte for byte; only what must differ (times,
//! sizes, lease ids) is masked.
//!
//! Needs real etcd binaries: `<peers>/3.5.30/{etcd,etcdctl,etcdutl}`, where
//! `<peers>` is `PINTLE_PEERS` or `~/.cache/pintle-peers`. Without them the
//! tests say so and end.

mod bench;
mod cases;
mod mask;

use std::path::Path;

use bench::{Outcome, Peers, Server};
use cases::{Age, Case, Group};

/// Runs all groups with the etcdctl of `version` as the oracle.
fn compare_with(version: &str) {
    let Some(peers) = Peers::find(&[version]) else {
        return;
    };
    let age = if version == bench::SERVER_VERSION {
        Age::New
    } else {
        Age::Old
    };
    let mut differences = Vec::new();
    let mut count = 0;
    for group in cases::read(include_str!("cases.txt")) {
        let ports = bench::free_ports();
        let theirs = run_group(&group, ports, &peers, &peers.binary(version, "etcdctl"));
        let ours = run_group(&group, ports, &peers, &bench::our_etcdctl());
        for ((case, theirs), (_, ours)) in theirs.iter().zip(&ours) {
            if case.only.is_some_and(|only| only != age) {
                continue;
            }
            count += 1;
            if let Some(difference) = mask::difference(case, theirs, ours) {
                differences.push(format!("[{}] {}\n{difference}", group.name, case.line));
            }
        }
    }
    assert!(count > 300, "only {count} cases ran");
    assert!(
        differences.is_empty(),
        "{} of {count} command lines differ from etcdctl {version}:\n\n{}",
        differences.len(),
        differences.join("\n")
    );
}

fn run_group<'a>(
    group: &'a Group,
    ports: (u16, u16),
    peers: &Peers,
    etcdctl: &Path,
) -> Vec<(&'a Case, Outcome)> {
    let server = Server::start(peers, &group.flags, ports);
    let mut lease = String::new();
    let mut outcomes = Vec::new();
    for case in &group.cases {
        if case.setup {
            bench::run(
                case,
                &peers.binary(bench::SERVER_VERSION, "etcdctl"),
                &server,
                &lease,
            );
            continue;
        }
        let mut outcome = bench::run(case, etcdctl, &server, &lease);
        if case.captures_lease {
            lease = mask::lease_of(&outcome.stdout).expect("a lease id in the output");
        }
        outcome.lease.clone_from(&lease);
        outcome.directory = server.directory();
        outcomes.push((case, outcome));
    }
    outcomes
}

#[test]
fn every_command_line_answers_as_etcdctl_3_5_30() {
    compare_with("3.5.30");
}

#[test]
fn every_command_line_answers_as_etcdctl_3_5_16() {
    compare_with("3.5.16");
}

#[test]
fn a_saved_snapshot_is_one_to_etcdutl() {
    let Some(peers) = Peers::find(&[]) else {
        return;
    };
    let server = Server::start(&peers, &[], bench::free_ports());
    let file = server.directory().join("snapshot.db");
    for line in [
        "put key value".to_owned(),
        format!("snapshot save {}", file.display()),
    ] {
        let outcome = bench::run(&cases::case(&line), &bench::our_etcdctl(), &server, "");
        assert_eq!(outcome.code, Some(0), "{line}: {}", outcome.stderr);
    }
    let status = std::process::Command::new(peers.binary(bench::SERVER_VERSION, "etcdutl"))
        .args(["snapshot", "status", "-w", "json"])
        .arg(&file)
        .output()
        .expect("etcdutl runs");
    let stdout = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        status.status.success() && stdout.contains("\"revision\":2"),
        "{stdout}"
    );
    assert!(!file.with_extension("db.part").exists());
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &file.metadata().expect("the snapshot exists").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}
