//! A few runs on real processes, short enough for every submission. The seeds
//! are fixed, but a run's interleaving is the machine's: a failure names the
//! directory with its history.

use linear::run::{self, Order};
use peers::peer;

fn one(seed: u64, mix: &str) {
    let order = Order {
        seed: peers::seed(seed),
        mix: mix.to_owned(),
        seconds: 8,
    };
    let Some(programs) = run::programs(mix) else {
        return;
    };
    let keep = std::env::temp_dir().join(format!("pintle-linear-seed-{}", order.seed));
    peers::run(240, async {
        let verdict = run::run(&order, &programs, Some(&keep)).await?;
        peer::say(&format!("RAN: linearizability: {verdict}"));
        for violation in verdict.violations.iter().take(5) {
            eprintln!("{violation}");
        }
        anyhow::ensure!(
            verdict.ops.0 > 50,
            "only {} calls were answered",
            verdict.ops.0
        );
        anyhow::ensure!(
            verdict.is_good(),
            "{verdict}; history in {}",
            keep.display()
        );
        Ok(())
    });
}

#[test]
fn three_of_the_subject() {
    one(11, "P,P,P");
}

#[test]
fn the_subject_beside_two_etcds() {
    one(12, "P,3.5.30,3.5.16");
}

#[test]
fn an_etcd_beside_two_subjects() {
    one(13, "3.5.30,P,P");
}

#[test]
fn five_of_both_kinds() {
    one(14, "P,3.5.30,P,3.5.16,P");
}
