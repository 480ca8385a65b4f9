//! Who gets in and who does not, and what both sides say about it.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::certs::{Ca, Leaf};
use crate::{Accepted, Acceptor, ClientOptions, Connector, Options, Protocol, Refused};

/// What the server says, and what the client reads after the handshake.
pub(super) type Both = (Result<Accepted<TcpStream>, Refused>, io::Result<u8>);

/// One handshake over a socket; the server sends one byte if it succeeds.
pub(super) async fn shake(acceptor: &Acceptor, connector: &Connector, host: &str) -> Both {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
    let address = listener.local_addr().expect("address");
    let server = async {
        let (stream, _) = listener.accept().await.expect("accept");
        let mut outcome = acceptor.accept_tcp(stream).await;
        if let Ok(accepted) = &mut outcome {
            accepted.stream.write_all(b"!").await.expect("write");
            accepted.stream.flush().await.expect("flush");
        }
        outcome
    };
    let client = async {
        let stream = TcpStream::connect(address).await?;
        let mut stream = connector.secure(host, stream).await?;
        stream.read_u8().await
    };
    tokio::join!(server, client)
}

pub(super) async fn between(server: &Options, client: ClientOptions) -> Both {
    let acceptor = Acceptor::new(server, &["h2", "http/1.1"]).expect("acceptor");
    let connector = Connector::new(client).expect("connector");
    shake(&acceptor, &connector, "localhost").await
}

/// The text of a refusal, which must be one.
pub(super) fn refusal(both: &Both) -> &str {
    assert!(both.1.is_err(), "the client was served");
    match &both.0 {
        Err(refused) => &refused.reason,
        Ok(_) => panic!("let in"),
    }
}

