//! `run` and `rollback`, killed at every call that they make to the cluster or to a
//! driver, in every kind of step.

use std::collections::BTreeSet;

use super::*;

/// A run makes fewer calls than this.
const CALLS_MAX: u64 = 5000;

/// Ways that together have every kind of step.
fn ways() -> Vec<(&'static str, World)> {
    let world = |path: &[Version]| World::new(3, path.to_vec(), 1);
    let (old, new) = (Version::new(3, 5, 30), Version::new(3, 6, 14));
    let mut healing = world(&[Version::new(3, 5, 16), old.clone()]);
    healing.stale.insert(2);
    let mut ways = vec![
        ("with a downgrade", world(&[old, new.clone()])),
        ("with flushes", world(&[new, Version::new(3, 7, 1)])),
        ("with a heal", healing),
    ];
    ways.extend(lines::ways(3));
    ways
}

fn kind(step: &Step) -> &'static str {
    match step {
        Step::Check { .. } => "check",
        Step::MoveLeader { .. } => "move-leader",
        Step::Swap { .. } => "swap",
        Step::Flush { .. } => "flush",
        Step::Heal { .. } => "heal",
        Step::Settle { .. } => "settle",
        Step::Line { .. } => "line",
    }
}

fn killed_at(model: &Model, call: u64) {
    let mut world = model.world();
    (world.calls, world.kill_at) = (0, Some(call));
}

fn unharmed(model: &Model) {
    let mut world = model.world();
    world.kill_at = None;
    world.settle();
}

#[track_caller]
fn all_run(model: &Model, version: &Version, at: &str) {
    let world = model.world();
    assert!(world.wrong.is_empty(), "{at}: {:?}", world.wrong);
    for (name, runs) in world.running() {
        assert_eq!(
            runs,
            Some((version.clone(), Vec::new())),
            "{at}: {name}\n{}",
            world.history.join("\n")
        );
        let is_first = *version == world.path[0];
        let is_pintle = match is_first {
            true => world.was_pintle,
            false => world.target.starts_with("pintle"),
        };
        assert_eq!(world.runs_pintle(&name), is_pintle, "{at}: {name}");
    }
}

/// For every call at which `first` is killed: `then`, on the world that is left.
fn at_every_call(world: &World, first: impl Fn(&Model) -> Came, then: impl Fn(&Model, u64)) {
    for call in 1..CALLS_MAX {
        let model = Model::new(world.clone());
        killed_at(&model, call);
        let came = first(&model);
        if came != Came::Killed {
            assert_eq!(came, Came::Done);
            return;
        }
        unharmed(&model);
        then(&model, call);
    }
    panic!("more than {CALLS_MAX} calls");
}

#[test]
fn a_run_that_is_killed_anywhere_is_taken_back() {
    let mut kinds = BTreeSet::new();
    for (way, world) in ways() {
        let kinds = RefCell::new(&mut kinds);
        at_every_call(&world, Model::run, |model, call| {
            let begun = model.begun();
            kinds.borrow_mut().extend(begun.iter().map(kind));
            let at = format!("{way}, killed at call {call} in {begun:?}");
            let came = model.roll_back();
            let nothing = matches!(&came, Came::Refused(why) if why.contains("no journal"));
            assert!(
                nothing || matches!(came, Came::Done | Came::Nothing),
                "{at}: {came:?}\n{}",
                model.world().history.join("\n")
            );
            all_run(model, &world.path[0], &at);
        });
    }
    let all = [
        "check",
        "flush",
        "heal",
        "line",
        "move-leader",
        "settle",
        "swap",
    ];
    assert_eq!(kinds, BTreeSet::from(all));
}

#[test]
fn a_run_that_is_killed_anywhere_goes_on() {
    for (way, world) in ways() {
        at_every_call(&world, Model::run, |model, call| {
            let at = format!("{way}, killed at call {call}");
            let came = model.run();
            let history = model.world().history.join("\n");
            assert_eq!(came, Came::Done, "{at}\n{history}");
            let last = world.path.last().expect("a path");
            all_run(model, last, &at);
        });
    }
}

/// The world and the folder of a run that is done.
fn finished(world: &World) -> Model {
    let model = Model::new(world.clone());
    assert_eq!(model.run(), Came::Done);
    model
}

#[test]
fn a_run_with_nothing_to_do_stops_no_one_and_leaves_the_way_back() {
    for (way, world) in ways() {
        let model = finished(&world);
        let known = model.world().history.len();
        assert_eq!(model.run(), Came::Nothing, "{way}");
        let acted = model.world().history[known..].join("\n");
        assert!(!acted.contains("is stopped"), "{way}: {acted}");
        assert_eq!(model.roll_back(), Came::Done, "{way}");
        all_run(&model, &world.path[0], way);
    }
}

#[test]
fn a_rollback_that_is_killed_anywhere_goes_on() {
    for (way, world) in ways() {
        for call in 1..CALLS_MAX {
            let model = finished(&world);
            killed_at(&model, call);
            let came = model.roll_back();
            if came != Came::Killed {
                assert_eq!(came, Came::Done, "{way}");
                break;
            }
            unharmed(&model);
            let at = format!("{way}, killed at call {call}");
            let came = model.roll_back();
            let history = model.world().history.join("\n");
            assert!(
                matches!(came, Came::Done | Came::Nothing),
                "{at}: {came:?}\n{history}"
            );
            all_run(&model, &world.path[0], &at);
        }
    }
}

#[test]
fn a_rollback_of_a_run_that_was_killed_is_killed_anywhere_and_goes_on() {
    // The run is killed in the middle of every step; of the rollback every third call.
    let (_, world) = ways().remove(1);
    for first in (10..400).step_by(23) {
        for second in (1..CALLS_MAX).step_by(3) {
            let model = Model::new(world.clone());
            killed_at(&model, first);
            if model.run() != Came::Killed {
                break;
            }
            killed_at(&model, second);
            if model.roll_back() != Came::Killed {
                break;
            }
            unharmed(&model);
            let at = format!("killed at calls {first} and {second}");
            let came = model.roll_back();
            let history = model.world().history.join("\n");
            assert!(
                !matches!(came, Came::Refused(_)),
                "{at}: {came:?}\n{history}"
            );
            all_run(&model, &world.path[0], &at);
        }
    }
}
