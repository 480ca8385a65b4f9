//! What a run measured, and its three written forms. Errors and lost events
//! are part of every form; nothing is averaged away.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::histogram::{Histogram, short};
use crate::options::Format;
use crate::process::Usage;

/// Latencies of one kind of request.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Latency {
    /// What was timed, such as `put`.
    pub(crate) name: &'static str,
    /// How many.
    pub(crate) count: u64,
    /// Quantiles in microseconds.
    pub(crate) mean_us: f64,
    /// Half of all were at most so long.
    pub(crate) p50_us: f64,
    /// Nine of ten.
    pub(crate) p90_us: f64,
    /// 99 of 100.
    pub(crate) p99_us: f64,
    /// 999 of 1000.
    pub(crate) p999_us: f64,
    /// The longest.
    pub(crate) max_us: f64,
    #[serde(skip)]
    bars: String,
}

impl Latency {
    /// Summary of `histogram`.
    pub(crate) fn new(name: &'static str, histogram: &Histogram) -> Self {
        let us = |value: Duration| value.as_nanos() as f64 / 1e3;
        Self {
            name,
            count: histogram.len(),
            mean_us: us(histogram.mean()),
            p50_us: us(histogram.quantile(0.5)),
            p90_us: us(histogram.quantile(0.9)),
            p99_us: us(histogram.quantile(0.99)),
            p999_us: us(histogram.quantile(0.999)),
            max_us: us(histogram.max()),
            bars: histogram.bars(),
        }
    }
}

/// What the server used during the run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Server {
    /// The processes that were watched.
    pub(crate) pids: Vec<u32>,
    /// CPU time of user and system, in microseconds.
    pub(crate) cpu_us: u64,
    /// The same, per operation that succeeded.
    pub(crate) cpu_us_per_op: f64,
    /// Resident memory before and after, in bytes.
    pub(crate) resident_before: u64,
    /// Resident memory after, in bytes.
    pub(crate) resident: u64,
    /// The most during the run, in bytes (see `peak_of_run`).
    pub(crate) peak: u64,
    /// False where the kernel refused to reset the mark, so that `peak`
    /// counts since the server's start.
    pub(crate) peak_of_run: bool,
}

/// The result of one run of one workload on one target.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Report {
    /// The caller's name of it.
    pub(crate) label: String,
    /// Name of the workload.
    pub(crate) workload: &'static str,
    /// Where the server was.
    pub(crate) endpoints: Vec<String>,
    /// The flags that shape the load.
    pub(crate) parameters: BTreeMap<&'static str, u64>,
    /// What one operation is, such as `put` or `event`.
    pub(crate) unit: &'static str,
    /// Operations that succeeded.
    pub(crate) operations: u64,
    /// Error texts of the server, and how often each came.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Time of the measured part.
    pub(crate) seconds: f64,
    /// Operations per second.
    pub(crate) per_second: f64,
    /// Latencies by kind; the first is the workload's own.
    pub(crate) latencies: Vec<Latency>,
    /// Other counts, such as conflicts or lost events.
    pub(crate) facts: BTreeMap<&'static str, f64>,
    /// Empty where the server's process is unknown.
    pub(crate) server: Option<Server>,
    /// CPU time of the generator per operation, in microseconds; empty where
    /// it is not what was measured.
    pub(crate) own_cpu_us_per_op: Option<f64>,
    /// Why the run ended early or its result is wrong.
    pub(crate) failed: Option<String>,
}

impl Report {
    /// Enters what the server used between two looks at it.
    pub(crate) fn enter_server(
        &mut self,
        pids: &[u32],
        before: Usage,
        after: Usage,
        peak_of_run: bool,
    ) {
        let cpu = after.cpu.saturating_sub(before.cpu);
        self.server = Some(Server {
            pids: pids.to_vec(),
            cpu_us: cpu.as_micros() as u64,
            cpu_us_per_op: cpu.as_secs_f64() * 1e6 / self.operations.max(1) as f64,
            resident_before: before.resident,
            resident: after.resident,
            peak: after.peak,
            peak_of_run,
        });
    }