#[tokio::test]
async fn a_client_with_a_certificate_of_the_ca_gets_in() {
    let dir = tempfile::tempdir().expect("dir");
    let ca = Ca::new(dir.path(), "ca");
    let server = ca.issue("server", &Leaf::default());
    let own = Leaf {
        common_name: "reader",
        serial: 0x80,
        ..Leaf::default()
    };
    let client = ca.issue("client", &own);
    let (accepted, read) = between(&ca.server(&server), ca.client(Some(&client))).await;
    assert_eq!(read.expect("served"), b'!');
    let peer = accepted.expect("accepted").peer.expect("certificate");
    assert_eq!(peer.common_name, "reader");
    assert_eq!(peer.serial, [0x80]);
    assert_eq!(peer.dns_names, ["localhost"]);
    assert_eq!(
        peer.ip_addresses,
        ["127.0.0.1".parse::<std::net::IpAddr>().expect("ip")]
    );
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused_when_a_ca_is_given() {
    let dir = tempfile::tempdir().expect("dir");
    let ca = Ca::new(dir.path(), "ca");
    let server = ca.issue("server", &Leaf::default());
    // The trusted CA alone is enough, as in etcd.
    let options = Options {
        client_cert_auth: false,
        ..ca.server(&server)
    };
    let both = between(&options, ca.client(None)).await;
    assert_eq!(refusal(&both), "tls: client didn't provide a certificate");
    let open = Options {
        trusted_ca: None,
        ..options
    };
    let (accepted, read) = between(&open, ca.client(None)).await;
    assert_eq!(accepted.expect("accepted").peer, None);
    assert_eq!(read.expect("served"), b'!');
}

#[tokio::test]
async fn certificates_of_another_ca_and_expired_ones_are_refused() {
    let dir = tempfile::tempdir().expect("dir");
    let (ca, other) = (Ca::new(dir.path(), "ca"), Ca::new(dir.path(), "other"));
    let server = ca.issue("server", &Leaf::default());
    let stranger = other.issue("stranger", &Leaf::default());
    let both = between(&ca.server(&server), ca.client(Some(&stranger))).await;
    assert_eq!(
        refusal(&both),
        "tls: failed to verify certificate: x509: certificate signed by unknown authority"
    );
    let old = ca.issue(
        "old",
        &Leaf {
            expired: true,
            ..Leaf::default()
        },
    );
    let both = between(&ca.server(&server), ca.client(Some(&old))).await;
    let text = refusal(&both);
    assert!(
        text.contains("x509: certificate has expired or is not yet valid: current time"),
        "{text}"
    );
    let refused = both.0.err().expect("refused");
    assert_eq!(refused.server_name, "localhost");
    assert!(
        refused.peer.is_some(),
        "the log shows whose certificate it was"
    );
}

#[tokio::test]
async fn a_client_refuses_servers_it_cannot_verify() {
    let dir = tempfile::tempdir().expect("dir");
    let (ca, other) = (Ca::new(dir.path(), "ca"), Ca::new(dir.path(), "other"));
    let server = ca.issue("server", &Leaf::default());
    let options = Options {
        identity: Some(server),
        ..Options::default()
    };
    let (refused, read) = between(&options, other.client(None)).await;
    let text = read.expect_err("unknown CA").to_string();
    assert!(
        text.contains("x509: certificate signed by unknown authority"),
        "{text}"
    );
    let reason = refused.err().expect("refused").reason;
    assert!(reason.starts_with("remote error: tls: "), "{reason}");

    let acceptor = Acceptor::new(&options, &["h2"]).expect("acceptor");
    let connector = Connector::new(ca.client(None)).expect("connector");
    let (_, read) = shake(&acceptor, &connector, "elsewhere.example").await;
    let text = read.expect_err("wrong name").to_string();
    assert!(
        text.contains("x509: certificate is valid for localhost, not elsewhere.example"),
        "{text}"
    );
    // The name that was asked for instead decides.
    let renamed = ClientOptions {
        server_name: Some("localhost".into()),
        ..ca.client(None)
    };
    let connector = Connector::new(renamed).expect("connector");
    let (_, read) = shake(&acceptor, &connector, "elsewhere.example").await;
    assert_eq!(read.expect("served"), b'!');
    // An address is verified as an address.
    let connector = Connector::new(ca.client(None)).expect("connector");
    let (_, read) = shake(&acceptor, &connector, "127.0.0.1").await;
    assert_eq!(read.expect("served"), b'!');
    let blind = ClientOptions {
        skip_verify: true,
        ..other.client(None)
    };
    let connector = Connector::new(blind).expect("connector");
    let (_, read) = shake(&acceptor, &connector, "elsewhere.example").await;
    assert_eq!(read.expect("served"), b'!');
}

#[tokio::test]
async fn versions_and_suites_are_kept_to() {
    let dir = tempfile::tempdir().expect("dir");
    let ca = Ca::new(dir.path(), "ca");
    let options = |min: &str, max: &str, suites: &[&str]| Options {
        identity: Some(ca.issue("server", &Leaf::default())),
        protocol: Protocol::parse(
            min,
            max,
            &suites.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>(),
        )
        .expect("protocol"),
        ..Options::default()
    };
    let client = |max: &str| ClientOptions {
        protocol: Protocol::parse("", max, &[]).expect("protocol"),
        ..ca.client(None)
    };
    let (_, read) = between(&options("TLS1.3", "", &[]), client("TLS1.2")).await;
    read.expect_err("too old");
    let (_, read) = between(&options("TLS1.2", "TLS1.2", &[]), client("")).await;
    assert_eq!(read.expect("served"), b'!');
    let suite = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384";
    let (accepted, _) = between(&options("", "", &[suite]), client("TLS1.2")).await;
    let accepted = accepted.expect("accepted");
    let chosen = accepted.stream.get_ref().1.negotiated_cipher_suite();
    assert_eq!(
        chosen.map(|s| s.suite()),
        Some(rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384)
    );
}

#[tokio::test]
async fn what_is_no_tls_is_closed_without_a_word_and_silence_ends() {
    let dir = tempfile::tempdir().expect("dir");
    let ca = Ca::new(dir.path(), "ca");
    let options = Options {
        identity: Some(ca.issue("server", &Leaf::default())),
        ..Options::default()
    };
    let acceptor = Acceptor::new(&options, &["h2"]).expect("acceptor");
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
    let address = listener.local_addr().expect("address");
    let mut client = TcpStream::connect(address).await.expect("connect");
    client
        .write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .expect("write");
    let (stream, _) = listener.accept().await.expect("accept");
    let refused = acceptor.accept_tcp(stream).await.err().expect("refused");
    assert_eq!(
        refused.reason,
        "tls: first record does not look like a TLS handshake"
    );
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.expect("a clean end");
    assert!(answer.is_empty());

    let client = TcpStream::connect(address).await.expect("connect");
    let (stream, _) = listener.accept().await.expect("accept");
    drop(client);
    let refused = acceptor.accept_tcp(stream).await.err().expect("refused");
    assert!(refused.eof, "{}", refused.reason);

    let impatient = acceptor.with_timeout(Duration::from_millis(20));
    let mut client = TcpStream::connect(address).await.expect("connect");
    // The head of a handshake record, and then nothing.
    client.write_all(&[0x16, 3, 1, 2, 0]).await.expect("write");
    let (stream, _) = listener.accept().await.expect("accept");
    let refused = impatient.accept_tcp(stream).await.err().expect("refused");
    assert!(refused.reason.contains("timeout"), "{}", refused.reason);
}
