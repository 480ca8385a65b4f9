//! The way out when the log or the database cannot be written. Sticky: the first
//! report wins, and the process ends without acknowledging anything more.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// A handle every thread that writes to disk holds.
#[derive(Clone, Default)]
pub struct Fatal {
    reported: Arc<AtomicBool>,
}

impl Fatal {
    /// Logs the failure and ends the process with code 1. Never returns: whoever
    /// comes here must not do what comes next.
    pub fn report(&self, what: &str, error: &dyn std::fmt::Display) {
        while self.reported.swap(true, Ordering::SeqCst) {
            std::thread::park();
        }
        tracing::error!(level_name = "fatal", error = %error, "{what}");
        crate::logging::flush();
        std::process::exit(1);
    }
}
