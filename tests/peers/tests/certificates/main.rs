//! Who gets in by which certificate: a list of them is shown to the client port, the peer port and
//! the etcdctl of etcd and of Pintle, and each verdict must be the same. `PINTLE_CERTIFICATES=full`
//! adds the long keys, and servers that are started with each certificate as their own.

mod cases;
mod der;
mod keys;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use cases::{Case, Cases};
use peers::pem::pem;
use peers::{
    names::{HOST, NameServer},
    peer::{self, Program},
    ports, run,
    server::{Launch, Server},
};
use rustls::{
    ClientConfig, ServerConfig, SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const WITHIN: Duration = Duration::from_secs(60);

fn is_full() -> bool {
    std::env::var("PINTLE_CERTIFICATES").is_ok_and(|value| value == "full")
}

fn pems(chain: &[Vec<u8>]) -> String {
    chain.iter().map(|der| pem("CERTIFICATE", der)).collect()
}

/// The files of one run.
struct Files(tempfile::TempDir);

impl Files {
    fn new(cases: &Cases) -> Result<Files> {
        let files = Files(tempfile::tempdir()?);
        files.write("trusted.pem", pems(&cases.trusted))?;
        files.write("revoked.crl", pem("X509 CRL", &revoked()))?;
        let plain = cases.all.iter().find(|case| case.name == "plain");
        files.identity("own", plain.context("the plain case")?)?;
        Ok(files)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: String) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    fn identity(&self, name: &str, case: &Case) -> Result<()> {
        self.write(&format!("{name}.crt"), pems(&case.chain))?;
        self.write(&format!("{name}.key"), pem("PRIVATE KEY", &case.key))?;
        Ok(())
    }
}

/// A list with the serial number 0x66. No one checks who signed it.
fn revoked() -> Vec<u8> {
    use der::{bits, element, name, oid, sequence, utc};
    let algorithm = sequence(&[&oid("1.2.840.10045.4.3.2")]);
    let entry = sequence(&[&element(2, &[0x66]), &utc("200102000000Z")]);
    let list = sequence(&[
        &element(2, &[1]),
        &algorithm,
        &name("root"),
        &utc("200101000000Z"),
        &utc("490101000000Z"),
        &sequence(&[&entry]),
    ]);
    sequence(&[&list, &algorithm, &bits(&[0; 8])])
}

/// A member with TLS on both ports that wants certificates on both.
async fn start(program: &Program, data: &Path, files: &Files, identity: &str) -> Result<Server> {
    let (client, peer) = (ports::claim()?, ports::claim()?);
    let mut launch = Launch::new(program, data)
        .only_given_flags()
        .ports(client, peer)
        .flag("--name=m")
        .flag(&format!("--data-dir={}", data.display()))
        .flag(&format!("--listen-client-urls=https://127.0.0.1:{client}"))
        .flag(&format!(
            "--advertise-client-urls=https://127.0.0.1:{client}"
        ))
        .flag(&format!("--listen-peer-urls=https://127.0.0.1:{peer}"))
        .flag("--initial-advertise-peer-urls=https://127.0.0.1:2")
        .flag("--initial-cluster=m=https://127.0.0.1:2");
    for (prefix, crl) in [("", "client-crl-file"), ("peer-", "peer-crl-file")] {
        let flag = |name: &str, file: PathBuf| format!("--{prefix}{name}={}", file.display());
        launch = launch
            .flag(&flag("cert-file", files.path(&format!("{identity}.crt"))))
            .flag(&flag("key-file", files.path(&format!("{identity}.key"))))
            .flag(&flag("trusted-ca-file", files.path("trusted.pem")))
            .flag(&format!("--{prefix}client-cert-auth"))
            .flag(&format!("--{crl}={}", files.path("revoked.crl").display()));
    }
    launch.spawn()
}

/// Takes any server: the verdict that counts is the server's.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        let algorithms = self.0.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

fn certified(case: &Case) -> Result<Arc<SingleCertAndKey>> {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(case.key.clone()));
    let chain = case
        .chain
        .iter()
        .map(|der| CertificateDer::from(der.clone()))
        .collect();
    let key = aws_lc_rs::default_provider()
        .key_provider
        .load_private_key(key)?;
    Ok(Arc::new(SingleCertAndKey::from(CertifiedKey::new(
        chain, key,
    ))))
}

