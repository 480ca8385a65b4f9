//! A whole cluster in one thread, replayed by a seed: members as the server drives them (the crate
//! [`member`](::member), with log, database, store and lessor below it), on disks that
//! lose what was not synced and a network that loses, delays, doubles and
//! reorders, with clients, an operator and crashes at any write. Virtual time
//! only; the same seed gives the same run to the last event.
//!
//! | module | what it is |
//! |---|---|
//! | [`world`] | machines, network, clients, bad luck: what happens next |
//! | [`member`] | one member: the product's own, with what is around it in virtual time |
//! | [`oracle`] | the judge: what must hold at every step |
//! | [`model`] | keys and leases in the plainest words |
//! | [`client`] | what is asked for |
//! | [`plant`] | bugs to be found |
//! | [`shared`] | what all members share, and what passes between them |
//! | [`random`] | the one source of chance |

pub mod client;
mod file;
pub mod member;
pub mod model;
pub mod oracle;
pub mod plant;
pub mod random;
pub mod shared;
pub mod world;

use std::{
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    sync::Once,
};

pub use ::member::plant::Plant as Rule;
pub use oracle::{Reached, Violation};
pub use plant::Plant;
pub use world::{Cut, Outcome, World};

thread_local! {
    /// Where the last panic of this thread was.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
    /// Panics of this thread belong to a run, which tells of them.
    static SIMULATES: Cell<bool> = const { Cell::new(false) };
}

/// Runs one seed. A panic of any part is a broken promise like others.
pub fn run(seed: u64, plant: Option<Plant>) -> Outcome {
    run_world(plant, move || World::new(seed, plant))
}

/// Runs one seed in which the first install of a snapshot is cut off.
pub fn run_cut(seed: u64, plant: Option<Plant>, cut: Cut) -> Outcome {
    run_world(plant, move || World::new(seed, plant).cutting(cut))
}

fn run_world(plant: Option<Plant>, world: impl FnOnce() -> World) -> Outcome {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            let place = info.location().map(ToString::to_string);
            PLACE.set(place.unwrap_or_default());
            if !SIMULATES.get() {
                before(info);
            }
        }));
    });
    SIMULATES.set(true);
    ::member::plant::plant(plant.and_then(Plant::rule));
    let outcome = guarded(world);
    ::member::plant::plant(None);
    SIMULATES.set(false);
    outcome
}

fn guarded(world: impl FnOnce() -> World) -> Outcome {
    let run = AssertUnwindSafe(|| world().run());
    catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
            .unwrap_or_default();
        Outcome {
            violation: Some(Violation {
                check: "no part panics",
                text: format!("{}: {text}", PLACE.take()),
            }),
            reached: Reached::default(),
            trace: 0,
            events: 0,
        }
    })
}
