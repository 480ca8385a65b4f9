//! `line`, `line set`: which line of etcd the members speak, and how the cluster gets to another
//! one while it runs. The members decide and do it; what is here asks them, and waits.

use std::time::{Duration, Instant};

use cli::{flags::Parsed, table::Table};
use client::{Client, Code, Endpoint, Error};
use proto::{
    etcdserverpb as api,
    pintlepb::{Finding, MemberLine, ShowResponse},
};

use crate::{
    failure::{EXIT_ERROR, EXIT_FEATURE, Failure, Outcome},
    global::Global,
    output::{Format, Object, Page},
    terminal::print_all,
};

/// What the members may take to look at each other, and to write the snapshot that a change needs.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a change is watched, if no longer time is given: it goes on without that.
const CHANGE_WITHIN: Duration = Duration::from_secs(300);
/// How long after the last member has forgotten a change the cluster may take to show its end.
const SETTLES_WITHIN: Duration = Duration::from_secs(10);
/// Answers in a row that may fail while a change is under way: its members go on by themselves.
const FAILURES_MAX: usize = 12;
/// As much of an unknown word as is repeated.
const SHOWN_MAX: usize = 32;
/// The lines, the lowest first.
const LINES: [&str; 3] = ["3.5", "3.6", "3.7"];

/// `etcdctl line [set <line>]`.
pub(crate) async fn run(parsed: &mut Parsed) -> Outcome {
    let words = parsed.words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let target = match words.as_slice() {
        [] => None,
        ["set", target] if LINES.contains(target) => Some((*target).to_owned()),
        ["set", other] => {
            let shown: String = other.chars().take(SHOWN_MAX).collect();
            let rest = if shown.len() < other.len() { "..." } else { "" };
            return Err(Failure::bad_args(format!(
                "{shown:?}{rest} is no line: there are 3.5, 3.6 and 3.7"
            )));
        }
        _ => {
            return Err(Failure::bad_args(
                "line: wants nothing, or `set` and a line",
            ));
        }
    };
    let global = Global::resolve(parsed)?;
    if matches!(global.output.format(), Format::Fields | Format::Protobuf) {
        return Err(Failure::new(
            EXIT_FEATURE,
            "line: the output formats are simple, json and table",
        ));
    }
    match (of_pintle(&global).await?, target) {
        (Some((client, _)), Some(target)) => set(&global, &client, &target).await,
        (Some((client, state)), None) => show(&global, &client, &state).await,
        (None, target) => of_etcd(&global, target.is_some()).await,
    }
}

