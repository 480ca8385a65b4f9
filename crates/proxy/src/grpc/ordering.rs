//! `--experimental-serializable-ordering`: an answer is never older than one that was given before.

use std::{cell::Cell, time::Duration};

use server::status::{Code, Status};

/// The newest revision that any client of this proxy has seen.
#[derive(Debug, Default)]
pub(super) struct Ordering {
    seen: Cell<i64>,
}

/// How often all members are asked for an answer that is new enough.
const ROUNDS: usize = 5;
/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(50);

impl Ordering {
    /// An answer of this revision is about to be given.
    pub(super) fn saw(&self, revision: i64) {
        self.seen.set(self.seen.get().max(revision));
    }

    /// The newest one.
    pub(super) fn seen(&self) -> i64 {
        self.seen.get()
    }

    /// Before an answer that was too old is asked for again, for the `attempt`th time.
    ///
    /// # Errors
    /// Members have been asked often enough.
    pub(super) async fn again(&self, attempt: usize, members: usize) -> Result<(), Status> {
        if attempt >= ROUNDS * members {
            return Err(Status::fixed(
                Code::Unknown,
                "etcdclient: no cluster members have a revision higher than the previously received revision",
            ));
        }
        if attempt.is_multiple_of(members.max(1)) {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}
