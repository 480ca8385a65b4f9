//! `check datascale`: writes a number of keys, and reports by how much the member's memory grew.

use std::time::Duration;

use cli::flags::Parsed;

use super::{
    load::{Amount, Load, run},
    memory::resident_bytes,
    prefix::{After, Size, clean_up, must_be_empty},
};
use crate::{
    failure::{EXIT_ERROR, Failure, Outcome},
    global::Global,
};

const KEY_BYTES: usize = 512;
const VALUE_BYTES: usize = 512;
const PATIENCE: Duration = Duration::from_secs(60);
const MEGABYTE: f64 = 1024.0 * 1024.0;

/// `etcdctl check datascale`.
pub(crate) async fn datascale(parsed: &mut Parsed) -> Outcome {
    let (keys, clients) = match Size::of(parsed)? {
        Size::Small => (10_000, 50),
        Size::Medium => (100_000, 200),
        Size::Large => (1_000_000, 500),
        Size::XLarge => (3_000_000, 1000),
    };
    let after = After::of(parsed);
    let prefix = parsed.text("prefix").to_owned();
    let global = Global::resolve(parsed)?.patient(PATIENCE);
    let Some(endpoint) = global.endpoints.first().cloned() else {
        return Err(Failure::bad_args("no endpoint"));
    };
    let client = global.client().await?;
    must_be_empty(&client, &prefix, "").await?;
    let memory = async |when: &str| {
        resident_bytes(&endpoint).await.map_err(|why| {
            println!(
                "FAIL: Could not read process_resident_memory_bytes {when} the put operations."
            );
            Failure::new(EXIT_ERROR, why)
        })
    };
    let before = memory("before").await?;
    println!(
        "Start data scale check for work load [{keys} key-value pairs, {} bytes per key-value, {clients} concurrent clients].",
        KEY_BYTES + VALUE_BYTES
    );
    let done = run(
        &global,
        Load {
            amount: Amount::Counted(keys),
            clients,
            prefix: prefix.clone(),
            key_bytes: KEY_BYTES,
            value_bytes: VALUE_BYTES,
        },
    )
    .await;
    let grown = memory("after").await;
    let cleaned = clean_up(&global, &client, &prefix, after).await;
    let (done, used) = (done?, grown? - before);
    cleaned?;
    if done.measure.tell_failures() {
        return Err(Failure::silent(EXIT_ERROR));
    }
    println!(
        "PASS: Approximate system memory used : {:.2} MB.",
        used / MEGABYTE
    );
    Ok(())
}
