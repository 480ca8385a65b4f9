//! From a command line to an exit code.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use cli::{flags::Parsed, interrupt, private::Part};
use client::Credentials;

use crate::{
    backup,
    checks::{self, ApiServer, Finding, Given, Level},
    command::{self, Action},
    exit,
    facts::{Certificate, Facts},
    failure::{Failure, Outcome},
    inspect::{self, Access},
    manifest::Manifest,
    next_command,
    plan::{Plan, Wishes},
    repair, report,
    run::{
        self, Allow, Driver as _, Engine, FromFile, Journal, Named, Rehearsal, Step, Stop, Watched,
        Way, look_around,
    },
    target::{self, Target},
};

pub(crate) fn run(words: &[String]) -> i32 {
    // A program of its own, with commands and exit codes of its own.
    if let Some((_, words)) = words
        .split_first()
        .filter(|(first, _)| *first == command::IMAGE.0)
    {
        return image::main(words);
    }
    let line = match command::read(words) {
        Ok(line) => line,
        Err(message) => {
            warn(&format!(
                "Error: {message}\nRun 'pintle upgrade --help' for usage."
            ));
            return exit::ERROR;
        }
    };
    if let Some(page) = line.page {
        return print(&page).map_or_else(fail, |()| 0);
    }
    interrupt::exit_with(exit::INTERRUPTED);
    interrupt::listen();
    let outcome = match line.action {
        Some(Action::Check) => check(&line.parsed),
        Some(Action::Plan) => plan(&line.parsed),
        Some(Action::Backup) => take_backup(&line.parsed),
        Some(Action::Rehearse) => rehearse(&line.parsed),
        Some(Action::Run) => carry_out(&line.parsed),
        Some(Action::Rollback) => take_back(&line.parsed),
        Some(Action::Repair) => mend(&line.parsed),
        None => Ok(0),
    };
    outcome.unwrap_or_else(fail)
}

fn fail(failure: Failure) -> i32 {
    warn(&format!("Error: {failure}"));
    failure.code()
}

/// A line for people. A terminal that is gone must not end what is under way.
fn warn(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn print(text: &str) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|e| Failure::new(format!("write stdout: {e}")))
}

/// Whether `-w json` was asked for.
fn as_json(parsed: &Parsed) -> Outcome<bool> {
    match parsed.text("write-out") {
        "json" => Ok(true),
        "table" | "simple" => Ok(false),
        other => Err(Failure::new(format!(
            "unsupported output format {other:?}; there are table and json"
        ))),
    }
}

/// Runs work that a signal may cut off anywhere.
fn block_on<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let _attended = interrupt::attend(1);
    to_its_end(async {
        tokio::select! {
            outcome = work => outcome,
            why = interrupt::asked(1) => Err(Failure::interrupted(why)),
        }
    })
}

/// Runs work that sees to signals itself where they matter.
fn to_its_end<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(format!("cannot start the runtime: {e}")))?;
    runtime.block_on(work)
}

/// How members are reached, by the flags of etcdctl.
fn access(parsed: &Parsed, scratch: Option<PathBuf>) -> Outcome<Access> {
    let (cert, key, cacert) = (
        parsed.text("cert"),
        parsed.text("key"),
        parsed.text("cacert"),
    );
    if cert.is_empty() != key.is_empty() {
        return Err(Failure::new("--cert and --key go together"));
    }
    let skip_verify = parsed.bool("insecure-skip-tls-verify");
    let options = tls::ClientOptions {
        identity: (!cert.is_empty()).then(|| tls::Identity {
            cert: cert.into(),
            key: key.into(),
        }),
        trusted_ca: (!cacert.is_empty()).then(|| cacert.into()),
        skip_verify,
        alpn: vec![b"h2".to_vec()],
        ..tls::ClientOptions::default()
    };
    let secure = !cert.is_empty() || !cacert.is_empty() || skip_verify;
    let mut probe = options.clone();
    probe.skip_verify = true;
    probe.alpn = vec![b"http/1.1".to_vec()];
    let connect = |options| match secure {
        true => tls::Connector::new(options)
            .map(|connector| Some(Arc::new(connector)))
            .map_err(Failure::new),
        false => Ok(None),
    };
    let (connector, probe) = (connect(options)?, connect(probe)?);
    let user = parsed.text("user");
    let (name, password) = user
        .split_once(':')
        .unwrap_or((user, parsed.text("password")));
    Ok(Access {
        tls: connector,
        tls_by_default: !cert.is_empty() || !cacert.is_empty(),
        probe,
        credentials: (!name.is_empty()).then(|| Credentials {
            name: name.to_owned(),
            password: password.to_owned(),
        }),
        dial_timeout: parsed.duration("dial-timeout"),
        command_timeout: parsed.duration("command-timeout"),
        scratch,
        pages: true,
        stream_rate: parsed.uint("stream-rate") << 20,
        hash_at: 0,
    })
}

