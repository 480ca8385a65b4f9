//! Files that cannot be used, files that change, files that are made.

use std::fs;

use super::{
    certs::{Ca, Leaf},
    handshakes::{refusal, shake},
};
use crate::{Acceptor, ClientOptions, Connector, Options, Protocol, self_signed};

#[test]
fn errors_name_the_file_and_what_is_wrong_with_it() {
    let dir = tempfile::tempdir().expect("dir");
    let ca = Ca::new(dir.path(), "ca");
    let good = ca.issue("good", &Leaf::default());
    let other = ca.issue("other", &Leaf::default());
    let of = |options: Options| match Acceptor::new(&options, &["h2"]) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("accepted"),
    };
    let with = |cert: &std::path::Path, key: &std::path::Path| Options {
        identity: Some(crate::Identity {
            cert: cert.to_owned(),
            key: key.to_owned(),
        }),
        ..Options::default()
    };
    let missing = dir.path().join("missing");
    let text = of(with(&missing, &good.key));
    assert!(
        text.starts_with("cannot read the certificate ") && text.contains("missing"),
        "{text}"
    );
    let text = of(with(&good.key, &good.key));
    assert!(
        text.contains("good.key cannot be used: it holds no certificate"),
        "{text}"
    );
    let text = of(with(&good.cert, &good.cert));
    assert!(
        text.contains("good.crt cannot be used: it holds no unencrypted private key"),
        "{text}"
    );
    let text = of(with(&good.cert, &other.key));
    assert!(
        text.ends_with(&format!(
            "other.key does not belong to the certificate {}",
            good.cert.display()
        )),
        "{text}"
    );
    let text = of(with(dir.path(), &good.key));
    assert!(text.contains("it is no regular file"), "{text}");
    let broken = dir.path().join("broken.crl");
    fs::write(&broken, "no list").expect("write");
    let text = of(Options {
        crl: Some(broken),
        ..ca.server(&good)
    });
    assert!(
        text.contains("broken.crl cannot be used: it is no X.509 CRL"),
        "{text}"
    );
}

#[test]
fn versions_and_suites_are_refused_in_etcds_words() {
    let of = |min: &str, max: &str, suites: &[&str]| {
        let suites: Vec<String> = suites.iter().map(|s| (*s).to_owned()).collect();
        Protocol::parse(min, max, &suites).expect_err("refused")
    };
    assert_eq!(
        of("TLS1.1", "", &[]),
        "unexpected TLS version \"TLS1.1\" (must be one of: TLS1.2, TLS1.3)"
    );
    assert_eq!(
        of("TLS1.3", "TLS1.2", &[]),
        "min version (TLS1.3) is greater than max version (TLS1.2)"
    );
    assert_eq!(
        of("TLS1.3", "", &["TLS_AES_128_GCM_SHA256"]),
        "cipher suites cannot be configured when only TLS1.3 is enabled"
    );
    assert_eq!(of("", "", &["ODD"]), "unexpected TLS cipher suite \"ODD\"");
    let text = of("", "", &["TLS_RSA_WITH_AES_128_CBC_SHA"]);
    assert!(
        text.starts_with("--cipher-suites: TLS_RSA_WITH_AES_128_CBC_SHA is not built"),
        "{text}"
    );
    Protocol::parse(
        "TLS1.2",
        "",
        &["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305".into()],
    )
    .expect("etcd's name");
}

