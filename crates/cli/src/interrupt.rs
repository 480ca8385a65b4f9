//! Signals that ask a command to end: Ctrl-C, a request to terminate, a terminal
//! that hangs up. One thread waits for them. It must never end a process that
//! is in the middle of what someone said must be finished first.

use std::{
    sync::{
        LazyLock, Once,
        atomic::{AtomicI32, AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use crate::private::Ending;

/// Signals received, and the human-readable name of the last one.
type Asked = (usize, &'static str);

static ASKED: LazyLock<watch::Sender<Asked>> = LazyLock::new(|| watch::Sender::new((0, "")));
/// Signals that the work under way sees to itself.
static ATTENDED: AtomicUsize = AtomicUsize::new(0);
/// The exit code after a signal, 0 for that of a shell.
static CODE: AtomicI32 = AtomicI32::new(0);
/// How long work that sees to the signal itself may be on its way to look at it.
const GRACE: Duration = Duration::from_secs(5);

/// Begins to wait for signals; once is enough. From then on a signal removes what is
/// unfinished (see [`private`](crate::private)) and ends the process, unless work [attends] to it.
///
/// [attends]: attend
pub fn listen() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let (ready, is_ready) = mpsc::channel();
        let started = std::thread::Builder::new()
            .name("signals".into())
            .spawn(|| wait(ready));
        // Without the thread signals do what they do without this module. With it nothing
        // is begun before it listens; the channel also ends where it cannot.
        if started.is_ok() {
            let _ = is_ready.recv();
        }
    });
}

fn wait(ready: mpsc::Sender<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        let Ok(mut caught) = Caught::all() else {
            return;
        };
        let _ = ready.send(());
        loop {
            let (code, words) = caught.next().await;
            let mut count = 0;
            ASKED.send_modify(|asked| {
                *asked = (asked.0 + 1, words);
                count = asked.0;
            });
            // Who attends has said so by now, or waits until this process has ended.
            let ending = Ending::begin();
            match ATTENDED.load(Ordering::SeqCst) {
                0 => end(code, ending),
                attended if count > attended => end(code, ending),
                // Work that only has to remove what it made.
                1 => {
                    drop(ending);
                    let code = tokio::select! {
                        () = tokio::time::sleep(GRACE) => code,
                        (code, _) = caught.next() => code,
                    };
                    end(code, Ending::begin())
                }
                _ => {}
            }
        }
    });
}

fn end(code: i32, ending: Ending) -> ! {
    ending.remove_unfinished();
    std::process::exit(match CODE.load(Ordering::SeqCst) {
        0 => code,
        own => own,
    })
}

/// The program ends with this code after a signal, instead of 128 and its number.
pub fn exit_with(code: i32) {
    CODE.store(code, Ordering::SeqCst);
}

/// The signals, and the exit codes that shells give them.
struct Caught {
    interrupt: Signal,
    terminate: Signal,
    /// `None` where this process was started to outlive its terminal.
    hangup: Option<Signal>,
}

impl Caught {
    fn all() -> std::io::Result<Caught> {
        Ok(Caught {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: match ignores_hangups() {
                true => None,
                false => Some(signal(SignalKind::hangup())?),
            },
        })
    }

    async fn next(&mut self) -> (i32, &'static str) {
        let hung_up = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => (130, "interrupted"),
            _ = self.terminate.recv() => (143, "terminated"),
            _ = hung_up => (129, "the terminal hung up"),
        }
    }
}

/// Whether this process was started to outlive its terminal, as by `nohup`: who
/// listens for a signal no longer ignores it.
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // SIGHUP is 1, the lowest bit.
    ignored.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|m| m & 1 == 1))
}

/// Work that sees to signals itself, as long as this lives.
#[derive(Debug)]
pub struct Attended {
    before: usize,
}

/// From now on the first signals, this many, are left to the work under way, which learns
/// of them by [`asked`] and [`is_asked`]. With one it gets some seconds; with more it
/// takes the time that it takes.
pub fn attend(signals: usize) -> Attended {
    let before = ATTENDED.swap(signals, Ordering::SeqCst);
    // Not where a signal that came before is ending this process.
    drop(Ending::begin());
    listen();
    Attended { before }
}

impl Drop for Attended {
    fn drop(&mut self) {
        ATTENDED.store(self.before, Ordering::SeqCst);
    }
}

/// Waits for this many signals, and returns the human-readable name of the last one.
pub async fn asked(signals: usize) -> &'static str {
    let mut asked = ASKED.subscribe();
    match asked.wait_for(|(count, _)| *count >= signals).await {
        Ok(asked) => asked.1,
        Err(_) => std::future::pending().await,
    }
}

/// The human-readable name of the last signal, if one came.
pub fn is_asked() -> Option<&'static str> {
    let (count, words) = *ASKED.borrow();
    (count > 0).then_some(words)
}
