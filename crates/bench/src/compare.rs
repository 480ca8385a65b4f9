//! The same workloads on two or more servers, interleaved: one server is
//! loaded at a time, the order changes with each round, and the table has
//! the median and the spread of the rounds next to the ratio to the first.

mod rows;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use cli::flags::Parsed;
use comfy_table::Table;
use prost::Message as _;
use serde::Serialize;
use tempfile::TempDir;

use self::rows::{Metric, Row};
use crate::closed;
use crate::grpc::Method;
use crate::net::{self, Pool};
use crate::options::{Format, Load, count, texts};
use crate::server::{Server, Started, member_flags};
use crate::workload;

/// Flags of `compare`.
#[derive(Debug)]
pub(crate) struct Compare {
    /// Running servers, as NAME=ENDPOINTS.
    targets: Vec<String>,
    /// Servers to start, as NAME=COMMAND.
    spawn: Vec<String>,
    /// More flags for every server that is started.
    server_flag: Vec<String>,
    /// Members of each cluster that is started.
    members: usize,
    /// Where the data directories go.
    data_root: PathBuf,
    /// Rounds of each row.
    rounds: usize,
    /// Rounds of the rows that need an empty server each time.
    load_rounds: usize,
    /// Only these rows; all if empty.
    rows: Vec<String>,
    /// Multiplies every number of requests and the million keys.
    scale: f64,
    /// Form of the result.
    write_out: Format,
}

impl Compare {
    /// What a line says.
    pub(crate) fn of(parsed: &Parsed) -> Self {
        Self {
            targets: parsed.words(),
            spawn: texts(parsed, "spawn"),
            server_flag: texts(parsed, "server-flag"),
            members: count(parsed, "members"),
            data_root: parsed.text("data-root").into(),
            rounds: count(parsed, "rounds"),
            load_rounds: count(parsed, "load-rounds"),
            rows: texts(parsed, "rows"),
            scale: parsed.float("scale"),
            write_out: Format::of(parsed),
        }
    }
}

/// The names of all rows.
#[cfg(test)]
pub(crate) fn row_names() -> impl Iterator<Item = &'static str> {
    rows::table(1.0).into_iter().map(|row| row.id)
}

/// One value of the table: all rounds of a metric of a row on a target.
#[derive(Debug, Clone, Serialize, PartialEq)]
struct Cell {
    row: &'static str,
    metric: &'static str,
    target: String,
    values: Vec<f64>,
    median: f64,
    /// Median over that of the first target.
    ratio: Option<f64>,
}

/// How a target is reached.
#[derive(Debug, Clone)]
struct Target {
    name: String,
    how: Reach,
}

#[derive(Debug, Clone)]
enum Reach {
    Running(String),
    Spawn(Vec<String>),
}

/// What the rounds gave.
#[derive(Debug, Default)]
struct Results {
    values: BTreeMap<(usize, Metric, usize), Vec<f64>>,
    /// Row, target, and what went wrong.
    faults: Vec<String>,
    versions: BTreeMap<usize, String>,
}

/// Runs the comparison. Returns the exit code and what is to be printed.
pub(crate) fn run(flags: &Compare) -> (i32, String) {
    let prepared = targets(flags).and_then(|targets| Ok((targets, chosen(flags)?)));
    let (targets, rows) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            eprintln!("bench: compare: {error:#}");
            return (2, String::new());
        }
    };
    let mut results = Results::default();
    for (index, row) in rows.iter().enumerate() {
        if let Err(error) = run_row(flags, &targets, index, row, &mut results) {
            results.faults.push(format!("{}: {error:#}", row.id));
        }
        if net::interrupted() {
            results
                .faults
                .push("interrupted: the rows after this are missing".into());
            break;
        }
    }
    let cells = cells(&rows, &targets, &results);
    let text = match flags.write_out {
        Format::Json => cells
            .iter()
            .map(|cell| serde_json::to_string(cell).unwrap_or_default() + "\n")
            .collect(),
        Format::Simple => cells.iter().map(simple).collect(),
        Format::Table => table(&rows, &targets, &results, &cells),
    };
    for fault in &results.faults {
        eprintln!("bench: compare: {fault}");
    }
    (i32::from(!results.faults.is_empty()), text)
}

fn targets(flags: &Compare) -> Result<Vec<Target>> {
    let named = |text: &str| {
        let (name, rest) = text
            .split_once('=')
            .with_context(|| format!("{text:?} is not NAME=..."))?;
        Ok::<_, anyhow::Error>((name.to_owned(), rest.to_owned()))
    };
    let mut targets = Vec::new();
    for text in &flags.targets {
        let (name, endpoint) = named(text)?;
        targets.push(Target {
            name,
            how: Reach::Running(endpoint),
        });
    }
    for text in &flags.spawn {
        let (name, command) = named(text)?;
        let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        if words.is_empty() {
            bail!("--spawn {text:?} names no program");
        }
        targets.push(Target {
            name,
            how: Reach::Spawn(words),
        });
    }
    if targets.is_empty() {
        bail!("nothing to compare: give NAME=ENDPOINT or --spawn NAME=COMMAND, twice or more");
    }
    Ok(targets)
}