/// What was read of all members.
struct Sources {
    members: Vec<Facts>,
    silent: Vec<(String, String)>,
    hashes: Option<Result<Vec<(String, u32)>, String>>,
}

fn sources(parsed: &Parsed, snapshots: &[&str], pages: bool, databases: bool) -> Outcome<Sources> {
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
        found.hashes = Some(hash_files(&found.members));
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
    Ok(found)
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
async fn listed(access: &Access, endpoints: &[&str]) -> Outcome<Vec<String>> {
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
            Some(_) => common_revision(access, endpoints).await,
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
        let mut hashes = hash_streamed(&found.members).ok_or_else(String::new);
        for _ in 0..3 {
            if hashes.is_ok() {
                break;
            }
            hashes = hash_live(access, &asked).await;
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

/// The newest revision that all members that answer have, 0 if none does.
async fn common_revision(access: &Access, endpoints: &[&str]) -> i64 {
    let mut revision = i64::MAX;
    for endpoint in endpoints {
        if let Ok((_, status)) = access.greet(endpoint).await {
            revision = revision.min(status.header.map_or(1, |h| h.revision));
        }
    }
    match revision {
        i64::MAX => 0,
        revision => revision,
    }
}

/// The hashes of the databases that were streamed, if there is one of each member
/// and none of them was compacted meanwhile.
fn hash_streamed(members: &[Facts]) -> Option<Vec<(String, u32)>> {
    let mut hashes = Vec::new();
    let mut compacted = None;
    for facts in members {
        let live = facts.live.as_ref()?;
        let hash = live.hash?;
        if *compacted.get_or_insert(hash.compacted) != hash.compacted {
            return None;
        }
        hashes.push((live.endpoint.clone(), hash.hash));
    }
    Some(hashes)
}

/// Hashes at the newest revision that all members have.
async fn hash_live(access: &Access, endpoints: &[&str]) -> Result<Vec<(String, u32)>, String> {
    let mut revision = i64::MAX;
    for endpoint in endpoints {
        let asked = access.greet(endpoint).await;
        let (_, status) = asked.map_err(|e| e.to_string())?;
        revision = revision.min(status.header.map_or(1, |h| h.revision));
    }
    let mut hashes = Vec::new();
    let mut compacted = None;
    for endpoint in endpoints {
        let hash = inspect::hash(access, endpoint, revision)
            .await
            .map_err(|e| e.to_string())?;
        if *compacted.get_or_insert(hash.compacted) != hash.compacted {
            return Err("the members are compacting just now; check again".into());
        }
        hashes.push(((*endpoint).to_owned(), hash.hash));
    }
    Ok(hashes)
}

/// The same of files.
fn hash_files(members: &[Facts]) -> Result<Vec<(String, u32)>, String> {
    let databases: Vec<_> = members
        .iter()
        .filter_map(|facts| Some((facts.label.clone(), facts.database.as_ref()?)))
        .collect();
    let revision = databases.iter().map(|(_, d)| d.revision).min().unwrap_or(1);
    let compacted = databases
        .iter()
        .map(|(_, d)| d.compacted)
        .max()
        .unwrap_or(0);
    if databases.iter().any(|(_, d)| d.compacted != compacted) {
        return Err(
            "the directories were compacted at different revisions; start the members, let them catch up, and check again"
                .into(),
        );
    }
    databases
        .iter()
        .map(|(label, database)| {
            let hash = utl::hash_kv(&database.path, revision)?;
            Ok((label.clone(), hash))
        })
        .collect()
}

/// Certificates in files that can be read here: the client's own, and those that
/// the manifest of a member names.
fn certificate_files(own: &str, manifest: Option<&Manifest>) -> Vec<Certificate> {
    let flags = [
        "cert-file",
        "peer-cert-file",
        "trusted-ca-file",
        "peer-trusted-ca-file",
    ];
    let named = flags.iter().filter_map(|flag| manifest?.value(flag));
    let mut paths: Vec<String> = Some(own.to_owned())
        .filter(|p| !p.is_empty())
        .into_iter()
        .collect();
    paths.extend(named);
    paths.sort();
    paths.dedup();
    let mut found = Vec::new();
    for path in paths {
        // What cannot be read here is seen on the connection.
        for leaf in tls::leaves(Path::new(&path)).unwrap_or_default() {
            found.push(Certificate::of(path.clone(), &leaf, None));
        }
    }
    found
}

/// What the manifest of an API server says of etcd.
fn api_server(path: &Path) -> Outcome<ApiServer> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::io("read", path, &e))?;
    let words = || {
        text.lines().map(|line| {
            line.trim()
                .trim_start_matches("- ")
                .trim_matches(['"', '\''])
        })
    };
    let servers = words().find_map(|word| word.strip_prefix("--etcd-servers="));
    let servers = servers.ok_or_else(|| {
        Failure::new(format!(
            "{} is not the manifest of an API server: no --etcd-servers in it",
            path.display()
        ))
    })?;
    let image = words().find_map(|word| word.strip_prefix("image:"));
    let tag = image.and_then(|image| image.split('@').next()?.rsplit_once(":v1."));
    Ok(ApiServer {
        path: path.display().to_string(),
        minor: tag.and_then(|(_, rest)| rest.split('.').next()?.parse().ok()),
        etcd_servers: servers
            .split(',')
            .map(|url| url.trim().to_owned())
            .collect(),
    })
}

/// What an image is, if it is the one of the digest.
fn verified(path: &str, digest: &str) -> Result<String, String> {
    let found = image::verify(Path::new(path), digest).map_err(|e| e.to_string())?;
    Ok(format!("{} for {}", found.digest, found.platform))
}

fn check(parsed: &Parsed) -> Outcome<i32> {
    let target = Target::parse(parsed.text("target")).map_err(Failure::new)?;
    let json = as_json(parsed)?;
    let manifest = match parsed.text("manifest") {
        "" => None,
        path => Some(Manifest::read(Path::new(path))?),
    };
    let mut api_servers = Vec::new();
    for path in parsed.list("kube-manifest") {
        api_servers.push(api_server(Path::new(path))?);
    }
    let image = match (parsed.text("image"), parsed.text("digest")) {
        ("", "") => None,
        (path, digest) if !path.is_empty() && !digest.is_empty() => {
            Some((path.to_owned(), verified(path, digest)))
        }
        _ => return Err(Failure::new("--image and --digest go together")),
    };
    // A page that cannot be written is better known before the work.
    let page = match parsed.text("html") {
        "" => None,
        path => Some(Page::begin(Path::new(path))?),
    };
    let snapshots = parsed.list("snapshot");
    let sources = sources(
        parsed,
        &snapshots,
        !parsed.bool("no-pages"),
        !parsed.bool("no-databases"),
    )?;
    let backup = match parsed.text("backup") {
        "" => None,
        path => Some((path.to_owned(), backup::verify(Path::new(path)))),
    };
    let given = Given {
        silent: sources.silent,
        flags: manifest.as_ref().map(Manifest::settings),
        restore_is_planned: parsed.text("backup").ends_with(".db")
            && std::fs::read_to_string(Path::new(parsed.text("backup")).with_extension("json"))
                .is_ok_and(|text| text.contains("--bump-revision")),
        backup,
        hashes: sources.hashes,
        learners_max: 1,
        certificates: certificate_files(parsed.text("cert"), manifest.as_ref()),
        now: checks::now(),
        api_servers,
        image,
    };
    let report = checks::run(target, sources.members, &given);
    if let Some(page) = page {
        page.complete(&report::html(&report))?;
    }
    let text = match json {
        true => format!("{}\n", report::json(&report)),
        false => {
            let terminal = std::io::stdout().is_terminal();
            let colour = terminal && std::env::var_os("NO_COLOR").is_none();
            report::text(&report, colour, width())
        }
    };
    print(&text)?;
    Ok(report.exit_code())
}

/// The report as a page, which gets its name when it is complete.
struct Page {
    path: PathBuf,
    part: Part,
}

impl Page {
    fn begin(path: &Path) -> Outcome<Page> {
        let part = Part::of(path).map_err(|e| Failure::io("write", path, &e))?;
        Ok(Page {
            path: path.to_owned(),
            part,
        })
    }

    fn complete(self, text: &str) -> Outcome<()> {
        let write = || {
            self.part.file().write_all(text.as_bytes())?;
            self.part.complete()
        };
        write().map_err(|e| Failure::io("write", &self.path, &e))
    }
}

/// Columns of the terminal.
fn width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    columns.unwrap_or(100).clamp(60, 160)
}

