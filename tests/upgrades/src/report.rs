//! The table of rows and what happened, as Markdown for the evidence page.

use crate::{
    rows::Row,
    workshop::{Outcome, Record},
};

/// What became of a row.
pub enum Ran<'a> {
    /// It ran.
    Yes(&'a Record),
    /// It did not, for these reasons.
    No(String),
}

/// The head of the table.
pub const HEAD: &str = "| row | history, **starts** | the page expects | what happened | old release back | note |\n|---|---|---|---|---|---|\n";

/// One line of the table.
pub fn line(row: &Row, ran: &Ran) -> String {
    let history: Vec<String> = row.script.iter().map(|op| op.words()).collect();
    let (mut happened, mut back) = match ran {
        Ran::Yes(record) => (
            join(record.outcomes.iter().map(happened)),
            join(record.outcomes.iter().filter_map(rolled_back)),
        ),
        Ran::No(why) => (format!("NOT RUN: {why}"), String::new()),
    };
    for text in [&mut happened, &mut back] {
        *text = text.replace('|', "\\|").replace('\n', " ");
    }
    format!(
        "| {} | {} | {} | {happened} | {back} | {} |\n",
        row.id,
        history.join(", "),
        row.page,
        row.note
    )
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join("; ")
}

fn happened(outcome: &Outcome) -> String {
    let mut text = format!("{}: {}", outcome.step, outcome.real);
    if !outcome.before.is_empty() && outcome.before != "0 stale learners, 0 zombies, 0 without name"
    {
        text.push_str(&format!(" (before: {})", outcome.before));
    }
    for line in &outcome.meanwhile {
        text.push_str(&format!("; meanwhile {line}"));
    }
    text
}

fn rolled_back(outcome: &Outcome) -> Option<String> {
    Some(match outcome.rolled_back.as_ref()? {
        Ok(how) => how.clone(),
        Err(why) => format!("fails: {}", why.lines().next().unwrap_or("")),
    })
}
