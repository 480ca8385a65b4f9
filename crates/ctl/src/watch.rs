//! `watch`: one watch from the command line, or any number from the lines of
//! stdin; prints events and may run a command for each.

use std::{io::BufRead, os::unix::ffi::OsStringExt, sync::Arc};

use cli::{
    flags::{self, Parsed},
    text::{quote, words},
};
use client::{Watch, Watcher, prefix_end};
use proto::{
    etcdserverpb::{WatchCreateRequest, WatchResponse},
    mvccpb::{Event, event::EventType},
};
use tokio::sync::mpsc;

use crate::{
    child,
    failure::{EXIT_ERROR, EXIT_INTERRUPTED, EXIT_INVALID_INPUT, Failure, Outcome},
    global::Global,
    output::{Object, Output, Page, Show, wire},
    spec::WATCH,
};

const BAD_NUMBER: &str = "bad number of arguments";
const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
const FUTURE: &str = "etcdserver: mvcc: required revision is a future revision";
/// Lines of stdin read ahead.
const LINES_WAITING_MAX: usize = 16;

/// One watch as asked for.
struct Plan {
    request: WatchCreateRequest,
    /// The command to run for each event; empty for none.
    exec: Vec<Vec<u8>>,
}

/// `etcdctl watch`.
pub(crate) async fn run(parsed: &mut Parsed) -> Outcome {
    if parsed.bool("interactive") {
        let global = Global::resolve(parsed)?;
        global.output.refuse_table()?;
        let watcher = global.client().await?.watcher();
        return interactive(watcher, global.output).await;
    }
    let plan = plan(parsed).map_err(Failure::bad_args)?;
    let global = Global::resolve(parsed)?;
    global.output.refuse_table()?;
    let mut watcher = global.client().await?.watcher();
    let watch = watcher.watch(plan.request).await;
    follow(watch, plan.exec, global.output).await?;
    Err(Failure::new(
        EXIT_INTERRUPTED,
        "watch is canceled by the server",
    ))
}

/// What the arguments and the environment ask for.
fn plan(parsed: &Parsed) -> Result<Plan, String> {
    let (keys, exec) = match parsed.args_before_dash {
        Some(dash) => parsed.args.split_at(dash),
        None => (parsed.args.as_slice(), [].as_slice()),
    };
    let variable = |name| std::env::var_os(name).unwrap_or_default().into_vec();
    let env_key = variable("ETCDCTL_WATCH_KEY");
    let env_end = variable("ETCDCTL_WATCH_RANGE_END");
    if env_key.is_empty() && !env_end.is_empty() {
        let end = quote(&env_end);
        return Err(format!(
            "ETCDCTL_WATCH_KEY is empty but got ETCDCTL_WATCH_RANGE_END={end}"
        ));
    }
    let (key, end) = match keys {
        [] if env_key.is_empty() => return Err(BAD_NUMBER.into()),
        [] => (env_key, env_end),
        _ if !env_key.is_empty() => {
            return Err(format!("{BAD_NUMBER} (found conflicting environment key)"));
        }
        [key] => (key.clone(), Vec::new()),
        [key, end] => (key.clone(), end.clone()),
        _ if parsed.args_before_dash.is_some() => return Err(BAD_NUMBER.into()),
        [key, ..] => {
            eprintln!(
                "Warning: only the first key is watched; a command to run goes after two dashes"
            );
            (key.clone(), Vec::new())
        }
    };
    let prefix = parsed.bool("prefix");
    if prefix && !end.is_empty() {
        return Err("`range_end` and `--prefix` are mutually exclusive".into());
    }
    let (key, range_end) = match (prefix, key.is_empty()) {
        (true, true) => (vec![0], vec![0]),
        (true, false) => {
            let end = prefix_end(&key).to_vec();
            (key, end)
        }
        (false, _) => (key, end),
    };
    Ok(Plan {
        request: WatchCreateRequest {
            key: key.into(),
            range_end: range_end.into(),
            start_revision: parsed.int("rev"),
            prev_kv: parsed.bool("prev-kv"),
            progress_notify: parsed.bool("progress-notify"),
            ..Default::default()
        },
        exec: exec.to_vec(),
    })
}

/// Reads commands from stdin until it ends, which is an error as in etcdctl.
async fn interactive(mut watcher: Watcher, output: Output) -> Outcome {
    let (sender, mut lines) = mpsc::channel(LINES_WAITING_MAX);
    // Reads of stdin cannot be cancelled, so they have a thread of their own,
    // which the end of the program does not wait for.
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        loop {
            let mut line = Vec::new();
            match stdin.read_until(b'\n', &mut line) {
                // A last line without its newline was not entered.
                Ok(_) if line.pop() == Some(b'\n') => {
                    if sender.blocking_send(line).is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    });
    let (failed, mut failures) = mpsc::channel(1);
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            Some(failure) = failures.recv() => return Err(failure),
        };
        let Some(line) = line else {
            return Err(Failure::new(
                EXIT_INVALID_INPUT,
                "error reading watch request line: EOF",
            ));
        };
        let line = String::from_utf8_lossy(&line)
            .trim_end_matches('\r')
            .to_owned();
        match interactive_line(&line)? {
            Line::Watch(plan) => {
                let watch = watcher.watch(plan.request).await;
                let failed = failed.clone();
                tokio::spawn(async move {
                    if let Err(failure) = follow(watch, plan.exec, output).await {
                        let _ = failed.send(failure).await;
                    }
                });
            }
            Line::Progress => watcher.progress().await,
            Line::Invalid(message) => eprintln!("{message}"),
        }
    }
}

