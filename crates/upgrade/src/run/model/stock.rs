//! Whom a rollback takes back, where others were at work since: never anyone for a run that moved
//! no member, and no one whom its dry run does not show.

use std::collections::BTreeSet;

use super::{
    super::{
        NOTHING_TO_TAKE_BACK,
        journal::{Event, Left},
    },
    settling::killed,
    turns::{OLD, patch, releases},
    *,
};

const FIRST: Version = Version::new(3, 5, 16);

impl Model {
    /// The members whose swaps have begun, by the journal that a rollback would read.
    fn moved(&self) -> BTreeSet<String> {
        let journal = Journal::reopen(self.state.path()).expect("a journal");
        moved(&journal)
    }

    /// The members that `pintle upgrade rollback --dry-run` shows.
    fn shown(&self) -> BTreeSet<String> {
        let (mut driver, cluster) = (self.world.clone(), self.world.clone());
        let mut journal = Journal::reopen(self.state.path()).expect("a journal");
        journal.stay_in_memory();
        let mut engine = self.engine(&mut driver, &cluster, journal);
        let steps = drive(engine.all_to_undo()).expect("an answer");
        steps.expect("a way back");
        moved(&engine.journal)
    }

    fn raise_all(&self, members: &[&str]) {
        for name in members {
            self.world().raise(name, &OLD);
        }
        self.world().settle();
    }

    /// The members that were stopped since the history had so many lines.
    fn stopped_since(&self, known: usize) -> BTreeSet<String> {
        let world = self.world();
        let names = world.members.iter().map(|m| m.name.clone());
        let is_stopped = |name: &String| {
            let line = format!(" {name} is stopped");
            world.history[known..].iter().any(|l| l.ends_with(&line))
        };
        names.filter(is_stopped).collect()
    }
}

fn moved(journal: &Journal) -> BTreeSet<String> {
    let steps = journal.plan().map_or(&[][..], |(steps, _)| steps);
    let begun = steps.iter().enumerate();
    begun
        .filter(|(at, _)| journal.has_begun(*at))
        .filter_map(|(_, step)| match step {
            Step::Swap { member, .. } => Some(member.clone()),
            _ => None,
        })
        .collect()
}

fn text(model: &Model) -> String {
    let journal = model.state.path().join("journal.jsonl");
    std::fs::read_to_string(journal).expect("a journal")
}

#[test]
fn a_rollback_of_a_run_that_moved_no_one_takes_back_nothing_of_another() {
    let mut looked = 0;
    for call in 1.. {
        let Some(model) = killed(patch(), call) else {
            break;
        };
        if !model.moved().is_empty() {
            break;
        }
        looked += usize::from(!model.begun().is_empty());
        model.raise_all(&["n1", "n2", "n3"]);
        model.world().lock = None;
        let known = model.world().history.len();
        let came = model.roll_back();
        let why = format!("killed at call {call}: {came:?}");
        let nothing = matches!(&came, Came::Refused(why) if why.contains("no journal"));
        let is_closed = came == Came::Done && model.words.get() == NOTHING_TO_TAKE_BACK;
        assert!(is_closed || nothing, "{}", model.with_history(&why));
        let stopped = model.stopped_since(known);
        assert!(stopped.is_empty(), "{}", model.with_history(&why));
        assert!(releases(&model).iter().all(|runs| *runs == OLD), "{why}");
    }
    assert!(looked > 0, "never stopped in its check");
}

#[test]
fn a_run_that_moved_no_one_starts_no_one_with_the_old_release_beside_the_new_one() {
    let mut looked = 0;
    for call in 1.. {
        let model = killed(patch(), call).expect("a run that moves someone");
        if !model.moved().is_empty() {
            break;
        }
        if model.begun().is_empty() {
            continue;
        }
        model.raise_all(&["n1", "n2", "n3"]);
        model.world().crash(1, false);
        model.world().find("n2").down_until = Duration::MAX;
        let known = model.world().history.len();
        let came = model.roll_back();
        let why = format!("killed at call {call}: {came:?}");
        let is_told = matches!(&came, Came::Refused(why) if why.contains("n2 does not answer"));
        assert!(is_told, "{}", model.with_history(&why));
        let history = model.world().history[known..].join("\n");
        assert!(!history.contains("is started with"), "{why}\n{history}");
        looked += 1;
    }
    assert!(looked > 0, "never stopped in its check");
}

