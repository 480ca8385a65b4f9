//! Reads every source that a command line names: directories, database files, members.

use std::{collections::BTreeSet, io::IsTerminal as _, path::Path};

use cli::flags::Parsed;

use crate::{
    access::{access, scratch_folder},
    backup,
    checks::NotCompared,
    facts::Facts,
    failure::{Failure, Outcome},
    hashes,
    inspect::{self, Access},
    runtime::block_on,
};

/// What was read of all members.
pub(crate) struct Sources {
    /// One for each directory, file or member that answered.
    pub(crate) members: Vec<Facts>,
    /// Endpoints that did not answer, each with the reason.
    pub(crate) silent: Vec<(String, String)>,
    /// Hashes of all keys at one revision, or why there are none.
    pub(crate) hashes: Option<Result<Vec<(String, u32)>, NotCompared>>,
}

/// Reads the sources that flags name. With `pages` the pages of databases are walked, with
/// `databases` running members stream theirs.
pub(crate) fn sources(
    parsed: &Parsed,
    snapshots: &[&str],
    pages: bool,
    databases: bool,
) -> Outcome<Sources> {
    let (endpoints, dirs) = (parsed.list("endpoints"), parsed.list("data-dir"));
    if endpoints.is_empty() && dirs.is_empty() && snapshots.is_empty() {
        return Err(Failure::new(
            "nothing to look at: give --endpoints, --data-dir or --snapshot",
        ));
    }
    let wal_dir = parsed.text("wal-dir");
    if !wal_dir.is_empty() && dirs.len() != 1 {
        return Err(Failure::new("--wal-dir goes with exactly one --data-dir"));
    }
    let mut found = Sources {
        members: Vec::new(),
        silent: Vec::new(),
        hashes: None,
    };
    for dir in &dirs {
        let wal_dir = Some(Path::new(wal_dir)).filter(|d| !d.as_os_str().is_empty());
        let running = !endpoints.is_empty();
        let read = inspect::directory(Path::new(dir), wal_dir, pages, running)?;
        found.members.push(read);
    }
    for path in snapshots {
        found.members.push(Facts {
            label: (*path).to_owned(),
            database: Some(inspect::database(Path::new(path), pages)?),
            ..Facts::default()
        });
    }
    if found
        .members
        .iter()
        .filter(|f| f.database.is_some())
        .count()
        > 1
    {
        found.hashes = Some(hashes::files(&found.members));
    }
    if !endpoints.is_empty() {
        // Whatever else runs on this machine goes first.
        let _ = rustix::process::nice(10);
        let scratch = match databases {
            true => Some(backup::scratch(&scratch_folder(parsed))?),
            false => None,
        };
        let mut access = access(parsed, scratch.as_ref().map(|s| s.path().to_owned()))?;
        access.pages = pages;
        let all = match parsed.bool("cluster") {
            true => block_on(listed(&access, &endpoints))?,
            false => endpoints.iter().map(|e| (*e).to_owned()).collect(),
        };
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        block_on(ask(&access, &all, &mut found))?;
        join(&mut found.members);
    }
    match found.members.is_empty() {
        true => Err(unanswered(&found.silent)),
        false => Ok(found),
    }
}

/// No source says anything: a mistyped address must not read as a verdict on a cluster.
fn unanswered(silent: &[(String, String)]) -> Failure {
    let lines = silent
        .iter()
        .map(|(endpoint, why)| format!("\n  {endpoint}: {why}"));
    Failure::new(format!(
        "no member answered, so nothing was judged; are these client URLs of running members, and are they reached from here? What is not reached may serve all the same.{}",
        lines.collect::<String>()
    ))
}

