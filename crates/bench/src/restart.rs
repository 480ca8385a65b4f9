//! Starts a server again and again on what it has stored: the time to its
//! first answer and its memory then, and how long it takes to end.

use std::time::Duration;

use anyhow::Result;
use cli::flags::Parsed;

use crate::histogram::Histogram;
use crate::report::{Latency, Report};
use crate::server::Server;

/// Flags of `restart`.
#[derive(Debug)]
pub(crate) struct Restart {
    /// Client endpoint of the server that the command starts.
    endpoint: String,
    /// Number of restarts.
    rounds: u64,
    /// A name for the result.
    label: String,
    /// The command that starts the server in the foreground.
    command: Vec<String>,
}

impl Restart {
    /// What a line says.
    pub(crate) fn of(parsed: &Parsed) -> Self {
        Self {
            endpoint: parsed.text("endpoint").to_owned(),
            rounds: parsed.uint("rounds"),
            label: parsed.text("label").to_owned(),
            command: parsed.words(),
        }
    }
}

/// Runs it; a failure is part of the report.
pub(crate) fn run(flags: &Restart) -> Report {
    let mut report = Report {
        label: flags.label.clone(),
        workload: "restart",
        unit: "start",
        endpoints: vec![flags.endpoint.clone()],
        ..Report::default()
    };
    let (mut starts, mut stops) = (Histogram::default(), Histogram::default());
    if let Err(error) = rounds(flags, &mut report, &mut starts, &mut stops) {
        report.failed = Some(format!("{error:#}"));
    }
    report.operations = starts.len();
    report.latencies = vec![
        Latency::new("first answer", &starts),
        Latency::new("stop", &stops),
    ];
    report
}

fn rounds(
    flags: &Restart,
    report: &mut Report,
    starts: &mut Histogram,
    stops: &mut Histogram,
) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut total = Duration::ZERO;
    for _ in 0..flags.rounds {
        let (server, started) = Server::start(
            &flags.command,
            &flags.endpoint,
            &directory.path().join("log"),
        )?;
        starts.record(started.first_answer);
        total += started.first_answer;
        report.facts.insert(
            "resident bytes at first answer",
            started.usage.resident as f64,
        );
        report
            .facts
            .insert("peak bytes at first answer", started.usage.peak as f64);
        report.facts.insert(
            "server CPU us to first answer",
            started.usage.cpu.as_micros() as f64,
        );
        stops.record(server.stop()?);
    }
    report.seconds = total.as_secs_f64();
    Ok(())
}
