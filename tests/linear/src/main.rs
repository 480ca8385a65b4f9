//! `pintle-linear`: many recorded runs, several at a time, each in a process of
//! its own with a deadline, so that a run that hangs is a finding and not the
//! end. One line a run, and the logs and history of each bad one. It must never
//! end with 0 when a run was bad or did not end.

#![forbid(unsafe_code)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use linear::run::{self, Order};

const USAGE: &str = "\
pintle-linear --runs <n> [--jobs <n>] [--seed <first>] [--seconds <n>] [--mix <a,b,c>]... --out <dir>

  --runs     how many runs
  --jobs     how many at a time (1)
  --seed     the first seed (1); each run takes the next
  --seconds  how long faults are begun in each run (8)
  --mix      the members of a cluster: P for PINTLE_BIN, else a release of etcd such as 3.5.30;
             several mixes take turns (P,P,P)
  --out      where lines, logs and histories go";

/// A run, from its start to its end, must be over by then.
const RUN_WITHIN: Duration = Duration::from_secs(240);

struct Args {
    runs: u64,
    jobs: u64,
    seed: u64,
    seconds: u64,
    mixes: Vec<String>,
    out: PathBuf,
    /// One run in this process: what the processes of a campaign do.
    alone: bool,
}

fn args() -> Result<Args> {
    let mut args = Args {
        runs: 0,
        jobs: 1,
        seed: 1,
        seconds: 8,
        mixes: Vec::new(),
        out: PathBuf::new(),
        alone: false,
    };
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--alone" {
            args.alone = true;
            continue;
        }
        let value = words
            .next()
            .with_context(|| format!("{word}: no value\n\n{USAGE}"))?;
        let number = || {
            value
                .parse()
                .with_context(|| format!("{word} {value}: not a number"))
        };
        match word.as_str() {
            "--runs" => args.runs = number()?,
            "--jobs" => args.jobs = number()?,
            "--seed" => args.seed = number()?,
            "--seconds" => args.seconds = number()?,
            "--mix" => args.mixes.push(value),
            "--out" => args.out = PathBuf::from(value),
            _ => bail!("{word}: unknown\n\n{USAGE}"),
        }
    }
    if args.mixes.is_empty() {
        args.mixes.push("P,P,P".to_owned());
    }
    if args.out.as_os_str().is_empty() || (args.runs == 0 && !args.alone) {
        bail!("{USAGE}");
    }
    Ok(args)
}

fn main() -> Result<ExitCode> {
    let args = args()?;
    if args.alone {
        alone(&args)
    } else {
        campaign(&args)
    }
}

fn alone(args: &Args) -> Result<ExitCode> {
    let order = Order {
        seed: args.seed,
        mix: args.mixes.join(","),
        seconds: args.seconds,
    };
    let Some(programs) = run::programs(&order.mix) else {
        println!(
            "seed {} | {} | SKIP: a program is not installed",
            order.seed, order.mix
        );
        return Ok(ExitCode::SUCCESS);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    match runtime.block_on(run::run(&order, &programs, Some(&args.out))) {
        Ok(verdict) => {
            println!("{verdict}");
            for violation in verdict.violations.iter().take(3) {
                println!("    {violation}");
            }
            for key in &verdict.unexplained {
                println!("    no order of calls explains {key}");
            }
            Ok(if verdict.is_good() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Err(error) => {
            println!("seed {} | {} | FAILED: {error:#}", order.seed, order.mix);
            Ok(ExitCode::FAILURE)
        }
    }
}

fn campaign(args: &Args) -> Result<ExitCode> {
    fs::create_dir_all(&args.out)?;
    let next = AtomicU64::new(0);
    let lines = Mutex::new(Vec::<(String, bool)>::new());
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= args.runs {
                        return;
                    }
                    let mix = &args.mixes[n as usize % args.mixes.len()];
                    let (line, good) = one(args, args.seed + n, mix).unwrap_or_else(|error| {
                        (format!("run {n} | {mix} | FAILED: {error:#}"), false)
                    });
                    println!("{line}");
                    lines.lock().expect("no run panics").push((line, good));
                }
            });
        }
    });
    let lines = lines.into_inner().expect("no run panics");
    let bad = lines.iter().filter(|(_, good)| !good).count();
    let mut text: String = lines.iter().map(|(line, _)| format!("{line}\n")).collect();
    let skipped = lines
        .iter()
        .filter(|(line, _)| line.contains("SKIP:"))
        .count();
    let end = format!(
        "{} passed, {bad} failed, {skipped} skipped",
        lines.len() - bad - skipped
    );
    println!("{end}");
    text += &end;
    text.push('\n');
    fs::write(args.out.join("runs.txt"), text)?;
    Ok(if bad == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// One run in a process of its own: its line, and whether it was good.
fn one(args: &Args, seed: u64, mix: &str) -> Result<(String, bool)> {
    let dir: PathBuf = args.out.join(format!("seed-{seed}"));
    fs::create_dir_all(&dir)?;
    let said = dir.join("said.txt");
    let mut child = Command::new(env::current_exe()?)
        .args(["--alone", "--seed", &seed.to_string(), "--mix", mix])
        .args(["--seconds", &args.seconds.to_string(), "--out"])
        .arg(&dir)
        .env("PINTLE_PEERS_LOGS", dir.join("logs"))
        .stdout(fs::File::create(&said)?)
        .stderr(fs::File::create(dir.join("stderr.txt"))?)
        .spawn()?;
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if begun.elapsed() > RUN_WITHIN {
            // Its servers die with it.
            child.kill()?;
            child.wait()?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let text = read(&said);
    match status {
        Some(status) if status.success() => {
            fs::remove_dir_all(&dir)?;
            Ok((text.trim_end().to_owned(), true))
        }
        Some(_) if !text.is_empty() => Ok((
            format!("{}\n    see {}", text.trim_end(), dir.display()),
            false,
        )),
        Some(status) => {
            let last = read(&dir.join("stderr.txt"));
            Ok((
                format!("seed {seed} | {mix} | FAILED: {status}: {last}"),
                false,
            ))
        }
        None => Ok((
            format!(
                "seed {seed} | {mix} | FAILED: not over in {RUN_WITHIN:?}, see {}",
                dir.display()
            ),
            false,
        )),
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
