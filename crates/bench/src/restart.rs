//! Starts a server again and again on what it has stored: the time to its
//! first answer and its memory then, and how long it takes to end.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::histogram::Histogram;
use crate::options::Format;
use crate::report::{Latency, Report};
use crate::server::Server;

/// Flags of `restart`.
#[derive(Debug, Args)]
pub(crate) struct Restart {
    /// Client endpoint of the server that the command starts.
    #[arg(long, default_value = "http://127.0.0.1:2379")]
    endpoint: String,
    /// How often.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Form of the result.
    #[arg(short = 'w', long = "write-out", default_value = "table")]
    pub(crate) write_out: Format,
    /// A name for the result.
    #[arg(long, default_value = "")]
    label: String,
    /// The command that starts the server in the foreground.
    #[arg(last = true, required = true)]
    command: Vec<String>,
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
            "resident octets at first answer",
            started.usage.resident as f64,
        );
        report
            .facts
            .insert("peak octets at first answer", started.usage.peak as f64);
        report.facts.insert(
            "server CPU us to first answer",
            started.usage.cpu.as_micros() as f64,
        );
        stops.record(server.stop()?);
    }
    report.seconds = total.as_secs_f64();
    Ok(())
}
