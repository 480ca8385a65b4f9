//! TLS between real programs: each server (etcd, Pintle) with each etcdctl, with
//! client certificates, with ones that must not get in, over a change of files.

mod certs;
mod users;

use std::{
    path::Path,
    process::{Command, Output},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use certs::Ca;
use peers::{
    peer::{self, Program},
    ports, run,
    server::{Launch, Server},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const WITHIN: Duration = Duration::from_secs(40);

/// A member with https client and metrics URLs.
struct Member {
    server: Server,
    client: u16,
    metrics: u16,
}

async fn start(program: &Program, data: &Path, flags: &[String]) -> Result<Member> {
    let (client, peers, metrics) = (ports::claim()?, ports::claim()?, ports::claim()?);
    let mut launch = Launch::new(program, data)
        .only_given_flags()
        .ports(client, peers)
        .flag("--name=m")
        .flag(&format!("--data-dir={}", data.display()))
        .flag(&format!("--listen-client-urls=https://127.0.0.1:{client}"))
        .flag(&format!(
            "--advertise-client-urls=https://127.0.0.1:{client}"
        ))
        .flag(&format!(
            "--listen-metrics-urls=https://127.0.0.1:{metrics}"
        ))
        .flag(&format!("--listen-peer-urls=http://127.0.0.1:{peers}"))
        .flag("--initial-advertise-peer-urls=http://127.0.0.1:2")
        .flag("--initial-cluster=m=http://127.0.0.1:2");
    for flag in flags {
        launch = launch.flag(flag);
    }
    let mut server = launch.spawn()?;
    server
        .wait_log("serving client traffic securely", WITHIN)
        .await?;
    Ok(Member {
        server,
        client,
        metrics,
    })
}

fn files(ca: &Ca) -> Vec<String> {
    vec![
        format!("--cert-file={}", ca.path("server", "crt").display()),
        format!("--key-file={}", ca.path("server", "key").display()),
        format!("--trusted-ca-file={}", ca.file.display()),
        "--client-cert-auth".to_owned(),
    ]
}

/// One etcdctl: the real one, or Pintle's.
struct Ctl {
    path: std::path::PathBuf,
    words: &'static [&'static str],
}

impl Ctl {
    /// Runs it; `who` names a certificate of `ca`, `trusting` is the CA file.
    fn run(
        &self,
        port: u16,
        who: Option<(&Ca, &str)>,
        trusting: &Path,
        args: &[&str],
    ) -> Result<Output> {
        let mut command = Command::new(&self.path);
        command
            .args(self.words)
            .arg(format!("--endpoints=https://127.0.0.1:{port}"))
            .arg(format!("--cacert={}", trusting.display()))
            .args(["--command-timeout=3s", "--dial-timeout=2s"]);
        if let Some((ca, name)) = who {
            command
                .arg(format!("--cert={}", ca.path(name, "crt").display()))
                .arg(format!("--key={}", ca.path(name, "key").display()));
        }
        command
            .args(args)
            .env("ETCDCTL_API", "3")
            .output()
            .with_context(|| self.path.display().to_string())
    }
}

/// Both servers and both etcdctls; `None` after a `SKIP:` line.
fn programs() -> Option<(Vec<Program>, Vec<Ctl>)> {
    let (subject, reference) = peer::pair()?;
    let mut ctls = vec![Ctl {
        path: peer::tool(peer::REFERENCE, "etcdctl")?,
        words: &[],
    }];
    if subject.is_pintle {
        ctls.push(Ctl {
            path: subject.path.clone(),
            words: &["ctl"],
        });
    }
    Some((vec![reference, subject], ctls))
}

fn last_line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .lines()
        .rfind(|line| line.starts_with("Error:"))
        .unwrap_or_default()
        .to_owned()
}

/// What etcdctl 3.5.30 says of a connection that a server refuses (`"pintle"` or etcd), by the
/// client's certificate and whether the client trusts the server.
fn reason(certificate: Option<&str>, trusts: bool, pintle: bool) -> &'static str {
    match certificate {
        _ if !trusts => {
            "transport: authentication handshake failed: tls: failed to verify certificate: x509: certificate signed by unknown authority"
        }
        None => "error reading server preface: remote error: tls: certificate required",
        Some("expired") => "error reading server preface: remote error: tls: expired certificate",
        Some("revoked") if pintle => {
            "error reading server preface: remote error: tls: revoked certificate"
        }
        // etcd closes the connection and says nothing.
        Some("revoked") => "error reading server preface: EOF",
        Some(_) => "error reading server preface: remote error: tls: unknown certificate authority",
    }
}

