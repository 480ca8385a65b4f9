//! The report for people: the verdict first, then what to do, then what was
//! looked at. Long lines are broken for the terminal, never cut.

use std::fmt::Write as _;

use cli::table::Table;

use super::summary::{COLUMNS, columns, sentence, verdict};
use crate::{
    checks::{Level, Report, State, Verdict},
    predict::Outcome,
};

/// The report, with colours if `colour`, for a terminal of `width` columns.
pub fn text(report: &Report, colour: bool, width: usize) -> String {
    let paint = |text: &str, code: &str| match colour {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    };
    let hue = |level: Level| match level {
        Level::Block => "1;31",
        Level::Warn => "1;33",
    };
    let whole = match report.verdict() {
        Verdict::Blocked => "1;31",
        Verdict::Warnings | Verdict::Incomplete => "1;33",
        Verdict::Safe => "1;32",
    };
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{} {}\n",
        paint(verdict(report), whole),
        sentence(report)
    );
    for (members, finding) in grouped(report) {
        let word = match finding.level {
            Level::Block => "block",
            Level::Warn => "warn",
        };
        let member = match members.as_str() {
            "" => String::new(),
            members => format!("{members}: "),
        };
        let head = format!("{:<5} {:<4}", word, finding.check);
        let painted = paint(&head, hue(finding.level));
        let indent = " ".repeat(11);
        let lines = wrap(&format!("{member}{}", finding.seen), width, 11);
        let _ = writeln!(out, "{painted} {}", lines.join(&format!("\n{indent}")));
        for (name, what) in [("why", &finding.why), ("fix", &finding.fix)] {
            let lines = wrap(what, width, 16);
            let _ = writeln!(
                out,
                "{indent}{name}: {}",
                lines.join(&format!("\n{}", " ".repeat(16)))
            );
        }
    }
    for missing in &report.missing {
        let head = format!("{:<5} {:<4}", "open", missing.check);
        let lines = wrap(&format!("{}: {}", missing.title, missing.lacks), width, 11);
        let _ = writeln!(
            out,
            "{} {}",
            paint(&head, "1;33"),
            lines.join("\n           ")
        );
    }
    if !report.findings.is_empty() || !report.missing.is_empty() {
        out.push('\n');
    }
    for boot in &report.boots {
        let what = &boot.prediction;
        let mut line = match what.outcome {
            Outcome::Starts => "starts".to_owned(),
            Outcome::Refuses => format!("refuses: {}", what.text),
            Outcome::Panics => format!("panics: {}", what.text),
            Outcome::Stalls => format!("does not serve: {}", what.text),
        };
        for (name, ids) in [
            ("corrects", &what.healed),
            ("brings back", &what.zombies),
            ("lists as learners", &what.learners),
        ] {
            if !ids.is_empty() {
                let _ = write!(line, "; {name} {}", ids.join(", "));
            }
        }
        for unsure in &what.unsure {
            let _ = write!(line, "; {unsure}");
        }
        let line = wrap(
            &format!(
                "{} on the directory of {}: {line}",
                report.target, boot.member
            ),
            width,
            6,
        );
        let _ = writeln!(out, "boot  {}", line.join("\n      "));
    }
    if !report.boots.is_empty() {
        out.push('\n');
    }
    if !report.members.is_empty() {
        let mut heads = vec!["member"];
        heads.extend(COLUMNS);
        let mut table = Table::new(&heads);
        for facts in &report.members {
            let mut row = vec![facts.label.clone()];
            row.extend(columns(facts));
            table.row(row);
        }
        out.push_str(&table.draw());
        out.push('\n');
    }
    let passed: Vec<&str> = of(report, |s| *s == State::Passed);
    if !passed.is_empty() {
        let lines = wrap(&passed.join(", "), width, 11);
        let _ = writeln!(out, "passed     {}", lines.join("\n           "));
    }
    let mut unchecked = String::new();
    for check in &report.checks {
        if let State::Unchecked(lacks) = &check.state {
            let lines = wrap(&format!("{}: {lacks}", check.title), width, 16);
            let _ = writeln!(
                unchecked,
                "           {:<4} {}",
                check.id,
                lines.join("\n                ")
            );
        }
    }
    if !unchecked.is_empty() {
        let _ = write!(out, "not made\n{unchecked}");
    }
    out
}

/// What is the same at several members is told once.
fn grouped(report: &Report) -> Vec<(String, &crate::checks::Finding)> {
    let mut groups: Vec<(String, &crate::checks::Finding)> = Vec::new();
    for finding in &report.findings {
        let same = groups.iter_mut().find(|(_, first)| {
            (first.check, first.level, &first.seen, &first.fix)
                == (finding.check, finding.level, &finding.seen, &finding.fix)
        });
        match same {
            Some((members, _)) => {
                members.push_str(", ");
                members.push_str(&finding.member);
            }
            None => groups.push((finding.member.clone(), finding)),
        }
    }
    groups
}

fn of(report: &Report, wanted: impl Fn(&State) -> bool) -> Vec<&'static str> {
    let checks = report.checks.iter().filter(|check| wanted(&check.state));
    checks.map(|check| check.id).collect()
}

/// Breaks a text into lines of at most `width` columns less `indent`; a word that
/// is longer stands alone.
fn wrap(text: &str, width: usize, indent: usize) -> Vec<String> {
    let room = width.saturating_sub(indent).max(30);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= room {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
