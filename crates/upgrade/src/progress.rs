//! What a person sees while something long is read. Nothing where no one looks:
//! standard error is no terminal then.

use std::{io::IsTerminal as _, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for so many bytes.
pub(crate) fn bytes(what: &str, total: u64) -> ProgressBar {
    let bar = match std::io::stderr().is_terminal() {
        true => ProgressBar::new(total),
        false => ProgressBar::hidden(),
    };
    styled(
        bar,
        "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}",
        what,
    )
}

/// A sign of life for work that cannot tell how far it is.
pub(crate) fn busy(what: &str) -> ProgressBar {
    let bar = match std::io::stderr().is_terminal() {
        true => ProgressBar::new_spinner(),
        false => ProgressBar::hidden(),
    };
    if !bar.is_hidden() {
        bar.enable_steady_tick(Duration::from_millis(120));
    }
    styled(bar, "{spinner} {msg} {elapsed}", what)
}

fn styled(bar: ProgressBar, template: &str, what: &str) -> ProgressBar {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    bar
}
