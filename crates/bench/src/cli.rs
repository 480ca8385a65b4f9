//! The command line of the load generator.

use std::io::Write as _;

use clap::{Parser, Subcommand};

use crate::compare::{self, Compare};
use crate::net;
use crate::options::{Format, Load};
use crate::report::Report;
use crate::restart::{self, Restart};
use crate::workload::{self, Cluster, Workload};

/// Load generator for any etcd: closed loop, histograms, the server's own CPU
/// time and memory.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Puts.
    Put(Load),
    /// Gets of one key.
    Get {
        #[command(flatten)]
        load: Load,
        /// Read what the member has, without asking its peers.
        #[arg(long)]
        serializable: bool,
    },
    /// Kubernetes' update: compare the mod revision, put, read on failure.
    TxnK8s {
        #[command(flatten)]
        load: Load,
        /// Percent of requests that bear a stale revision.
        #[arg(long, default_value_t = 0)]
        conflicts: u64,
    },
    /// Pages of the prefix at one revision, walked to the end and checked.
    List {
        #[command(flatten)]
        load: Load,
        /// Keys of a page; 0 lists everything at once.
        #[arg(long, default_value_t = 500)]
        limit: i64,
    },
    /// The whole prefix by RangeStream (etcd 3.7).
    ListStream(Load),
    /// Many watchers of the prefix beside a writer of --total puts.
    Watch {
        #[command(flatten)]
        load: Load,
        /// How many watchers.
        #[arg(long, default_value_t = 1000)]
        watchers: usize,
        /// Streams that the watchers share.
        #[arg(long, default_value_t = 10)]
        streams: usize,
    },
    /// Reads beside --clients writers; --total counts both.
    Mixed {
        #[command(flatten)]
        load: Load,
        /// Reads outstanding at once.
        #[arg(long, default_value_t = 10)]
        readers: usize,
        /// Read what the member has, without asking its peers.
        #[arg(long)]
        serializable: bool,
    },
    /// Fills --keys keys in order.
    Load(Load),
    /// What a Kubernetes control plane asks, checked answer by answer.
    K8s {
        #[command(flatten)]
        load: Load,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// Starts a server on its data, measures the first answer, ends it.
    Restart(Restart),
    /// The same workloads on two or more servers in turn, and their ratios.
    Compare(Compare),
}

/// Runs the program with `args`, the first of which is its name. Returns the
/// exit code: 0 when everything was measured without an error, 1 when a run
/// failed or the server answered an error, 2 for wrong flags.
pub fn main(args: Vec<String>) -> i32 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return error.exit_code();
        }
    };
    net::catch_interrupt();
    match cli.command {
        Command::Put(load) => one(Workload::Put, load),
        Command::Get { load, serializable } => one(Workload::Get { serializable }, load),
        Command::TxnK8s { load, conflicts } => one(Workload::TxnK8s { conflicts }, load),
        Command::List { load, limit } => one(Workload::List { limit }, load),
        Command::ListStream(load) => one(Workload::ListStream, load),
        Command::Watch {
            load,
            watchers,
            streams,
        } => one(Workload::Watch { watchers, streams }, load),
        Command::Mixed {
            load,
            readers,
            serializable,
        } => one(
            Workload::Mixed {
                readers,
                serializable,
            },
            load,
        ),
        Command::Load(load) => one(Workload::Load, load),
        Command::K8s { load, cluster } => one(Workload::K8s(cluster), load),
        Command::Restart(flags) => show(&restart::run(&flags), flags.write_out),
        Command::Compare(flags) => {
            let (code, text) = compare::run(&flags);
            print(&text);
            code
        }
    }
}

fn one(workload: Workload, load: Load) -> i32 {
    show(&workload::run(&workload, &load), load.write_out)
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
