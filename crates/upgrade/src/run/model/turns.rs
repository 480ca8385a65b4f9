//! Two runs at once, and what a command finds that another one has changed since.

use super::{
    settling::{NEW, killed, world},
    world::Another,
    *,
};

pub(super) const OLD: Version = Version::new(3, 5, 30);
/// How long the other run is at work yet.
const WORKS: Duration = Duration::from_secs(9);

/// A model in which another run has its turn, and brings `members` to `release` by its end.
fn beside_another(world: World, members: &[&str], release: &Version) -> Model {
    let model = Model::new(world);
    let members = members.iter().map(|name| (*name).to_owned()).collect();
    model.world().another = Some(Another {
        at: WORKS,
        call: 0,
        members,
        release: release.clone(),
    });
    model.world().lock = Some(("n3 another".into(), WORKS * 9));
    model
}

/// Members of a patch upgrade: nothing but their releases tells how far it has come.
pub(super) fn patch() -> World {
    World::new(3, vec![Version::new(3, 5, 16), OLD], 1)
}

pub(super) fn releases(model: &Model) -> Vec<Version> {
    let running = model.world().running().into_values();
    running.filter_map(|runs| Some(runs?.0)).collect()
}

#[test]
fn a_rollback_takes_back_what_another_run_did_while_it_waited_for_its_turn() {
    for raised in [&["n2", "n3"][..], &["n3"], &["n1", "n2", "n3"]] {
        let first = Version::new(3, 5, 16);
        let model = beside_another(patch(), raised, &OLD);
        model.world().raise("n1", &OLD);
        model.world().settle();
        assert_eq!(model.roll_back_to(&first), Came::Done);
        let runs = releases(&model);
        let is_back = runs.len() == 3 && runs.iter().all(|runs| *runs == first);
        assert!(is_back, "{}", model.with_history(&format!("{runs:?}")));
    }
}

#[test]
fn a_rollback_that_was_killed_takes_back_what_was_raised_since() {
    let first = Version::new(3, 5, 16);
    for call in 1.. {
        let model = Model::new(patch());
        model.world().raise("n1", &OLD);
        model.world().settle();
        model.world().kill_at = Some(call);
        let came = model.roll_back_to(&first);
        model.world().kill_at = None;
        if came == Came::Done {
            return;
        }
        for name in ["n2", "n3"] {
            model.world().raise(name, &OLD);
        }
        model.world().settle();
        let came = model.roll_back_to(&first);
        let runs = releases(&model);
        let why = format!("killed at call {call}: {came:?} {runs:?}");
        assert_eq!(came, Came::Done, "{}", model.with_history(&why));
        let is_back = runs.iter().all(|runs| *runs == first);
        assert!(is_back, "{}", model.with_history(&why));
    }
}

#[test]
fn a_run_that_waited_for_its_turn_plans_from_what_it_finds_then() {
    // The other one is a rollback, of what this one believed to be done.
    let model = beside_another(world(), &["n1", "n2"], &OLD);
    for name in ["n1", "n2"] {
        model.world().raise(name, &NEW);
    }
    model.world().settle();
    assert_eq!(model.run(), Came::Done);
    let runs = releases(&model);
    let is_there = runs.len() == 3 && runs.iter().all(|runs| *runs == NEW);
    assert!(is_there, "{}", model.with_history(&format!("{runs:?}")));
}

#[test]
fn a_run_takes_forward_again_who_was_taken_back_since() {
    for path in [vec![Version::new(3, 5, 16), OLD], vec![OLD, NEW]] {
        let (first, last) = (path[0].clone(), path[1].clone());
        for call in 1.. {
            let Some(model) = killed(World::new(3, path.clone(), 1), call) else {
                break;
            };
            if model.world().cluster_version > first.minor {
                continue;
            }
            for name in ["n1", "n2", "n3"] {
                model.world().raise(name, &first);
            }
            model.world().settle();
            let came = model.run();
            let runs = releases(&model);
            let why = format!("killed at call {call}: {came:?} {runs:?}");
            assert_eq!(came, Came::Done, "{}", model.with_history(&why));
            let is_there = runs.iter().all(|runs| *runs == last);
            assert!(is_there, "{}", model.with_history(&why));
        }
    }
}

#[test]
fn a_run_ends_well_only_where_every_member_is_where_it_took_it() {
    // Someone who takes no turns takes a member back, at whatever call.
    let mut caught = 0;
    for call in (1..).step_by(7) {
        let model = Model::new(world());
        model.world().another = Some(Another {
            at: Duration::ZERO,
            call,
            members: vec!["n3".into()],
            release: OLD,
        });
        let came = model.run();
        if model.world().another.is_some() {
            break;
        }
        match came {
            Came::Done => {
                let runs = releases(&model);
                let is_there = runs.iter().all(|runs| *runs == NEW);
                let why = format!("at call {call}: {runs:?}");
                assert!(is_there, "{}", model.with_history(&why));
            }
            Came::Refused(why) => {
                caught += usize::from(why.contains("another run has been at work"));
            }
            came => panic!("{came:?}"),
        }
    }
    assert!(caught > 0, "never seen");
}

#[test]
fn who_waits_for_its_turn_too_long_has_done_nothing() {
    for command in [
        Model::run,
        (|model: &Model| model.roll_back_to(&Version::new(3, 5, 16))) as fn(&Model) -> Came,
    ] {
        let model = Model::new(patch());
        model.world().raise("n1", &OLD);
        model.world().settle();
        model.world().lock = Some(("n3 another".into(), PATIENCE * 9));
        let known = model.world().history.len();
        let came = command(&model);
        let is_told = matches!(&came, Came::Refused(why) if why.contains("it is the turn of n3"));
        assert!(is_told, "{came:?}");
        assert_eq!(model.world().history.len(), known);
        let journal = model.state.path().join("journal.jsonl");
        assert_eq!(std::fs::read_to_string(journal).expect("a journal"), "");
    }
}

/// A cluster whose databases have a stale record of n2.
fn stale() -> Model {
    let model = Model::new(World::new(3, vec![OLD, NEW], 1));
    model.world().stale.insert(2);
    model
}

#[test]
fn a_repair_of_running_members_waits_for_its_turn_and_finds_anew() {
    let model = stale();
    model.world().lock = Some(("n3 another".into(), WORKS));
    assert_eq!(model.repair(), Came::Done);
    assert!(model.world().lock.is_none(), "the turn was not returned");
    let model = stale();
    model.world().lock = Some(("n3 another".into(), PATIENCE * 90));
    let came = model.repair();
    let is_told =
        matches!(&came, Came::Refused(why) if why.contains("another run is at work, on n3"));
    assert!(is_told, "{came:?}");
    assert!(model.world().stale.contains(&2));
}

#[test]
fn a_repair_of_running_members_lives_through_an_election_and_a_slow_member() {
    for (failing, slow) in [(7, 0), (0, 12), (4, 12)] {
        let model = stale();
        model.world().failing_changes = failing;
        model.world().find("n3").slow_until = Duration::from_secs(slow);
        assert_eq!(model.repair(), Came::Done, "{failing}, {slow}");
    }
}
