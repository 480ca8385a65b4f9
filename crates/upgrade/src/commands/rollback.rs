//! `rollback`: takes an upgrade back.

use std::{
    cell::{Cell, RefCell},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use cli::{flags::Parsed, interrupt};

use super::{
    ending::{steps_until_asked, stopped},
    next::{after_refusal, after_steps},
};
use crate::{
    access::access,
    backup, command, exit,
    failure::{Failure, Outcome},
    inspect::Access,
    next_command,
    output::{finish, say, warn},
    plan,
    run::{Driver, Engine, FromFile, Journal, NOTHING_TO_TAKE_BACK, Watched, Way},
    runtime::{to_its_end, unless_asked},
    steps::Step,
    target::{Target, loses_data},
};

/// The engine of a rollback.
type Rollback<'a, 'w> = Engine<'a, Watched<'w, FromFile>, Access>;

pub(super) fn rollback(parsed: &Parsed) -> Outcome<i32> {
    let state = PathBuf::from(parsed.text("state"));
    let mut driver = FromFile::read(
        Path::new(parsed.text("members")),
        &state,
        parsed.bool(command::ONLY_HERE.name),
    )?;
    let to = match parsed.text("to") {
        "" => None,
        text => Some(Target::parse(text).map_err(Failure::new)?),
    };
    if to.is_none() && !state.is_dir() {
        return Err(no_journal(&state));
    }
    let scratch = backup::scratch(&std::env::temp_dir())?;
    let mut access = access(parsed, Some(scratch.path().to_owned()))?;
    access.pages = false;
    let dry = parsed.bool("dry-run");
    let again = next_command::command("rollback", parsed);
    let advice = format!("fix the cause, then run the same command again: {again}");
    let before = RefCell::new(to.as_ref().map(|to| to.given.clone()));
    let is_no_way = Cell::new(false);
    let code = to_its_end(async {
        let journal = match dry && to.is_some() && !state.is_dir() {
            true => Journal::open(scratch.path())?,
            false => journal(&state, to.is_some())?,
        };
        let in_hand = RefCell::new(None);
        let mut watched = Watched::new(&mut driver, &in_hand);
        let mut engine = Engine {
            driver: &mut watched,
            cluster: &access,
            journal,
            patience: parsed.duration("patience"),
            others: parsed.duration("patience"),
            only_here: parsed.bool(command::ONLY_HERE.name),
            baseline: None,
            awaited: RefCell::default(),
            is_turn_new: Cell::default(),
            goes_on: Cell::default(),
            say: &say,
        };
        let chosen = unless_asked(async {
            engine.is_let_in().await?;
            if !dry
                && engine.journal.plan().is_none()
                && let Err(stop) = engine.first_turn().await
            {
                return Ok(Err(stop));
            }
            Ok(Ok(choose(&mut engine, to.as_ref(), dry).await?))
        });
        let chosen = chosen.await;
        if !dry && !matches!(&chosen, Ok(Ok(ControlFlow::Continue(_)))) {
            engine.leave().await;
        }
        let steps = match chosen? {
            Ok(ControlFlow::Continue(steps)) => steps,
            Ok(ControlFlow::Break(code)) => {
                is_no_way.set(code != exit::OK);
                return Ok(code);
            }
            Err(stop) => return stopped(Err(stop), &again, &advice),
        };
        if before.borrow().is_none() {
            *before.borrow_mut() = ran_before(&steps);
        }
        let found = engine.journal.plan().is_none();
        if engine.journal.is_finished() && !has_begun(&engine.journal) {
            return nothing_to_take_back(&engine).await;
        }
        if !found {
            let may = unless_asked(engine.may_go_back(&steps)).await;
            if may.is_err() && !dry {
                engine.leave().await;
            }
            may?;
        }
        if dry {
            return unless_asked(show(&mut engine, steps, found)).await;
        }
        engine.journal.take_up()?;
        let _attended = interrupt::attend(2);
        let outcome = steps_until_asked(engine.rollback(), &in_hand).await;
        let outcome = outcome.told(&engine).await;
        let code = stopped(outcome, &again, &advice)?;
        if code == exit::OK && !has_begun(&engine.journal) {
            say(engine.close()?);
        }
        Ok(code)
    })?;
    let (before, members) = (before.into_inner(), driver.members());
    let next = match before.as_deref() {
        Some(to) if is_no_way.get() => after_refusal(parsed, &members, to),
        before => after_steps("rollback", parsed, &members, before, code),
    };
    Ok(finish(code, &next))
}

/// The journal of a run; or, where what members answer decides, one that says nothing of what came
/// after finished runs.
fn journal(state: &Path, is_new: bool) -> Outcome<Journal> {
    match is_new {
        true => Journal::open(state),
        false => Journal::reopen(state),
    }
}

async fn nothing_to_take_back(engine: &Rollback<'_, '_>) -> Outcome<i32> {
    say(NOTHING_TO_TAKE_BACK);
    for member in engine.silent().await? {
        say(&format!(
            "{member} does not answer, and this rollback did not stop it: see whether it runs, and start it with what it ran"
        ));
    }
    Ok(exit::OK)
}

/// What members ran before these steps, as a target.
fn ran_before(steps: &[Step]) -> Option<String> {
    steps.iter().find_map(|step| match step {
        Step::Swap {
            from_pintle: true, ..
        } => Some("pintle".to_owned()),
        Step::Swap { from, .. } => Some(from.to_string()),
        _ => None,
    })
}

fn no_journal(state: &Path) -> Failure {
    Failure::new(format!(
        "{}: there is no journal of a run here; name with --to the release that all members ran before, and what they answer decides",
        state.display()
    ))
}

fn has_begun(journal: &Journal) -> bool {
    let steps = journal.plan().map_or(0, |(steps, _)| steps.len());
    (0..steps).any(|at| journal.has_begun(at))
}

/// The steps to take back, of the journal or of what the members answer; or the exit code,
/// where there is nothing to take back or binaries are not the way.
async fn choose(
    engine: &mut Rollback<'_, '_>,
    to: Option<&Target>,
    dry: bool,
) -> Outcome<ControlFlow<i32, Vec<Step>>> {
    if let Some((steps, _)) = engine.journal.plan() {
        let before = steps.iter().find_map(|step| match step {
            Step::Swap {
                from, from_pintle, ..
            } => Some((from, *from_pintle)),
            Step::Line { from, .. } => Some((from, true)),
            _ => None,
        });
        let asked = to.map(|to| (&to.version, to.is_pintle));
        if asked.is_some() && asked != before {
            return Err(Failure::new(format!(
                "{}: the journal of a run is here, and says what the members ran before; leave --to out, or name another --state",
                engine.journal.dir().display()
            )));
        }
        return Ok(ControlFlow::Continue(steps.to_vec()));
    }
    let Some(to) = to else {
        return Err(no_journal(engine.journal.dir()));
    };
    if let Some(bug) = loses_data(&to.version).filter(|_| !to.is_pintle) {
        let release = to.version.clone();
        return Err(Failure::new(plan::Error::LosesData { release, bug }));
    }
    match engine.find(to).await? {
        Way::Nothing => {
            say(&format!("every member runs {to} already"));
            Ok(ControlFlow::Break(exit::OK))
        }
        Way::Otherwise { found, instead } => {
            warn(&format!("{found}\n  {instead}\nnothing was done"));
            Ok(ControlFlow::Break(exit::STOPPED))
        }
        Way::Steps {
            found,
            steps,
            cluster,
        } => {
            say(&format!("found: {found}"));
            if !dry {
                engine.adopt(steps.clone(), cluster)?;
            }
            Ok(ControlFlow::Continue(steps))
        }
    }
}

/// Prints what a rollback would do. `found` is whether the steps are of what the members
/// answer, and not of a journal, which is brought up to date first, as a rollback does it. Returns
/// the exit code: as it is now, it may be refused.
async fn show(engine: &mut Rollback<'_, '_>, mut steps: Vec<Step>, found: bool) -> Outcome<i32> {
    if !found {
        engine.journal.stay_in_memory();
        steps = engine.all_to_undo().await?;
    }
    for (at, step) in steps.iter().enumerate().rev() {
        if !found && !engine.journal.has_begun(at) {
            continue;
        }
        match step {
            Step::Swap { .. } | Step::Line { .. } => say(&step.back_in_words()),
            Step::Settle { to } if moves(&steps, to) && (found || engine.journal.is_done(at)) => {
                say(&format!(
                    "take the cluster version down from {}.{}, if it was moved by this",
                    to.major, to.minor
                ))
            }
            _ => {}
        }
    }
    let outlook = engine.outlook(&steps).await;
    outlook.lines.iter().for_each(|line| say(line));
    say("nothing was done");
    Ok(match outlook.is_refused {
        true => exit::STOPPED,
        false => exit::OK,
    })
}

/// Whether a step of the way may have moved the cluster version to `to`: within one minor version
/// it stays.
fn moves(steps: &[Step], to: &semver::Version) -> bool {
    steps.iter().any(|step| match step {
        Step::Swap { from, to: new, .. } => new.minor == to.minor && from.minor != to.minor,
        _ => false,
    })
}
