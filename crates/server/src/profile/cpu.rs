//! Where CPU time goes: a signal every 10 ms of it, and the stack that it interrupts.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant, SystemTime},
};

use pprof::{Frames, ProfilerGuard, ProfilerGuardBuilder};

use super::written::{Place, Written};

/// Samples per second of CPU time, as in Go.
const FREQUENCY: i32 = 100;
const PERIOD: Duration = Duration::from_millis(10);
/// Code that may hold the lock that unwinding takes. A sample in it is dropped.
const NOT_INTERRUPTED: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];

/// There is one profiler in a process.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Someone else is at it, or the timer cannot be had.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("Could not enable CPU profiling: cpu profiling already in use")]
pub struct Busy;

/// Samples being taken, until it is dropped.
pub struct Sampling {
    guard: ProfilerGuard<'static>,
    began: Instant,
    _taken: Taken,
}

/// Gives the profiler back.
struct Taken;

impl Drop for Taken {
    fn drop(&mut self) {
        IS_TAKEN.store(false, Ordering::Release);
    }
}

impl Sampling {
    /// Starts to take samples of all threads.
    ///
    /// # Errors
    /// [`Busy`]
    pub fn start() -> Result<Sampling, Busy> {
        if IS_TAKEN.swap(true, Ordering::AcqRel) {
            return Err(Busy);
        }
        let taken = Taken;
        let guard = ProfilerGuardBuilder::default()
            .frequency(FREQUENCY)
            .blocklist(&NOT_INTERRUPTED)
            .build()
            .map_err(|error| {
                tracing::warn!(error = %error, "failed to start a CPU profile");
                Busy
            })?;
        Ok(Sampling {
            guard,
            began: Instant::now(),
            _taken: taken,
        })
    }

    /// The profile so far. It looks up every function: nothing for a thread that serves.
    pub fn finish(self) -> Vec<u8> {
        let took = self.began.elapsed();
        let now = SystemTime::now().checked_sub(took);
        let mut written = Written::new(
            &[("samples", "count"), ("cpu", "nanoseconds")],
            now.unwrap_or(SystemTime::UNIX_EPOCH),
        );
        written.sampled(took, ("cpu", "nanoseconds"), PERIOD);
        written.comment("time inside of the C library is not sampled");
        match self.guard.report().build() {
            Ok(report) => {
                for (frames, count) in &report.data {
                    let count = *count as i64;
                    let values = [count, count * PERIOD.as_nanos() as i64];
                    written.sample(places(frames), &values, &frames.thread_name);
                }
            }
            Err(error) => tracing::warn!(error = %error, "failed to read a CPU profile"),
        }
        written.finish()
    }
}

fn places(frames: &Frames) -> Vec<Vec<Place>> {
    let place = |symbol: &pprof::Symbol| Place {
        function: symbol.name(),
        file: symbol.filename().into_owned(),
        line: i64::from(symbol.lineno()),
    };
    frames
        .frames
        .iter()
        .map(|frame| frame.iter().map(place).collect())
        .collect()
}
