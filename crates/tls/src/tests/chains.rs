//! Certificates with `CA:TRUE` of servers and clients: let in as by Go, and held to all of the
//! other rules.

use std::{fs, path::Path};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

use super::certs::pem;
use super::handshakes::{Both, between, refusal};
use crate::{ClientOptions, Identity, Options};

/// What a certificate of these tests says; every one is a CA unless it says otherwise.
#[derive(Clone)]
struct Says {
    subject: &'static str,
    host: &'static str,
    is_ca: bool,
    path_len: Option<u8>,
    days_left: i64,
    purposes: Vec<ExtendedKeyUsagePurpose>,
    usages: Vec<KeyUsagePurpose>,
}

impl Says {
    fn named(subject: &'static str) -> Says {
        Says {
            subject,
            host: "localhost",
            is_ca: true,
            path_len: None,
            days_left: 10,
            purposes: Vec::new(),
            usages: Vec::new(),
        }
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::new(vec![self.host.to_owned()]).expect("name");
        params
            .distinguished_name
            .push(DnType::CommonName, self.subject);
        params.is_ca = match (self.is_ca, self.path_len) {
            (false, _) => IsCa::ExplicitNoCa,
            (true, None) => IsCa::Ca(BasicConstraints::Unconstrained),
            (true, Some(len)) => IsCa::Ca(BasicConstraints::Constrained(len)),
        };
        let now = OffsetDateTime::now_utc();
        params.not_before = now - Duration::days(20);
        params.not_after = now + Duration::days(self.days_left);
        params.extended_key_usages = self.purposes.clone();
        params.key_usages = self.usages.clone();
        params
    }
}

/// A certificate with its key.
struct Made {
    cert: Certificate,
    params: CertificateParams,
    key: KeyPair,
}

impl Made {
    fn alone(says: &Says) -> Made {
        let (params, key) = (says.params(), KeyPair::generate().expect("key"));
        let cert = params.self_signed(&key).expect("signed");
        Made { cert, params, key }
    }

    fn by(issuer: &Made, says: &Says) -> Made {
        let (params, key) = (says.params(), KeyPair::generate().expect("key"));
        let signer = Issuer::from_params(&issuer.params, &issuer.key);
        let cert = params.signed_by(&key, &signer).expect("signed");
        Made { cert, params, key }
    }

    fn pem(&self) -> String {
        pem("CERTIFICATE", self.cert.der())
    }
}

/// Both sides show `chain`, the first with its key, and trust `root` alone.
async fn both_show(dir: &Path, chain: &[&Made], root: &Made) -> Both {
    let write = |name: &str, text: String| {
        let path = dir.join(name);
        fs::write(&path, text).expect("write");
        path
    };
    let identity = Identity {
        cert: write("own.crt", chain.iter().map(|made| made.pem()).collect()),
        key: write("own.key", pem("PRIVATE KEY", chain[0].key.serialized_der())),
    };
    let trusted_ca = Some(write("root.crt", root.pem()));
    let server = Options {
        identity: Some(identity.clone()),
        trusted_ca: trusted_ca.clone(),
        client_cert_auth: true,
        ..Options::default()
    };
    let client = ClientOptions {
        identity: Some(identity),
        trusted_ca,
        ..ClientOptions::default()
    };
    between(&server, client).await
}

async fn let_in(chain: &[&Made], root: &Made) {
    let dir = tempfile::tempdir().expect("dir");
    let (accepted, read) = both_show(dir.path(), chain, root).await;
    assert_eq!(read.expect("served"), b'!');
    assert!(accepted.expect("accepted").peer.is_some());
}

/// What the client said of the server's certificate.
async fn refused(chain: &[&Made], root: &Made) -> String {
    let dir = tempfile::tempdir().expect("dir");
    let both = both_show(dir.path(), chain, root).await;
    refusal(&both);
    both.1.expect_err("refused").to_string()
}

