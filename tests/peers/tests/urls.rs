//! URLs of listeners that are not one TCP port for one protocol: members that reach each other over
//! unix sockets, in a cluster with etcd too, and http and https on one address.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use peers::{
    api, http as http1,
    peer::{self, Program},
    server::{Launch, Server, free_ports},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use tls::{ClientOptions, Connector};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// `program` in a working directory: where the sockets of URLs with a host and a port are.
fn inside(program: &Program, dir: &Path) -> Program {
    let script = format!("cd '{}' && exec \"$@\"", dir.display());
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

/// A member of a cluster whose members dial sockets: of the form that etcd takes for advertised
/// URLs, too, or with nothing but a path.
fn member(program: &Program, dir: &Path, n: usize, of: usize, path: bool) -> Result<Launch> {
    let socket = |n: usize| match path {
        true => format!("unix://{}/m{n}.sock", dir.display()),
        false => format!("unix://127.0.0.1:{n}"),
    };
    let program = &inside(program, dir);
    let (port, _) = free_ports()?;
    let client = format!("http://127.0.0.1:{port}");
    let initial: Vec<String> = (0..of).map(|n| format!("m{n}={}", socket(n))).collect();
    let mut launch = Launch::new(program, &dir.join(format!("d{n}")))
        .only_given_flags()
        .ports(port, 0)
        .label(&format!("m{n}"));
    for flag in [
        format!("--name=m{n}"),
        format!("--data-dir={}", dir.join(format!("d{n}")).display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={}", socket(n)),
        format!("--initial-advertise-peer-urls={}", socket(n)),
        format!("--initial-cluster={}", initial.join(",")),
    ] {
        launch = launch.flag(&flag);
    }
    Ok(launch)
}

async fn cluster(programs: &[&Program], path: bool) -> Result<()> {
    let temp = tempfile::tempdir()?;
    let mut servers: Vec<Server> = Vec::new();
    for (n, program) in programs.iter().enumerate() {
        servers.push(member(program, temp.path(), n, programs.len(), path)?.spawn()?);
    }
    for server in &mut servers {
        server.ready().await?;
    }
    for (n, server) in servers.iter().enumerate() {
        let key = format!("k{n}");
        server.api().put(api::put(key.clone(), "v")).await?;
        for other in &servers {
            let found = other.api().range(api::get(key.clone())).await?;
            ensure!(found.kvs.len() == 1, "{key} is not everywhere");
        }
    }
    // A second round over sockets that were left behind.
    let last = servers.len() - 1;
    servers.remove(last).kill().await?;
    let mut again = member(programs[last], temp.path(), last, programs.len(), path)?.spawn()?;
    again.ready().await?;
    again.api().put(api::put("again", "v")).await?;
    for server in servers {
        server.terminate().await?;
    }
    Ok(())
}

#[test]
fn members_reach_each_other_over_unix_sockets() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(240, async {
        // etcd 3.5.30 wants a host and a port in what it advertises.
        cluster(&[&subject; 3], true).await?;
        cluster(&[&subject, &reference, &reference], false).await
    });
    peer::say("RAN: urls, unix peer URLs, alone and with etcd");
}

/// A certificate for 127.0.0.1 that signed itself, as `openssl req -x509` makes it.
fn certificate(dir: &Path) -> Result<()> {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let cert = params.self_signed(&key)?;
    let pem = |label: &str, der: &[u8]| {
        let text = STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    };
    fs::write(dir.join("crt"), pem("CERTIFICATE", cert.der()))?;
    fs::write(dir.join("key"), pem("PRIVATE KEY", key.serialized_der()))?;
    Ok(())
}

/// The first line of the answer to a request over TLS.
async fn over_tls(dir: &Path, port: u16) -> Result<String> {
    let connector = Connector::new(ClientOptions {
        trusted_ca: Some(dir.join("crt")),
        ..ClientOptions::default()
    })?;
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    let mut stream = connector.secure("127.0.0.1", stream).await?;
    stream
        .write_all(b"GET /version HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    // Go ends the connection without a word of TLS.
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// A call of the gateway in HTTP/2 that is refused by its head, and of which the request does not
/// end: the whole answer comes.
async fn over_http2(dir: &Path, port: u16) -> Result<()> {
    let connector = Connector::new(ClientOptions {
        trusted_ca: Some(dir.join("crt")),
        alpn: vec![b"h2".to_vec()],
        ..ClientOptions::default()
    })?;
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    let stream = connector.secure("127.0.0.1", stream).await?;
    let (client, connection) = h2::client::handshake(stream).await?;
    let driver = tokio::spawn(connection);
    let request = http::Request::post(format!("https://127.0.0.1:{port}/v3/kv/range"));
    let request = request.header("grpc-timeout", "x").body(())?;
    let (response, mut sending) = client.ready().await?.send_request(request, false)?;
    sending.send_data(r#"{"key":"aw=="}"#.into(), false)?;
    let answer = async {
        let response = response.await?;
        ensure!(response.status() == 400, "{response:?}");
        let mut body = response.into_body();
        let mut text = Vec::new();
        while let Some(data) = body.data().await {
            text.extend_from_slice(&data?);
        }
        Ok(String::from_utf8(text)?)
    };
    let text = tokio::time::timeout(Duration::from_secs(20), answer).await;
    driver.abort();
    let text = text.context("no answer before the end of the request")??;
    ensure!(text.contains("invalid grpc-timeout: x"), "{text}");
    Ok(())
}

async fn both_on_one_address(program: &Program) -> Result<()> {
    let temp = tempfile::tempdir()?;
    certificate(temp.path())?;
    let (port, peer_port) = free_ports()?;
    let urls = format!("http://127.0.0.1:{port},https://127.0.0.1:{port}");
    let peer = format!("http://127.0.0.1:{peer_port}");
    let file = |name: &str| temp.path().join(name).display().to_string();
    let mut launch = Launch::new(program, &temp.path().join("d"))
        .only_given_flags()
        .ports(port, peer_port);
    for flag in [
        "--name=m".to_owned(),
        format!("--data-dir={}", file("d")),
        format!("--listen-client-urls={urls}"),
        format!("--advertise-client-urls={urls}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=m={peer}"),
        format!("--cert-file={}", file("crt")),
        format!("--key-file={}", file("key")),
    ] {
        launch = launch.flag(&flag);
    }
    let mut server = launch.spawn()?;
    server.ready().await?;
    // One that says nothing holds up no one, and does not hold up the stop either.
    let silent = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    let plain = http1::send(port, "GET", "/version", "").await?;
    ensure!(plain.status == 200, "{plain:?}");
    server.api().put(api::put("k", "v")).await?;
    let secure = over_tls(temp.path(), port).await.context(server.tail())?;
    ensure!(secure == "HTTP/1.1 200 OK", "{secure:?}");
    over_http2(temp.path(), port).await.context(server.tail())?;
    drop(silent);
    server.terminate().await
}

#[test]
fn http_and_https_share_an_address() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(120, async {
        both_on_one_address(&subject).await?;
        both_on_one_address(&reference).await
    });
    peer::say("RAN: urls, http and https on one address");
}