/// What keeps the first member of a plan from being stopped as the cluster is now, by the
/// same decision as `run` makes. Without endpoints nobody knows.
fn first_stop(parsed: &Parsed, members: &[Facts], plan: &Plan) -> Outcome<Option<Finding>> {
    let named: Vec<Named> = members
        .iter()
        .filter_map(|facts| {
            Some(Named {
                name: facts.label.clone(),
                endpoint: facts.live.as_ref()?.endpoint.clone(),
                directory: None,
            })
        })
        .collect();
    if named.is_empty() || plan.machine.is_empty() {
        return Ok(None);
    }
    let access = access(parsed, None)?;
    let view = block_on(async { Ok(look_around(&access, &named, None, None).await) })?;
    let refusal = run::refusal(&view, plan.machine.iter());
    Ok(refusal.map(|refusal| Finding {
        check: "stop",
        level: Level::Block,
        member: String::new(),
        seen: refusal.to_string(),
        why: "`pintle upgrade run` would stop no member now".into(),
        fix: view.state(),
    }))
}

fn plan(parsed: &Parsed) -> Outcome<i32> {
    let target = Target::parse(parsed.text("target")).map_err(Failure::new)?;
    let json = as_json(parsed)?;
    let available = parsed.list("available");
    let available: Vec<semver::Version> = available
        .iter()
        .map(|text| Target::parse(text).map(|t| t.version).map_err(Failure::new))
        .collect::<Outcome<_>>()?;
    let sources = sources(parsed, &[], false, !parsed.bool("no-databases"))?;
    let wishes = Wishes {
        available: &available,
        pintles: pintles(parsed, &sources.members)?,
        allow_lower_patch: allow(parsed).lower_patch,
        anew: match allow(parsed).new_build {
            true => sources.members.iter().map(|m| m.label.clone()).collect(),
            false => BTreeSet::new(),
        },
        ..Wishes::default()
    };
    let plan = Plan::make(&sources.members, &target, &wishes);
    let mut plan = plan.map_err(|why| match sources.silent.first() {
        Some((endpoint, silent)) => Failure::new(format!("{endpoint}: {silent}")),
        None => Failure::new(why),
    })?;
    let manifest = parsed.text("manifest");
    let mut becomes = String::new();
    let given = Given {
        silent: sources.silent,
        hashes: sources.hashes,
        learners_max: 1,
        now: checks::now(),
        ..Given::default()
    };
    let seen = plan.check(&sources.members, &given);
    if let Some(found) = first_stop(parsed, &sources.members, &plan)? {
        plan.block(found);
    }
    let lacking = seen.map(|seen| seen.missing).unwrap_or_default();
    // Without databases no one knows whose records a restart corrects, or what blocks.
    let blind = lacking.iter().any(|missing| missing.check == "P4");
    let code = match (plan.blocked.is_empty(), blind) {
        (false, _) => exit::STOPPED,
        (true, true) => exit::INCOMPLETE,
        (true, false) => exit::OK,
    };
    if manifest.is_empty() {
        let lines = sources
            .members
            .iter()
            .filter_map(|facts| facts.live.as_ref());
        let words: Vec<String> = lines
            .filter_map(|live| live.command_line.clone())
            .flatten()
            .collect();
        plan.flags = checks::changes(&words, target.minor());
        plan.flags.sort();
        plan.flags.dedup();
    } else {
        let path = Path::new(manifest);
        let mut manifest = Manifest::read(path)?;
        plan.flags = checks::changes(&manifest.settings(), target.minor());
        for (at, to) in plan.versions.iter().enumerate().skip(1) {
            let pintle = target.is_pintle && at + 1 == plan.versions.len();
            let image = manifest.image_for(to);
            let edited = manifest.edited(&image, to, pintle, &[])?;
            becomes.push_str(&format!(
                "\nthe manifest for {}:\n{}",
                plan.path[at], edited.diff
            ));
            manifest = Manifest::parse(path, edited.text)?;
        }
    }
    if json {
        let value = serde_json::to_string(&plan).map_err(Failure::new)?;
        print(&format!("{value}\n"))?;
        return Ok(code);
    }
    if !plan.blocked.is_empty() {
        print(&blocked(&plan))?;
        return Ok(code);
    }
    let mut text = format!("{}\n\n", plan.path.join(" -> "));
    for (at, step) in plan.steps.iter().enumerate() {
        text.push_str(&format!(
            "{:>3}. {}\n     ({})\n",
            at + 1,
            step.what,
            step.why
        ));
    }
    for (version, flag, instead) in &plan.flags {
        text.push_str(&format!("\nfor {version}: --{flag} becomes {instead}"));
    }
    if !plan.flags.is_empty() {
        text.push('\n');
    }
    if plan.steps.is_empty() {
        text.push_str("nothing to do: every member runs it\n");
    }
    for missing in &lacking {
        text.push_str(&format!(
            "\nnot looked at: {} {}: {}\n",
            missing.check, missing.title, missing.lacks
        ));
    }
    text.push_str(&becomes);
    print(&text)?;
    Ok(code)
}

