//! `run`: carries the plan out.

use std::{
    cell::{Cell, RefCell},
    path::{Path, PathBuf},
};

use cli::{flags::Parsed, interrupt};

use super::{
    allow::allow,
    ending::{steps_until_asked, stopped},
    next::after_steps,
};
use crate::{
    access::{access, scratch_folder},
    backup, command, exit,
    failure::{Failure, Outcome},
    inspect::Access,
    next_command,
    output::{finish, say, warn},
    run::{Driver, Engine, FromFile, Journal, Launch, Watched},
    runtime::{to_its_end, unless_asked},
    steps::{FLUSH_FLAG, Step},
    target::Target,
};

pub(super) fn run(parsed: &Parsed) -> Outcome<i32> {
    let target = Target::parse(parsed.text("target")).map_err(Failure::new)?;
    let state = PathBuf::from(parsed.text("state"));
    let mut driver = FromFile::read(
        Path::new(parsed.text("members")),
        &state,
        parsed.bool(command::ONLY_HERE.name),
    )?;
    let scratch = backup::scratch(&scratch_folder(parsed))?;
    let mut access = access(parsed, Some(scratch.path().to_owned()))?;
    access.pages = false;
    let dry = parsed.bool("dry-run");
    let patience = parsed.duration("patience");
    let again = next_command::command("run", parsed);
    let back = next_command::command("rollback", parsed);
    let advice = format!("fix the cause, then run the same command again, or: {back}");
    let code = to_its_end(async {
        let journal = match dry && !Journal::is_in(&state) {
            true => Journal::open(scratch.path())?,
            false => Journal::open(&state)?,
        };
        let in_hand = RefCell::new(None);
        let mut watched = Watched::new(&mut driver, &in_hand);
        let mut engine = Engine {
            driver: &mut watched,
            cluster: &access,
            journal,
            patience,
            others: parsed.duration("others"),
            only_here: parsed.bool(command::ONLY_HERE.name),
            baseline: None,
            awaited: RefCell::default(),
            is_turn_new: Cell::default(),
            goes_on: Cell::default(),
            say: &say,
        };
        let begun = unless_asked(async {
            engine.is_let_in().await?;
            if !dry && let Err(stop) = engine.first_turn().await {
                return Ok(Err(stop));
            }
            Ok(Ok(engine.begin(&target, allow(parsed), !dry).await?))
        });
        let begun = begun.await;
        let is_begun = matches!(&begun, Ok(Ok(steps)) if !steps.is_empty());
        if !dry && !is_begun {
            engine.leave().await;
        }
        let steps = match begun? {
            Ok(steps) => steps,
            Err(stop) => return stopped(Err(stop), &again, &advice),
        };
        if steps.is_empty() {
            if let Some(refusal) = engine.pending_downgrade().await {
                warn(&format!("every member runs {target}, but {refusal}"));
                return Ok(exit::STOPPED);
            }
            say(&format!("nothing to do: every member runs {target}"));
            return Ok(exit::OK);
        }
        if dry {
            return show(&mut engine, &steps).await;
        }
        let _attended = interrupt::attend(2);
        let outcome = steps_until_asked(engine.run(), &in_hand).await;
        let outcome = outcome.told(&engine).await;
        let done = outcome.is_ok();
        let code = stopped(outcome, &again, &advice)?;
        if done {
            let kept = engine.journal.retire()?;
            say(&format!("done; journal: {}", kept.display()));
        }
        Ok(code)
    })?;
    let runs = Some(parsed.text("target"));
    let next = after_steps("run", parsed, &driver.members(), runs, code);
    Ok(finish(code, &next))
}

/// Prints what a run would do. Returns the exit code: as it is now, it may be refused.
async fn show(
    engine: &mut Engine<'_, Watched<'_, FromFile>, Access>,
    steps: &[Step],
) -> Outcome<i32> {
    let outlook = engine.outlook_ahead(steps).await?;
    for (at, step) in steps.iter().enumerate() {
        if engine.journal.is_done(at) {
            continue;
        }
        say(&format!("[{}/{}] {}", at + 1, steps.len(), step.words()));
        for line in commands(engine.driver, step) {
            say(&format!("        {line}"));
        }
        if let Step::Swap {
            member,
            from,
            to,
            pintle,
            ..
        } = step
        {
            let diff = engine.driver.preview(member, from, to, *pintle)?;
            diff.lines()
                .for_each(|line| say(&format!("        {line}")));
        }
    }
    outlook.lines.iter().for_each(|line| say(line));
    say("nothing was done");
    Ok(match outlook.is_refused {
        true => exit::STOPPED,
        false => exit::OK,
    })
}

/// The commands by which a step stops and starts its member, as they are carried out.
fn commands(driver: &impl Driver, step: &Step) -> Vec<String> {
    match step {
        Step::Swap {
            member, to, pintle, ..
        } => driver.commands(member, &Launch::of(to, *pintle)),
        Step::Flush { member, version } => {
            let as_usual = Launch::of(version, false);
            let once = Launch {
                flags: vec![FLUSH_FLAG],
                ..as_usual.clone()
            };
            let mut lines = driver.commands(member, &once);
            lines.extend(driver.commands(member, &as_usual));
            lines
        }
        _ => Vec::new(),
    }
}
