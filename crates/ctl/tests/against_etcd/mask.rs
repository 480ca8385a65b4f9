//! What may differ between two runs, and the comparison of all the rest.

use crate::{bench::Outcome, cases::Case};

/// How the two differ, or `None`.
pub(crate) fn difference(case: &Case, theirs: &Outcome, ours: &Outcome) -> Option<String> {
    let (their_out, our_out) = (stdout(case, theirs), stdout(case, ours));
    let (their_err, our_err) = (stderr(theirs), stderr(ours));
    // One line of advice may follow what etcdctl says.
    let errors_agree = our_err.starts_with(&their_err)
        && our_err.len() <= their_err.len() + usize::from(!their_err.is_empty());
    if theirs.code == ours.code && their_out == our_out && errors_agree {
        return None;
    }
    Some(format!(
        "  etcdctl: {:?}\n{}{}  ours: {:?}\n{}{}",
        theirs.code,
        indent("out", &their_out),
        indent("err", &their_err.join("\n")),
        ours.code,
        indent("out", &our_out),
        indent("err", &our_err.join("\n")),
    ))
}

fn indent(name: &str, text: &str) -> String {
    text.lines()
        .map(|line| format!("    {name}| {line}\n"))
        .collect()
}

/// The id after "lease ".
pub(crate) fn lease_of(output: &str) -> Option<String> {
    let id = output.split("lease ").nth(1)?.get(..16)?;
    u64::from_str_radix(id, 16).ok()?;
    Some(id.to_owned())
}

fn stdout(case: &Case, outcome: &Outcome) -> String {
    let mut text = outcome.stdout.clone();
    if let Some(help) = text.find("NAME:\n") {
        text.truncate(help);
        // etcdctl shows the help page on wrong flags too, on stdout.
        if outcome.code == Some(0) {
            text.push_str("(help)");
        }
    }
    // This etcdctl says in a third line whose it is.
    let text: String = text
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("Pintle version: "))
        .collect();
    let mut text = lease_ids(&boxes(&text), &outcome.lease);
    let is = |name: &str| case.words.iter().any(|word| word == name);
    if is("lease") {
        text = mask_numbers(&text, 16);
        text = mask_after(&text, &["remaining(", "\"ttl\":"], is_digit);
        if is("timetolive") {
            text = mask_after(&text, &["\"TTL\" : "], is_digit);
            text = text.replace("[la lb]", "[lb la]");
        }
    }
    if is("health") || is("healt") {
        text = mask_after(&text, &["took = ", "\"took\":\"", "\"Took\" : "], |c| {
            c.is_alphanumeric() || c == '.'
        });
        text = text.lines().map(|line| squeeze(line) + "\n").collect();
    }
    if is("status") {
        let keys = ["\"dbSize\":", "\"dbSizeInUse\":", "\"DBSize\" : "];
        text = mask_after(&text, &keys, is_digit);
        text = text.lines().map(|line| mask_size(line) + "\n").collect();
    }
    text.replace(&*outcome.directory.to_string_lossy(), "DIR")
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit() || c == '-'
}

/// The box characters of newer builds of etcd's etcdctl, as older ones draw.
fn boxes(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '┌' | '┬' | '┐' | '├' | '┼' | '┤' | '└' | '┴' | '┘' => '+',
            '─' => '-',
            '│' => '|',
            other => other,
        })
        .collect()
}

fn lease_ids(text: &str, lease: &str) -> String {
    match i64::from_str_radix(lease, 16) {
        Ok(id) => text
            .replace(lease, "LEASE")
            .replace(&id.to_string(), "LEASE"),
        Err(_) => text.to_owned(),
    }
}

/// Masks words of at least `length` hexadecimal digits that hold a digit.
fn mask_numbers(text: &str, length: usize) -> String {
    let mut out = String::new();
    let mut word = String::new();
    for c in text.chars().chain(['\0']) {
        if c.is_ascii_hexdigit() {
            word.push(c);
            continue;
        }
        if word.len() >= length {
            out.push_str("LEASE");
        } else {
            out.push_str(&word);
        }
        word.clear();
        if c != '\0' {
            out.push(c);
        }
    }
    out
}

/// Masks what follows each of `keys` while `belongs` holds.
fn mask_after(text: &str, keys: &[&str], belongs: impl Fn(char) -> bool) -> String {
    let mut text = text.to_owned();
    for key in keys {
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find(key) {
            let (before, after) = rest.split_at(at + key.len());
            out.push_str(before);
            out.push('*');
            rest = after.trim_start_matches(&belongs);
        }
        out.push_str(rest);
        text = out;
    }
    text
}

/// Masks the size column of `endpoint status` (25 kB) and, since a table is as
/// wide as its sizes, runs of spaces and lines.
fn mask_size(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let units = ["B,", "kB,", "MB,", "B", "kB", "MB"];
    let masked: Vec<&str> = words
        .iter()
        .enumerate()
        .map(|(at, word)| match words.get(at + 1) {
            Some(unit) if units.contains(unit) => "*",
            _ => word,
        })
        .collect();
    squeeze(&masked.join(" "))
}

/// A line of a table without its padding, and with the times of `endpoint
/// health` masked; other lines are left alone.
fn squeeze(line: &str) -> String {
    if line.starts_with('+') {
        return line.chars().filter(|c| *c == '+').collect();
    }
    if !line.starts_with('|') {
        return line.to_owned();
    }
    line.split_whitespace()
        .map(|word| match word.strip_suffix('s') {
            Some(number) if number.starts_with(|c: char| c.is_ascii_digit()) => "*",
            _ => word,
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// The lines of stderr that carry meaning, each once.
fn stderr(outcome: &Outcome) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let text = lease_ids(&outcome.stderr, &outcome.lease);
    let text = text.replace(&*outcome.directory.to_string_lossy(), "DIR");
    for line in text.lines() {
        // Log lines of the Go client, and the page cobra adds to its errors.
        let noise = line.is_empty()
            || line.starts_with("{\"level\":\"warn\"")
            || line.starts_with("{\"level\":\"info\"")
            || line.starts_with("{\"level\":\"error\"")
            || line.starts_with("Warning: ")
            || line.starts_with("In etcd v3.6, the operation will be suspended")
            || line.starts_with("stty: ")
            || line.starts_with("Run 'etcdctl");
        if noise {
            continue;
        }
        // etcdctl logs this one, in more words.
        let line = match line.contains("conflicting environment variable") {
            true => "conflicting environment variable",
            false => line.split("; got ").next().unwrap_or(line),
        };
        if !lines.iter().any(|known| known == line) {
            lines.push(line.to_owned());
        }
    }
    lines
}