    /// How many requests failed.
    pub(crate) fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }

    /// The written form.
    pub(crate) fn render(&self, format: Format) -> String {
        match format {
            Format::Json => {
                let mut line = serde_json::to_string(self)
                    .unwrap_or_else(|e| format!("{{\"failed\":\"{e}\"}}"));
                line.push('\n');
                line
            }
            Format::Simple => self.simple(),
            Format::Table => self.table(),
        }
    }

    fn table(&self) -> String {
        let mut out = String::new();
        let name = if self.label.is_empty() {
            self.workload
        } else {
            &self.label
        };
        let parameters: Vec<String> = self
            .parameters
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        let _ = writeln!(
            out,
            "{name} on {}: {}",
            self.endpoints.join(","),
            parameters.join(", ")
        );
        let _ = writeln!(
            out,
            "  {} {}s in {:.3} s = {:.0}/s, {} errors",
            self.operations,
            self.unit,
            self.seconds,
            self.per_second,
            self.error_count()
        );
        for (error, count) in &self.errors {
            let _ = writeln!(out, "  error x {count}: {error}");
        }
        for (name, value) in &self.facts {
            let _ = writeln!(out, "  {name}: {}", (value * 100.0).round() / 100.0);
        }
        if let Some(server) = &self.server {
            let _ = writeln!(
                out,
                "  server: {:.2} us CPU per {}; resident {} before, {} after, peak {}{}",
                server.cpu_us_per_op,
                self.unit,
                bytes(server.resident_before),
                bytes(server.resident),
                bytes(server.peak),
                if server.peak_of_run {
                    ""
                } else {
                    " (since its start)"
                }
            );
        } else if self.own_cpu_us_per_op.is_some() {
            let _ = writeln!(
                out,
                "  server: process unknown, give --server-pid for its CPU time and memory"
            );
        }
        if let Some(own) = self.own_cpu_us_per_op {
            let _ = writeln!(out, "  generator: {own:.2} us CPU per {}", self.unit);
        }
        for latency in &self.latencies {
            let us = |value: f64| short(Duration::from_nanos((value * 1e3) as u64));
            let _ = writeln!(
                out,
                "  {} x {}: mean {}, p50 {}, p90 {}, p99 {}, p99.9 {}, max {}",
                latency.name,
                latency.count,
                us(latency.mean_us),
                us(latency.p50_us),
                us(latency.p90_us),
                us(latency.p99_us),
                us(latency.p999_us),
                us(latency.max_us)
            );
            for line in latency.bars.lines() {
                let _ = writeln!(out, "  {line}");
            }
        }
        if let Some(reason) = &self.failed {
            let _ = writeln!(out, "  NOT COMPLETE: {reason}");
        }
        out
    }

    fn simple(&self) -> String {
        let mut out = String::new();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(out, "{name} {value}");
        };
        line("workload", self.workload.to_owned());
        line("label", self.label.clone());
        line("operations", self.operations.to_string());
        line("errors", self.error_count().to_string());
        line("seconds", format!("{:.6}", self.seconds));
        line("per_second", format!("{:.1}", self.per_second));
        for latency in &self.latencies {
            for (quantile, value) in [
                ("p50", latency.p50_us),
                ("p90", latency.p90_us),
                ("p99", latency.p99_us),
                ("p999", latency.p999_us),
                ("max", latency.max_us),
            ] {
                line(
                    &format!("{}_{quantile}_us", latency.name),
                    format!("{value:.1}"),
                );
            }
        }
        for (name, value) in &self.facts {
            line(&name.replace(' ', "_"), value.to_string());
        }
        if let Some(server) = &self.server {
            line(
                "server_cpu_us_per_op",
                format!("{:.3}", server.cpu_us_per_op),
            );
            line("server_resident", server.resident.to_string());
            line("server_peak", server.peak.to_string());
        }
        if let Some(own) = self.own_cpu_us_per_op {
            line("own_cpu_us_per_op", format!("{own:.3}"));
        }
        if let Some(reason) = &self.failed {
            line("failed", reason.clone());
        }
        out
    }
}

/// A size for people.
pub(crate) fn bytes(value: u64) -> String {
    match value {
        v if v < 10 << 10 => format!("{v} B"),
        v if v < 10 << 20 => format!("{:.1} KiB", v as f64 / 1024.0),
        v => format!("{:.1} MiB", v as f64 / f64::from(1 << 20)),
    }
}
