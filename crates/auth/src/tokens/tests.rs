use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{KeyPair, SignatureAlgorithm};

use super::*;

const NOW: Now = Now {
    monotonic_ms: 1_000,
    unix_secs: 1_800_000_000,
};

fn later(ms: u64) -> Now {
    Now {
        monotonic_ms: NOW.monotonic_ms + ms,
        unix_secs: NOW.unix_secs + (ms / 1000) as i64,
    }
}

fn provider(option: &str) -> Provider {
    Provider::parse(option, Duration::from_secs(10)).expect(option)
}

/// Logs in, on all members.
fn assign(provider: &Provider, login: &Login<'_>) -> Result<String, Error> {
    provider.remember(login, NOW.monotonic_ms);
    provider.write(login, NOW.unix_secs)
}

fn login<'a>(user: &'a str, prefix: &'a str) -> Login<'a> {
    Login {
        user: user.as_bytes(),
        revision: 7,
        prefix,
        index: 41,
    }
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/jwt")
        .join(name)
}

#[test]
fn a_simple_token_lives_from_use_to_use() {
    let simple = provider("simple");
    simple.accept();
    let token = assign(&simple, &login("u", "abc")).expect("a token");
    assert_eq!(token, "abc.41");
    assert_eq!(simple.index_of(&token), Some(42));
    let user = Identity {
        user: "u".into(),
        revision: 9,
    };
    for ms in [0, 9_000, 18_000] {
        assert_eq!(simple.identify(&token, 9, later(ms)), Ok(user.clone()));
    }
    let over = simple.identify(&token, 9, later(28_001));
    assert_eq!(over, Err(Error::InvalidAuthToken));
    let again = simple.identify(&token, 9, later(18_000));
    assert_eq!(again, Err(Error::InvalidAuthToken), "it was forgotten");
}

#[test]
fn simple_tokens_are_forgotten_with_their_user_or_with_all() {
    let simple = provider("simple");
    let knows = |token: &str| simple.identify(token, 1, NOW).is_ok();
    let assign_to = |user, prefix| assign(&simple, &login(user, prefix)).expect("a token");
    let early = assign_to("u", "early");
    assert!(!knows(&early), "authentication is off");
    simple.accept();
    let (one, other) = (assign_to("u", "one"), assign_to("v", "other"));
    simple.forget(b"u");
    assert!(!knows(&one) && knows(&other));
    simple.forget_all();
    assert!(!knows(&other));
    let while_off = assign_to("v", "off");
    assert!(!knows(&while_off));
}

#[test]
fn what_is_no_simple_token_is_refused() {
    let simple = provider("simple");
    simple.accept();
    for token in [
        "",
        "abc",
        "abc.",
        "abc.x",
        "abc.-1",
        "a.b.41",
        "abc.99999999999999999999",
    ] {
        let found = simple.identify(token, 1, NOW);
        assert_eq!(found, Err(Error::InvalidAuthToken), "{token}");
        assert_eq!(simple.index_of(token), None, "{token}");
    }
    let prefix = simple.prefix();
    assert_eq!(prefix.len(), 16);
    assert!(prefix.bytes().all(|byte| byte.is_ascii_alphabetic()));
    assert_ne!(prefix, simple.prefix());
}

#[test]
fn tokens_of_etcd_are_verified() {
    let dir = tempfile::tempdir().expect("a directory");
    let shared = dir.path().join("hs.key");
    let text = include_str!("../../tests/golden/jwt/hs.base64");
    fs::write(&shared, STANDARD.decode(text).expect("base64")).expect("a file");
    let tokens = include_str!("../../tests/golden/jwt/tokens.txt");
    let root = Identity {
        user: "root".into(),
        revision: 3,
    };
    let mut count = 0;
    for line in tokens.lines().filter(|line| !line.starts_with('#')) {
        let (method, token) = line.split_once(' ').expect("a method and a token");
        let keys = match &method[..2] {
            "HS" => vec![format!("priv-key={}", shared.display())],
            "ES" => vec![format!(
                "pub-key={}",
                golden(&format!("ec{}.pub", &method[2..])).display()
            )],
            "Ed" => vec![format!("pub-key={}", golden("ed.pub").display())],
            _ => ["rsa.pub", "rsa.crt"]
                .map(|name| format!("pub-key={}", golden(name).display()))
                .to_vec(),
        };
        for key in keys {
            let jwt = provider(&format!("jwt,sign-method={method},{key}"));
            assert_eq!(
                jwt.identify(token, 1, NOW),
                Ok(root.clone()),
                "{method} {key}"
            );
            let expired = Now {
                unix_secs: 5_000_000_000,
                ..NOW
            };
            assert_eq!(
                jwt.identify(token, 1, expired),
                Err(Error::InvalidAuthToken)
            );
            assert_forgeries_are_refused(&jwt, token);
            if !method.starts_with("HS") {
                let signed = assign(&jwt, &login("u", ""));
                assert_eq!(signed, Err(Error::VerifyOnly), "{method}");
            }
        }
        count += 1;
    }
    assert_eq!(count, 13);
}

