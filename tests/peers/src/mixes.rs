//! Which programs share a cluster in the suite. A few mixes by default, so that
//! the suite stays within minutes; every mix with `PINTLE_MATRIX=full`, the ones
//! of etcd alone included, which prove the tests themselves. It must never put
//! together what etcd itself does not support: members more than one minor
//! release apart.

use std::{fmt, future::Future, time::Duration};

use anyhow::Result;

use crate::{
    peer::{self, Program},
    server,
};

/// The programs of one cluster.
#[derive(Clone, Debug)]
pub struct Mix(pub Vec<Program>);

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(Program::to_string).collect();
        write!(f, "{}", names.join(" + "))
    }
}

/// Whether the full matrix is wanted.
pub fn is_full() -> bool {
    std::env::var("PINTLE_MATRIX").is_ok_and(|v| v == "full")
}

/// The releases that a subject of this version may share a cluster with.
fn releases() -> Vec<Program> {
    const ALL: [&str; 6] = ["3.5.30", "3.4.23", "3.6.14", "3.5.16", "3.5.1", "3.7.1"];
    ALL.iter().filter_map(|v| peer::etcd(v)).collect()
}

/// Whether these may form a cluster: at most one minor release apart.
fn supported(programs: &[Program]) -> bool {
    let minors = programs.iter().map(|p| p.minor().1);
    let (low, high) = (minors.clone().min(), minors.max());
    high.zip(low).is_some_and(|(high, low)| high - low <= 1)
}

/// Pairs of the subject with a release, both orders: `few` of them by default.
pub fn pairs(few: &[&str]) -> Vec<[Program; 2]> {
    let Some(subject) = peer::subject() else {
        return Vec::new();
    };
    let mut pairs = Vec::new();
    for release in releases() {
        let wanted = is_full() || few.contains(&release.version.as_str());
        if wanted && supported(&[subject.clone(), release.clone()]) {
            pairs.push([subject.clone(), release.clone()]);
            if release != subject {
                pairs.push([release, subject.clone()]);
            }
        }
    }
    pairs
}

/// Releases beside the subject, each once: `few` of them by default.
pub fn others(few: &[&str]) -> Vec<(Program, Program)> {
    let Some(subject) = peer::subject() else {
        return Vec::new();
    };
    releases()
        .into_iter()
        .filter(|r| is_full() || few.contains(&r.version.as_str()))
        .filter(|r| supported(&[subject.clone(), r.clone()]))
        .map(|r| (subject.clone(), r))
        .collect()
}

/// Clusters of `size`. In words: the subject alone; beside one release in every
/// proportion; beside two different releases; the full matrix also has each
/// release alone. By default only those of `few` run, whose words are versions
/// and `P` for the subject.
pub fn clusters(size: usize, few: &[&str]) -> Vec<Mix> {
    let Some(subject) = peer::subject() else {
        return Vec::new();
    };
    let releases = releases();
    let mut mixes = vec![Mix(vec![subject.clone(); size])];
    for release in &releases {
        let least = if is_full() { 0 } else { 1 };
        for subjects in least..size {
            let mut programs = vec![subject.clone(); subjects];
            programs.resize(size, release.clone());
            mixes.push(Mix(programs));
        }
    }
    for (i, a) in releases.iter().enumerate() {
        for b in &releases[i + 1..] {
            let mut programs = vec![subject.clone(); size - 2];
            programs.extend([a.clone(), b.clone()]);
            mixes.push(Mix(programs));
        }
    }
    mixes.retain(|m| supported(&m.0));
    if !is_full() {
        let word = |p: &Program| match p.is_pintle {
            true => "P".to_owned(),
            false => p.version.clone(),
        };
        let few = few.iter().map(|f| f.replace('P', &word(&subject)));
        let few: Vec<String> = few.collect();
        mixes.retain(|m| {
            let words: Vec<String> = m.0.iter().map(word).collect();
            few.contains(&words.join(" "))
        });
    }
    mixes.sort_by_key(Mix::to_string);
    mixes.dedup_by_key(|m| m.to_string());
    mixes
}

/// Runs `body` for every one of `cases`, each with a deadline, goes on after a
/// failure, and ends with all failures. Each success is a line `RAN:`.
pub fn each<C: fmt::Display, F: Future<Output = Result<String>>>(
    test: &str,
    seconds_max: u64,
    cases: Vec<C>,
    mut body: impl FnMut(C) -> F,
) {
    let mut failures = Vec::new();
    let mut errors = Vec::new();
    let wanted = std::env::var("PINTLE_CASE").ok();
    for case in cases {
        let name = case.to_string();
        if wanted.as_ref().is_some_and(|w| !name.contains(w.as_str())) {
            continue;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a tokio runtime");
        server::forget_logs();
        let started = std::time::Instant::now();
        let outcome = runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(seconds_max), body(case)).await
        });
        drop(runtime);
        let seconds = started.elapsed().as_secs();
        let error = match outcome {
            Ok(Ok(note)) => {
                peer::say(&format!("RAN: {test}: {name}: {note} ({seconds} s)"));
                continue;
            }
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => format!("not finished after {seconds_max} s"),
        };
        peer::say(&format!(
            "FAILED: {test}: {name}: {}",
            error.lines().next().unwrap_or("")
        ));
        let mut message = format!("=== {test}: {name}: {error}");
        errors.push(message.clone());
        for log in server::last_logs() {
            if !message.contains(&log) {
                message.push('\n');
                message.push_str(&log);
            }
        }
        failures.push(message);
    }
    // Once more below the logs, where a reader begins.
    failures.append(&mut errors);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
