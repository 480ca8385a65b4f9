//! etcd's own rules: allowed names, revoked serials, where a peer comes from.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    certs::{Ca, Leaf},
    handshakes::{between, refusal},
};
use crate::{Allowed, Options, remote, revocation::revoked_serials};

#[tokio::test]
async fn only_allowed_common_names_get_in() {
    let dir = tempfile::tempdir().expect("dir");
    let ca = Ca::new(dir.path(), "ca");
    let server = ca.issue("server", &Leaf::default());
    let options = Options {
        allowed: Allowed::CommonNames(vec!["m1".into(), "m2".into()]),
        ..ca.server(&server)
    };
    for (name, welcome) in [("m2", true), ("m3", false), ("", false)] {
        let leaf = Leaf {
            common_name: name,
            ..Leaf::default()
        };
        let client = ca.issue("client", &leaf);
        let both = between(&options, ca.client(Some(&client))).await;
        if welcome {
            both.1.expect("served");
        } else {
            assert_eq!(refusal(&both), "client certificate authentication failed");
        }
    }
}

#[tokio::test]
async fn only_allowed_hostnames_get_in() {
    let dir = tempfile::tempdir().expect("dir");
    let ca = Ca::new(dir.path(), "ca");
    let server = ca.issue("server", &Leaf::default());
    let options = Options {
        allowed: Allowed::Hostnames(vec!["a.zone.example".into(), "10.0.0.1".into()]),
        ..ca.server(&server)
    };
    for (names, welcome) in [
        (&["a.zone.example"][..], true),
        (&["*.zone.example"], true),
        (&["10.0.0.1"], true),
        (&["b.other", "10.0.0.2"], false),
    ] {
        let leaf = Leaf {
            // A common name is no host name.
            common_name: "a.zone.example",
            names,
            ..Leaf::default()
        };
        let client = ca.issue("client", &leaf);
        let both = between(&options, ca.client(Some(&client))).await;
        if welcome {
            both.1.expect("served");
        } else {
            assert_eq!(refusal(&both), "client certificate authentication failed");
        }
    }
}

#[tokio::test]
async fn a_server_must_bear_an_allowed_name_as_well() {
    let dir = tempfile::tempdir().expect("dir");
    let ca = Ca::new(dir.path(), "ca");
    let server = ca.issue("server", &Leaf::default());
    let options = Options {
        allowed: Allowed::CommonNames(vec!["m1".into()]),
        ..ca.server(&server)
    };
    let (_, read) = between(
        &Options {
            identity: Some(server.clone()),
            ..Options::default()
        },
        options.dialling(),
    )
    .await;
    let text = read.expect_err("refused").to_string();
    assert!(
        text.contains("client certificate authentication failed"),
        "{text}"
    );
}

#[tokio::test]
async fn a_revoked_serial_is_refused_whoever_signed_the_list() {
    let dir = tempfile::tempdir().expect("dir");
    let (ca, other) = (Ca::new(dir.path(), "ca"), Ca::new(dir.path(), "other"));
    let server = ca.issue("server", &Leaf::default());
    for as_pem in [true, false] {
        let options = Options {
            crl: Some(other.revoke(&[300], as_pem)),
            ..ca.server(&server)
        };
        for (serial, welcome) in [(300, false), (301, true)] {
            let leaf = Leaf {
                serial,
                ..Leaf::default()
            };
            let client = ca.issue("client", &leaf);
            let both = between(&options, ca.client(Some(&client))).await;
            if welcome {
                both.1.expect("served");
            } else {
                assert_eq!(refusal(&both), "transport: certificate serial 012c revoked");
            }
        }
    }
}

