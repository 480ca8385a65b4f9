//! Lines on their way out: a bounded queue, and the one thread that writes to the outputs. Whoever
//! logs must never wait for a reader of the log, a full disk or a slow one: what does not fit is
//! dropped, and counted in a line of its own. Lines keep their order. A fatal line is never dropped:
//! the process ends after it.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use super::line::Line;

/// Text of lines that wait. Far more than is logged while a disk is slow, and little memory.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// What follows within this time is written together.
const LINGER: Duration = Duration::from_millis(2);
/// How long the end of the process waits for a reader that takes nothing.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// Where lines go; an error concerns them alone.
pub(super) trait Output: Send + 'static {
    /// Writes lines in their order.
    fn write(&mut self, lines: &[Line]);
}

#[derive(Default)]
struct Waiting {
    lines: Vec<Line>,
    bytes: usize,
    /// Lines dropped after the last of `lines`.
    dropped: u64,
    /// Fatal lines after that gap.
    last: Vec<Line>,
    is_writing: bool,
    /// Someone waits for all of it to be written.
    is_urgent: bool,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.dropped == 0
    }

    /// Takes a line in, or counts it. One alone is never too long.
    fn add(&mut self, line: Line) {
        let bytes = self.bytes + line.text.len();
        let has_room = self.lines.is_empty() || bytes <= WAITING_BYTES_MAX;
        // Nothing may come between the lines before a gap and the count of those in it.
        if self.dropped == 0 && (has_room || line.is_fatal()) {
            self.bytes = bytes;
            self.lines.push(line);
        } else if line.is_fatal() {
            self.last.push(line);
        } else {
            self.dropped += 1;
        }
    }
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    filled: Condvar,
    written: Condvar,
}

/// The queue, for those who log.
#[derive(Clone)]
pub(super) struct Writer(Arc<Shared>);

impl Writer {
    /// Starts the thread. `dropped` makes the line that counts those dropped.
    pub(super) fn start(
        output: impl Output,
        dropped: impl Fn(u64) -> Line + Send + 'static,
    ) -> io::Result<Self> {
        let writer = Self(Arc::default());
        let shared = writer.0.clone();
        std::thread::Builder::new()
            .name("log lines".into())
            .spawn(move || shared.write_all(output, dropped))?;
        Ok(writer)
    }

    /// Queues a line.
    pub(super) fn push(&self, line: Line) {
        let mut waiting = self.0.waiting.lock();
        let was_empty = waiting.is_empty();
        waiting.add(line);
        drop(waiting);
        if was_empty {
            self.0.filled.notify_one();
        }
    }

    fn flush_until(&self, deadline: Instant) {
        let mut waiting = self.0.waiting.lock();
        waiting.is_urgent = true;
        self.0.filled.notify_one();
        while !waiting.is_empty() || waiting.is_writing {
            if self
                .0
                .written
                .wait_until(&mut waiting, deadline)
                .timed_out()
            {
                break;
            }
        }
        waiting.is_urgent = false;
    }
}

/// The queues of all outputs. Each has its own, so that one that takes nothing costs the others
/// nothing.
#[derive(Clone)]
pub(super) struct Writers(Vec<Writer>);

impl Writers {
    pub(super) fn new(writers: Vec<Writer>) -> Self {
        Self(writers)
    }

    pub(super) fn push(&self, line: Line) {
        if let Some((first, others)) = self.0.split_first() {
            others.iter().for_each(|writer| writer.push(line.clone()));
            first.push(line);
        }
    }

    /// Waits until all that was queued is written, or a reader takes nothing for too long.
    pub(super) fn flush(&self) {
        let deadline = Instant::now() + FLUSH_WITHIN;
        self.0
            .iter()
            .for_each(|writer| writer.flush_until(deadline));
    }
}

impl Shared {
    fn write_all(&self, mut output: impl Output, dropped: impl Fn(u64) -> Line) {
        loop {
            let mut waiting = self.waiting.lock();
            while waiting.is_empty() {
                self.filled.wait(&mut waiting);
            }
            if !waiting.is_urgent {
                self.filled.wait_for(&mut waiting, LINGER);
            }
            waiting.is_writing = true;
            waiting.bytes = 0;
            let mut lines = std::mem::take(&mut waiting.lines);
            let gap = std::mem::take(&mut waiting.dropped);
            let last = std::mem::take(&mut waiting.last);
            drop(waiting);
            if gap > 0 {
                lines.push(dropped(gap));
                lines.extend(last);
            }
            output.write(&lines);
            self.waiting.lock().is_writing = false;
            self.written.notify_all();
        }
    }
}
