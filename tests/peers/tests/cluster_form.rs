//! Clusters of three and five in every mix: they form, every member takes
//! writes and reads its own at once, every kind leads, and at rest all members
//! hold the same.

use anyhow::{Context as _, Result, ensure};
use peers::{
    api,
    cluster::{Cluster, Plan},
    fingerprint::Fingerprint,
    mixes::{self, Mix},
    workload::{self, Amount, Dice},
};

/// A put at each member is read back, linearizably, at each other one.
async fn everybody_serves(cluster: &Cluster, round: &str) -> Result<()> {
    for writer in cluster.places() {
        let (key, value) = (
            format!("{round}/{writer}"),
            format!("by {writer} in {round}"),
        );
        cluster
            .api(writer)
            .put(api::put(key.clone(), value.clone()))
            .await?;
        for reader in cluster.places() {
            let found = cluster.api(reader).range(api::get(key.clone())).await?;
            let found = found.kvs.first().map(|kv| kv.value.clone());
            ensure!(
                found.as_deref() == Some(value.as_bytes()),
                "{} reads {found:?} right after the put at {}",
                cluster.members()[reader].label(),
                cluster.members()[writer].label()
            );
        }
    }
    Ok(())
}

async fn form(mix: Mix) -> Result<String> {
    let mut cluster = Plan::of(&mix.0).start().await?;
    everybody_serves(&cluster, "formed").await?;
    let mut led = Vec::new();
    for place in cluster.places() {
        let program = cluster.members()[place].program.clone();
        if led.contains(&program) {
            continue;
        }
        cluster.move_leader(place).await?;
        let round = format!("led by {program}");
        everybody_serves(&cluster, &round).await.context(round)?;
        let mut dice = Dice::new(peers::seed(place as u64));
        let amount = Amount {
            writes: 40,
            compact: true,
            alarm: false,
        };
        let writer = (place + 1) % cluster.places().len();
        workload::fill(
            cluster.api(writer),
            &mut dice,
            1000 * (place as i64 + 1),
            amount,
        )
        .await
        .with_context(|| format!("fill while {program} leads"))?;
        led.push(program);
        cluster.agree().await?;
    }
    let mut first: Option<Fingerprint> = None;
    for place in cluster.places() {
        let mut here = Fingerprint::of(cluster.api(place)).await?;
        here.ids.1 = 0;
        match &first {
            None => first = Some(here),
            Some(first) => first
                .same_as(&here)
                .with_context(|| format!("m0 beside {}", cluster.members()[place].label()))?,
        }
    }
    let agreed = cluster.finish().await?;
    Ok(format!(
        "each kind led, cluster {}, revision {}",
        agreed.version, agreed.revision
    ))
}

#[test]
fn clusters_of_three() {
    let few = [
        "P P P",
        "P 3.5.30 3.5.30",
        "P P 3.4.23",
        "P P 3.6.14",
        "P 3.4.23 3.5.1",
        "P 3.5.30 3.6.14",
    ];
    mixes::each("form", 120, mixes::clusters(3, &few), form);
}

#[test]
fn clusters_of_five() {
    mixes::each(
        "form",
        150,
        mixes::clusters(5, &["P P P 3.5.16 3.5.1"]),
        form,
    );
}
