//! Members that do not answer: each is started once, waited for as long as the patience says,
//! and stopped only where that can end no quorum.

use super::{
    settling::{NEW, killed, world},
    *,
};

const OLD: Version = Version::new(3, 5, 30);
/// What one look costs at a member that takes connections and answers nothing.
const LOOK: Duration = Duration::from_secs(9);
/// What is added to the patience by looks at members, some seconds apart.
const SLACK: Duration = Duration::from_secs(30);

/// How often `member` was started, by what happened since `known`.
fn starts(model: &Model, member: &str, known: usize) -> Vec<String> {
    let started = format!("{member} is started with");
    let world = model.world();
    let history = world.history[known..].iter();
    let starts = history.filter(|line| line.contains(&started));
    starts.cloned().collect()
}

/// A rollback, what it came to, and what it took.
fn rolled_back(model: &Model) -> (Came, Duration) {
    let began = model.world().now;
    let came = model.roll_back();
    let took = model.world().now - began;
    (came, took)
}

#[test]
fn one_that_crashed_for_good_is_started_once_and_waited_for_within_the_patience() {
    let patch = World::new(3, vec![Version::new(3, 5, 16), OLD], 1);
    for (world, back_with) in [(world(), NEW), (patch, Version::new(3, 5, 16))] {
        let model = Model::new(world);
        assert_eq!(model.run(), Came::Done);
        model.world().crash(1, true);
        let known = model.world().history.len();
        let (came, took) = rolled_back(&model);
        let Came::Refused(why) = came else {
            panic!("{came:?}");
        };
        assert!(why.contains("n2 does not come up"), "{why}");
        let started = starts(&model, "n2", known);
        let is_right = matches!(&started[..], [one] if one.contains(&format!("{back_with:?}")));
        assert!(is_right, "{started:?}");
        assert!(took <= PATIENCE + SLACK, "{took:?}");
    }
}

#[test]
fn a_crashed_member_comes_back_with_the_release_that_it_should_run() {
    let patch = World::new(3, vec![Version::new(3, 5, 16), OLD], 1);
    let model = Model::new(patch);
    assert_eq!(model.run(), Came::Done);
    model.world().crash(1, false);
    model.world().find("n2").down_until = Duration::MAX;
    let known = model.world().history.len();
    assert_eq!(model.roll_back(), Came::Done);
    let started = starts(&model, "n2", known);
    let is_right = matches!(&started[..], [one] if one.contains("patch: 16"));
    assert!(is_right, "{started:?}");
}

#[test]
fn a_frozen_member_costs_the_patience_once() {
    for (count, dead) in [(3, None), (4, None), (5, Some("n4"))] {
        let model = Model::new(World {
            silence_costs: LOOK,
            ..World::new(count, vec![OLD, NEW], 1)
        });
        assert_eq!(model.run(), Came::Done);
        {
            let mut world = model.world();
            world.find("n3").is_frozen = true;
            // It is not started again: its machine hangs.
            world.find("n3").is_dead = true;
            if let Some(dead) = dead {
                let at = world.members.iter().position(|m| m.name == dead);
                world.crash(at.expect("a member"), true);
            }
        }
        let (came, took) = rolled_back(&model);
        assert!(matches!(came, Came::Refused(_)), "{came:?}");
        // To answer, and to come up after its restart; and the dead one to come up.
        let waits = 2 + u32::from(dead.is_some());
        assert!(took <= PATIENCE * waits + SLACK, "{count}: {took:?}");
    }
}

#[test]
fn after_one_that_was_taken_down_and_is_not_up_no_other_is_stopped() {
    // One of three answers: it cannot tell whether the others serve one another.
    let model = Model::new(world());
    assert_eq!(model.run(), Came::Done);
    {
        let mut world = model.world();
        world.find("n2").is_frozen = true;
        world.find("n3").is_frozen = true;
        world.reads_files = false;
        world.starts_take = PATIENCE * 9;
    }
    let known = model.world().history.len();
    let came = model.roll_back();
    assert!(matches!(came, Came::Refused(_)), "{came:?}");
    let world = model.world();
    let stops = world.history[known..].iter();
    let stops = stops.filter(|line| line.ends_with("is stopped")).count();
    assert_eq!(stops, 1, "{came:?}\n{}", world.history.join("\n"));
}

#[test]
fn a_start_that_fails_at_once_is_not_waited_for_and_the_others_are_started() {
    // Two of three are down, and their binary is gone for one of them.
    let model = Model::new(World {
        silence_costs: Duration::from_secs(1),
        ..world()
    });
    assert_eq!(model.run(), Came::Done);
    for at in [0, 2] {
        model.world().crash(at, false);
        model.world().members[at].down_until = Duration::MAX;
    }
    model.world().find("n1").refuses_starts = true;
    let known = model.world().history.len();
    let (came, took) = rolled_back(&model);
    assert!(matches!(came, Came::Refused(_)), "{came:?}");
    assert_eq!(starts(&model, "n3", known).len(), 1);
    assert!(took <= PATIENCE + SLACK * 2, "{took:?}");
}

