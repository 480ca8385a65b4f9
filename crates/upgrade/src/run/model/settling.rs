//! Clusters that are looked at before they have settled: under load, with members that are
//! slow, in the middle of an election.

use super::{
    super::{journal::Event, settling::Settling},
    *,
};

pub(super) const NEW: Version = Version::new(3, 6, 14);

pub(super) fn world() -> World {
    World::new(3, vec![Version::new(3, 5, 30), NEW], 1)
}

/// A run that is killed at its `call`, if it makes so many.
pub(super) fn killed(world: World, call: u64) -> Option<Model> {
    let model = Model::new(world);
    model.world().kill_at = Some(call);
    if model.run() != Came::Killed {
        return None;
    }
    model.world().kill_at = None;
    Some(model)
}

fn stops(model: &Model, member: &str) -> usize {
    let stopped = format!("{member} is stopped");
    let world = model.world();
    let history = world.history.iter();
    history.filter(|line| line.ends_with(&stopped)).count()
}

#[test]
fn a_member_of_a_busy_cluster_does_not_lag() {
    // Asking the one that the killed run had stopped takes its time. Meanwhile so much is
    // written that the indexes of the others are of different worlds.
    let busy = World {
        entries_per_second: 2000,
        silence_costs: Duration::from_secs(5),
        ..world()
    };
    for call in 1.. {
        let Some(model) = killed(busy.clone(), call) else {
            return;
        };
        for command in [Model::run, Model::roll_back] {
            let came = command(&model);
            let nothing = matches!(&came, Came::Refused(why) if why.contains("no journal"));
            assert!(
                came == Came::Done || nothing,
                "killed at call {call}: {came:?}"
            );
        }
    }
}

#[test]
fn a_member_that_answers_after_a_while_is_waited_for_and_not_restarted() {
    for call in (1..).step_by(3) {
        let Some(model) = killed(world(), call) else {
            return;
        };
        let slow = model.world().now + Duration::from_secs(13);
        model.world().find("n3").slow_until = slow;
        let before = stops(&model, "n3");
        let was_swapped = model
            .world()
            .find("n3")
            .manifest
            .present
            .as_ref()
            .map(|l| l.version.clone());
        let came = model.run();
        assert_eq!(came, Came::Done, "killed at call {call}");
        let more = usize::from(was_swapped != Some(NEW));
        let why = format!("killed at call {call}: n3 is restarted");
        assert_eq!(
            stops(&model, "n3"),
            before + more,
            "{}",
            model.with_history(&why)
        );
    }
}

#[test]
fn that_the_cluster_does_not_serve_is_said_of_none_that_is_about_to() {
    let model = Model::new(world());
    for name in ["n2", "n3"] {
        model.world().find(name).slow_until = PATIENCE / 2;
    }
    let (mut driver, cluster) = (model.world.clone(), model.world.clone());
    let journal = Journal::open(model.state.path()).expect("a journal");
    let engine = model.engine(&mut driver, &cluster, journal);
    let stop = drive(engine.deviated("a step".into(), "a reason".into()));
    let Some(Stop::Deviated { state, .. }) = stop else {
        panic!("{stop:?}");
    };
    assert_eq!(state, "the cluster serves: all 3 voters do");
}

#[test]
fn a_member_that_refuses_the_tool_is_never_stopped_nor_called_silent() {
    for refusing in [&["n1"][..], &["n3"], &["n1", "n2", "n3"]] {
        for call in (1..).step_by(7) {
            let Some(model) = killed(world(), call) else {
                break;
            };
            let is_there = |name: &&&str| model.world().listens(name);
            if !refusing.iter().all(|name| is_there(&name)) {
                continue;
            }
            model.world().refusing = refusing.iter().map(|name| (*name).to_owned()).collect();
            let known = model.world().history.len();
            for command in [Model::run, Model::roll_back] {
                let came = command(&model);
                let is_refused = matches!(&came, Came::Refused(why) if why.contains("nothing was done") || why.contains("no journal"));
                assert!(is_refused, "killed at call {call}: {came:?}");
            }
            let acted = model.world().history[known..].join("\n");
            assert!(
                !acted.contains("is stopped"),
                "{refusing:?}, killed at call {call}: {acted}"
            );
        }
    }
}

