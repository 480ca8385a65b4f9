//! `--max-concurrent-streams` and the JSON gateway: all calls through the gateway of a listener
//! share one bound, and one too many waits until another ends, whichever way it ends.

use anyhow::{Context as _, Result, ensure};
use peers::{
    api, http,
    peer::{self, Program},
    server::{self, Launch, Server},
};
use tokio::{io::AsyncReadExt as _, net::TcpStream};

const STREAMS: usize = 3;
const WATCH: &str = r#"{"create_request":{"key":"Zm9v"}}"#;
const RANGE: &str = r#"{"key":"Zm9v"}"#;

/// A watch that has begun.
async fn watch(port: u16) -> Result<TcpStream> {
    let mut stream = http::open(port, "POST", "/v3/watch", &[], WATCH).await?;
    let lines = http::read_lines(&mut stream, 1).await?;
    ensure!(lines[0].contains("created"), "{lines:?}");
    Ok(stream)
}

async fn fill(port: u16) -> Result<Vec<TcpStream>> {
    let mut watches = Vec::new();
    for _ in 0..STREAMS {
        watches.push(watch(port).await?);
    }
    Ok(watches)
}

/// How a range ends that waits for a moment at most.
async fn hasty(port: u16) -> Result<u16> {
    let limit = [("Grpc-Timeout", "300m")];
    let answer = http::send_with(port, "POST", "/v3/kv/range", &limit, RANGE).await?;
    let is_late = answer.text().contains("context deadline exceeded");
    ensure!(is_late == (answer.status == 504), "{answer:?}");
    Ok(answer.status)
}

async fn waiting(port: u16) -> Result<TcpStream> {
    let stream = http::open(port, "POST", "/v3/kv/range", &[], RANGE).await?;
    // Whatever was sent before this has been seen.
    ensure!(hasty(port).await? == 504, "there was room");
    let nothing = stream.try_read(&mut [0]);
    ensure!(
        nothing.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock),
        "it did not wait"
    );
    Ok(stream)
}

async fn answered(mut stream: TcpStream) -> Result<()> {
    let mut text = String::new();
    let whole = stream.read_to_string(&mut text);
    tokio::time::timeout(std::time::Duration::from_secs(20), whole)
        .await
        .context("no answer")??;
    ensure!(text.contains("\"revision\":"), "{text}");
    Ok(())
}

async fn start(program: &Program, flags: &[&str]) -> Result<(Server, tempfile::TempDir)> {
    let dir = tempfile::tempdir()?;
    let launch = flags
        .iter()
        .fold(Launch::new(program, dir.path()), |l, flag| l.flag(flag));
    Ok((launch.start().await?, dir))
}

fn on_both(body: impl AsyncFn(&Program) -> Result<()>) {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(120, async {
        for program in [reference, subject] {
            body(&program).await.with_context(|| program.to_string())?;
        }
        Ok(())
    });
}

fn bound() -> String {
    format!("--max-concurrent-streams={STREAMS}")
}

#[test]
fn one_too_many_waits_until_another_ends() {
    on_both(async |program| {
        let (server, _dir) = start(program, &[&bound()]).await?;
        let port = server.port();
        let mut watches = fill(port).await?;
        // The client goes away.
        let late = waiting(port).await?;
        watches.pop();
        answered(late).await.context("after a client went away")?;
        // The call ends by its own deadline.
        let limit = [("Grpc-Timeout", "2S")];
        let mut brief = http::open(port, "POST", "/v3/watch", &limit, WATCH).await?;
        http::read_lines(&mut brief, 1).await?;
        let late = http::open(port, "POST", "/v3/kv/range", &[], RANGE).await?;
        answered(late).await.context("after a deadline")?;
        // The call has answered.
        for _ in 0..2 * STREAMS {
            ensure!(hasty(port).await? == 200, "an answered call takes room");
        }
        server.terminate().await
    });
}

#[test]
fn what_does_not_go_through_the_gateway_does_not_wait() {
    on_both(async |program| {
        let (server, _dir) = start(program, &[&bound()]).await?;
        let port = server.port();
        let _watches = fill(port).await?;
        ensure!(hasty(port).await? == 504, "there was room");
        let junk = http::send(port, "POST", "/v3/kv/range", "{").await?;
        ensure!(junk.status == 400, "{junk:?}");
        for page in ["/version", "/health", "/metrics"] {
            let answer = http::send(port, "GET", page, "").await?;
            ensure!(answer.status == 200, "{answer:?}");
        }
        server.api().put(api::put("k", "v")).await?;
        server.terminate().await
    });
}

#[test]
fn a_server_stops_that_has_calls_waiting() {
    on_both(async |program| {
        let (server, _dir) = start(program, &[&bound()]).await?;
        let _watches = fill(server.port()).await?;
        let _late = waiting(server.port()).await?;
        server.terminate().await
    });
}

#[test]
fn each_listener_has_a_bound_of_its_own() {
    on_both(async |program| {
        let (one, two) = server::free_ports()?;
        let urls = format!("--listen-client-urls=http://127.0.0.1:{one},http://127.0.0.1:{two}");
        let dir = tempfile::tempdir()?;
        let peer = server::free_ports()?.1;
        let launch = Launch::new(program, dir.path()).ports(one, peer);
        let server = launch.flag(&bound()).flag(&urls).start().await?;
        let _watches = fill(one).await?;
        ensure!(hasty(one).await? == 504, "there was room");
        ensure!(hasty(two).await? == 200, "they share");
        server.terminate().await
    });
}

#[test]
fn zero_is_no_bound() {
    on_both(async |program| {
        let (server, _dir) = start(program, &["--max-concurrent-streams=0"]).await?;
        let _watches = fill(server.port()).await?;
        ensure!(hasty(server.port()).await? == 200, "zero bounds");
        server.api().put(api::put("k", "v")).await?;
        server.terminate().await
    });
}
