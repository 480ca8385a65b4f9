//! The table for people, and as a page of the documentation.

use std::fmt::Write as _;

use super::{boots::BOOTS, checks::CHECKS, entry::Entry, find::all};
use crate::output::wrap;

/// Where the page is in the repository.
pub const PATH: &str = "docs/reference/checks.md";
/// Prose of the documentation wraps here.
const COLUMNS: usize = 100;
const HEAD: &str = "\
# Checks and predictions of `pintle upgrade`

P1 to P25 are the checks of `pintle upgrade check`. B1 to B14 are what it predicts of a start of the
target on a directory. Each has what it means, what etcd does about it, how to see it without this
tool, and the fix; `pintle upgrade explain ID` prints the same. Search this page, or ask `pintle
upgrade explain \"TEXT\"`, for a text that etcd printed.

In the commands `bbolt` is the tool of go.etcd.io/bbolt, DIR a data directory, `m.db` a snapshot of
one member.
";

/// Each id with its title, for a terminal.
pub(crate) fn list() -> String {
    let width = all().map(|entry| entry.id.len()).max().unwrap_or(0);
    let mut out = String::new();
    for entry in all() {
        let _ = writeln!(out, "{:<width$}  {}", entry.id, entry.title);
    }
    out
}

/// One entry for a terminal of `width` columns.
pub(crate) fn one(entry: &Entry, width: usize) -> String {
    let mut out = format!("{}  {}\n", entry.id, entry.title);
    for (heading, text) in entry.parts() {
        let lines = wrap(text, width, 4);
        let _ = write!(out, "\n  {heading}\n    {}\n", lines.join("\n    "));
    }
    if !entry.texts.is_empty() {
        let _ = write!(out, "\n  texts\n    {}\n", entry.texts.join("\n    "));
    }
    out
}

/// The page [`PATH`].
pub fn page() -> String {
    let mut out = HEAD.to_owned();
    out.push_str("\n## By the text that was printed\n\n| text | explained by |\n|---|---|\n");
    let mut texts: Vec<&str> = all().flat_map(|entry| entry.texts).copied().collect();
    texts.sort_unstable();
    texts.dedup();
    for text in texts {
        let has = |entry: &&Entry| entry.texts.contains(&text);
        let links: Vec<String> = all().filter(has).map(link).collect();
        let _ = writeln!(out, "| `{text}` | {} |", links.join(", "));
    }
    out.push_str("\n## The checks\n");
    CHECKS.iter().for_each(|entry| section(&mut out, entry));
    out.push_str("\n## The predictions\n");
    BOOTS.iter().for_each(|entry| section(&mut out, entry));
    out
}

/// A link to an entry on its page.
pub(super) fn link(entry: &Entry) -> String {
    let anchor: String = format!("{} {}", entry.id, entry.title)
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect();
    format!("[{}](#{anchor})", entry.id)
}

fn section(out: &mut String, entry: &Entry) {
    let _ = write!(out, "\n### {} {}\n", entry.id, entry.title);
    for (heading, text) in entry.parts() {
        let mut letters = heading.chars();
        let first = letters.next().map(|c| c.to_ascii_uppercase());
        let heading: String = first.into_iter().chain(letters).collect();
        let text = format!("**{heading}.** {text}");
        let _ = write!(out, "\n{}\n", wrap(&text, COLUMNS, 0).join("\n"));
    }
    if !entry.texts.is_empty() {
        out.push_str("\nWhere it strikes:\n\n```\n");
        entry.texts.iter().for_each(|text| {
            let _ = writeln!(out, "{text}");
        });
        out.push_str("```\n");
    }
}
