//! From a command line to an exit code.

use std::io::Write as _;

use cli::flags::Parsed;

use crate::command::{self, Action, Asked};
use crate::compare::{self, Compare};
use crate::net;
use crate::options::{Format, Load, count};
use crate::report::Report;
use crate::restart::{self, Restart};
use crate::workload::{self, Cluster, Workload};

/// The exit code for a line that cannot be read, as of every program of Pintle.
const USAGE: i32 = 1;

/// Runs the program with `args`, the first of which is its name. Returns the
/// exit code: 0 when everything was measured without an error, 1 when a run
/// failed, the server answered an error, or the line cannot be read.
pub fn main(args: Vec<String>) -> i32 {
    match command::read(args.get(1..).unwrap_or_default()) {
        Ok(Asked::Page(page)) => {
            print(&page);
            0
        }
        Ok(Asked::Run(action, parsed)) => {
            net::catch_interrupt();
            run(action, &parsed)
        }
        Err(message) => {
            eprintln!("Error: {message}\nRun 'pintle bench --help' for usage.");
            USAGE
        }
    }
}

fn run(action: Action, parsed: &Parsed) -> i32 {
    let workload = match action {
        Action::Restart => return show(&restart::run(&Restart::of(parsed)), Format::of(parsed)),
        Action::Compare => {
            let (code, text) = compare::run(&Compare::of(parsed));
            print(&text);
            return code;
        }
        Action::Put => Workload::Put,
        Action::Get => Workload::Get {
            serializable: parsed.bool("serializable"),
        },
        Action::TxnK8s => Workload::TxnK8s {
            conflicts: parsed.uint("conflicts"),
        },
        Action::List => Workload::List {
            limit: parsed.int("limit"),
        },
        Action::ListStream => Workload::ListStream,
        Action::Watch => Workload::Watch {
            watchers: count(parsed, "watchers"),
            streams: count(parsed, "streams"),
        },
        Action::Mixed => Workload::Mixed {
            readers: count(parsed, "readers"),
            serializable: parsed.bool("serializable"),
        },
        Action::Load => Workload::Load,
        Action::K8s => Workload::K8s(Cluster::of(parsed)),
    };
    show(
        &workload::run(&workload, &Load::of(parsed)),
        Format::of(parsed),
    )
}

fn show(report: &Report, format: Format) -> i32 {
    let measured = report.operations > 0 || report.error_count() > 0;
    if measured || format != Format::Table {
        print(&report.render(format));
    }
    if let Some(reason) = &report.failed {
        eprintln!("bench: {}: {reason}", report.workload);
    }
    i32::from(report.failed.is_some() || report.error_count() > 0)
}

/// Writes to standard output; a reader that has gone is no error of ours.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