fn assert_forgeries_are_refused(jwt: &Provider, token: &str) {
    let parts: Vec<&str> = token.split('.').collect();
    let claims = r#"{"exp":4000000000,"revision":3,"username":"root"}"#;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims);
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    for forged in [
        format!("{}.{claims}.{}", parts[0], parts[2]),
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.{}", parts[1], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{token}.x"),
        String::new(),
        "..".into(),
    ] {
        let found = jwt.identify(&forged, 1, NOW);
        assert_eq!(found, Err(Error::InvalidAuthToken), "{forged}");
    }
}

/// The key inside a PKCS #8 one of RSA: what PKCS #1 writes alone.
fn inner_key(pem: &str) -> String {
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(base64).expect("base64");
    let at = der
        .windows(2)
        .position(|pair| pair == [0x04, 0x82])
        .expect("an octet string");
    let body = STANDARD.encode(&der[at + 4..]);
    format!("-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----\n")
}

#[test]
fn what_a_private_key_signs_its_public_key_verifies() {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let algorithms: [(&str, &[&str], &'static SignatureAlgorithm); 5] = [
        (
            "rsa",
            &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
            &rcgen::PKCS_RSA_SHA256,
        ),
        ("p256", &["ES256"], &rcgen::PKCS_ECDSA_P256_SHA256),
        ("p384", &["ES384"], &rcgen::PKCS_ECDSA_P384_SHA384),
        ("p521", &["ES512"], &rcgen::PKCS_ECDSA_P521_SHA512),
        ("ed", &["EdDSA"], &rcgen::PKCS_ED25519),
    ];
    for (name, methods, algorithm) in algorithms {
        let pair = KeyPair::generate_for(algorithm).expect("a key pair");
        let other = KeyPair::generate_for(algorithm).expect("a key pair");
        let public = write("pub", &pair.public_key_pem());
        let stranger = write("other", &other.public_key_pem());
        let mut privates = vec![write("priv", &pair.serialize_pem())];
        if name == "rsa" {
            privates.push(write("inner", &inner_key(&pair.serialize_pem())));
        }
        for (method, private) in methods
            .iter()
            .flat_map(|m| privates.iter().map(move |p| (m, p)))
        {
            let parse = |keys: String| {
                let option = format!("jwt,sign-method={method},{keys},ttl=1m");
                Provider::parse(&option, Duration::ZERO)
            };
            let signer = parse(format!("priv-key={private},pub-key={public}")).expect("keys");
            let token = assign(&signer, &login("ü\"", "")).expect("a token");
            let expected = Ok(Identity {
                user: "ü\"".into(),
                revision: 7,
            });
            let verifier = parse(format!("pub-key={public}")).expect("a key");
            assert_eq!(signer.identify(&token, 1, NOW), expected, "{method}");
            assert_eq!(
                verifier.identify(&token, 1, later(59_000)),
                expected,
                "{method}"
            );
            let over = verifier.identify(&token, 1, later(60_000));
            assert_eq!(over, Err(Error::InvalidAuthToken), "{method}");
            let foreign = parse(format!("pub-key={stranger}")).expect("a key");
            assert_eq!(
                foreign.identify(&token, 1, NOW),
                Err(Error::InvalidAuthToken)
            );
            assert!(matches!(
                parse(format!("priv-key={private},pub-key={stranger}")),
                Err(OptionError::KeyMismatch)
            ));
        }
    }
}

#[test]
fn options_are_refused_as_etcd_refuses_them() {
    let public = golden("rsa.pub").display().to_string();
    let text = |option: &str| match Provider::parse(option, Duration::ZERO) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    let invalid = "auth: invalid auth options";
    for option in [
        "jot",
        "jwt",
        "jwt,sign-method",
        "jwt,sign-method=RS256=x",
        "jwt,sign-method=RS256,sign-method=RS256",
        "jwt,sign-method=XX256",
        "jwt,sign-method=RS256,ttl=5",
        "jwt,sign-method=RS256,pub-key=/nowhere",
        "jwt,sign-method=RS256,pub-key=/dev/zero",
    ] {
        assert_eq!(text(option), invalid, "{option}");
    }
    assert_eq!(text("jwt,sign-method=RS256"), "auth: missing key data");
    assert_eq!(text("jwt,sign-method=HS256"), "auth: missing key data");
    for option in ["", "simple", "simple,x=y"] {
        assert_eq!(text(option), "", "{option}");
    }
    assert_eq!(
        text(&format!("jwt,sign-method=RS256,pub-key={public},x=y")),
        ""
    );
    let wrong_kind = text(&format!("jwt,sign-method=RS256,priv-key={public}"));
    assert!(
        wrong_kind.contains("cannot be used for RS256"),
        "{wrong_kind}"
    );
    let other_family = text(&format!("jwt,sign-method=ES256,pub-key={public}"));
    assert!(
        other_family.contains("cannot be used for ES256"),
        "{other_family}"
    );
}

#[test]
fn without_tokens_no_one_logs_in() {
    let none = provider("");
    assert_eq!(assign(&none, &login("u", "")), Err(Error::AuthFailed));
    assert_eq!(none.identify("x", 1, NOW), Err(Error::InvalidAuthToken));
}

#[test]
fn a_fingerprint_tells_nothing_of_a_token() {
    // As etcd: the first 12 digits of its SHA-256.
    assert_eq!(fingerprint("abc"), "ba7816bf8f01");
}