#[test]
fn one_that_a_step_left_stopped_is_started_though_another_cannot_be() {
    let path = vec![Version::new(3, 6, 14), Version::new(3, 7, 1)];
    let mut cases = 0;
    for call in 1.. {
        let Some(model) = killed(World::new(3, path.clone(), 1), call) else {
            break;
        };
        let stopped = {
            let mut world = model.world();
            let down = |m: &&super::world::Peer| m.process.is_none();
            let names: Vec<String> = world
                .members
                .iter()
                .filter(down)
                .map(|m| m.name.clone())
                .collect();
            let [stopped] = &names[..] else { continue };
            let other = world
                .members
                .iter()
                .position(|m| m.name != *stopped)
                .expect("another");
            world.crash(other, false);
            world.members[other].down_until = Duration::MAX;
            world.members[other].refuses_starts = true;
            stopped.clone()
        };
        let came = model.roll_back();
        let is_up = model.world().find(&stopped).process.is_some();
        let why = format!("killed at call {call} with {stopped} stopped: {came:?}");
        assert!(is_up, "{}", model.with_history(&why));
        cases += 1;
    }
    assert!(
        cases > 6,
        "{cases} steps were interrupted with a member stopped"
    );
}

#[test]
fn a_member_that_its_commands_did_not_replace_is_named_and_is_the_last_one() {
    let model = Model::new(world());
    assert_eq!(model.run(), Came::Done);
    model.world().commands_do_nothing = true;
    let Came::Refused(why) = model.roll_back() else {
        panic!("taken back, and nothing was");
    };
    let named = why.matches("still runs").count();
    assert!(named == 1, "{}", model.with_history(&why));
}

#[test]
fn a_flush_that_its_commands_did_not_carry_out_is_named_and_is_the_last_one() {
    let path = vec![Version::new(3, 6, 14), Version::new(3, 7, 1)];
    let model = Model::new(World::new(3, path, 1));
    model.world().commands_do_nothing = true;
    let Came::Refused(why) = model.run() else {
        panic!("done, and nothing was");
    };
    let is_flush = why.starts_with("restart n") && why.contains("has not restarted it");
    assert!(is_flush, "{}", model.with_history(&why));
}

#[test]
fn a_voter_that_falls_while_the_process_of_another_is_asked_for_keeps_that_one_up() {
    let path = vec![Version::new(3, 6, 14), Version::new(3, 7, 1)];
    for at in 0..3 {
        let model = Model::new(World::new(3, path.clone(), 1));
        model.world().falls_when_measured = Some(at);
        let came = model.run();
        let Came::Refused(why) = came else {
            panic!("{came:?}");
        };
        let world = model.world();
        let fell = world.history.iter().position(|l| l.contains("crashes"));
        let after = &world.history[fell.expect("one that fell")..];
        let others = after.iter().filter(|line| {
            let is_own = line.contains(&format!("n{} is", at + 1));
            line.ends_with("is stopped") && !is_own
        });
        assert_eq!(others.count(), 0, "{why}\n{}", world.history.join("\n"));
    }
}

#[test]
fn a_cluster_out_of_reach_costs_no_patience_for_each_member() {
    for (reads_files, is_behind) in [(true, false), (false, false), (true, true), (false, true)] {
        for command in [Model::run, Model::roll_back] {
            let model = killed(world(), 150).expect("a run that is killed");
            assert!(!model.begun().is_empty());
            model.world().is_cut_off = true;
            model.world().is_behind = is_behind;
            model.world().reads_files = reads_files;
            let began = model.world().now;
            let came = command(&model);
            let took = model.world().now - began;
            assert!(matches!(came, Came::Refused(_)), "{came:?}");
            // To answer, and to come up after a start.
            let at = format!("{reads_files}, {is_behind}: {took:?}");
            assert!(took <= PATIENCE * 2 + SLACK, "{at}");
        }
    }
}

#[test]
fn a_dead_cluster_comes_back_where_nothing_is_known_of_its_processes() {
    for count in [1, 3] {
        for call in (1..).step_by(3) {
            let world = World::new(count, vec![OLD, NEW], 1);
            let Some(model) = killed(world, call) else {
                break;
            };
            {
                let mut world = model.world();
                world.reads_files = false;
                for at in 0..world.members.len() {
                    world.crash(at, false);
                    world.members[at].down_until = Duration::MAX;
                }
            }
            let came = model.roll_back();
            let nothing = matches!(&came, Came::Refused(why) if why.contains("no journal"));
            let why = format!("{count} members, killed at call {call}: {came:?}");
            let is_there = came == Came::Done || nothing;
            assert!(is_there, "{}", model.with_history(&why));
        }
    }
}

#[test]
fn the_only_member_that_does_not_start_with_the_new_release_goes_back() {
    for call in 1.. {
        let model = Model::new(World::new(1, vec![OLD, NEW], 1));
        model.world().find("n1").broken.insert(NEW);
        model.world().kill_at = Some(call);
        let run = model.run();
        model.world().kill_at = None;
        let came = model.roll_back();
        let nothing = matches!(&came, Came::Refused(why) if why.contains("no journal"));
        let why = format!("killed at call {call}: {came:?}");
        assert!(
            came == Came::Done || nothing,
            "{}",
            model.with_history(&why)
        );
        let runs = model.world().running();
        assert_eq!(runs["n1"], Some((OLD, Vec::new())), "killed at call {call}");
        if run != Came::Killed {
            return;
        }
    }
}

#[test]
fn a_signal_waits_for_no_frozen_member() {
    let model = Model::new(World {
        silence_costs: LOOK,
        ..World::new(5, vec![OLD, NEW], 1)
    });
    for name in ["n3", "n4"] {
        model.world().find(name).is_frozen = true;
    }
    let (mut driver, cluster) = (model.world.clone(), model.world.clone());
    let journal = Journal::open(model.state.path()).expect("a journal");
    let engine = model.engine(&mut driver, &cluster, journal);
    let began = cluster.now();
    let stop = drive(engine.asked("a signal"));
    assert!(matches!(stop, Some(Stop::Asked { .. })), "{stop:?}");
    let took = cluster.now() - began;
    assert!(took <= Duration::from_secs(5), "{took:?}");
}
