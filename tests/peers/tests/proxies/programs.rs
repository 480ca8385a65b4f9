//! Proxies as programs.

use std::{path::Path, time::Duration};

use anyhow::Result;
use peers::{
    peer::Program,
    server::{Launch, Server},
};
use serde_json::{Map, Value};

/// Until a line that a proxy must log is there.
pub(crate) const WITHIN: Duration = Duration::from_secs(60);

/// What a grpc-proxy logs when it serves.
pub(crate) const GRPC_READY: &str = "started gRPC proxy";

/// A proxy of a program, to be started: `kind` is `gateway` or `grpc-proxy`.
pub(crate) fn proxy(program: &Program, kind: &str, port: u16) -> Launch {
    let mut program = program.clone();
    program.words.extend([kind.to_owned(), "start".to_owned()]);
    Launch::new(&program, Path::new("unused"))
        .only_given_flags()
        .label(kind)
        .flag(&format!("--listen-addr=127.0.0.1:{port}"))
        .ports(port, 0)
}

/// Starts a proxy and waits until it is ready: it logs `ready`.
pub(crate) async fn started(launch: &Launch, ready: &str) -> Result<Server> {
    let mut proxy = launch.spawn()?;
    proxy.wait_log(ready, WITHIN).await?;
    Ok(proxy)
}

/// Lines of a log with one of these messages: level, message and fields, without the time and the
/// place in the code.
pub(crate) fn logged(log: &str, messages: &[&str]) -> Vec<Map<String, Value>> {
    log.lines()
        .filter_map(|line| serde_json::from_str::<Map<String, Value>>(line).ok())
        .filter(|line| {
            let message = line.get("msg").and_then(Value::as_str);
            message.is_some_and(|message| messages.contains(&message))
        })
        .map(|mut line| {
            line.retain(|name, _| name != "ts" && name != "caller");
            line
        })
        .collect()
}
