//! Pintle beside real etcd. This crate starts real processes (the releases
//! that `.ci/peers.sh` installed, and the `pintle` binary as the *subject*),
//! gives both the same work and compares what comes back: answers, files,
//! outputs. It must never excuse a difference silently: what is not compared
//! is named where it is left out, and what could not run is printed as a
//! `SKIP:` line.
//!
//! | module | what it holds |
//! |---|---|
//! | [`peer`] | which binaries exist, and which one is the subject |
//! | [`pem`] | the text form of certificates and keys |
//! | [`server`] | one running server: flags, ready, stop, kill, logs |
//! | [`api`] | gRPC calls as tests want them |
//! | [`http`] | one HTTP/1.1 exchange |
//! | [`frames`] | HTTP/2 frame by frame |
//! | [`dirs`] | copies of data directories, and what lies in them |
//! | [`entries`] | log entries in every spelling, and logs that end in them |
//! | [`fingerprint`] | everything a client can learn of a store, for comparison |
//! | [`workload`] | what fills a directory |
//! | [`requests`] | random requests, valid and not |
//! | [`lockstep`] | the same steps to two servers, with shrinking |
//! | [`streams`] | watch streams beside each other |
//! | [`users`] | users, tokens, and the same call of a user to two servers |
//! | [`cluster`] | several servers as one cluster: faults, swaps, changes of membership |
//! | [`load`] | clients that write while a cluster changes |
//! | [`line_set`] | `ctl line`, and what must hold while the line of a cluster changes |
//! | [`ledger`] | acknowledged writes, and the judgement of a history |
//! | [`mixes`] | which programs share a cluster |
//! | [`names`] | a name server on loopback, and programs that have it for their own |
//! | [`ports`] | ports that stay over a restart |
//! | [`ctl`] | `etcdctl` runs and their normalised output |

pub mod api;
pub mod cluster;
pub mod ctl;
pub mod dirs;
pub mod entries;
pub mod fingerprint;
pub mod frames;
pub mod http;
pub mod ledger;
pub mod line_set;
pub mod load;
pub mod lockstep;
pub mod mixes;
pub mod names;
pub mod peer;
pub mod pem;
pub mod ports;
pub mod requests;
pub mod server;
pub mod streams;
pub mod users;
pub mod workload;

use std::{future::Future, time::Duration};

/// Runs one test body on its own runtime with a deadline, so that a hung
/// server fails its test instead of the whole suite.
pub fn run<F: Future<Output = anyhow::Result<()>>>(seconds_max: u64, body: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a tokio runtime");
    // The body, and with it every server guard, is gone before the logs are read.
    let outcome = runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(seconds_max), body).await });
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => fail(format!("{error:#}")),
        Err(_) => fail(format!("not finished after {seconds_max} s")),
    }
}

/// Panics with the log ends that the message does not hold already.
fn fail(mut message: String) {
    for log in server::last_logs() {
        if !message.contains(&log) {
            message.push('\n');
            message.push_str(&log);
        }
    }
    panic!("{message}");
}

/// The seed of a random test: `PINTLE_SEED` if set, else `default`.
pub fn seed(default: u64) -> u64 {
    env_number("PINTLE_SEED").unwrap_or(default)
}

/// A number from the environment; anything but a number is a mistake worth a panic.
pub fn env_number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
    )
}