/// Puts the log of a running member, read from its directory, to what the member told;
/// and gives members that cannot tell it the name that the others know.
fn join(members: &mut Vec<Facts>) {
    let mut logs = Vec::new();
    members.retain_mut(|facts| match facts.in_use {
        true => {
            logs.push(std::mem::take(facts));
            false
        }
        false => true,
    });
    for mut read in logs {
        let same = |facts: &&mut Facts| facts.live.is_some() && facts.id == read.id;
        match members.iter_mut().find(same) {
            Some(facts) => facts.log = read.log.take(),
            None => members.push(read),
        }
    }
    let names: Vec<_> = members
        .iter()
        .filter_map(|facts| facts.live.as_ref())
        .flat_map(|live| live.members.iter().map(|m| (m.id, m.name.clone())))
        .collect();
    for facts in members.iter_mut() {
        let unnamed = facts
            .live
            .as_ref()
            .is_some_and(|l| l.endpoint == facts.label);
        let name = names
            .iter()
            .find(|(id, name)| Some(*id) == facts.id && !name.is_empty());
        if let (true, Some((_, name))) = (unnamed, name) {
            facts.label.clone_from(name);
        }
    }
}

/// The client URLs of all members that the first endpoint to answer lists.
pub(crate) async fn listed(access: &Access, endpoints: &[&str]) -> Outcome<Vec<String>> {
    let mut last = Failure::new("no endpoint");
    for endpoint in endpoints {
        let quick = Access {
            scratch: None,
            ..access.clone()
        };
        match inspect::live(&quick, endpoint).await {
            Ok(facts) => {
                let members = facts.live.map(|live| live.members).unwrap_or_default();
                let urls = members.iter().map(|m| m.client_urls.first().cloned());
                // One that has not published itself has none, and is asked for by its peer URL.
                let or_peer = urls
                    .zip(&members)
                    .map(|(url, m)| url.or(m.peer_urls.first().cloned()));
                return Ok(or_peer.flatten().collect());
            }
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

/// Asks every endpoint, one after the other: a loaded cluster should not feel it.
async fn ask(access: &Access, endpoints: &[&str], found: &mut Sources) -> Outcome<()> {
    let quiet = !std::io::stderr().is_terminal();
    // Hashed here, out of what they stream anyway, members have less to do than when
    // each is asked for its hash.
    let access = &Access {
        hash_at: match access.scratch {
            Some(_) => hashes::common_revision(access, endpoints).await,
            None => 0,
        },
        ..access.clone()
    };
    for endpoint in endpoints {
        if !quiet {
            eprint!("\r\x1b[Kasking {endpoint} ...");
        }
        match inspect::live(access, endpoint).await {
            Ok(facts) => found.members.push(facts),
            // Of the member nothing is known; "bring it back" would be wrong advice.
            Err(error @ inspect::Error::Refused { .. }) => return Err(error.into()),
            Err(error) => {
                let text = error.to_string();
                let why = text.strip_prefix(&format!("{endpoint}: ")).unwrap_or(&text);
                found.silent.push(((*endpoint).to_owned(), why.to_owned()));
            }
        }
    }
    inspect::moments(access, &mut found.members).await;
    if !quiet {
        eprint!("\r\x1b[K");
    }
    let asked: Vec<&str> = endpoints
        .iter()
        .copied()
        .filter(|e| !found.silent.iter().any(|(s, _)| s == e))
        .filter(|e| !found.members.iter().any(|f| is_learner_at(f, e)))
        .collect();
    if asked.len() > 1 {
        let mut hashes = hashes::streamed(&found.members).ok_or_else(|| NotCompared(String::new()));
        for _ in 0..3 {
            if hashes.is_ok() {
                break;
            }
            hashes = hashes::live(access, &asked).await;
        }
        found.hashes = Some(hashes);
    }
    Ok(())
}

/// A learner is asked for no hash: it answers none.
fn is_learner_at(facts: &Facts, endpoint: &str) -> bool {
    let live = facts.live.as_ref();
    live.is_some_and(|live| live.is_learner && live.endpoint == endpoint)
}

/// The members that are Pintle, by name.
pub(crate) fn pintles(parsed: &Parsed, members: &[Facts]) -> Outcome<BTreeSet<String>> {
    let access = access(parsed, None)?;
    block_on(async {
        let mut pintles = BTreeSet::new();
        for facts in members {
            let Some(live) = &facts.live else { continue };
            if inspect::is_pintle(&access, &live.endpoint).await == Some(true) {
                pintles.insert(facts.label.clone());
            }
        }
        Ok(pintles)
    })
}