/// What is said where a server closed before its reason was read.
const CLOSED: &str = "error reading server preface: EOF";

/// What of a log says that connections were refused.
fn rejections(server: &Server) -> String {
    server
        .log_text()
        .lines()
        .filter(|line| line.contains("rejected connection on client endpoint"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn certificates_decide_who_gets_in_with_every_pair_of_programs() {
    let Some((servers, ctls)) = programs() else {
        return;
    };
    run(300, async {
        let dir = tempfile::tempdir()?;
        let (ca, other) = (Ca::new(dir.path(), "ca")?, Ca::new(dir.path(), "other")?);
        ca.issue("server", "server", 1, 2080)?;
        ca.issue("client", "client", 2, 2080)?;
        ca.issue("expired", "client", 3, 2021)?;
        ca.issue("revoked", "client", 4, 2080)?;
        other.issue("stranger", "client", 5, 2080)?;
        ca.revoke("list", &[4])?;
        for program in &servers {
            let data = tempfile::tempdir()?;
            let mut flags = files(&ca);
            flags.push(format!(
                "--client-crl-file={}",
                ca.path("list", "crl").display()
            ));
            let member = start(program, data.path(), &flags).await?;
            for ctl in &ctls {
                let good = Some((&ca, "client"));
                let out = ctl.run(member.client, good, &ca.file, &["put", "k", "v"])?;
                ensure!(
                    out.status.success() && out.stdout == b"OK\n",
                    "{program}: {out:?}"
                );
                let out = ctl.run(
                    member.client,
                    good,
                    &ca.file,
                    &["get", "k", "--print-value-only"],
                )?;
                ensure!(out.stdout == b"v\n", "{program}: {out:?}");
                for (who, trusting) in [
                    (None, &ca.file),
                    (Some((&ca, "expired")), &ca.file),
                    (Some((&ca, "revoked")), &ca.file),
                    (Some((&other, "stranger")), &ca.file),
                    (good, &other.file),
                ] {
                    let out = ctl.run(member.client, who, trusting, &["get", "k"])?;
                    let name = who.map(|(_, name)| name);
                    ensure!(
                        out.status.code() == Some(1)
                            && last_line(&out.stderr) == "Error: context deadline exceeded",
                        "{program}, {name:?}: {out:?}"
                    );
                    // Go's client now and then only says that it could not write.
                    if ctl.words.is_empty() {
                        continue;
                    }
                    let why = reason(name, trusting == &ca.file, program.is_pintle);
                    let said = String::from_utf8_lossy(&out.stderr).into_owned();
                    // A close that overtakes the alert leaves nothing to read, as in Go.
                    let is_said = said.contains(why) || said.contains(CLOSED);
                    ensure!(is_said, "{program}, {name:?}: {said}, not {why}");
                }
            }
            let log = rejections(&member.server);
            for text in [
                "tls: client didn't provide a certificate",
                "x509: certificate has expired or is not yet valid",
                "transport: certificate serial 04 revoked",
                "x509: certificate signed by unknown authority",
                "remote error: tls: ",
            ] {
                ensure!(
                    log.contains(text),
                    "{program} does not log {text:?}:\n{log}"
                );
            }
            member.server.no_panic()?;
            member.server.terminate().await?;
        }
        Ok(())
    });
}

#[test]
fn a_certificate_that_is_swapped_while_running_is_shown_to_the_next() {
    let Some((servers, ctls)) = programs() else {
        return;
    };
    run(200, async {
        for program in &servers {
            let dir = tempfile::tempdir()?;
            let (ca, next) = (Ca::new(dir.path(), "ca")?, Ca::new(dir.path(), "next")?);
            ca.issue("server", "server", 1, 2080)?;
            ca.issue("client", "client", 2, 2080)?;
            let data = tempfile::tempdir()?;
            let member = start(program, data.path(), &files(&ca)).await?;
            let works = |trusting: &Path| -> Result<Vec<bool>> {
                ctls.iter()
                    .map(|ctl| {
                        let who = Some((&ca, "client"));
                        let out = ctl.run(member.client, who, trusting, &["put", "k", "v"])?;
                        Ok(out.status.success())
                    })
                    .collect()
            };
            ensure!(works(&ca.file)?.iter().all(|ok| *ok), "{program}: before");
            ensure!(!works(&next.file)?.contains(&true), "{program}: too early");
            next.issue("server", "server", 9, 2080)?;
            ensure!(works(&next.file)?.iter().all(|ok| *ok), "{program}: after");
            ensure!(
                !works(&ca.file)?.contains(&true),
                "{program}: the old one is shown"
            );
            member.server.terminate().await?;
        }
        Ok(())
    });
}

#[test]
fn auto_tls_is_taken_over_by_the_other_program() {
    let Some((servers, ctls)) = programs() else {
        return;
    };
    run(200, async {
        for order in [[0, 1], [1, 0]] {
            let data = tempfile::tempdir()?;
            let mut first = Vec::new();
            for (turn, program) in order.iter().map(|at| &servers[*at]).enumerate() {
                let member = start(program, data.path(), &["--auto-tls".to_owned()]).await?;
                let cert = data.path().join("fixtures/client/cert.pem");
                let bytes = std::fs::read(&cert)?;
                if turn == 0 {
                    first = bytes;
                } else {
                    ensure!(bytes == first, "{program} made a certificate of its own");
                }
                for ctl in &ctls {
                    // The file is its own CA.
                    let out = ctl.run(member.client, None, &cert, &["put", "k", "v"])?;
                    ensure!(out.status.success(), "{program}: {out:?}");
                    let port = member.client;
                    let out = Command::new(&ctl.path)
                        .args(ctl.words)
                        .arg(format!("--endpoints=127.0.0.1:{port}"))
                        .args(["--insecure-transport=false", "--insecure-skip-tls-verify"])
                        .args(["get", "k", "--print-value-only"])
                        .env("ETCDCTL_API", "3")
                        .output()?;
                    ensure!(out.stdout == b"v\n", "{program}: {out:?}");
                }
                member.server.terminate().await?;
            }
        }
        Ok(())
    });
}

/// One request over TLS and HTTP/1.1; gives the whole answer.
async fn https(connector: &Arc<tls::Connector>, port: u16, request: &str) -> Result<String> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut stream = connector.secure("127.0.0.1", stream).await?;
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    // Some servers close without the last record of TLS.
    let _ = stream.read_to_end(&mut answer).await;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn the_pages_and_the_gateway_are_served_over_tls_and_plain_text_is_closed() {
    let Some((servers, _)) = programs() else {
        return;
    };
    run(120, async {
        let dir = tempfile::tempdir()?;
        let ca = Ca::new(dir.path(), "ca")?;
        ca.issue("server", "server", 1, 2080)?;
        ca.issue("client", "client", 2, 2080)?;
        let options = tls::ClientOptions {
            identity: Some(tls::Identity {
                cert: ca.path("client", "crt"),
                key: ca.path("client", "key"),
            }),
            trusted_ca: Some(ca.file.clone()),
            alpn: vec![b"http/1.1".to_vec()],
            ..tls::ClientOptions::default()
        };
        let connector = Arc::new(tls::Connector::new(options)?);
        for program in &servers {
            let data = tempfile::tempdir()?;
            // Over TLS no Host is foreign.
            let mut flags = files(&ca);
            flags.push("--host-whitelist=elsewhere".to_owned());
            let member = start(program, data.path(), &flags).await?;
            let head = "HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n";
            let get = |path: &str| format!("GET {path} {head}\r\n");
            let health = https(&connector, member.client, &get("/health")).await?;
            ensure!(
                health.contains(r#"{"health":"true","reason":""}"#),
                "{program}: {health}"
            );
            let metrics = https(&connector, member.metrics, &get("/metrics")).await?;
            ensure!(
                metrics.contains("etcd_server_has_leader 1"),
                "{program}: {metrics}"
            );
            let body = r#"{"key":"aw==","value":"dg=="}"#;
            let put = format!(
                "POST /v3/kv/put {head}Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let put = https(&connector, member.client, &put).await?;
            ensure!(put.contains(r#""revision":"2""#), "{program}: {put}");

            let mut plain = TcpStream::connect(("127.0.0.1", member.client)).await?;
            plain.write_all(get("/health").as_bytes()).await?;
            let mut answer = Vec::new();
            let end = plain.read_to_end(&mut answer).await;
            ensure!(
                answer.is_empty(),
                "{program} answers in plain text: {answer:?}, {end:?}"
            );
            // A handshake that never goes on holds up no one.
            let mut stuck = TcpStream::connect(("127.0.0.1", member.client)).await?;
            stuck.write_all(&[0x16, 3, 1, 2, 0, 1]).await?;
            let again = https(&connector, member.client, &get("/health")).await?;
            ensure!(again.contains(r#""health":"true""#), "{program}: {again}");
            let log = rejections(&member.server);
            ensure!(
                log.contains("tls: first record does not look like a TLS handshake"),
                "{program}: {log}"
            );
            drop(stuck);
            member.server.terminate().await?;
        }
        Ok(())
    });
}
