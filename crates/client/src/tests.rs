//! Addresses, error texts and key ranges: what needs no server.

use proptest::prelude::*;

use crate::{
    Client, Code, Config, Endpoint, EndpointError, Error, client::RENEWALS_MAX, endpoint::Target,
    prefix_end,
};

#[test]
fn endpoints_are_read_as_etcd_reads_them() {
    for (text, authority) in [
        ("127.0.0.1:2379", "127.0.0.1:2379"),
        ("http://localhost:1", "localhost:1"),
        ("http://[::1]:2379/", "[::1]:2379"),
        ("http://h:1/ignored/path", "h:1"),
        ("https://h:1/ignored", "h:1"),
    ] {
        let endpoint = Endpoint::parse(text).expect(text);
        let target = Target::Tcp(authority.to_owned());
        assert_eq!((endpoint.as_str(), &endpoint.target), (text, &target));
    }
    for text in [
        "unix:///run/etcd.sock",
        "unixs:///run/etcd.sock",
        "unix:/run/etcd.sock",
        "unixs:/run/etcd.sock",
    ] {
        let endpoint = Endpoint::parse(text).expect(text);
        let target = Target::Unix("/run/etcd.sock".to_owned());
        assert_eq!((endpoint.as_str(), &endpoint.target), (text, &target));
    }
}

#[test]
fn unusable_endpoints_are_refused_by_their_reason() {
    let of = |text: &str| Endpoint::parse(text).expect_err(text);
    assert_eq!(of(" "), EndpointError::Empty);
    assert_eq!(of("host"), EndpointError::NoPort("host".into()));
    assert_eq!(of("host:99999"), EndpointError::NoPort("host:99999".into()));
    assert_eq!(of("a b:1"), EndpointError::Malformed("a b:1".into()));
    assert_eq!(of("::1:2379"), EndpointError::Malformed("::1:2379".into()));
    assert!(matches!(of("ftp://h:1"), EndpointError::Scheme { .. }));
}

#[test]
fn known_errors_show_their_bare_text_and_others_their_code() {
    let show = |code, text: &str| Error::status(code, text).to_string();
    assert_eq!(
        show(Code::PermissionDenied, "etcdserver: permission denied"),
        "etcdserver: permission denied"
    );
    assert_eq!(
        show(Code::Unknown, "auth: user name is empty"),
        "rpc error: code = Unknown desc = auth: user name is empty"
    );
    assert_eq!(
        show(Code::FailedPrecondition, "etcdserver: permission not given"),
        "rpc error: code = FailedPrecondition desc = etcdserver: permission not given"
    );
}

#[test]
fn a_prefix_of_ff_bytes_ends_at_the_last_key() {
    assert_eq!(&prefix_end(b"a")[..], b"b");
    assert_eq!(&prefix_end(b"a\xff\xff")[..], b"b");
    assert_eq!(&prefix_end(b"\xff")[..], b"\0");
    assert_eq!(&prefix_end(b"")[..], b"\0");
}

proptest! {
    #[test]
    fn a_key_is_below_the_prefix_end_exactly_when_it_has_the_prefix(
        prefix in prop::collection::vec(any::<u8>(), 1..4),
        key in prop::collection::vec(any::<u8>(), 0..6),
    ) {
        let end = prefix_end(&prefix);
        let inside = key >= prefix && (&end[..] == b"\0" || key[..] < end[..]);
        prop_assert_eq!(inside, key.starts_with(&prefix));
    }

    #[test]
    fn no_text_breaks_the_endpoint_parser(text in ".{0,40}") {
        let _ = Endpoint::parse(&text);
    }
}

#[test]
fn a_host_is_dialled_without_its_final_dot_and_shown_with_it() {
    let endpoint = Endpoint::parse("http://localhost.:2379").expect("a host");
    assert_eq!(endpoint.to_string(), "http://localhost.:2379");
    assert_eq!(endpoint.target, Target::Tcp("localhost:2379".to_owned()));
}

#[tokio::test]
async fn one_call_renews_its_token_a_few_times() {
    let endpoint = Endpoint::parse("127.0.0.1:1").expect("an endpoint");
    let client = Client::connect(Config::new(vec![endpoint])).await;
    let client = client.expect("nothing is dialled yet");
    let mut renewals = 0;
    let text = "etcdserver: revision of auth store is old";
    for _ in 0..RENEWALS_MAX {
        let renewed = client.renew_token(None, text, &mut renewals).await;
        assert!(renewed.expect("no login without credentials"));
    }
    let renewed = client.renew_token(None, text, &mut renewals).await;
    assert!(!renewed.expect("no login"));
}
