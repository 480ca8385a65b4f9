//! A snapshot taken from a cluster becomes a new cluster of three, restored by
//! the `utl` of etcd and of Pintle, started by either server.

use std::{ffi::OsString, fmt};

use anyhow::{Result, ensure};
use peers::{
    cluster::Plan,
    mixes,
    peer::{self, Program},
    workload::{self, Amount, Dice},
};

/// Whose snapshot, restored by whom, run by whom.
#[derive(Clone)]
struct Case {
    taken_from: Program,
    utl: (String, Vec<OsString>),
    run_by: Vec<Program>,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by: Vec<String> = self.run_by.iter().map(Program::to_string).collect();
        write!(
            f,
            "of {}, restored by {}, run by {}",
            self.taken_from,
            self.utl.0,
            by.join(" + ")
        )
    }
}

async fn restore(case: Case) -> Result<String> {
    let mut source = Plan::of(&vec![case.taken_from.clone(); 3]).start().await?;
    let mut dice = Dice::new(peers::seed(51));
    let amount = Amount {
        writes: 200,
        compact: true,
        alarm: false,
    };
    workload::fill(source.api(1), &mut dice, 500, amount).await?;
    // A follower may be an entry behind: the snapshot is taken at one.
    source.agree().await?;
    let before = source.api(0).everything(0).await?;
    let (snapshot, _) = source.api(2).snapshot().await?;
    source.end().await?;
    let file = source.temp().join("snapshot.db");
    std::fs::write(&file, snapshot)?;

    let mut cluster = Plan::of(&case.run_by)
        .restored(case.utl.1.clone(), &file)
        .start()
        .await?;
    for place in cluster.places() {
        let after = cluster.api(place).everything(0).await?;
        ensure!(
            after.kvs == before.kvs,
            "m{place} does not hold what was saved"
        );
    }
    let agreed = cluster.agree().await?;
    ensure!(agreed.members.len() == 3, "members: {:?}", agreed.members);
    for place in cluster.places() {
        cluster.move_leader(place).await?;
        let amount = Amount {
            writes: 30,
            compact: false,
            alarm: false,
        };
        workload::fill(
            cluster.api((place + 1) % 3),
            &mut dice,
            1000 * (place as i64 + 1),
            amount,
        )
        .await?;
    }
    cluster.finish().await?;
    Ok(format!("{} keys", before.kvs.len()))
}

#[test]
fn a_snapshot_becomes_a_new_cluster() {
    let mut cases = Vec::new();
    for (subject, other) in mixes::others(&["3.5.30"]) {
        // The programs of the server's own line, so that versions never come into it.
        if other.minor() != (3, 5) {
            continue;
        }
        let mut programs = Vec::new();
        if let Some(path) = peer::tool(&other.version, "etcdutl") {
            programs.push((
                format!("etcdutl {}", other.version),
                vec![path.into_os_string()],
            ));
        }
        if subject.is_pintle {
            let words = vec![subject.path.clone().into_os_string(), "utl".into()];
            programs.push(("pintle utl".to_owned(), words));
        }
        for utl in programs {
            for (taken_from, run_by) in [
                (
                    &other,
                    vec![subject.clone(), subject.clone(), other.clone()],
                ),
                (
                    &subject,
                    vec![subject.clone(), other.clone(), other.clone()],
                ),
            ] {
                cases.push(Case {
                    taken_from: taken_from.clone(),
                    utl: utl.clone(),
                    run_by,
                });
            }
        }
    }
    mixes::each("restore", 90, cases, restore);
}