#[tokio::test]
async fn a_new_certificate_is_shown_and_a_broken_one_is_not() {
    let dir = tempfile::tempdir().expect("dir");
    let (ca, next) = (Ca::new(dir.path(), "ca"), Ca::new(dir.path(), "next"));
    let server = ca.issue("server", &Leaf::default());
    let options = Options {
        identity: Some(server.clone()),
        ..Options::default()
    };
    let acceptor = Acceptor::new(&options, &["h2"]).expect("acceptor");
    let (old, new) = (
        Connector::new(ca.client(None)).expect("connector"),
        Connector::new(next.client(None)).expect("connector"),
    );
    shake(&acceptor, &old, "localhost")
        .await
        .1
        .expect("the first");
    shake(&acceptor, &new, "localhost")
        .await
        .1
        .expect_err("not yet");
    // Half of the change: certificate and key do not fit.
    let renewed = next.issue("renewed", &Leaf::default());
    fs::copy(&renewed.cert, &server.cert).expect("copy");
    shake(&acceptor, &old, "localhost")
        .await
        .1
        .expect("still the first");
    fs::rename(&renewed.key, &server.key).expect("rename");
    shake(&acceptor, &new, "localhost")
        .await
        .1
        .expect("the new one");
    fs::remove_file(&server.cert).expect("remove");
    shake(&acceptor, &new, "localhost")
        .await
        .1
        .expect("the one of before");
}

#[tokio::test]
async fn a_new_ca_and_a_new_revocation_list_are_obeyed() {
    let dir = tempfile::tempdir().expect("dir");
    let (ca, next) = (Ca::new(dir.path(), "ca"), Ca::new(dir.path(), "next"));
    let server = ca.issue("server", &Leaf::default());
    let options = Options {
        crl: Some(ca.revoke(&[], true)),
        ..ca.server(&server)
    };
    let acceptor = Acceptor::new(&options, &["h2"]).expect("acceptor");
    let trusting = |ca: &Ca, identity| ClientOptions {
        skip_verify: true,
        ..ca.client(Some(identity))
    };
    let mine = ca.issue("mine", &Leaf::default());
    let theirs = next.issue(
        "theirs",
        &Leaf {
            serial: 9,
            ..Leaf::default()
        },
    );
    let mine = Connector::new(trusting(&ca, &mine)).expect("connector");
    let theirs = Connector::new(trusting(&next, &theirs)).expect("connector");
    shake(&acceptor, &mine, "localhost")
        .await
        .1
        .expect("trusted");
    shake(&acceptor, &theirs, "localhost")
        .await
        .1
        .expect_err("not trusted");
    ca.revoke(&[7], true);
    let both = shake(&acceptor, &mine, "localhost").await;
    assert_eq!(refusal(&both), "transport: certificate serial 07 revoked");
    fs::write(options.crl.as_ref().expect("list"), "broken").expect("write");
    let both = shake(&acceptor, &mine, "localhost").await;
    assert!(
        refusal(&both).contains("it is no X.509 CRL"),
        "{}",
        refusal(&both)
    );
    ca.revoke(&[], true);
    shake(&acceptor, &mine, "localhost")
        .await
        .1
        .expect("trusted again");
    fs::copy(&next.file, &ca.file).expect("copy");
    shake(&acceptor, &theirs, "localhost")
        .await
        .1
        .expect("trusted now");
    shake(&acceptor, &mine, "localhost")
        .await
        .1
        .expect_err("not any more");
}

#[tokio::test]
async fn a_self_signed_identity_is_made_once() {
    let dir = tempfile::tempdir().expect("dir");
    let at = dir.path().join("fixtures/client");
    let hosts = [
        "127.0.0.1:2379".to_owned(),
        "[::1]:2379".into(),
        "localhost:1".into(),
    ];
    let made = self_signed(&at, &hosts, 1).expect("made");
    let first = fs::read(&made.cert).expect("read");
    assert_eq!(self_signed(&at, &hosts, 1).expect("found"), made);
    assert_eq!(fs::read(&made.cert).expect("read"), first);
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(&made.key).expect("key").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let options = Options {
        identity: Some(made.clone()),
        ..Options::default()
    };
    let acceptor = Acceptor::new(&options, &["h2"]).expect("acceptor");
    // It is its own CA, for whoever has the file.
    let client = ClientOptions {
        trusted_ca: Some(made.cert),
        ..ClientOptions::default()
    };
    let connector = Connector::new(client).expect("connector");
    for host in ["127.0.0.1", "::1", "localhost"] {
        shake(&acceptor, &connector, host).await.1.expect(host);
    }
    self_signed(&dir.path().join("zero"), &hosts, 0).expect_err("no validity");
}