#[tokio::test]
async fn a_peer_comes_from_where_its_certificate_says() {
    let leaf = |names: &[&str], ips: &[&str]| crate::Leaf {
        dns_names: names.iter().map(|n| (*n).to_owned()).collect(),
        ip_addresses: ips.iter().map(|ip| ip.parse().expect("ip")).collect(),
        ..crate::Leaf::default()
    };
    let from = "127.0.0.1".parse().expect("ip");
    remote::check(&leaf(&[], &[]), from)
        .await
        .expect("no names, no rule");
    remote::check(&leaf(&[], &["127.0.0.1"]), from)
        .await
        .expect("its address");
    remote::check(
        &leaf(&[], &["127.0.0.1"]),
        "::ffff:127.0.0.1".parse().expect("ip"),
    )
    .await
    .expect("its address, mapped");
    remote::check(&leaf(&["localhost"], &["10.1.1.1"]), from)
        .await
        .expect("its name");
    let error = remote::check(&leaf(&[], &["10.1.1.1"]), from)
        .await
        .expect_err("elsewhere");
    assert_eq!(
        error,
        "x509: certificate is valid for 10.1.1.1, not 127.0.0.1"
    );
    let error = remote::check(&leaf(&["nowhere.invalid"], &[]), from)
        .await
        .expect_err("elsewhere");
    assert!(
        error
            .starts_with("tls: \"127.0.0.1\" does not match any of DNSNames [\"nowhere.invalid\"]"),
        "{error}"
    );
}

proptest::proptest! {
    #[test]
    fn no_flipped_bit_breaks_the_readers(at in 0usize..4000, bit in 0u8..8) {
        thread_local! {
            static REAL: (Vec<u8>, Vec<u8>) = {
                let dir = tempfile::tempdir().expect("dir");
                let ca = Ca::new(dir.path(), "ca");
                let identity = ca.issue("leaf", &Leaf { common_name: "x", ..Leaf::default() });
                let pem = std::fs::read(&identity.cert).expect("read");
                use rustls::pki_types::{CertificateDer, pem::PemObject as _};
                let cert = CertificateDer::from_pem_slice(&pem).expect("pem").to_vec();
                (cert, std::fs::read(ca.revoke(&[1, 2], false)).expect("read"))
            };
        }
        let (mut cert, mut crl) = REAL.with(Clone::clone);
        let (c, l) = (cert.len(), crl.len());
        cert[at % c] ^= 1 << bit;
        crl[at % l] ^= 1 << bit;
        let _ = crate::Leaf::parse(&cert);
        let _ = revoked_serials(&crl);
    }
}

/// Made by `openssl req -x509 -sha1`: nothing here signs so any more.
const SIGNED_WITH_SHA_1: &str = "MIIBhTCCAS6gAwIBAgIUd4e1UxI5EUb9ksUMZt8vGJYkiZMwCQYHKoZIzj0EATAOMQwwCgYDVQQDDANvbGQwHhcNMjYxMTIzMTQ1ODM1WhcN\
MzYxMTIwMTQ1ODM1WjAOMQwwCgYDVQQDDANvbGQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARUUaetjGBXUfOKZx2Flz2rZasUabZ/FOK7v/rT3pTLJA95cScDkZzaJgU4\
RvTuNZvoR/2gQz8TbjowpFSrnyApo2swaTAdBgNVHQ4EFgQUaRaNn6QtlNNKGb2j6kbCAKyA2s0wHwYDVR0jBBgwFoAUaRaNn6QtlNNKGb2j6kbCAKyA2s0wDwYDVR0TAQH/\
BAUwAwEB/zAWBgNVHREEDzANggtvbGQuZXhhbXBsZTAJBgcqhkjOPQQBA0YAMEMCIG+K01Ab0OOyjPKhinF/nviv62YS95frBxfs8fPEbsmfAh8cJDMwpaZ/N/YNdPo89tP8\
Dps+pHC4HtxhGds80IiE";

#[test]
fn a_digest_that_is_refused_nowadays_is_told() {
    let der = STANDARD.decode(SIGNED_WITH_SHA_1).expect("base64");
    let old = crate::Leaf::parse(&der).expect("a certificate");
    assert_eq!(
        (old.weak_digest, &old.common_name[..]),
        (Some("SHA-1"), "old")
    );
    let dir = tempfile::tempdir().expect("a folder");
    let now = Ca::new(dir.path(), "ca").issue("now", &Leaf::default());
    let now = crate::leaves(&now.cert).expect("certificates");
    assert_eq!(now[0].weak_digest, None);
}
