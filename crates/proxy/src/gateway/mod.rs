//! The TCP proxy: each connection is passed on to a member, in turn, whatever is spoken on it. It
//! must never look at what passes.
//!
//! - [`remotes`]: the members, which of them answer, and whose turn it is
//! - [`relay`]: one connection

mod relay;
mod remotes;

use std::{io, rc::Rc, time::Duration};

use cli::flags::Parsed;
use tokio::{net::TcpListener, sync::Semaphore};

use self::remotes::{Remote, Remotes};
use crate::{
    discovery,
    goes::{self, look_up, split_host_port},
};

/// What etcd takes for no delay at all.
const RETRY_DELAY_OF_ZERO: Duration = Duration::from_secs(5 * 60);
/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why a gateway does not start.
enum Refusal {
    /// For standard output, without an end of line or with one, as etcd has it.
    Out(String),
    /// For standard error.
    Err(String),
}

/// Runs it; returns only when it cannot.
pub(crate) fn start(flags: &Parsed) -> i32 {
    if let Err(error) = server::logging::start(&server::config::Logs::default()) {
        eprintln!("{error}");
        return 1;
    }
    log_arguments();
    let ended = prepare(flags).and_then(|ready| serve(ready).map_err(Refusal::Err));
    server::logging::flush();
    match ended {
        Ok(never) => match never {},
        Err(Refusal::Out(text)) => print!("{text}"),
        Err(Refusal::Err(text)) => eprintln!("{text}"),
    }
    1
}

struct Ready {
    listener: std::net::TcpListener,
    remotes: Vec<Remote>,
    retry_delay: Duration,
    connections_max: usize,
}

/// Checks in etcd's order and words, and binds.
fn prepare(flags: &Parsed) -> Result<Ready, Refusal> {
    let out = |text: String| Refusal::Out(format!("{text}\n"));
    let found = discovery::members(flags).map_err(Refusal::Err)?;
    let remotes = match found.is_empty() {
        true => named(&flags.list("endpoints"))?,
        false => found
            .into_iter()
            .map(|found| Remote::of(found.record))
            .collect(),
    };
    let listen = flags.text("listen-addr");
    let (host, port) = split_host_port(listen)
        .ok_or_else(|| out(format!("failed to validate listen address: {listen}")))?;
    let own = look_up(host).map_err(|_| out(format!("failed to resolve listen host: {host}")))?;
    for remote in &remotes {
        let addresses = look_up(remote.host()).map_err(|_| {
            out(format!(
                "failed to resolve endpoint host: {}",
                remote.host()
            ))
        })?;
        let same = addresses.iter().find(|address| own.contains(address));
        if remote.port().to_string() == port
            && let Some(address) = same
        {
            return Err(out(format!(
                "SRV or endpoint ({}:{port}->{address}:{port}) should not resolve to the gateway listen addr ({listen})",
                remote.host(),
            )));
        }
    }
    if remotes.is_empty() {
        return Err(out("no endpoints found".to_owned()));
    }
    let descriptors =
        server::start::Descriptors::raise(1).map_err(|error| Refusal::Err(error.to_string()))?;
    let retry_delay = match flags.duration("retry-delay") {
        Duration::ZERO => RETRY_DELAY_OF_ZERO,
        delay => delay,
    };
    Ok(Ready {
        listener: goes::bind(listen).map_err(Refusal::Err)?,
        remotes,
        retry_delay,
        // One to the client, one to the member.
        connections_max: usize::try_from(descriptors.clients / 2)
            .unwrap_or(usize::MAX)
            .clamp(1, Semaphore::MAX_PERMITS),
    })
}

/// The members that `--endpoints` names.
fn named(endpoints: &[&str]) -> Result<Vec<Remote>, Refusal> {
    let remote = |endpoint: &&str| {
        let endpoint = goes::without_scheme(endpoint);
        let (host, port) = split_host_port(endpoint)
            .ok_or_else(|| Refusal::Out(format!("error parsing endpoint \"{endpoint}\"")))?;
        Ok(Remote::new(host, number(port)))
    };
    endpoints.iter().map(remote).collect()
}

/// A port as etcd scans it: the digits that it begins with.
fn number(port: &str) -> u16 {
    let digits = port.bytes().take_while(u8::is_ascii_digit).count();
    port[..digits].parse().unwrap_or(0)
}

enum Never {}

fn serve(ready: Ready) -> Result<Never, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let local = tokio::task::LocalSet::new();
    let served = local.block_on(&runtime, accept(ready));
    served.map_err(|error| error.to_string())
}

async fn accept(ready: Ready) -> io::Result<Never> {
    let listener = TcpListener::from_std(ready.listener)?;
    server::start::notify_init();
    let remotes = Rc::new(Remotes::new(ready.remotes, ready.retry_delay));
    tracing::info!(
        endpoints = remotes.shown(),
        "ready to proxy client requests"
    );
    tokio::task::spawn_local(remotes.clone().monitor());
    let seats = std::sync::Arc::new(Semaphore::new(ready.connections_max));
    loop {
        // Beyond that many the kernel keeps them waiting.
        let seat = seats
            .clone()
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        match listener.accept().await {
            Ok((stream, _)) => {
                let remotes = remotes.clone();
                tokio::task::spawn_local(async move {
                    relay::serve(stream, &remotes).await;
                    drop(seat);
                });
            }
            Err(error) => {
                tracing::warn!(error = %error, "failed to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The line that a start begins with.
fn log_arguments() {
    let args: Vec<String> = std::env::args_os()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let args = serde_json::Value::from(args).to_string();
    tracing::info!(args, "Running: ");
}
