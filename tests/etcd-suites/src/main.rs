//! Runs a suite of etcd: `pintle-etcd-suites 3.6.16/e2e server`. What is printed last are the
//! counts, and the tests that do not pass and do in the run of `--beside`.

#![forbid(unsafe_code)]

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use etcd_suites::{Programs, Report, Role, Suite, run};
use peers::peer;

const USAGE: &str = "\
Usage: pintle-etcd-suites <VERSION>/<PACKAGE> <ROLE> [FLAGS]

VERSION/PACKAGE  a package of go.etcd.io/etcd/tests/v3: 3.6.16/e2e, 3.6.16/common, 3.5.35/e2e
ROLE             what Pintle is: server, tools, all, or none (etcd's own programs)

  --out DIR      where the logs and the table run.tsv are written (default: ./etcd-suites)
  --jobs N       tests at a time (default: 2)
  --only A,B     these tests
  --beside FILE  the run.tsv of another run: what passes there and not here is listed
";

struct Asked {
    suite: Suite,
    role: Role,
    out: PathBuf,
    jobs: usize,
    only: Vec<String>,
    beside: Option<PathBuf>,
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Asked> {
    let suite = words.next().and_then(|word| Suite::parse(&word));
    let role = words.next().and_then(|word| Role::parse(&word));
    let mut asked = Asked {
        suite: suite.context(USAGE)?,
        role: role.context(USAGE)?,
        out: "etcd-suites".into(),
        jobs: 2,
        only: Vec::new(),
        beside: None,
    };
    while let Some(flag) = words.next() {
        let value = words.next().context(USAGE)?;
        match flag.as_str() {
            "--out" => asked.out = value.into(),
            "--jobs" => asked.jobs = value.parse()?,
            "--only" => asked.only = value.split(',').map(str::to_owned).collect(),
            "--beside" => asked.beside = Some(value.into()),
            _ => bail!(USAGE),
        }
    }
    Ok(asked)
}

fn work() -> Result<bool> {
    let asked = parse(std::env::args().skip(1))?;
    let pintle = peer::subject().context("no Pintle: name it in PINTLE_BIN")?;
    run::check()?;
    let built = asked.suite.build()?;
    let dir = tempfile::tempdir()?;
    let pintle = std::fs::canonicalize(pintle.path)?;
    let programs = Programs::fill(dir.path(), &asked.suite, asked.role, &pintle)?;
    let mut tests = built.tests()?;
    tests.retain(|test| asked.only.is_empty() || asked.only.contains(test));
    let report = Report {
        tests: run::all(&built, &programs.dir, &tests, &asked.out, asked.jobs)?,
    };
    report.write(&asked.out.join("run.tsv"))?;
    println!("{} {:?}: {}", asked.suite, asked.role, report.summary());
    let Some(beside) = asked.beside else {
        return Ok(true);
    };
    let other = Report::read(&beside)?;
    let worse: Vec<_> = report.worse_than(&other).collect();
    for name in &worse {
        println!(
            "passes there and not here: {name}: {}",
            report.tests[*name].reason
        );
    }
    Ok(worse.is_empty())
}

fn main() -> ExitCode {
    match work() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("pintle-etcd-suites: {error:#}");
            ExitCode::from(2)
        }
    }
}