/// Whether the server at `port` answers a request of who shows this.
async fn is_let_in(
    port: u16,
    case: &Case,
    version: &'static SupportedProtocolVersion,
) -> Result<bool> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[version])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_client_cert_resolver(certified(case)?);
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let host = ServerName::try_from("127.0.0.1")?;
    let Ok(mut stream) = TlsConnector::from(Arc::new(config))
        .connect(host, stream)
        .await
    else {
        return Ok(false);
    };
    let request = "GET /version HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    if stream.write_all(request.as_bytes()).await.is_err() {
        return Ok(false);
    }
    Ok(starts_with_answer(&mut stream).await)
}

async fn starts_with_answer(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    let mut first = [0; 4];
    stream.read_exact(&mut first).await.is_ok() && &first == b"HTTP"
}

/// Compares what both have said, by name of the case.
fn compare(
    place: &str,
    etcd: &BTreeMap<String, String>,
    pintle: &BTreeMap<String, String>,
) -> Result<()> {
    let different: Vec<String> = etcd
        .iter()
        .filter(|(name, verdict)| pintle.get(*name) != Some(verdict))
        .map(|(name, verdict)| format!("{name}: etcd {verdict}, here {:?}", pintle.get(name)))
        .collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for verdict in etcd.values() {
        *counts.entry(verdict.as_str()).or_default() += 1;
    }
    peer::say(&format!(
        "CERTIFICATES: {place}: {} cases, {counts:?}",
        etcd.len()
    ));
    ensure!(different.is_empty(), "{place}:\n{}", different.join("\n"));
    ensure!(
        counts.len() > 1,
        "{place}: every verdict is the same: {counts:?}"
    );
    Ok(())
}

#[test]
fn ports_let_in_whom_etcd_lets_in() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    run(600, async {
        let cases = Cases::new(is_full());
        let files = Files::new(&cases)?;
        let mut verdicts = Vec::new();
        for program in [&reference, &subject] {
            let data = tempfile::tempdir()?;
            let mut server = start(program, data.path(), &files, "own").await?;
            server
                .wait_log("serving client traffic securely", WITHIN)
                .await?;
            let mut by_port = [BTreeMap::new(), BTreeMap::new()];
            for (verdicts, port) in by_port.iter_mut().zip([server.port(), server.peer_port()]) {
                for case in &cases.all {
                    let new = is_let_in(port, case, &TLS13).await?;
                    let old = is_let_in(port, case, &TLS12).await?;
                    verdicts.insert(case.name.clone(), format!("TLS 1.3 {new}, TLS 1.2 {old}"));
                }
            }
            server.no_panic()?;
            server.terminate().await?;
            verdicts.push(by_port);
        }
        compare("client port", &verdicts[0][0], &verdicts[1][0])?;
        compare("peer port", &verdicts[0][1], &verdicts[1][1])
    });
}

/// Whether the program, which dials `host`, goes on after it has seen this certificate.
async fn is_trusted(command: &[String], host: &str, files: &Files, case: &Case) -> Result<bool> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certified(case)?);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let mut child = tokio::process::Command::new(&command[0])
        .args(&command[1..])
        .arg(format!("--endpoints=https://{host}:{port}"))
        .arg(format!("--cacert={}", files.path("trusted.pem").display()))
        .args(["--command-timeout=60s", "--dial-timeout=60s", "get", "k"])
        .env("ETCDCTL_API", "3")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let (stream, _) = tokio::select! {
        accepted = listener.accept() => accepted?,
        status = child.wait() => anyhow::bail!("{command:?} ended early: {:?}", status?),
    };
    let shaken = TlsAcceptor::from(Arc::new(config)).accept(stream).await;
    let verdict = match shaken {
        Ok(mut stream) => stream.read_u8().await.is_ok(),
        Err(_) => false,
    };
    child.kill().await?;
    Ok(verdict)
}

