//! `check perf`: a paced load for a minute, compared with thresholds.

use std::time::Duration;

use cli::flags::Parsed;

use super::{
    load::{Amount, Done, Load, run},
    prefix::{After, Size, clean_up, must_be_empty},
};
use crate::{
    failure::{EXIT_ERROR, Failure, Outcome},
    global::Global,
};

const LASTS: Duration = Duration::from_secs(60);
const KEY_BYTES: usize = 256;
const VALUE_BYTES: usize = 1024;
/// A write that takes longer counts as an error.
const PATIENCE: Duration = Duration::from_secs(60);
/// Part of the asked-for throughput that must be reached.
const THROUGHPUT_MIN: f64 = 0.9;
/// The slowest write may take this long, seconds.
const SLOWEST_MAX: f64 = 0.5;
/// Standard deviation of the latencies, seconds.
const DEVIATION_MAX: f64 = 0.1;

/// `etcdctl check perf`.
pub(crate) async fn perf(parsed: &mut Parsed) -> Outcome {
    let (per_second, clients) = match Size::of(parsed)? {
        Size::Small => (150, 50),
        Size::Medium => (1000, 200),
        Size::Large => (8000, 500),
        Size::XLarge => (15000, 1000),
    };
    let after = After::of(parsed);
    let prefix = parsed.text("prefix").to_owned();
    let global = Global::resolve(parsed)?.patient(PATIENCE);
    let client = global.client().await?;
    must_be_empty(&client, &prefix, "'").await?;
    let done = run(
        &global,
        Load {
            amount: Amount::Paced {
                per_second,
                lasts: LASTS,
            },
            clients,
            prefix: prefix.clone(),
            key_bytes: KEY_BYTES,
            value_bytes: VALUE_BYTES,
        },
    )
    .await;
    let cleaned = clean_up(&global, &client, &prefix, after).await;
    let passed = judge(&done?, f64::from(per_second));
    cleaned?;
    if passed {
        return Ok(());
    }
    Err(Failure::silent(EXIT_ERROR))
}

/// Prints the verdicts; true if all are good.
fn judge(done: &Done, per_second: f64) -> bool {
    let mut passed = !done.measure.tell_failures();
    let reached = done.measure.done as f64 / done.took.as_secs_f64().max(f64::MIN_POSITIVE);
    let shown = reached as u64 + 1;
    if reached / per_second <= THROUGHPUT_MIN {
        println!("FAIL: Throughput too low: {shown} writes/s");
        passed = false;
    } else {
        println!("PASS: Throughput is {shown} writes/s");
    }
    let slowest = done.measure.slowest;
    if slowest > SLOWEST_MAX {
        println!("Slowest request took too long: {slowest:.6}s");
        passed = false;
    } else {
        println!("PASS: Slowest request took {slowest:.6}s");
    }
    let deviation = done.measure.deviation();
    if deviation > DEVIATION_MAX {
        println!("Stddev too high: {deviation:.6}s");
        passed = false;
    } else {
        println!("PASS: Stddev is {deviation:.6}s");
    }
    println!("{}", if passed { "PASS" } else { "FAIL" });
    passed
}
