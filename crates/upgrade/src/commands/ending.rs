//! How a run that a signal or a deviation ended becomes an exit code.

use std::cell::RefCell;

use cli::interrupt;

use crate::{
    exit,
    failure::Outcome,
    inspect::Access,
    output::{say, warn},
    run::{self, Engine, InHand, Stop},
};

/// The exit code of a run. `again` is the command that continues it.
pub(super) fn stopped(outcome: Result<(), Stop>, again: &str, advice: &str) -> Outcome<i32> {
    match outcome {
        Ok(()) => Ok(0),
        Err(Stop::Failed(failure)) => Err(failure),
        Err(Stop::Others(text)) => {
            say(&text);
            Ok(exit::RESERVED)
        }
        Err(Stop::Asked { signal, state }) => {
            warn(&format!("{signal}; {state}. To go on: {again}"));
            Ok(exit::INTERRUPTED)
        }
        Err(Stop::Cut(in_hand)) => {
            warn(&format!("{in_hand}. The next command: {again}"));
            Ok(exit::INTERRUPTED)
        }
        Err(Stop::Deviated { step, why, state }) => {
            let state = match state.as_str() {
                "" => String::new(),
                state => format!("{state}\n"),
            };
            warn(&format!("stopped at: {step}\n  {why}\n{state}{advice}"));
            Ok(exit::STOPPED)
        }
    }
}

/// How steps came out that a signal may have cut off.
pub(super) enum Cut {
    /// They ended by themselves.
    Ended(Result<(), Stop>),
    /// Where no member is in hand.
    Between(&'static str),
    /// While this member was in hand.
    In(InHand),
}

impl Cut {
    /// The same as a stop, with what the cluster says of itself.
    pub(super) async fn told<D: run::Driver>(
        self,
        engine: &Engine<'_, D, Access>,
    ) -> Result<(), Stop> {
        match self {
            Cut::Ended(outcome) => outcome,
            Cut::Between(signal) => {
                engine.leave_between().await;
                Err(engine.asked(signal).await)
            }
            Cut::In(in_hand) => Err(Stop::Cut(in_hand)),
        }
    }
}

/// Steps that a signal does not cut off while a member is in hand: the first one ends them
/// when that is done, a second one at once.
pub(super) async fn steps_until_asked(
    steps: impl Future<Output = Result<(), Stop>>,
    in_hand: &RefCell<Option<InHand>>,
) -> Cut {
    let cut = async {
        let signal = interrupt::asked(1).await;
        if in_hand.borrow().is_none() {
            return Cut::Between(signal);
        }
        warn(&format!(
            "{signal}: this step is finished first, a second signal ends it at once"
        ));
        let signal = interrupt::asked(2).await;
        match in_hand.borrow().as_ref() {
            None => Cut::Between(signal),
            Some(in_hand) => Cut::In(in_hand.clone()),
        }
    };
    tokio::select! {
        outcome = steps => Cut::Ended(outcome),
        cut = cut => cut,
    }
}