/// Why there is no plan.
fn blocked(plan: &Plan) -> String {
    let mut text = format!(
        "BLOCKED: the next step, to {}, must not begin\n",
        plan.path.get(1).map_or("the target", String::as_str)
    );
    for finding in &plan.blocked {
        text.push_str(&format!(
            "\n{} {}: {}\n     why: {}\n     fix: {}\n",
            finding.check, finding.member, finding.seen, finding.why, finding.fix
        ));
    }
    text
}

/// The members that are Pintle, by name.
fn pintles(parsed: &Parsed, members: &[Facts]) -> Outcome<BTreeSet<String>> {
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

fn take_backup(parsed: &Parsed) -> Outcome<i32> {
    let endpoints = parsed.list("endpoints");
    let Some(endpoint) = endpoints.first() else {
        return Err(Failure::new("--endpoints names no member"));
    };
    let access = access(parsed, None)?;
    let dir = PathBuf::from(parsed.text("out"));
    let text = block_on(backup::take(&access, endpoint, &dir))?;
    print(&text)?;
    Ok(0)
}

/// Mends the databases of running members.
fn mend_online(parsed: &Parsed, json: bool) -> Outcome<i32> {
    let scratch = backup::scratch(&scratch_folder(parsed))?;
    let mut access = access(parsed, Some(scratch.path().to_owned()))?;
    access.pages = false;
    let endpoints = parsed.list("endpoints");
    block_on(async {
        let endpoints = match parsed.bool("cluster") {
            true => listed(&access, &endpoints).await?,
            false => endpoints.iter().map(|e| (*e).to_owned()).collect(),
        };
        let plan = repair::online::plan(&access, &endpoints).await?;
        let mut lines = plan.wrong.clone();
        let unchanged = !lines.is_empty() && !parsed.bool("yes");
        if lines.is_empty() {
            lines.push("nothing to mend".into());
        } else {
            lines.extend(plan.actions());
            lines.push(match parsed.bool("yes") {
                true => {
                    plan.carry_out(&access, &endpoints).await?;
                    "mended: every database has the members that the cluster lists".into()
                }
                false => "nothing was changed; --yes carries this out".into(),
            });
        }
        print(&match json {
            true => format!(
                "{}\n",
                serde_json::json!({"endpoints": endpoints, "said": lines})
            ),
            false => lines.iter().map(|line| format!("{line}\n")).collect(),
        })?;
        Ok(if unchanged { exit::UNCHANGED } else { exit::OK })
    })
}

fn mend(parsed: &Parsed) -> Outcome<i32> {
    let dirs = parsed.list("data-dir");
    let json = as_json(parsed)?;
    match (dirs.is_empty(), parsed.list("endpoints").is_empty()) {
        (true, true) => {
            return Err(Failure::new(
                "nothing to mend: give --data-dir of a stopped member, or --endpoints of all running ones",
            ));
        }
        (false, false) => {
            return Err(Failure::new(
                "--data-dir mends stopped members and --endpoints running ones; give one of them",
            ));
        }
        (true, false) => return mend_online(parsed, json),
        (false, true) => {}
    }
    let wal_dir = Some(Path::new(parsed.text("wal-dir"))).filter(|d| !d.as_os_str().is_empty());
    let mut code = exit::OK;
    for dir in dirs {
        let failed = |e: repair::Error| Failure::new(e);
        let repair =
            repair::plan(Path::new(dir), wal_dir, parsed.bool("drop-v2")).map_err(failed)?;
        let mut text = String::new();
        for change in &repair.changes {
            text.push_str(&format!("{change}\n"));
        }
        if repair.is_empty() {
            text.push_str(&format!("{dir}: nothing to mend\n"));
        } else if !parsed.bool("yes") {
            text.push_str("nothing was changed; --yes carries this out\n");
            code = exit::UNCHANGED;
        } else {
            let kept = repair.carry_out().map_err(failed)?;
            text.push_str(&format!(
                "mended; the files as they were: {}\n",
                kept.display()
            ));
        }
        if json {
            let lines: Vec<&str> = text.lines().collect();
            text = format!("{}\n", serde_json::json!({"dir": dir, "said": lines}));
        }
        print(&text)?;
    }
    Ok(code)
}

/// The exit code of a run. `again` is the command that continues it.
fn stopped(outcome: Result<(), Stop>, again: &str, advice: &str) -> Outcome<i32> {
    match outcome {
        Ok(()) => Ok(0),
        Err(Stop::Failed(failure)) => Err(failure),
        Err(Stop::Others(text)) => {
            say(&text);
            Ok(exit::RESERVED)
        }
        Err(Stop::Asked { signal, state }) => {
            warn(&format!("{signal}; {state}. To go on: {again}"));
            Ok(exit::INTERRUPTED)
        }
        Err(Stop::Cut(member)) => {
            warn(&format!(
                "{member} is stopped and was not started again. The next command: {again}"
            ));
            Ok(exit::INTERRUPTED)
        }
        Err(Stop::Deviated { step, why, state }) => {
            let state = match state.as_str() {
                "" => String::new(),
                state => format!("{state}\n"),
            };
            warn(&format!("stopped at: {step}\n  {why}\n{state}{advice}"));
            Ok(exit::STOPPED)
        }
    }
}

/// How steps came out that a signal may have cut off.
enum Cut {
    /// They ended by themselves.
    Ended(Result<(), Stop>),
    /// Where no member is between its stop and its start.
    Between(&'static str),
    /// While this member was stopped.
    In(String),
}

/// Steps that a signal does not cut off between the stop and the start of a member: the
/// first one ends them when that is done, a second one at once.
async fn steps_until_asked(
    steps: impl Future<Output = Result<(), Stop>>,
    down: &RefCell<Option<String>>,
) -> Cut {
    let cut = async {
        let signal = interrupt::asked(1).await;
        if down.borrow().is_none() {
            return Cut::Between(signal);
        }
        warn(&format!(
            "{signal}: this step is finished first, a second signal ends it at once"
        ));
        let signal = interrupt::asked(2).await;
        match down.borrow().as_ref() {
            None => Cut::Between(signal),
            Some(member) => Cut::In(member.clone()),
        }
    };
    tokio::select! {
        outcome = steps => Cut::Ended(outcome),
        cut = cut => cut,
    }
}

impl Cut {
    /// The same as a stop, with what the cluster says of itself.
    async fn told<D: run::Driver>(self, engine: &Engine<'_, D, Access>) -> Result<(), Stop> {
        match self {
            Cut::Ended(outcome) => outcome,
            Cut::Between(signal) => Err(engine.asked(signal).await),
            Cut::In(member) => Err(Stop::Cut(member)),
        }
    }
}

fn say(text: &str) {
    // A closed stdout must not stop a run half way.
    let _ = print(&format!("{text}\n"));
}

/// The folder for streamed databases.
fn scratch_folder(parsed: &Parsed) -> PathBuf {
    match parsed.text("scratch") {
        "" => std::env::temp_dir(),
        folder => folder.into(),
    }
}

/// What the command line allows a plan.
fn allow(parsed: &Parsed) -> Allow {
    Allow {
        lower_patch: parsed.bool(command::ALLOW_LOWER.name),
        new_build: parsed.bool(command::NEW_BUILD.name),
    }
}

fn carry_out(parsed: &Parsed) -> Outcome<i32> {
    let target = Target::parse(parsed.text("target")).map_err(Failure::new)?;
    let state = PathBuf::from(parsed.text("state"));
    let mut driver = FromFile::read(
        Path::new(parsed.text("members")),
        &state,
        parsed.bool(command::ONLY_HERE.name),
    )?;
    let scratch = backup::scratch(&scratch_folder(parsed))?;
    let mut access = access(parsed, Some(scratch.path().to_owned()))?;
    access.pages = false;
    let dry = parsed.bool("dry-run");
    let patience = parsed.duration("patience");
    let again = next_command::command("run", parsed);
    let back = next_command::command("rollback", parsed);
    let advice = format!("see to it and run the same command again, or: {back}");
    to_its_end(async {
        let journal_dir = match dry {
            true => scratch.path().to_owned(),
            false => state.clone(),
        };
        let journal = Journal::open(&journal_dir)?;
        let down = RefCell::new(None);
        let mut watched = Watched::new(&mut driver, &down);
        let mut engine = Engine {
            driver: &mut watched,
            cluster: &access,
            journal,
            patience,
            others: parsed.duration("others"),
            only_here: parsed.bool(command::ONLY_HERE.name),
            baseline: None,
            given_up: RefCell::default(),
            say: &say,
        };
        engine.is_let_in().await?;
        let steps = engine.begin(&target, allow(parsed), !dry).await?;
        if steps.is_empty() {
            say(&format!("nothing to do: every member runs {target}"));
            return Ok(exit::OK);
        }
        if dry {
            for (at, step) in steps.iter().enumerate() {
                say(&format!("[{}/{}] {}", at + 1, steps.len(), step.words()));
                if let Step::Swap {
                    member,
                    from,
                    to,
                    pintle,
                    ..
                } = step
                {
                    let diff = engine.driver.preview(member, from, to, *pintle)?;
                    diff.lines()
                        .for_each(|line| say(&format!("        {line}")));
                }
            }
            if let Some(refusal) = engine.first_refusal(&steps).await {
                say(&format!("as it is now: {refusal}"));
            }
            say("nothing was done");
            return Ok(0);
        }
        let _attended = interrupt::attend(2);
        let outcome = steps_until_asked(engine.run(), &down).await;
        let outcome = outcome.told(&engine).await;
        let done = outcome.is_ok();
        let code = stopped(outcome, &again, &advice)?;
        if done {
            let kept = engine.journal.retire()?;
            say(&format!("done; journal: {}", kept.display()));
        }
        Ok(code)
    })
}

const NOTHING_TO_TAKE_BACK: &str =
    "there was nothing to do: what the journal tells of was taken back, or never begun";

fn take_back(parsed: &Parsed) -> Outcome<i32> {
    let state = PathBuf::from(parsed.text("state"));
    let mut driver = FromFile::read(
        Path::new(parsed.text("members")),
        &state,
        parsed.bool(command::ONLY_HERE.name),
    )?;
    let to = match parsed.text("to") {
        "" => None,
        text => Some(Target::parse(text).map_err(Failure::new)?),
    };
    let nothing = || {
        Failure::new(format!(
            "{}: there is no journal of a run here; name with --to the release that all members ran before, and what they answer decides",
            state.display()
        ))
    };
    if to.is_none() && !state.is_dir() {
        return Err(nothing());
    }
    let scratch = backup::scratch(&std::env::temp_dir())?;
    let mut access = access(parsed, Some(scratch.path().to_owned()))?;
    access.pages = false;
    let dry = parsed.bool("dry-run");
    to_its_end(async {
        let journal = match &to {
            None => Journal::reopen(&state)?,
            Some(_) if dry && !state.is_dir() => Journal::open(scratch.path())?,
            // What finished runs have left tells nothing of what came after them.
            Some(_) => Journal::open(&state)?,
        };
        let down = RefCell::new(None);
        let mut watched = Watched::new(&mut driver, &down);
        let mut engine = Engine {
            driver: &mut watched,
            cluster: &access,
            journal,
            patience: parsed.duration("patience"),
            others: parsed.duration("patience"),
            only_here: parsed.bool(command::ONLY_HERE.name),
            baseline: None,
            given_up: RefCell::default(),
            say: &say,
        };
        engine.is_let_in().await?;
        let known = engine.journal.plan().map(|(steps, _)| steps.to_vec());
        let steps = match (known, to) {
            (None, None) => return Err(nothing()),
            (Some(steps), to) => {
                let before = steps.iter().find_map(|step| match step {
                    Step::Swap {
                        from, from_pintle, ..
                    } => Some((from, *from_pintle)),
                    _ => None,
                });
                let asked = to.as_ref().map(|to| (&to.version, to.is_pintle));
                if asked.is_some() && asked != before {
                    return Err(Failure::new(format!(
                        "{}: the journal of a run is here, and tells what the members ran before; leave --to out, or name another --state",
                        state.display()
                    )));
                }
                steps
            }
            (None, Some(to)) => match engine.find(&to).await? {
                Way::Nothing => {
                    say(&format!("every member runs {to} already"));
                    return Ok(0);
                }
                Way::Otherwise { found, instead } => {
                    warn(&format!("{found}\n  {instead}\nnothing was done"));
                    return Ok(exit::STOPPED);
                }
                Way::Steps {
                    found,
                    steps,
                    cluster,
                } => {
                    say(&format!("found: {found}"));
                    if !dry {
                        engine.adopt(steps.clone(), cluster)?;
                    }
                    steps
                }
            },
        };
        let begun = |journal: &Journal| (0..steps.len()).any(|at| journal.has_begun(at));
        let found = engine.journal.plan().is_none();
        let was_begun = found || begun(&engine.journal);
        if engine.journal.is_finished() && !was_begun {
            say(NOTHING_TO_TAKE_BACK);
            return Ok(exit::OK);
        }
        if !found {
            engine.may_go_back(&steps).await?;
        }
        if dry {
            for (at, step) in steps.iter().enumerate().rev() {
                if !found && !engine.journal.has_begun(at) {
                    continue;
                }
                match step {
                    Step::Swap { .. } => say(&step.back_in_words()),
                    Step::Settle { to } if found || engine.journal.is_done(at) => say(&format!(
                        "take the cluster version down from {}.{}, if it was moved by this",
                        to.major, to.minor
                    )),
                    _ => {}
                }
            }
            for line in engine.outlook(&steps).await {
                say(&line);
            }
            say("nothing was done");
            return Ok(0);
        }
        engine.journal.take_up()?;
        let _attended = interrupt::attend(2);
        let outcome = steps_until_asked(engine.roll_back(), &down).await;
        let outcome = outcome.told(&engine).await;
        let again = next_command::command("rollback", parsed);
        let advice = format!("see to it and run the same command again: {again}");
        let code = stopped(outcome, &again, &advice)?;
        if code == exit::OK && !begun(&engine.journal) {
            engine.journal.retire()?;
            say(if was_begun {
                "taken back"
            } else {
                NOTHING_TO_TAKE_BACK
            });
        }
        Ok(code)
    })
}

fn rehearse(parsed: &Parsed) -> Outcome<i32> {
    let target = Target::parse(parsed.text("target")).map_err(Failure::new)?;
    let from = Target::parse(parsed.text("from")).map_err(Failure::new)?;
    let backup_path = PathBuf::from(parsed.text("backup"));
    let dirs: Vec<PathBuf> = parsed.list("data-dir").iter().map(PathBuf::from).collect();
    match (dirs.is_empty(), backup_path.as_os_str().is_empty()) {
        (true, true) => {
            return Err(Failure::new(
                "nothing to rebuild the cluster from: give --data-dir of every member, or --backup",
            ));
        }
        (true, false) => {
            let found = backup::verify(&backup_path).map_err(Failure::new)?;
            say(&format!("{}: {found}", backup_path.display()));
        }
        (false, true) => {}
        (false, false) => {
            return Err(Failure::new(
                "--data-dir rebuilds the cluster as it is and --backup from a backup; give one of them",
            ));
        }
    }
    let mut binaries = std::collections::BTreeMap::new();
    for pair in parsed.list("binary") {
        let Some((version, path)) = pair.split_once('=') else {
            return Err(Failure::new(format!("--binary {pair}: not VERSION=PATH")));
        };
        let path = PathBuf::from(path);
        if !path.is_file() {
            return Err(Failure::new(format!("{}: no such file", path.display())));
        }
        let name = match version {
            "pintle" => version.to_owned(),
            _ => target::release(version).map_err(Failure::new)?.to_string(),
        };
        binaries.insert(name, path);
    }
    let scratch = backup::scratch(&scratch_folder(parsed))?;
    let members = usize::try_from(parsed.uint("members-count"))
        .unwrap_or(3)
        .clamp(1, 7);
    let of = Rehearsal {
        backup: &backup_path,
        dirs: &dirs,
        members,
        scratch: scratch.path(),
        binaries,
        from: from.version,
        target,
        patience: parsed.duration("patience"),
    };
    block_on(async {
        match run::rehearse(&of, &say).await {
            Ok(summary) => {
                say(&summary);
                Ok(0)
            }
            Err(stop) => stopped(
                Err(stop),
                "",
                "this is what would happen to the live cluster; it was not touched",
            ),
        }
    })
}