#[test]
fn a_run_that_came_to_a_flush_alone_is_closed_where_others_raised_all() {
    let (old, new) = (Version::new(3, 6, 14), Version::new(3, 7, 1));
    let mut flushed = 0;
    for call in 1.. {
        let world = World::new(3, vec![old.clone(), new.clone()], 1);
        let model = killed(world, call).expect("a run that moves someone");
        if !model.moved().is_empty() {
            break;
        }
        let is_flush = |step: &Step| matches!(step, Step::Flush { .. });
        if !model.begun().iter().any(is_flush) {
            continue;
        }
        for name in ["n1", "n2", "n3"] {
            model.world().raise(name, &new);
        }
        model.world().settle();
        model.world().lock = None;
        let known = model.world().history.len();
        let came = model.roll_back();
        let why = format!("killed at call {call}: {came:?}");
        assert_eq!(came, Came::Done, "{}", model.with_history(&why));
        assert!(model.stopped_since(known).is_empty(), "{why}");
        assert!(releases(&model).iter().all(|runs| *runs == new), "{why}");
        flushed += 1;
    }
    assert!(flushed > 5, "{flushed} were in their flush");
}

#[test]
fn taken_back_is_said_of_no_step_that_changed_nothing() {
    let swap = |member: &str| Step::Swap {
        member: member.into(),
        from: FIRST,
        from_pintle: false,
        to: OLD,
        pintle: false,
    };
    let check = Step::Check {
        to: OLD,
        line: false,
    };
    let leader = Step::MoveLeader {
        member: "n1".into(),
    };
    let steps = vec![
        check,
        leader,
        swap("n1"),
        Step::Settle { to: OLD },
        swap("n2"),
    ];
    for (at, words) in [
        (0, NOTHING_TO_TAKE_BACK),
        (1, NOTHING_TO_TAKE_BACK),
        (2, NOTHING_TO_TAKE_BACK),
        (3, NOTHING_TO_TAKE_BACK),
        (4, "taken back"),
    ] {
        let model = Model::new(patch());
        model.world().elsewhere.insert("n1".into());
        let (mut driver, cluster) = (model.world.clone(), model.world.clone());
        let mut journal = Journal::open(model.state.path()).expect("a journal");
        let plan = journal.begin(steps.clone(), CLUSTER.to_string());
        plan.expect("a plan");
        for event in [Event::Begin { at }, Event::Undone { at }] {
            journal.write(event).expect("an event");
        }
        let engine = model.engine(&mut driver, &cluster, journal);
        assert_eq!(engine.close().expect("an end"), words, "step {at}");
    }
}

#[test]
fn a_dry_run_shows_all_that_a_rollback_takes_back() {
    let mut more = 0;
    for call in (1..).step_by(3) {
        let Some(model) = killed(patch(), call) else {
            break;
        };
        let moved = model.moved();
        if moved.is_empty() {
            continue;
        }
        model.raise_all(&["n1", "n2", "n3"]);
        let (known, before) = (model.world().history.len(), text(&model));
        let shown = model.shown();
        assert_eq!(text(&model), before, "a dry run wrote");
        assert!(model.stopped_since(known).is_empty());
        let came = model.roll_back();
        let why = format!("killed at call {call}: {came:?}");
        assert_eq!(came, Came::Done, "{}", model.with_history(&why));
        assert_eq!(shown, model.stopped_since(known), "{why}");
        more += usize::from(shown != moved);
    }
    assert!(more > 0, "nothing was raised beside the journal");
}

