//! Runs the asynchronous work of a command, with or without an eye on signals.

use cli::interrupt;

use crate::failure::{Failure, Outcome};

/// Runs work that a signal may cut off anywhere.
pub(crate) fn block_on<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    to_its_end(unless_asked(work))
}

/// What work comes to that a signal may cut off anywhere.
pub(crate) async fn unless_asked<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let _attended = interrupt::attend(1);
    tokio::select! {
        outcome = work => outcome,
        why = interrupt::asked(1) => Err(Failure::interrupted(why)),
    }
}

/// Runs work that sees to signals itself where they matter.
pub(crate) fn to_its_end<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(format!("cannot start the runtime: {e}")))?;
    runtime.block_on(work)
}
