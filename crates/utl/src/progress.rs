//! The bar of a read that may take long: on stderr, only on a terminal, only
//! for a file large enough for one.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Smaller files are done before the eye is there.
const WORTH_BYTES: u64 = 256 << 20;

/// Counts bytes; silent without a bar.
pub(crate) struct Progress(Option<ProgressBar>);

impl Progress {
    /// Begins to count up to `total` bytes.
    pub(crate) fn start(what: &'static str, total: u64) -> Self {
        if total < WORTH_BYTES || !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        let style = "{msg} [{bar:30}] {bytes}/{total_bytes}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what);
        Self(Some(bar))
    }

    /// More bytes are done.
    pub(crate) fn add(&self, bytes: usize) {
        if let Some(bar) = &self.0 {
            bar.inc(bytes as u64);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