#[test]
fn a_rollback_that_stopped_members_does_not_say_that_there_was_nothing_to_do() {
    for raised in [&["n1"][..], &["n1", "n2", "n3"]] {
        for call in 1.. {
            let model = Model::new(patch());
            model.raise_all(&["n1"]);
            model.world().kill_at = Some(call);
            if model.roll_back_to(&FIRST) == Came::Done {
                break;
            }
            model.world().kill_at = None;
            model.raise_all(raised);
            let known = model.world().history.len();
            let came = model.roll_back_to(&FIRST);
            let why = format!("killed at call {call}: {came:?}");
            assert_eq!(came, Came::Done, "{}", model.with_history(&why));
            assert!(!model.stopped_since(known).is_empty(), "{why}");
            assert_ne!(model.words.get(), NOTHING_TO_TAKE_BACK, "{why}");
        }
    }
}

#[test]
fn who_is_driven_elsewhere_is_not_taken_back_from_here() {
    for call in 1.. {
        let model = killed(patch(), call).expect("a run that moves someone");
        if model.moved().is_empty() {
            continue;
        }
        let others = ["n1", "n2", "n3"].map(str::to_owned);
        let other = others.iter().find(|name| !model.moved().contains(*name));
        let other = other.expect("one that was not moved").clone();
        model.raise_all(&["n1", "n2", "n3"]);
        model.world().elsewhere.insert(other.clone());
        assert!(!model.shown().contains(&other));
        return;
    }
}

/// Where the journal of `model` has its turn in the end.
fn has_turn(model: &Model) -> bool {
    model.world().lock.is_some()
}

#[test]
fn a_refused_rollback_leaves_no_turn_behind() {
    let model = Model::new(patch());
    model.raise_all(&["n1"]);
    let (mut driver, cluster) = (model.world.clone(), model.world.clone());
    let mut journal = Journal::open(model.state.path()).expect("a journal");
    let swap = Step::Swap {
        member: "n1".into(),
        from: FIRST,
        from_pintle: false,
        to: OLD,
        pintle: false,
    };
    let found = Event::Found {
        steps: vec![swap],
        cluster: CLUSTER.to_string(),
    };
    journal.write(found).expect("a journal");
    // Found since, and what it would be started with is gone.
    model.raise_all(&["n2"]);
    model.world().binaries.remove(&FIRST);
    let mut engine = model.engine(&mut driver, &cluster, journal);
    let came = came(drive(engine.rollback()).map(|outcome| outcome.map(|()| true)));
    assert_eq!(came, Came::Refused(format!("no binary for {FIRST}")));
    assert!(!has_turn(&model));
}

#[test]
fn a_refused_run_leaves_the_turn_that_was_there_and_no_other() {
    for call in (1..).step_by(5) {
        let Some(model) = killed(patch(), call) else {
            break;
        };
        let had = model.world().lock.clone();
        model.world().target = "3.5.99".into();
        let came = model.run();
        let is_other =
            matches!(&came, Came::Refused(why) if why.contains("the journal here leads"));
        if !is_other {
            continue;
        }
        assert_eq!(has_turn(&model), had.is_some(), "killed at call {call}");
        // The lease has ended meanwhile.
        model.world().lock = None;
        assert_eq!(model.run(), came);
        assert!(!has_turn(&model), "killed at call {call}");
    }
}

#[test]
fn a_signal_between_two_members_leaves_no_turn_but_for_one_that_is_not_finished_with() {
    let mut kept = BTreeSet::new();
    for call in (1..).step_by(5) {
        let Some(model) = killed(patch(), call) else {
            break;
        };
        let (mut driver, cluster) = (model.world.clone(), model.world.clone());
        let journal = Journal::open(model.state.path()).expect("a journal");
        let engine = model.engine(&mut driver, &cluster, journal);
        let is_left = model.world().has_quorum() && drive(engine.first_turn()).is_some();
        if !is_left || !has_turn(&model) {
            continue;
        }
        let names = ["n1", "n2", "n3"];
        let is_begun = |name: &&str| engine.journal.left(name) != Left::Alone;
        let is_in_work = names.iter().any(is_begun);
        drive(engine.leave_between()).expect("an end");
        assert_eq!(has_turn(&model), is_in_work, "killed at call {call}");
        kept.insert(is_in_work);
    }
    assert_eq!(kept.len(), 2, "both were seen");
}