#[test]
fn a_tool_that_is_cut_off_ends_no_quorum() {
    for call in (1..).step_by(7) {
        let Some(model) = killed(world(), call) else {
            return;
        };
        // Every second time something in front of the members takes connections, and never answers.
        let is_behind = call % 2 == 0;
        {
            let mut world = model.world();
            world.is_cut_off = true;
            world.is_behind = is_behind;
            // A large database: longer than anything that a tool waits for.
            world.starts_take = PATIENCE * 4;
            world.reads_files = false;
        }
        let known = model.world().history.len();
        let commands: [fn(&Model) -> Came; 4] =
            [Model::run, Model::roll_back, Model::roll_back, |model| {
                model.roll_back_to(&Version::new(3, 5, 30))
            }];
        for command in commands {
            let came = command(&model);
            let at = format!("killed at call {call}, {is_behind}: {came:?}");
            let world = model.world();
            assert!(world.wrong.is_empty(), "{at}\n{}", world.history.join("\n"));
            let up = world.members.iter().filter(|m| m.process.is_some());
            assert!(up.count() >= 2, "{at}\n{}", world.history.join("\n"));
            let acted = world.history[known..].join("\n");
            assert!(!acted.contains("is stopped"), "{at}\n{acted}");
        }
    }
}

#[test]
fn a_tool_that_is_cut_off_says_so_and_nothing_that_is_false() {
    let commands: [fn(&Model) -> Came; 3] = [Model::run, Model::roll_back, |model| {
        model.roll_back_to(&Version::new(3, 5, 30))
    }];
    for (reads_files, is_behind) in [(true, false), (false, false), (true, true), (false, true)] {
        for call in (1..).step_by(9) {
            let Some(model) = killed(world(), call) else {
                break;
            };
            if model.begun().is_empty() || !model.world().has_quorum() {
                continue;
            }
            model.world().is_cut_off = true;
            model.world().is_behind = is_behind;
            model.world().reads_files = reads_files;
            for command in commands {
                let known = model.world().history.len();
                let runs = |m: &super::world::Peer| m.process.is_some();
                let all_run = model.world().members.iter().all(runs);
                let came = command(&model);
                let Came::Refused(why) = came else {
                    panic!("killed at call {call}: {came:?}");
                };
                let at = format!("killed at call {call}: {why}");
                assert!(why.contains("may serve one another"), "{at}");
                for word in ["DOES NOT SERVE", "restore", "force-new", "does not come up"] {
                    assert!(!why.contains(word), "{at}");
                }
                let acted = model.world().history[known..].join("\n");
                let is_left = !reads_files || !all_run || !acted.contains("is started");
                assert!(is_left, "{at}\n{acted}");
            }
        }
    }
}

#[test]
fn one_that_begins_to_refuse_in_the_middle_stops_the_run() {
    for call in (1..).step_by(5) {
        let model = Model::new(world());
        model.world().refuse_at = Some((call, "n2".into()));
        let came = model.run();
        if came == Came::Done {
            return;
        }
        let Came::Refused(why) = came else {
            panic!("{came:?}");
        };
        assert!(
            why.contains("TLS: an unknown issuer"),
            "at call {call}: {why}"
        );
        assert!(!why.contains("DOES NOT SERVE"), "at call {call}: {why}");
    }
}

#[test]
fn an_alarm_stops_a_rollback_before_the_cluster_version_goes_down() {
    let model = Model::new(world());
    assert_eq!(model.run(), Came::Done);
    let before = model.world().version();
    assert_eq!(before.minor, 6);
    model.world().alarms.push((2, "NOSPACE".into()));
    let came = model.roll_back();
    let is_named = matches!(&came, Came::Refused(why) if why.contains("n2 has the alarm NOSPACE"));
    assert!(is_named, "{came:?}");
    assert_eq!(model.world().version(), before);
    model.world().alarms.clear();
    assert_eq!(model.roll_back(), Came::Done);
}

