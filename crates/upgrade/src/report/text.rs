//! The report for people: the verdict first, then what to do, then what was
//! looked at. Long lines are broken for the terminal, never cut.

use std::fmt::Write as _;

use cli::table::Table;

use super::{
    context::Context,
    summary::{COLUMNS, columns, explained, sentence, verdict},
};
use crate::{
    checks::{Boot, Finding, Level, Missing, Report, State, Verdict},
    output::wrap,
    predict::Outcome,
};

/// The report, with colours if `colour`, for a terminal of `width` columns.
pub fn text(report: &Report, colour: bool, width: usize) -> String {
    let page = Page { colour, width };
    let mut out = page.head(report);
    for (members, finding) in grouped(report) {
        out.push_str(&page.finding(&members, finding));
    }
    for missing in &report.missing {
        out.push_str(&page.missing(missing));
    }
    if !report.findings.is_empty() || !report.missing.is_empty() {
        out.push('\n');
    }
    for boot in &report.boots {
        out.push_str(&page.boot(report, boot));
    }
    if !report.boots.is_empty() {
        out.push('\n');
    }
    out.push_str(&members(report));
    out.push_str(&page.passed(report));
    out.push_str(&page.not_made(report));
    let about = Context::of(&report.members).sentence();
    let _ = writeln!(out, "\nlooked at  {}", page.wrapped(&about, 11));
    let ids = explained(report);
    if !ids.is_empty() {
        let words = page.wrapped(&format!("pintle upgrade explain {}", ids.join(" ")), 11);
        let _ = writeln!(out, "explained  {words}");
    }
    out
}

/// How a page looks.
struct Page {
    colour: bool,
    width: usize,
}

impl Page {
    fn paint(&self, text: &str, code: &str) -> String {
        match self.colour {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    /// A text with `indent` blanks before every line but the first.
    fn wrapped(&self, text: &str, indent: usize) -> String {
        let lines = wrap(text, self.width, indent);
        lines.join(&format!("\n{}", " ".repeat(indent)))
    }

    /// The verdict, and what it means.
    fn head(&self, report: &Report) -> String {
        let hue = match report.verdict() {
            Verdict::Blocked => "1;31",
            Verdict::Warnings | Verdict::Incomplete => "1;33",
            Verdict::Safe => "1;32",
        };
        let verdict = self.paint(verdict(report), hue);
        format!("{verdict} {}\n\n", sentence(report))
    }

    fn finding(&self, members: &str, finding: &Finding) -> String {
        let (word, hue) = match finding.level {
            Level::Block => ("block", "1;31"),
            Level::Warn => ("warn", "1;33"),
        };
        let member = match members {
            "" => String::new(),
            members => format!("{members}: "),
        };
        let head = self.paint(&format!("{:<5} {:<4}", word, finding.check), hue);
        let seen = self.wrapped(&format!("{member}{}", finding.seen), 11);
        let mut out = format!("{head} {seen}\n");
        for (name, what) in [("why", &finding.why), ("fix", &finding.fix)] {
            let _ = writeln!(out, "{}{name}: {}", " ".repeat(11), self.wrapped(what, 16));
        }
        out
    }

    fn missing(&self, missing: &Missing) -> String {
        let head = self.paint(&format!("{:<5} {:<4}", "open", missing.check), "1;33");
        let lacks = self.wrapped(&format!("{}: {}", missing.title, missing.lacks), 11);
        format!("{head} {lacks}\n")
    }

    /// How the target starts on one directory.
    fn boot(&self, report: &Report, boot: &Boot) -> String {
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
        let whose = format!("{} on the directory of {}", report.target, boot.member);
        format!("boot  {}\n", self.wrapped(&format!("{whose}: {line}"), 6))
    }

    fn passed(&self, report: &Report) -> String {
        let row = |head: &str, state: State| {
            let checks = report.checks.iter().filter(|check| check.state == state);
            let ids: Vec<&str> = checks.map(|check| check.id).collect();
            match ids.is_empty() {
                true => String::new(),
                false => format!("{head:<10} {}\n", self.wrapped(&ids.join(", "), 11)),
            }
        };
        row("passed", State::Passed) + &row("not needed", State::Unneeded)
    }

    fn not_made(&self, report: &Report) -> String {
        // Those that decide are said above; what lacks the same source is said once.
        let is_open = |id: &str| report.missing.iter().any(|missing| missing.check == id);
        let mut by_source: Vec<(Vec<&str>, &str)> = Vec::new();
        for check in report.checks.iter().filter(|check| !is_open(check.id)) {
            let State::Unchecked(lacks) = &check.state else {
                continue;
            };
            match by_source.iter_mut().find(|(_, known)| known == lacks) {
                Some((ids, _)) => ids.push(check.id),
                None => by_source.push((vec![check.id], lacks)),
            }
        }
        let mut out = String::new();
        for (ids, lacks) in by_source {
            let line = format!("{}: {lacks}", ids.join(", "));
            let _ = writeln!(out, "           {}", self.wrapped(&line, 11));
        }
        match out.is_empty() {
            true => out,
            false => format!("not made\n{out}"),
        }
    }
}

/// The members, one in a row.
fn members(report: &Report) -> String {
    if report.members.is_empty() {
        return String::new();
    }
    let mut heads = vec!["member"];
    heads.extend(COLUMNS);
    let mut table = Table::new(&heads);
    for facts in &report.members {
        let mut row = vec![facts.label.clone()];
        row.extend(columns(facts));
        table.row(row);
    }
    format!("{}\n", table.draw())
}

/// What is the same at several members is told once.
fn grouped(report: &Report) -> Vec<(String, &Finding)> {
    let mut groups: Vec<(String, &Finding)> = Vec::new();
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
