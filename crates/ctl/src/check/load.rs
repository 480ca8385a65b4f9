//! Many clients writing at once, each over a connection of its own, spread over
//! the processor's cores. A load is either paced (so many writes a second until
//! a time is over) or counted (so many writes, as fast as they go). It must
//! never send faster than its pace, not even to catch up.

use std::{
    cell::{Cell, RefCell},
    io::IsTerminal,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use client::Client;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use proto::etcdserverpb as api;

use super::measure::Measure;
use crate::{
    failure::{EXIT_ERROR, Failure, Outcome},
    global::Global,
};

/// How much is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Amount {
    /// Writes per second, and for how long.
    Paced { per_second: u32, lasts: Duration },
    /// Writes.
    Counted(u64),
}

/// A load.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) amount: Amount,
    pub(super) clients: usize,
    pub(super) prefix: String,
    /// Bytes of a key after the prefix.
    pub(super) key_bytes: usize,
    /// Bytes of a value.
    pub(super) value_bytes: usize,
}

/// What a load did.
pub(super) struct Done {
    pub(super) measure: Measure,
    pub(super) took: Duration,
}

/// What the threads of a load share.
#[derive(Default)]
struct Shared {
    written: AtomicU64,
    stop: AtomicBool,
}

/// Runs a load to its end. One that was interrupted has no result: what it measured is
/// not what was asked for.
pub(super) async fn run(global: &Global, load: Load) -> Outcome<Done> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(load.clients).max(1);
    let shared = Arc::new(Shared::default());
    let begin = Instant::now();
    let parts: Vec<_> = (0..threads)
        .map(|part| {
            let part = Part {
                load: load.clone(),
                clients: share(load.clients, threads, part),
                number: part,
                threads,
                shared: Arc::clone(&shared),
            };
            let global = global.clone();
            tokio::task::spawn_blocking(move || part.run(&global))
        })
        .collect();
    let bar = bar(load.amount);
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    let mut interrupts = crate::session::Interrupts::catch()?;
    let mut interrupted = false;
    let all = futures_util::future::join_all(parts);
    tokio::pin!(all);
    let parts = loop {
        tokio::select! {
            parts = &mut all => break parts,
            () = interrupts.received() => {
                interrupted = true;
                shared.stop.store(true, Ordering::Relaxed);
            }
            _ = ticks.tick() => bar.set_position(match load.amount {
                Amount::Paced { .. } => begin.elapsed().as_secs(),
                Amount::Counted(_) => shared.written.load(Ordering::Relaxed),
            }),
        }
    };
    bar.finish_and_clear();
    if interrupted {
        return Err(crate::session::canceled());
    }
    let took = begin.elapsed();
    let mut measure = Measure::default();
    for part in parts {
        let part = part.map_err(|error| Failure::new(EXIT_ERROR, error.to_string()))?;
        measure.add(part?);
    }
    Ok(Done { measure, took })
}

/// Part number `at` of `whole` in `parts` parts of nearly equal size.
pub(super) fn share(whole: usize, parts: usize, at: usize) -> usize {
    whole / parts + usize::from(at < whole % parts)
}

fn bar(amount: Amount) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (length, unit) = match amount {
        Amount::Paced { lasts, .. } => (lasts.as_secs(), "s"),
        Amount::Counted(count) => (count, " keys"),
    };
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(&format!("[{{bar:40}}] {{pos}}/{{len}}{unit}"))
    {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// What one thread does of a load.
struct Part {
    load: Load,
    clients: usize,
    number: usize,
    threads: usize,
    shared: Arc<Shared>,
}

impl Part {
    fn run(self, global: &Global) -> Outcome<Measure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(EXIT_ERROR, format!("no runtime: {error}")))?;
        runtime.block_on(async {
            let mut clients = Vec::with_capacity(self.clients);
            for _ in 0..self.clients {
                clients.push(global.client().await?);
            }
            let turns = Turns::new(self.load.amount, self.threads);
            let measure = RefCell::default();
            let writers = clients
                .iter()
                .map(|client| self.write(client, &turns, &measure));
            futures_util::future::join_all(writers).await;
            Ok(measure.into_inner())
        })
    }

    /// One client: a write after the other.
    async fn write(&self, client: &Client, turns: &Turns, measure: &RefCell<Measure>) {
        let value = Bytes::from(vec![0; self.load.value_bytes]);
        while let Some(turn) = turns.next(&self.shared.stop).await {
            let request = api::PutRequest {
                key: self.key(turn),
                value: value.clone(),
                ..Default::default()
            };
            let sent = Instant::now();
            match client.put(request).await {
                Ok(_) => measure.borrow_mut().success(sent.elapsed()),
                Err(error) => measure.borrow_mut().failure(error.to_string()),
            }
            self.shared.written.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The key of a turn: no other turn of any thread has it, and neighbours in
    /// time are far apart in the key space.
    fn key(&self, turn: u64) -> Bytes {
        let number = turn * self.threads as u64 + self.number as u64;
        // An odd factor maps every number to another one.
        let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let width = self.load.key_bytes;
        let mut key = format!("{}{scattered:016x}", self.load.prefix).into_bytes();
        key.resize(self.load.prefix.len() + width.max(16), b'0');
        key.into()
    }
}

/// Who may write next, and when; for the clients of one thread.
pub(super) struct Turns {
    amount: Amount,
    interval: Duration,
    taken: Cell<u64>,
    due: Cell<Instant>,
    end: Instant,
    left: Cell<u64>,
}

impl Turns {
    pub(super) fn new(amount: Amount, threads: usize) -> Self {
        let now = Instant::now();
        let (interval, lasts, left) = match amount {
            Amount::Paced { per_second, lasts } => {
                let threads = u32::try_from(threads).unwrap_or(u32::MAX);
                (
                    Duration::from_secs(1) * threads / per_second.max(1),
                    lasts,
                    u64::MAX,
                )
            }
            // The last turns are few enough to be shared out roundly.
            Amount::Counted(count) => (
                Duration::ZERO,
                Duration::ZERO,
                count.div_ceil(threads as u64),
            ),
        };
        Self {
            amount,
            interval,
            taken: Cell::new(0),
            due: Cell::new(now),
            end: now + lasts,
            left: Cell::new(left),
        }
    }

    /// Waits for the next turn and gives its number; `None` at the end.
    pub(super) async fn next(&self, stop: &AtomicBool) -> Option<u64> {
        if stop.load(Ordering::Relaxed) {
            return None;
        }
        let left = self.left.get().checked_sub(1)?;
        if let Amount::Paced { .. } = self.amount {
            // Turns that all clients were too busy for are lost, not saved up.
            let due = self.due.get().max(Instant::now());
            if due >= self.end {
                return None;
            }
            self.due.set(due + self.interval);
            self.left.set(left);
            tokio::time::sleep_until(due.into()).await;
        } else {
            self.left.set(left);
        }
        Some(self.taken.replace(self.taken.get() + 1))
    }
}