#[test]
fn a_voter_that_never_started_stops_a_rollback_before_the_downgrade() {
    let model = Model::new(world());
    assert_eq!(model.run(), Came::Done);
    {
        let mut world = model.world();
        let added = super::world::Peer {
            id: 9,
            name: "n9".into(),
            in_file: false,
            process: None,
            is_ready: false,
            is_dead: true,
            ..world.members[0].clone()
        };
        world.members.push(added);
    }
    let came = model.roll_back();
    let is_named = matches!(&came, Came::Refused(why) if why.contains("n9 is a voter"));
    assert!(is_named, "{came:?}");
    assert_eq!(model.world().downgrade, None);
    model.world().members.retain(|m| m.in_file);
    assert_eq!(model.roll_back(), Came::Done);
}

#[test]
fn a_member_that_does_not_start_keeps_no_other_down() {
    // n2 runs a release whose binary is gone since; n5 runs what it ran before.
    let five = World::new(5, vec![Version::new(3, 5, 30), NEW], 1);
    for call in 1.. {
        let model = killed(five.clone(), call).expect("a call in the third swap");
        let is_third = matches!(&model.begun()[..], [Step::Swap { member, .. }] if member == "n4");
        if !is_third {
            continue;
        }
        for at in [1, 4] {
            model.world().crash(at, false);
        }
        model.world().binaries.remove(&NEW);
        assert_eq!(model.roll_back(), Came::Done);
        return;
    }
}

/// A journal by which `member` was stopped and started, and nothing was seen of it since.
fn journal_of_a_start(model: &Model, member: &str) -> Journal {
    let mut journal = Journal::open(model.state.path()).expect("a journal");
    let events = [
        Event::Stopping {
            member: member.to_owned(),
            cluster: Version::new(3, 5, 0),
        },
        Event::Starting {
            member: member.to_owned(),
            release: NEW,
        },
    ];
    for event in events {
        journal.write(event).expect("a line");
    }
    journal
}

#[test]
fn who_was_asked_in_vain_is_not_waited_for_again() {
    let model = Model::new(world());
    model.world().crash(2, true);
    let (mut driver, cluster) = (model.world.clone(), model.world.clone());
    let engine = model.engine(&mut driver, &cluster, journal_of_a_start(&model, "n3"));
    let is_settling = drive(async {
        assert_eq!(engine.silent().await.expect("the silent ones"), ["n3"]);
        let view = engine.view().await;
        let mut wait = Settling::until(cluster.now() + PATIENCE);
        engine.is_settling(&view, &mut wait).await
    });
    assert_eq!(is_settling, Some(false));
}

#[test]
fn who_was_waited_for_in_vain_is_waited_for_again_after_an_answer() {
    let model = Model::new(world());
    model.world().crash(2, true);
    let (mut driver, cluster) = (model.world.clone(), model.world.clone());
    let engine = model.engine(&mut driver, &cluster, journal_of_a_start(&model, "n3"));
    let waits = drive(async {
        let mut waits = Vec::new();
        let mut wait = Settling::until(cluster.now());
        waits.push(engine.is_settling(&engine.view().await, &mut wait).await);
        model.world().see_to_it();
        assert!(engine.silent().await.expect("the silent ones").is_empty());
        model.world().crash(2, true);
        let mut wait = Settling::until(cluster.now() + PATIENCE);
        waits.push(engine.is_settling(&engine.view().await, &mut wait).await);
        waits
    });
    assert_eq!(waits, Some(vec![false, true]));
}

#[test]
fn a_journal_that_cannot_be_written_is_a_deviation() {
    let model = Model::new(world());
    let (mut driver, cluster) = (model.world.clone(), model.world.clone());
    let journal = Journal::open(model.state.path()).expect("a journal");
    let mut engine = model.engine(&mut driver, &cluster, journal);
    let target = Target::parse("3.6.14").expect("a target");
    let stop = drive(async {
        engine.begin(&target, Allow::default(), true).await?;
        engine.journal.can_no_longer_write();
        engine.run().await
    });
    let Some(Err(Stop::Deviated { why, state, .. })) = stop else {
        panic!("{stop:?}");
    };
    assert!(why.contains("journal.jsonl"), "{why}");
    assert_eq!(state, "the cluster serves: all 3 voters do");
}
