//! Command lines that start nothing: what is printed, where, and the exit code.

use std::process::{Command, Output, Stdio};

use anyhow::{Result, ensure};
use peers::peer::{self, Program};

const LINES: &[&str] = &[
    "gateway",
    "gateway nothing",
    "gateway help",
    "gateway --help",
    "gateway --nothing",
    "gateway start --help",
    "gateway start --nothing",
    "gateway start --retry-delay odd",
    "gateway start --insecure-discovery=odd",
    "gateway start more --endpoints noport",
    "gateway start --endpoints=",
    "gateway start --endpoints nosuch.invalid:1",
    "gateway start --listen-addr noport",
    "gateway start --listen-addr :1",
    "gateway start --listen-addr nosuch.invalid:1",
    "gateway start --listen-addr 127.0.0.1:99999",
    "gateway start --listen-addr localhost:odd --endpoints localhost:1",
    "gateway start --listen-addr 127.0.0.1:2379 --endpoints http://localhost:2379/",
    "gateway --endpoints=nosuch.invalid:1 start --listen-addr 127.0.0.1:0",
    "grpc-proxy",
    "grpc-proxy --help",
    "grpc-proxy nothing",
    "grpc-proxy start --resolver-prefix p",
    "grpc-proxy start --resolver-ttl 2",
    "grpc-proxy start --resolver-prefix p --resolver-ttl 2 --advertise-client-url=",
    "grpc-proxy start --auto-tls --self-signed-cert-validity 0",
    "grpc-proxy start --tls-min-version odd",
    "grpc-proxy start --tls-max-version odd",
    "grpc-proxy start --tls-min-version TLS1.3 --tls-max-version TLS1.2",
    "grpc-proxy start --tls-min-version TLS1.3 --listen-cipher-suites odd",
    "grpc-proxy start --listen-addr noport",
];

fn run(program: &Program, line: &str) -> Result<Output> {
    let output = Command::new(&program.path)
        .args(&program.words)
        .args(line.split(' '))
        .env_clear()
        .stdin(Stdio::null())
        .output()?;
    Ok(output)
}

/// Without the lines of the log, and with the name of etcd for that of Pintle.
fn said(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.split_inclusive('\n');
    lines.filter(|line| !line.starts_with('{')).collect()
}

#[test]
fn wrong_lines_are_refused_as_by_etcd() -> Result<()> {
    let Some((subject, reference)) = peer::pair() else {
        return Ok(());
    };
    for line in LINES {
        let (own, theirs) = (run(&subject, line)?, run(&reference, line)?);
        ensure!(
            own.status.code() == theirs.status.code(),
            "{line}: {} and {}",
            own.status,
            theirs.status
        );
        for (own, theirs) in [(own.stdout, theirs.stdout), (own.stderr, theirs.stderr)] {
            let (own, theirs) = (said(&own), said(&theirs));
            ensure!(own == theirs, "{line}:\n{own}\nof etcd:\n{theirs}");
        }
    }
    Ok(())
}