async fn verdicts_of(
    command: &[String],
    hosts: &[&str],
    files: &Files,
    cases: &Cases,
) -> Result<BTreeMap<String, String>> {
    let mut verdicts = BTreeMap::new();
    // The ports have judged all of them with the same code.
    let step = if is_full() { 1 } else { 4 };
    for host in hosts {
        for (at, case) in cases.all.iter().enumerate() {
            // Of the other hosts only what the names decide.
            if *host == "127.0.0.1" && at % step == 0
                || case.name.starts_with("names")
                || case.name == "plain"
            {
                let verdict = is_trusted(command, host, files, case).await?;
                let said = if verdict { "trusts it" } else { "does not" };
                verdicts.insert(format!("{} for {host}", case.name), said.to_owned());
            }
        }
    }
    Ok(verdicts)
}

#[test]
fn etcdctl_trusts_whom_etcds_trusts() {
    let (Some((subject, _)), Some(etcdctl)) =
        (peer::pair(), peer::tool(peer::REFERENCE, "etcdctl"))
    else {
        return;
    };
    if !subject.is_pintle {
        return;
    }
    run(900, async {
        let cases = Cases::new(is_full());
        let files = Files::new(&cases)?;
        let words = |program: &Path, words: &[&str]| -> Vec<String> {
            let mut all = vec![program.display().to_string()];
            all.extend(words.iter().map(|word| (*word).to_owned()));
            all
        };
        let mut etcd = words(&etcdctl, &[]);
        let mut pintle = words(&subject.path, &["ctl"]);
        let mut hosts = vec!["127.0.0.1", "localhost"];
        let names = NameServer::on_port_53(BTreeMap::new());
        if let Some(names) = &names {
            hosts.push(HOST);
            etcd.splice(0..0, names.inside());
            pintle.splice(0..0, names.inside());
        }
        let (etcd, pintle) = tokio::join!(
            verdicts_of(&etcd, &hosts, &files, &cases),
            verdicts_of(&pintle, &hosts, &files, &cases),
        );
        compare("etcdctl", &etcd?, &pintle?)
    });
}

#[test]
fn servers_start_with_what_etcd_starts_with() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    run(3000, async {
        let cases = Cases::new(is_full());
        let files = Files::new(&cases)?;
        let step = if is_full() { 1 } else { 40 };
        let mut verdicts = [BTreeMap::new(), BTreeMap::new()];
        let plain = cases.all.iter().find(|case| case.name == "plain");
        let plain = plain.context("the plain case")?;
        for case in cases.all.iter().step_by(step) {
            files.identity("case", case)?;
            for (verdicts, program) in verdicts.iter_mut().zip([&reference, &subject]) {
                let data = tempfile::tempdir()?;
                let mut server = start(program, data.path(), &files, "case").await?;
                let text = "serving client traffic securely";
                // It ends, or serves.
                let serves = server.wait_log(text, WITHIN).await.is_ok();
                let verdict = if serves {
                    let new = is_let_in(server.port(), plain, &TLS13).await?;
                    let old = is_let_in(server.port(), plain, &TLS12).await?;
                    server.no_panic()?;
                    format!("serves, TLS 1.3 {new}, TLS 1.2 {old}")
                } else {
                    ensure!(
                        server.poll_exit()?.is_some(),
                        "{program}, {}: {}",
                        case.name,
                        server.tail()
                    );
                    "does not start".to_owned()
                };
                verdicts.insert(case.name.clone(), verdict);
                if serves {
                    server.kill().await?;
                }
            }
        }
        let [etcd, pintle] = &verdicts;
        peer::say(&format!("CERTIFICATES: as their own: {} cases", etcd.len()));
        let different: Vec<_> = etcd
            .iter()
            .filter(|(name, said)| pintle.get(*name) != Some(said))
            .collect();
        ensure!(different.is_empty(), "{different:#?}");
        Ok(())
    });
}