#[tokio::test]
async fn one_that_signed_itself_is_server_client_and_root() {
    let own = Made::alone(&Says::named("localhost"));
    let_in(&[&own], &own).await;
    let purposes = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let own = Made::alone(&Says {
        purposes,
        ..Says::named("localhost")
    });
    let_in(&[&own], &own).await;
}

#[tokio::test]
async fn one_of_a_ca_or_of_a_ca_below_it_is_let_in() {
    let root = Made::alone(&Says::named("root"));
    let leaf = Made::by(&root, &Says::named("leaf"));
    let_in(&[&leaf], &root).await;
    let middle = Made::by(
        &root,
        &Says {
            path_len: Some(0),
            ..Says::named("middle")
        },
    );
    let leaf = Made::by(&middle, &Says::named("leaf"));
    let_in(&[&leaf, &middle], &root).await;
}

#[tokio::test]
async fn one_of_another_ca_is_refused() {
    let (root, other) = (
        Made::alone(&Says::named("root")),
        Made::alone(&Says::named("root")),
    );
    let unknown =
        "tls: failed to verify certificate: x509: certificate signed by unknown authority";
    // The same subject, another key.
    assert_eq!(refused(&[&other], &root).await, unknown);
    let leaf = Made::by(&other, &Says::named("leaf"));
    assert_eq!(refused(&[&leaf], &root).await, unknown);
    assert_eq!(refused(&[&leaf, &other], &root).await, unknown);
}

#[tokio::test]
async fn only_cas_lead_from_it_to_the_root() {
    let root = Made::alone(&Says::named("root"));
    for (middle, why) in [
        (
            Says {
                is_ca: false,
                ..Says::named("no ca")
            },
            "signed by unknown authority",
        ),
        (
            Says {
                days_left: -1,
                ..Says::named("expired")
            },
            "certificate has expired",
        ),
        (
            Says {
                usages: vec![KeyUsagePurpose::DigitalSignature],
                ..Says::named("signs no certificates")
            },
            "signed by unknown authority",
        ),
        (
            Says {
                purposes: vec![ExtendedKeyUsagePurpose::CodeSigning],
                ..Says::named("for other purposes")
            },
            "incompatible key usage",
        ),
    ] {
        let middle = Made::by(&root, &middle);
        let leaf = Made::by(&middle, &Says::named("leaf"));
        let text = refused(&[&leaf, &middle], &root).await;
        assert!(text.contains(why), "{text}");
    }
    // No CA is allowed below the first.
    let first = Made::by(
        &root,
        &Says {
            path_len: Some(0),
            ..Says::named("first")
        },
    );
    let second = Made::by(&first, &Says::named("second"));
    let leaf = Made::by(&second, &Says::named("leaf"));
    let text = refused(&[&leaf, &second, &first], &root).await;
    assert!(text.contains("too many intermediates"), "{text}");
}

#[tokio::test]
async fn time_purpose_and_name_count_as_ever() {
    let own = Made::alone(&Says {
        days_left: -1,
        ..Says::named("old")
    });
    let text = refused(&[&own], &own).await;
    assert!(text.contains("certificate has expired"), "{text}");
    let own = Made::alone(&Says {
        purposes: vec![ExtendedKeyUsagePurpose::ClientAuth],
        ..Says::named("a client")
    });
    let text = refused(&[&own], &own).await;
    assert!(text.contains("incompatible key usage"), "{text}");
    let own = Made::alone(&Says {
        host: "elsewhere",
        ..Says::named("localhost")
    });
    let text = refused(&[&own], &own).await;
    assert!(text.contains("elsewhere"), "{text}");
    // As a client's certificate alone.
    let server_only = Made::alone(&Says {
        purposes: vec![ExtendedKeyUsagePurpose::ServerAuth],
        ..Says::named("a server")
    });
    let dir = tempfile::tempdir().expect("dir");
    let both = both_show(dir.path(), &[&server_only], &server_only).await;
    assert!(refusal(&both).contains("incompatible key usage"));
}
