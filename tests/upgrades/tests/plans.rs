//! Someone does literally what `pintle upgrade plan` prints, on the histories of the
//! table: either the plan says that the next step must not begin, or every step of it
//! works. `PINTLE_UPGRADES=full` takes all rows, `PINTLE_UPGRADES=U20` those whose id
//! begins so; by default some.

use std::time::Duration;

use peers::peer;
use upgrades::{
    operated::subject,
    rows,
    workshop::{
        self,
        planned::{Follow, Led, follow},
    },
};

const WITHIN: Duration = Duration::from_secs(400);
/// Stale learners, zombies, two hops, keys of API version 2.
const SOME: [&str; 4] = ["U1", "U1/pintle", "U5", "U20"];

#[test]
fn a_plan_that_is_done_literally_starts_every_member() {
    let Some(pintle) = subject() else { return };
    let all = std::env::var_os("PINTLE_UPGRADES").is_some();
    let mut wrong = Vec::new();
    for row in rows::chosen() {
        if !all && !SOME.contains(&row.id) {
            continue;
        }
        let missing = workshop::missing(row);
        if !missing.is_empty() {
            peer::say(&format!("SKIP: plan of {}: {}", row.id, missing.join("; ")));
            continue;
        }
        for how in [Follow::Once, Follow::Again, Follow::Directories] {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            peers::server::forget_logs();
            let work = async { tokio::time::timeout(WITHIN, follow(row, &pintle.path, how)).await };
            match runtime.block_on(work) {
                Ok(Ok(Some(Led::ToTheTarget))) => {
                    peer::say(&format!("RAN: plan of {} ({how:?}): done", row.id));
                }
                Ok(Ok(Some(Led::Blocked(why)))) => {
                    let why: String = why.split_whitespace().collect::<Vec<_>>().join(" ");
                    let why: String = why.chars().take(160).collect();
                    peer::say(&format!("RAN: plan of {} ({how:?}): stops: {why}", row.id));
                }
                Ok(Ok(None)) => {}
                Ok(Err(error)) => wrong.push(format!("{} ({how:?}): {error:#}", row.id)),
                Err(_) => wrong.push(format!("{} ({how:?}): not within {WITHIN:?}", row.id)),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