enum Line {
    Watch(Plan),
    Progress,
    Invalid(String),
}

fn interactive_line(line: &str) -> Outcome<Line> {
    let invalid = |why: &str| Ok(Line::Invalid(format!("Invalid command {line} ({why})")));
    let Some(words) = words(line) else {
        return invalid("invalid syntax");
    };
    let [name, args @ ..] = words.as_slice() else {
        return Ok(Line::Invalid(format!(
            "Invalid command: {line} (watch and progress supported)"
        )));
    };
    match name.as_slice() {
        b"progress" => return Ok(Line::Progress),
        b"watch" => {}
        _ => return invalid("only support watch"),
    }
    if args.is_empty() && std::env::var_os("ETCDCTL_WATCH_KEY").is_none() {
        return invalid("command type or key is not provided");
    }
    let parsed = flags::parse(args, WATCH.flags.iter()).map_err(Failure::bad_args)?;
    match plan(&parsed) {
        Ok(plan) => Ok(Line::Watch(plan)),
        Err(why) => invalid(&why),
    }
}

/// Prints a watch until the server cancels it.
async fn follow(mut watch: Watch, exec: Vec<Vec<u8>>, output: Output) -> Outcome {
    let exec = Arc::new(exec);
    loop {
        let mut response = match watch.message().await {
            Ok(Some(response)) => response,
            Ok(None) => return Ok(()),
            Err(error) => {
                eprintln!("watch was canceled ({error})");
                return Ok(());
            }
        };
        if response.canceled {
            eprintln!("watch was canceled ({})", cancel_reason(&response));
        }
        if refused(&response) {
            // etcdctl shows nothing of a refusal but its reason.
            response.header = None;
        }
        output.show(&response)?;
        if exec.is_empty() {
            continue;
        }
        let revision = response.header.unwrap_or_default().revision;
        for event in response.events {
            let exec = Arc::clone(&exec);
            // The connection must stay served while the command runs.
            tokio::task::spawn_blocking(move || execute(&exec, revision, &event))
                .await
                .map_err(|error| Failure::new(EXIT_ERROR, error.to_string()))??;
        }
    }
}

/// True for a watch that never came about.
fn refused(response: &WatchResponse) -> bool {
    response.created && response.canceled
}

fn cancel_reason(response: &WatchResponse) -> &str {
    if response.compact_revision != 0 {
        COMPACTED
    } else if response.cancel_reason.is_empty() {
        FUTURE
    } else {
        &response.cancel_reason
    }
}

/// Runs the command of a watch for one event.
fn execute(exec: &[Vec<u8>], revision: i64, event: &Event) -> Outcome {
    let kv = event.kv.clone().unwrap_or_default();
    let ended = child::run(
        exec,
        &[
            ("ETCD_WATCH_REVISION", revision.to_string()),
            ("ETCD_WATCH_EVENT_TYPE", quote(type_name(event).as_bytes())),
            ("ETCD_WATCH_KEY", quote(&kv.key)),
            ("ETCD_WATCH_VALUE", quote(&kv.value)),
        ],
    );
    ended.map_err(|trouble| {
        let words: Vec<_> = exec.iter().map(|word| quote(word)).collect();
        eprintln!("command [{}] error ({})", words.join(" "), trouble.why);
        Failure::silent(EXIT_ERROR)
    })
}

fn type_name(event: &Event) -> &'static str {
    match event.r#type() {
        EventType::Put => "PUT",
        EventType::Delete => "DELETE",
    }
}

/// True for a response that says nothing but how far the store is.
fn is_progress(response: &WatchResponse) -> bool {
    response.events.is_empty() && !response.canceled && !response.created
}

impl Show for WatchResponse {
    fn simple(&self, page: &mut Page) {
        progress_line(self, page);
        for event in &self.events {
            page.line(type_name(event));
            if let Some(kv) = &event.prev_kv {
                page.key_value(kv);
            }
            if let Some(kv) = &event.kv {
                page.key_value(kv);
            }
        }
    }

    fn json(&self, page: &mut Page) {
        progress_line(self, page);
        Object::write(&mut page.bytes, |object| {
            object.child("Header", |object| {
                object.header_fields(&self.header.unwrap_or_default());
            });
            if refused(self) {
                object.always("Events", "null");
            } else {
                object.children_always("Events", &self.events, |object, event| {
                    object.event(event);
                });
            }
            object.always("CompactRevision", self.compact_revision);
            object.always("Canceled", self.canceled);
            object.always("Created", self.created && !self.canceled);
        });
    }

    fn fields(&self, page: &mut Page) {
        progress_line(self, page);
        page.header_fields(self.header.as_ref());
        for event in &self.events {
            page.field("Type", type_name(event));
            if let Some(kv) = &event.prev_kv {
                page.key_value_fields("Prev", kv);
            }
            page.key_value_fields("", &event.kv.clone().unwrap_or_default());
        }
    }

    fn protobuf(&self) -> Vec<u8> {
        wire(&WatchResponse {
            header: self.header,
            events: self.events.clone(),
            compact_revision: self.compact_revision,
            canceled: self.canceled,
            ..Default::default()
        })
    }
}

/// etcdctl prints this line in every format.
fn progress_line(response: &WatchResponse, page: &mut Page) {
    if is_progress(response) {
        let revision = response.header.unwrap_or_default().revision;
        page.line(format!("progress notify: {revision}"));
    }
}
