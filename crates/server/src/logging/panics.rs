//! What a panic does: it ends the process, whichever thread meets it. What the thread held is in an
//! unknown state, and a member without one of its threads would be worse than none: it might send
//! heartbeats and write nothing. The task of a single request is no exception, as a panic of any
//! goroutine ends etcd.
//!
//! It must never wait for a reader of the log, nor for a lock that the thread that panicked may
//! hold: the words are left to another thread, for a limited time.

use std::{
    backtrace::Backtrace,
    io::{self, Write as _},
    panic::PanicHookInfo,
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::sync_channel,
    },
    thread,
    time::Duration,
};

/// How long the end of the process waits for the words. A flush takes up to two seconds, if there is
/// an output that takes nothing.
const SAID_WITHIN: Duration = Duration::from_secs(3);

/// From here on a panic ends the process; `flush` waits for the outputs of the log.
pub(super) fn end_process(flush: fn()) {
    std::panic::set_hook(Box::new(move |info| end(info, flush)));
}

/// What is known of a panic.
struct Panicked {
    text: String,
    thread: String,
    place: String,
    stack: Backtrace,
}

impl Panicked {
    fn new(info: &PanicHookInfo<'_>) -> Self {
        let place = info.location().map(ToString::to_string);
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Self {
            text: text.unwrap_or("of no text").to_owned(),
            thread: thread::current().name().unwrap_or("unnamed").to_owned(),
            place: place.unwrap_or_default(),
            stack: Backtrace::force_capture(),
        }
    }

    /// To the outputs of the log, which takes a bounded time.
    fn log(&self, flush: fn()) {
        tracing::error!(
            level_name = "fatal",
            error = self.text,
            thread = self.thread,
            place = self.place,
            "a thread panicked"
        );
        flush();
    }

    /// To the outputs of the log, and then to standard error with the stack, as Go's runtime does.
    fn say(&self, flush: fn()) {
        self.log(flush);
        let Self {
            text,
            thread,
            place,
            stack,
        } = self;
        let text = format!("panic: {text}\n\nthread {thread} at {place}:\n{stack}\n");
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

fn end(info: &PanicHookInfo<'_>, flush: fn()) {
    static ENDING: AtomicBool = AtomicBool::new(false);
    while ENDING.swap(true, Ordering::SeqCst) {
        // Another thread was first, or this one is to say why.
        thread::park();
    }
    let panicked = Arc::new(Panicked::new(info));
    let (say, said) = sync_channel(1);
    let words = panicked.clone();
    let saying = thread::Builder::new().name("panic".into()).spawn(move || {
        words.say(flush);
        let _ = say.send(());
    });
    match saying {
        Ok(_) => {
            let _ = said.recv_timeout(SAID_WITHIN);
        }
        // Standard error may be a full pipe that no one reads, and this thread may hold locks.
        Err(_) => panicked.log(flush),
    }
    process::exit(1);
}