fn chosen(flags: &Compare) -> Result<Vec<Row>> {
    let mut rows = rows::table(flags.scale);
    for wanted in &flags.rows {
        if !rows.iter().any(|row| row.id == wanted) {
            let known: Vec<&str> = rows.iter().map(|row| row.id).collect();
            bail!(
                "there is no row {wanted:?}; the rows are {}",
                known.join(", ")
            );
        }
    }
    rows.retain(|row| flags.rows.is_empty() || flags.rows.iter().any(|wanted| row.id == wanted));
    Ok(rows)
}

/// A target while a row runs on it.
struct Live {
    endpoints: Vec<String>,
    spawned: Option<Spawned>,
}

struct Spawned {
    servers: Vec<Server>,
    /// How each is started, and where it answers.
    commands: Vec<(Vec<String>, String)>,
    directory: TempDir,
}

/// Starts all members, then waits for each; the slowest start counts.
fn launch(commands: &[(Vec<String>, String)], directory: &Path) -> Result<(Vec<Server>, Started)> {
    let mut servers = commands
        .iter()
        .enumerate()
        .map(|(i, (command, endpoint))| Server::launch(command, endpoint, &log(directory, i)))
        .collect::<Result<Vec<_>>>()?;
    let mut slowest: Option<Started> = None;
    for server in &mut servers {
        let started = server.wait()?;
        if slowest.is_none_or(|s| s.first_answer < started.first_answer) {
            slowest = Some(started);
        }
    }
    Ok((servers, slowest.context("no member to start")?))
}

