//! The report as one page that needs nothing beside it: it can be mailed, and
//! opened on a machine without a network.

use std::fmt::Write as _;

use super::{
    context::Context,
    summary::{COLUMNS, columns, explained, sentence, verdict},
};
use crate::{
    checks::{self, Given, Level, Report, State},
    explain,
    plan::{Plan, Wishes},
    predict::Outcome,
};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}\
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}\
table{border-collapse:collapse;width:100%}th,td{border:1px solid #d5dae0;padding:.35rem .6rem;text-align:left;vertical-align:top}\
th{background:#f3f5f8}.v{display:inline-block;padding:.1rem .7rem;border-radius:.3rem;color:#fff}\
.block{background:#b3261e}.warn{background:#9a6700}.safe{background:#1a7f37}.fix{font-family:ui-monospace,monospace;font-size:.9em}\
@media(prefers-color-scheme:dark){body{background:#15181c;color:#e3e6ea}th{background:#20252b}th,td{border-color:#3a424b}}";

/// The page.
pub fn html(report: &Report) -> String {
    let class = match report.worst() {
        Some(Level::Block) => "block",
        Some(Level::Warn) => "warn",
        None => "safe",
    };
    let mut out = String::new();
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Upgrade check: {}</title><style>{STYLE}</style>\
         <h1><span class=\"v {class}\">{}</span> {}</h1>",
        verdict(report),
        verdict(report),
        escape(&sentence(report))
    );
    let about = Context::of(&report.members).sentence();
    let _ = write!(out, "<p>{}</p>", escape(&about));
    found(&mut out, report);
    boots(&mut out, report);
    members(&mut out, report);
    steps(&mut out, report);
    every_check(&mut out, report);
    explanations(&mut out, report);
    out.push_str("</html>\n");
    out
}

/// What was found.
fn found(out: &mut String, report: &Report) {
    if !report.findings.is_empty() {
        out.push_str("<h2>What was found</h2><table><tr><th>Check<th>Member<th>Seen<th>Why it matters<th>Shortest safe fix</tr>");
        for finding in &report.findings {
            let class = match finding.level {
                Level::Block => "block",
                Level::Warn => "warn",
            };
            let _ = write!(
                out,
                "<tr><td><a href=\"#{id}\"><span class=\"v {class}\">{id}</span></a><td>{}<td>{}<td>{}<td class=\"fix\">{}</tr>",
                escape(&finding.member),
                escape(&finding.seen),
                escape(&finding.why),
                escape(&finding.fix),
                id = finding.check
            );
        }
        out.push_str("</table>");
    }
}

/// What the target does at boot.
fn boots(out: &mut String, report: &Report) {
    if !report.boots.is_empty() {
        let _ = write!(
            out,
            "<h2>What {} does at boot</h2><table><tr><th>Member<th>Start<th>Corrects<th>Brings back<th>Lists as learners</tr>",
            escape(&report.target.to_string())
        );
        for boot in &report.boots {
            let what = &boot.prediction;
            let start = match what.outcome {
                Outcome::Starts => "starts".to_owned(),
                Outcome::Refuses => format!("refuses: {}", what.text),
                Outcome::Panics => format!("panics: {}", what.text),
                Outcome::Stalls => format!("does not serve: {}", what.text),
            };
            let _ = write!(
                out,
                "<tr><td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
                escape(&boot.member),
                escape(&start),
                escape(&what.healed.join(", ")),
                escape(&what.zombies.join(", ")),
                escape(&what.learners.join(", "))
            );
        }
        out.push_str("</table>");
    }
}

/// The members side by side.
fn members(out: &mut String, report: &Report) {
    out.push_str("<h2>The members side by side</h2><table><tr><th>Member");
    for column in COLUMNS {
        let _ = write!(out, "<th>{column}");
    }
    out.push_str("</tr>");
    for facts in &report.members {
        let _ = write!(out, "<tr><td>{}", escape(&facts.label));
        for cell in columns(facts) {
            let _ = write!(out, "<td>{}", escape(&cell));
        }
        out.push_str("</tr>");
    }
    out.push_str("</table>");
}

/// The path.
fn steps(out: &mut String, report: &Report) {
    if let Some(plan) = way(report) {
        out.push_str("<h2>The way</h2><ol>");
        for step in &plan.steps {
            let _ = write!(out, "<li>{}", escape(&step.what));
        }
        out.push_str("</ol>");
    }
}

/// Every check and what became of it.
fn every_check(out: &mut String, report: &Report) {
    out.push_str("<h2>Every check</h2><table><tr><th>Check<th>Looks for<th>Result</tr>");
    for check in &report.checks {
        let state = match &check.state {
            State::Passed => "passed".to_owned(),
            State::Unneeded => "not needed for this target".to_owned(),
            State::Found => "found something".to_owned(),
            State::Unchecked(lacks) => format!("not made: {lacks}"),
        };
        let _ = write!(
            out,
            "<tr><td>{}<td>{}<td>{}</tr>",
            check.id,
            escape(check.title),
            escape(&state)
        );
    }
    out.push_str("</table>");
}

/// What is meant by all that was found or predicted.
fn explanations(out: &mut String, report: &Report) {
    let ids = explained(report);
    if ids.is_empty() {
        return;
    }
    out.push_str("<h2>Explained</h2>");
    for entry in explain::all().filter(|entry| ids.contains(&entry.id)) {
        let (id, title) = (entry.id, escape(entry.title));
        let _ = write!(out, "<section id=\"{id}\"><h3>{id} {title}</h3><dl>");
        for (heading, text) in entry.parts() {
            let _ = write!(out, "<dt>{heading}<dd>{}", escape(text));
        }
        out.push_str("</dl></section>");
    }
}

/// The plan, where nothing blocks its first release.
fn way(report: &Report) -> Option<Plan> {
    let wishes = Wishes::default();
    let mut plan = Plan::make(&report.members, &report.target, &wishes).ok()?;
    let given = Given {
        now: checks::now(),
        ..Given::default()
    };
    plan.check(&report.members, &given);
    (!plan.steps.is_empty()).then_some(plan)
}

/// Text from files and members must not become markup.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