/// The first endpoint that knows of lines, and what it says; `None` if all run etcd.
async fn of_pintle(global: &Global) -> Outcome<Option<(Client, ShowResponse)>> {
    let mut failed = None;
    for endpoint in &global.endpoints {
        let asked = async {
            let client = global.connect([endpoint.as_str()].into_iter()).await?;
            let state = client.show_lines("").await?;
            // From here on the members take their time.
            let patient = global.patient(global.command_timeout().max(PATIENCE));
            let client = patient.connect([endpoint.as_str()].into_iter()).await?;
            Ok((client, state))
        };
        match asked.await {
            Ok(found) => return Ok(Some(found)),
            Err(error) if is_unknown(&error) => {}
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(None),
    }
}

fn is_unknown(error: &Error) -> bool {
    error
        .as_status()
        .is_some_and(|(code, _)| code == Code::Unimplemented)
}

/// What etcd says of its versions, and what can be done about them.
async fn of_etcd(global: &Global, sets: bool) -> Outcome {
    let mut page = global.output.page();
    let mut members = Vec::new();
    for endpoint in &global.endpoints {
        let client = global.client_on([endpoint.as_str()].into_iter()).await?;
        let status = client.status(api::StatusRequest {}).await?;
        members.push(MemberLine {
            id: status.header.unwrap_or_default().member_id,
            name: endpoint.clone(),
            is_learner: status.is_learner,
            answers: true,
            release: status.version,
            storage_version: status.storage_version,
            ..MemberLine::default()
        });
    }
    if sets {
        let names: Vec<_> = members
            .iter()
            .map(|m| format!("{} runs etcd {}", m.name, m.release))
            .collect();
        return Err(Failure::new(
            EXIT_ERROR,
            format!(
                "{}: the line of etcd is that of its binary. Replace the binaries one by one, by those of the other line \
                 or by Pintle; `pintle upgrade plan` says how",
                names.join(", ")
            ),
        ));
    }
    let state = ShowResponse {
        members,
        ..ShowResponse::default()
    };
    write_state(&mut page, global.output.format(), &state, &[]);
    print_all(&page.bytes)
}

/// `line`: with what keeps the cluster from its neighbours.
async fn show(global: &Global, client: &Client, state: &ShowResponse) -> Outcome {
    let mut ways = Vec::new();
    let at = LINES
        .iter()
        .position(|line| is_of(&state.cluster_version, line));
    for (place, line) in LINES.iter().enumerate() {
        if at.is_some_and(|at| at.abs_diff(place) == 1) {
            ways.push((*line, client.show_lines(line).await?.findings));
        }
    }
    let mut page = global.output.page();
    write_state(&mut page, global.output.format(), state, &ways);
    print_all(&page.bytes)
}

fn is_of(version: &str, line: &str) -> bool {
    version.starts_with(&format!("{line}."))
}

/// The line of a member, or of its binary.
fn line_of(member: &MemberLine) -> String {
    match member.release.rsplit_once('.') {
        Some((line, _)) if member.pintle.is_empty() => format!("{line} (etcd)"),
        Some((line, _)) => line.to_owned(),
        None => "unknown".to_owned(),
    }
}

fn row(member: &MemberLine) -> Vec<String> {
    vec![
        format!("{:x}", member.id),
        member.name.clone(),
        line_of(member),
        member.release.clone(),
        member.storage_version.clone(),
        match (member.answers, member.change.is_empty()) {
            (false, _) => "does not answer".to_owned(),
            (true, true) => String::new(),
            (true, false) => format!("on its way to {}", member.change),
        },
    ]
}

fn write_state(
    page: &mut Page,
    format: Format,
    state: &ShowResponse,
    ways: &[(&str, Vec<Finding>)],
) {
    if format == Format::Json {
        write_json(page, state, ways);
        return;
    }
    if format == Format::Table {
        let mut table = Table::new(&[
            "ID",
            "Name",
            "Line",
            "Announces",
            "Storage Version",
            "State",
        ]);
        for member in &state.members {
            table.row(row(member));
        }
        page.text(table.draw());
    } else {
        for member in &state.members {
            page.line(row(member).join(", ").trim_end_matches([',', ' ']));
        }
    }
    if !state.cluster_version.is_empty() {
        page.line(format!("cluster version {}", state.cluster_version));
    }
    if !state.downgrade_target.is_empty() {
        page.line(format!(
            "a downgrade to {} is under way",
            state.downgrade_target
        ));
    }
    for (line, findings) in ways {
        if findings.is_empty() {
            page.line(format!("nothing keeps the cluster from {line}"));
        }
        for finding in findings {
            page.line(format!("not to {line}: {}", told(finding)));
        }
    }
}

fn told(finding: &Finding) -> String {
    match finding.name.as_str() {
        "" if finding.member_id == 0 => finding.text.clone(),
        "" => format!("{:x} {}", finding.member_id, finding.text),
        name => format!("{name} {}", finding.text),
    }
}

fn write_json(page: &mut Page, state: &ShowResponse, ways: &[(&str, Vec<Finding>)]) {
    Object::write(&mut page.bytes, |object| {
        object.text("cluster_version", &state.cluster_version);
        object.text("downgrade_target", &state.downgrade_target);
        object.children("members", &state.members, |object, member| {
            object.uint("id", member.id);
            object.text("name", &member.name);
            object.bool("is_learner", member.is_learner);
            object.always("answers", member.answers);
            object.text(
                "line",
                member.release.rsplit_once('.').map_or("", |(line, _)| line),
            );
            object.text("release", &member.release);
            object.text("pintle", &member.pintle);
            object.text("change", &member.change);
            object.text("storage_version", &member.storage_version);
        });
        object.children("lines", ways, |object, (line, findings)| {
            object.text("line", line);
            object.children("findings", findings, |object, finding| {
                object.uint("member_id", finding.member_id);
                object.text("name", &finding.name);
                object.text("kind", &finding.kind);
                object.text("text", &finding.text);
            });
        });
    });
    page.line("");
}

/// `line set`: progress on stderr, the state at the end on stdout.
async fn set(global: &Global, client: &Client, target: &str) -> Outcome {
    let mut said = String::new();
    let mut failures = 0;
    let mut last = None;
    let mut stopped: Option<Instant> = None;
    let mut begin: Option<Instant> = None;
    let patience = global.command_timeout().max(CHANGE_WITHIN);
    let others = others(global, client).await;
    let report = |state: Result<&ShowResponse, &Error>| match state {
        _ if begin.get_or_insert_with(Instant::now).elapsed() >= patience => false,
        Ok(state) => {
            failures = 0;
            let is_over = client::has_stopped_short(state, target)
                || client::has_line_but_for_silent(state, target);
            stopped = match is_over {
                true => stopped.or_else(|| Some(Instant::now())),
                false => None,
            };
            let now = progress(state, target);
            if now != said {
                eprintln!("{now}");
                said = now;
            }
            last = Some(state.clone());
            stopped.is_none_or(|since| since.elapsed() < SETTLES_WITHIN)
        }
        Err(_) => {
            failures += 1;
            failures < FAILURES_MAX
        }
    };
    let findings = client
        .change_line(target, &others, report)
        .await
        .inspect_err(|error| {
            if is_left_open(error) {
                eprintln!(
                    "the members may be on their way all the same: ask with `line`, and set the line again"
                );
            }
        })?;
    if !findings.is_empty() {
        for finding in &findings {
            eprintln!("{}", told(finding));
        }
        return Err(Failure::new(
            EXIT_ERROR,
            format!("the line is not set to {target}"),
        ));
    }
    let Some(state) = last
        .as_ref()
        .filter(|state| client::has_line(state, target))
    else {
        let is_there = |state: &&ShowResponse| client::has_line_but_for_silent(state, target);
        let why = if let Some(state) = last.as_ref().filter(is_there) {
            format!(
                "the members that answer are at {target}; {} does not answer, and follows when it is back",
                silent(state).join(", ")
            )
        } else if stopped.is_some() {
            format!(
                "the line is not set to {target}: no member is on its way there any more; ask with `line` what keeps them, \
                 and set it again"
            )
        } else if failures >= FAILURES_MAX {
            format!(
                "the members are on their way to {target}, but no longer answer here; they finish it, or take it back, by \
                 themselves: ask with `line`"
            )
        } else {
            format!(
                "the members are still on their way to {target} after {} seconds, and go on by themselves: ask with `line` \
                 which of them is missing, and set it again",
                patience.as_secs()
            )
        };
        return Err(Failure::new(EXIT_ERROR, why));
    };
    let mut page = global.output.page();
    write_state(&mut page, global.output.format(), state, &[]);
    if global.output.format() != Format::Json {
        page.line(format!("the cluster is at {target}"));
    }
    print_all(&page.bytes)
}

/// Clients of the other endpoints, for when the first one goes away.
async fn others(global: &Global, client: &Client) -> Vec<Client> {
    let used = client.endpoints();
    let mut others = Vec::new();
    for endpoint in &global.endpoints {
        let is_used = Endpoint::parse(endpoint).is_ok_and(|one| used.contains(&one));
        if is_used {
            continue;
        }
        let patient = global.patient(PATIENCE);
        if let Ok(other) = patient.connect([endpoint.as_str()].into_iter()).await {
            others.push(other);
        }
    }
    others
}

/// Whether an error leaves open what the members do.
fn is_left_open(error: &Error) -> bool {
    !matches!(
        error.as_status(),
        Some((code, _)) if matches!(
            code,
            Code::PermissionDenied | Code::Unauthenticated | Code::InvalidArgument
        )
    )
}

/// How far a change is, in one line.
fn progress(state: &ShowResponse, target: &str) -> String {
    let pintle: Vec<_> = state
        .members
        .iter()
        .filter(|m| !m.pintle.is_empty() || !m.answers)
        .collect();
    let there = pintle.iter().filter(|m| is_of(&m.release, target)).count();
    let silent = silent(state);
    let mut text = format!(
        "{there} of {} members speak {target}, cluster version {}",
        pintle.len(),
        state.cluster_version
    );
    if !state.downgrade_target.is_empty() {
        text += ", downgrade under way";
    }
    if !silent.is_empty() {
        text += &format!(", waiting for {}", silent.join(", "));
    }
    text
}

fn silent(state: &ShowResponse) -> Vec<&str> {
    let silent = state.members.iter().filter(|member| !member.answers);
    silent.map(|member| member.name.as_str()).collect()
}
