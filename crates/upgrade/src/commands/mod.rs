//! The commands, one file for each. None imports another; what two of them need is in a
//! file of its own.

mod allow;
mod backup;
mod check;
mod ending;
mod explain;
mod next;
mod plan;
mod rehearse;
mod repair;
mod rollback;
mod run;

#[cfg(test)]
mod tests;

use cli::flags::Parsed;

use crate::{command::Action, failure::Outcome};

/// Runs a command to its exit code.
pub(crate) fn run(action: Action, parsed: &Parsed) -> Outcome<i32> {
    match action {
        Action::Explain => explain::explain(parsed),
        Action::Check => check::check(parsed),
        Action::Plan => plan::plan(parsed),
        Action::Backup => backup::backup(parsed),
        Action::Rehearse => rehearse::rehearse(parsed),
        Action::Run => run::run(parsed),
        Action::Rollback => rollback::rollback(parsed),
        Action::Repair => repair::repair(parsed),
    }
}
