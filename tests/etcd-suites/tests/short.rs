//! Some tests of etcd's suite for 3.6, with Pintle alone: as etcd, etcdctl and etcdutl. All of
//! them, and those of the other releases, run by `cargo run -p pintle-etcd-suites`; what became
//! of each is in docs/evidence/etcd-suites.md.
//!
//! `PINTLE_ETCD_SUITES=short` asks for it: the module takes minutes to fetch and build.

use std::env;

use anyhow::{Result, ensure};
use etcd_suites::{Programs, Report, Role, Suite, Verdict, run};
use peers::peer;

/// From every part of the surface, those that take a second.
const TESTS: &[&str] = &[
    "TestAuth_CVE_2021_28235",
    "TestBootstrapDefragFlag",
    "TestClusterOf3UsingV3Discovery_1endpoint",
    "TestCompactHashCheckDetectCorruptionWithFeatureGate",
    "TestCtlV3AuthCertCN",
    "TestCtlV3ConsistentMemberList",
    "TestCtlV3DefragOffline",
    "TestCtlV3GetMinMaxCreateModRev",
    "TestCtlV3LeaseKeepAliveClientTLS",
    "TestCtlV3Lock",
    "TestCtlV3MakeMirror",
    "TestCtlV3SnapshotCorrupt",
    "TestCtlV3WatchInteractive",
    "TestCurlV3KVTxn",
    "TestCurlV3Watch",
    "TestDefragNoSpace",
    "TestEtcdDeprecatedFlags",
    "TestHTTPLivezReadyzHandler",
    "TestSnapshotCatchupEntriesFlag",
    "TestV2DeprecationNotYet",
];

#[test]
fn a_part_of_etcds_suite_passes_with_pintle_alone() -> Result<()> {
    if env::var("PINTLE_ETCD_SUITES").is_err() {
        peer::say("SKIP: etcd's own suites: PINTLE_ETCD_SUITES=short asks for a part of one");
        return Ok(());
    }
    let Some(pintle) = peer::subject().filter(|program| program.is_pintle) else {
        peer::say("SKIP: etcd's own suites: no Pintle to test");
        return Ok(());
    };
    let suite = Suite {
        version: "3.6.16".into(),
        package: "e2e".into(),
    };
    let built = match run::check().and_then(|()| suite.build()) {
        Ok(built) => built,
        Err(error) => {
            peer::say(&format!("SKIP: etcd's own suite {suite}: {error:#}"));
            return Ok(());
        }
    };
    let dir = tempfile::tempdir()?;
    let pintle = std::fs::canonicalize(pintle.path)?;
    let programs = Programs::fill(&dir.path().join("bin"), &suite, Role::All, &pintle)?;
    let tests: Vec<_> = TESTS.iter().map(|&name| name.to_owned()).collect();
    let logs = dir.path().join("logs");
    let report = Report {
        tests: run::all(&built, &programs.dir, &tests, &logs, 2)?,
    };
    for (name, outcome) in &report.tests {
        if outcome.verdict != Verdict::Passed {
            let log = std::fs::read(logs.join(format!("{name}.log")))?;
            println!("{}", String::from_utf8_lossy(&log));
        }
    }
    ensure!(
        report.count(Verdict::Passed) == TESTS.len(),
        "{}",
        report.summary()
    );
    Ok(())
}
