//! Waiting for a condition in tests: look, pause, look again, and give up at a deadline with the
//! name of what did not come about. A test never sleeps for luck, and nothing here measures time.
//!
//! - [`is`], [`found`]: in a thread, for tests that panic
//! - [`is_async`], [`ok`]: in a task

#![forbid(unsafe_code)]

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

/// Far above what any condition takes to come about on an idle machine.
pub const WITHIN: Duration = Duration::from_secs(60);
/// Pause between two looks: short for any condition, long for a look.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until `holds` is true.
///
/// # Panics
/// It is not within [`WITHIN`].
#[track_caller]
pub fn is(what: &str, mut holds: impl FnMut() -> bool) {
    found(what, || holds().then_some(()));
}

/// Waits until `look` finds something.
///
/// # Panics
/// It does not within [`WITHIN`].
#[track_caller]
pub fn found<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WITHIN;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {WITHIN:?}");
        thread::sleep(PAUSE);
    }
}

/// Waits in a task until `holds` is true.
///
/// # Panics
/// It is not within [`WITHIN`].
pub async fn is_async(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + WITHIN;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {WITHIN:?}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks in a task until the answer is no error.
///
/// # Errors
/// The last error, when there is no other answer within `within`.
pub async fn ok<T>(
    what: &str,
    within: Duration,
    mut ask: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() >= deadline => {
                return Err(error).with_context(|| format!("{what}: not within {within:?}"));
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_about_is_returned() {
        let mut looks = 0;
        let third = found("the third look", || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(third, 3);
    }

    #[tokio::test]
    async fn the_last_error_says_what_was_waited_for() {
        let mut asked = 0;
        let outcome: Result<()> = ok("an answer", Duration::ZERO, async || {
            asked += 1;
            anyhow::bail!("refused {asked}")
        })
        .await;
        let text = format!("{:#}", outcome.expect_err("never answered"));
        assert_eq!(text, "an answer: not within 0ns: refused 1");
    }
}
