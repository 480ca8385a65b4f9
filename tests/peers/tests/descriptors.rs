//! File descriptors that an outsider takes: connections which never say a word, on every port, up
//! to the limit of the process and beyond it. The member goes on writing its log and its
//! snapshots, as a real etcd does under the same limit.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::fd::AsRawFd as _,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use peers::{
    api, http,
    peer::{self, Program},
    server::{Launch, Server},
};

/// Descriptors that the servers under test may open.
const LIMIT: usize = 256;
/// Connections that sit on one port: more than the whole process may have.
const SILENT: usize = LIMIT + 64;

/// `program` under a limit of descriptors: `ulimit` as the shell has it.
fn limited(program: &Program, ulimit: &str) -> Program {
    let script = format!("ulimit {ulimit} && exec \"$@\"");
    let mut words = vec![
        "-c".to_owned(),
        script,
        "sh".to_owned(),
        program.path.display().to_string(),
    ];
    words.extend(program.words.clone());
    Program {
        path: "/bin/sh".into(),
        words,
        ..program.clone()
    }
}

/// Connections that no one needs to have accepted: the kernel completes them.
fn silent(port: u16) -> Result<Vec<TcpStream>> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    (0..SILENT)
        .map(|_| {
            TcpStream::connect_timeout(&address, Duration::from_secs(20))
                .context("a silent connection")
        })
        .collect()
}

fn open_files(server: &Server) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{}/fd", server.pid()))?.count())
}

/// Waits until the server has as many connections as it will take.
async fn until_full(server: &Server, before: usize) -> Result<()> {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let (mut last, mut same) = (before, 0);
    while same < 10 {
        let now = open_files(server)?;
        same = if now == last && now > before {
            same + 1
        } else {
            0
        };
        last = now;
        ensure!(
            std::time::Instant::now() < deadline,
            "{now} open files, {before} before the connections\n{}",
            server.tail()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Puts that make snapshots, and the client that makes them.
async fn puts(server: &Server, from: usize) -> Result<()> {
    for i in from..from + 40 {
        let put = api::put(format!("k{i}"), vec![b'v'; 100_000]);
        server
            .api()
            .put(put)
            .await
            .with_context(|| format!("put {i}\n{}", server.tail()))?;
    }
    Ok(())
}

async fn serves_under_silence(program: &Program) -> Result<()> {
    let temp = tempfile::tempdir()?;
    let (metrics, _) = peers::server::free_ports()?;
    let mut server = Launch::new(
        &limited(program, &format!("-n {LIMIT}")),
        &temp.path().join("d"),
    )
    .flag("--snapshot-count=5")
    .flag(&format!("--listen-metrics-urls=http://127.0.0.1:{metrics}"))
    .start()
    .await?;
    puts(&server, 0).await?;
    let mut held = Vec::new();
    // Real etcd does not bound its other two ports: there it is asked about the first only.
    let ports = [server.port(), server.peer_port(), metrics];
    let ports = if server.is_pintle() {
        &ports[..]
    } else {
        &ports[..1]
    };
    for (round, port) in ports.iter().enumerate() {
        let before = open_files(&server)?;
        held.extend(silent(*port)?);
        if round == 0 {
            until_full(&server, before).await?;
        }
        puts(&server, 40 * (1 + round)).await?;
        ensure!(server.poll_exit()?.is_none(), "it ended\n{}", server.tail());
        let open = open_files(&server)?;
        ensure!(open < LIMIT, "{open} of {LIMIT} files open");
    }
    ensure!(held.iter().all(|stream| stream.as_raw_fd() >= 0));
    if server.is_pintle() {
        // What only sits there makes room for who asks something.
        server.connect().put(api::put("late", "v")).await?;
        let page = http::send(metrics, "GET", "/metrics", "").await?.text();
        let limit = page
            .lines()
            .find_map(|line| line.strip_prefix("pintle_connections_limit{of=\"clients\"} "))
            .context("no limit on the page of metrics")?;
        ensure!(limit.parse::<usize>()? < LIMIT, "a limit of {limit}");
        let version = http::send(server.peer_port(), "GET", "/version", "").await?;
        ensure!(version.status == 200, "{version:?}");
    }
    drop(held);
    server.terminate().await
}

#[test]
fn silent_connections_do_not_stop_a_member() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(180, async {
        serves_under_silence(&subject).await?;
        serves_under_silence(&reference).await
    });
    peer::say("RAN: descriptors, silent connections on every port");
}

async fn refuses_to_start(program: &Program) -> Result<()> {
    let temp = tempfile::tempdir()?;
    let mut server = Launch::new(&limited(program, "-n 150"), &temp.path().join("d")).spawn()?;
    let status = server.wait_exit(Duration::from_secs(30)).await?;
    let text = server.log_text();
    ensure!(status.code() == Some(1), "it ended with {status}\n{text}");
    ensure!(
        text.contains("file descriptor limit of etcd process is too low; please set higher"),
        "{text}"
    );
    ensure!(
        !temp.path().join("d/member/wal").exists() || !server.is_pintle(),
        "a refused start made a log"
    );
    Ok(())
}

#[test]
fn a_limit_that_is_too_low_is_refused_by_name() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(60, async {
        refuses_to_start(&subject).await?;
        refuses_to_start(&reference).await
    });
    peer::say("RAN: descriptors, a limit that is too low");
}

async fn raised(program: &Program) -> Result<String> {
    let temp = tempfile::tempdir()?;
    let program = limited(program, "-S -n 200");
    let server = Launch::new(&program, &temp.path().join("d"))
        .start()
        .await?;
    let page = http::send(server.port(), "GET", "/metrics", "")
        .await?
        .text();
    let limit = page
        .lines()
        .find_map(|line| line.strip_prefix("os_fd_limit "))
        .context("no os_fd_limit")?
        .to_owned();
    server.terminate().await?;
    Ok(limit)
}

#[test]
fn the_soft_limit_is_raised_to_the_hard_limit() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(90, async {
        let (ours, theirs) = (raised(&subject).await?, raised(&reference).await?);
        let numbers: (f64, f64) = (ours.parse()?, theirs.parse()?);
        // Go leaves out the last one.
        ensure!(numbers.0 >= numbers.1, "{ours}, etcd {theirs}");
        ensure!(numbers.1 > 200.0, "etcd has {theirs} itself");
        Ok(())
    });
    peer::say("RAN: descriptors, the soft limit is raised");
}
