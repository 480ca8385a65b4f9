//! Clients whose gRPC names in `:authority` what is none: those of etcd 3.5.0 the list of their
//! endpoints, those of a unix socket its path. Go's server takes any text there.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use peers::{
    frames::{self, END_HEADERS, END_STREAM, Raw, frame, kind},
    peer::{self, Program},
    server::{Launch, Server},
};
use tokio::process::Command;

const RELEASES: [&str; 4] = ["3.4.23", "3.5.0", "3.5.1", "3.5.30"];

async fn run(etcdctl: &Path, endpoints: &str, args: &[&str], server: &Server) -> Result<()> {
    let output = Command::new(etcdctl)
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", endpoints, "--command-timeout=60s"])
        .args(args)
        .output()
        .await
        .context("etcdctl")?;
    ensure!(
        output.status.success(),
        "{}: {args:?} at {endpoints}: {}\n{}",
        etcdctl.display(),
        String::from_utf8_lossy(&output.stderr),
        server.tail()
    );
    Ok(())
}

/// Calls of one connection, each with another `:authority`, as a literal with either kind of name.
async fn calls(server: &Server) -> Result<()> {
    let mut raw = Raw::connect(server.port()).await?;
    let authorities: [&[u8]; 5] = [
        b"#initially=[127.0.0.1:2379]",
        b"127.0.0.1:2379",
        b"/run/x.sock",
        b"etcd-endpoints://0xc000/127.0.0.1:2379",
        b"%2Frun%2Fx.sock",
    ];
    for (n, authority) in authorities.into_iter().enumerate() {
        let mut header = frames::block(&[
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", b"/etcdserverpb.KV/Range"),
        ]);
        if n % 2 == 0 {
            // Kept in the table of the other side.
            header.extend([0x41, authority.len() as u8]);
            header.extend(authority);
        } else {
            header.extend(frames::block(&[(b":authority", authority)]));
        }
        header.extend(frames::block(&[
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
        ]));
        let stream = 2 * n as u32 + 1;
        let message = [0, 0, 0, 0, 3, 0x0a, 1, b'a'];
        raw.send(&frame(kind::HEADERS, END_HEADERS, stream, &header))
            .await?;
        raw.send(&frame(kind::DATA, END_STREAM, stream, &message))
            .await?;
        let answer = raw.until_end_of(stream).await?;
        ensure!(
            answer.iter().all(|frame| frame.kind != kind::RST_STREAM),
            "{}: the stream was reset",
            String::from_utf8_lossy(authority)
        );
    }
    Ok(())
}

async fn serves_old_clients(program: &Program) -> Result<()> {
    let temp = tempfile::tempdir()?;
    let server = Launch::new(program, temp.path()).start().await?;
    calls(&server).await?;
    let port = server.port();
    for version in RELEASES {
        let Some(etcdctl) = peer::tool(version, "etcdctl") else {
            continue;
        };
        for endpoints in [
            format!("127.0.0.1:{port}"),
            format!("http://127.0.0.1:{port},localhost:{port}"),
        ] {
            for args in [
                &["put", "old", "v"][..],
                &["get", "old"],
                &["member", "list"],
            ] {
                run(&etcdctl, &endpoints, args, &server).await?;
            }
        }
    }
    server.terminate().await
}

#[test]
fn an_authority_that_is_none_is_no_reason_to_refuse() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(240, async {
        serves_old_clients(&reference).await?;
        serves_old_clients(&subject).await
    });
    peer::say("RAN: old clients");
}