impl Live {
    fn begin(flags: &Compare, target: &Target) -> Result<Self> {
        let words = match &target.how {
            Reach::Running(endpoint) => {
                return Ok(Self {
                    endpoints: endpoint.split(',').map(str::to_owned).collect(),
                    spawned: None,
                });
            }
            Reach::Spawn(words) => words,
        };
        let directory = tempfile::Builder::new()
            .prefix("bench-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(&flags.data_root)
            .with_context(|| {
                format!(
                    "cannot make a data directory in {}",
                    flags.data_root.display()
                )
            })?;
        let members = member_flags(&directory.path().join("data"), flags.members)?;
        let commands: Vec<(Vec<String>, String)> = members
            .into_iter()
            .map(|(member, endpoint)| {
                let words = words.iter().chain(&member).chain(&flags.server_flag);
                (words.cloned().collect(), endpoint)
            })
            .collect();
        let (servers, _) = launch(&commands, directory.path())?;
        Ok(Self {
            endpoints: commands.iter().map(|(_, e)| e.clone()).collect(),
            spawned: Some(Spawned {
                servers,
                commands,
                directory,
            }),
        })
    }

    fn load(&self, row: &Row) -> Load {
        let server_pid = self
            .spawned
            .iter()
            .flat_map(|spawned| &spawned.servers)
            .map(Server::pid)
            .collect();
        Load {
            endpoints: self.endpoints.clone(),
            server_pid,
            ..row.load.clone()
        }
    }

    /// Ends a spawned server and starts it again on its data.
    fn restart(self) -> Result<Option<(Self, Started)>> {
        let Some(Spawned {
            servers,
            commands,
            directory,
        }) = self.spawned
        else {
            return Ok(None);
        };
        for server in servers {
            server.stop()?;
        }
        let (servers, started) = launch(&commands, directory.path())?;
        Ok(Some((
            Self {
                endpoints: self.endpoints,
                spawned: Some(Spawned {
                    servers,
                    commands,
                    directory,
                }),
            },
            started,
        )))
    }

    fn end(self) -> Result<()> {
        self.spawned
            .into_iter()
            .flat_map(|spawned| spawned.servers)
            .try_for_each(|server| server.stop().map(drop))
    }
}

fn log(directory: &Path, member: usize) -> PathBuf {
    directory.join(format!("log{member}"))
}

fn run_row(
    flags: &Compare,
    targets: &[Target],
    index: usize,
    row: &Row,
    results: &mut Results,
) -> Result<()> {
    let rounds = if row.fresh {
        flags.load_rounds
    } else {
        flags.rounds
    };
    let mut lives: Vec<Option<Live>> = targets.iter().map(|_| None).collect();
    for round in 0..rounds {
        for step in 0..targets.len() {
            let at = (round + step) % targets.len();
            if net::interrupted() {
                return Ok(());
            }
            let target = &targets[at];
            eprintln!(
                "bench: {} on {}, round {} of {rounds}",
                row.id,
                target.name,
                round + 1
            );
            let live = match lives[at].take() {
                Some(live) => live,
                None => Live::begin(flags, target)
                    .with_context(|| format!("starting {}", target.name))?,
            };
            results
                .versions
                .entry(at)
                .or_insert_with(|| version(&live.endpoints));
            let report = workload::run(&row.workload, &live.load(row));
            let unsupported = report
                .errors
                .keys()
                .any(|error| error.starts_with("Unimplemented"));
            if unsupported {
                lives[at] = Some(live);
                continue;
            }
            for (error, count) in &report.errors {
                results.faults.push(format!(
                    "{} on {}: {count} errors: {error}",
                    row.id, target.name
                ));
            }
            if net::interrupted() {
                return Ok(());
            }
            if let Some(reason) = &report.failed {
                let log = live
                    .spawned
                    .iter()
                    .flat_map(|spawned| &spawned.servers)
                    .map(Server::log_end)
                    .collect::<String>();
                results
                    .faults
                    .push(format!("{} on {}: {reason}\n{log}", row.id, target.name));
                continue;
            }
            let mut enter = |metric, value| {
                results
                    .values
                    .entry((index, metric, at))
                    .or_default()
                    .push(value)
            };
            for &metric in &row.metrics {
                if let Some(value) = metric.of(&report) {
                    enter(metric, value);
                }
            }
            if !row.metrics.contains(&Metric::Restart) {
                lives[at] = Some(live);
            } else if let Some((live, started)) = live.restart()? {
                enter(Metric::Restart, started.first_answer.as_secs_f64() * 1e6);
                enter(Metric::RestartResident, started.usage.resident as f64);
                live.end()?;
            }
        }
    }
    lives.into_iter().flatten().try_for_each(Live::end)
}

/// What the server calls itself; empty when it does not answer.
fn version(endpoints: &[String]) -> String {
    let ask = || {
        let mut pool = Pool::connect(endpoints, 1).ok()?;
        let answer = closed::once(&mut pool, Method::Status, b"").ok()?;
        Some(
            proto::etcdserverpb::StatusResponse::decode(&answer[..])
                .ok()?
                .version,
        )
    };
    ask().unwrap_or_default()
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

fn cells(rows: &[Row], targets: &[Target], results: &Results) -> Vec<Cell> {
    let mut out = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        for &metric in &row.metrics {
            let of = |target| results.values.get(&(index, metric, target));
            let base = of(0).map(|values| median(values));
            for (at, target) in targets.iter().enumerate() {
                let Some(values) = of(at) else { continue };
                let median = median(values);
                let ratio = base
                    .filter(|base| at > 0 && *base > 0.0)
                    .map(|base| median / base);
                out.push(Cell {
                    row: row.id,
                    metric: metric.name(),
                    target: target.name.clone(),
                    values: values.clone(),
                    median,
                    ratio,
                });
            }
        }
    }
    out
}

fn simple(cell: &Cell) -> String {
    let metric = cell.metric.replace(' ', "_");
    let ratio = cell
        .ratio
        .map(|ratio| format!(" {ratio:.3}"))
        .unwrap_or_default();
    format!(
        "{} {metric} {} {}{ratio}\n",
        cell.row, cell.target, cell.median
    )
}

fn table(rows: &[Row], targets: &[Target], results: &Results, cells: &[Cell]) -> String {
    let mut out = Table::new();
    out.load_style(comfy_table::presets::ASCII_MARKDOWN);
    let heads = targets
        .iter()
        .enumerate()
        .map(|(at, target)| match results.versions.get(&at) {
            Some(version) if !version.is_empty() => format!("{} ({version})", target.name),
            _ => target.name.clone(),
        });
    let ratios = targets
        .iter()
        .skip(1)
        .map(|target| format!("{}/{}", target.name, targets[0].name));
    out.set_header(
        ["workload".to_owned(), "metric".to_owned()]
            .into_iter()
            .chain(heads)
            .chain(ratios),
    );
    for row in rows {
        for &metric in &row.metrics {
            let of = |target: &Target| {
                cells.iter().find(|c| {
                    c.row == row.id && c.metric == metric.name() && c.target == target.name
                })
            };
            let shown = targets
                .iter()
                .map(|target| of(target).map_or("-".to_owned(), |cell| spread(metric, cell)));
            let ratios = targets.iter().skip(1).map(|target| {
                of(target)
                    .and_then(|cell| cell.ratio)
                    .map_or("-".to_owned(), |ratio| format!("{ratio:.2}"))
            });
            out.add_row(
                [row.title.to_owned(), metric.name().to_owned()]
                    .into_iter()
                    .chain(shown)
                    .chain(ratios),
            );
        }
    }
    format!(
        "{out}\n\nMedian of the rounds, least to most in brackets; - where the server does not offer it or a run failed.\n"
    )
}

fn spread(metric: Metric, cell: &Cell) -> String {
    if cell.values.len() < 2 {
        return metric.show(cell.median);
    }
    let least = cell.values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = cell
        .values
        .iter()
        .copied()
        .fold(f64::NEG_INFINITY, f64::max);
    format!(
        "{} [{} to {}]",
        metric.show(cell.median),
        metric.show(least),
        metric.show(most)
    )
}
