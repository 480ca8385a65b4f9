//! Messages, order, settings, and a name server on loopback.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use proptest::prelude::*;

use crate::{
    Resolver, Srv, endpoint,
    message::{self, Answer},
    order::arrange,
    resolv::{self, Settings},
    service,
};

const NAME: &str = "_etcd-server._tcp.example.com";

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Srv {
    Srv {
        priority,
        weight,
        port,
        target: target.to_owned(),
    }
}

fn labels(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.trim_end_matches('.').split('.') {
        out.push(label.len() as u8);
        out.extend(label.as_bytes());
    }
    out.push(0);
    out
}

/// The reply to `question` with these flags and records; owners are pointers
/// to the question's name.
fn reply(question: &[u8], flags: u16, records: &[Srv]) -> Vec<u8> {
    let mut out = question.to_vec();
    out[2..4].copy_from_slice(&flags.to_be_bytes());
    out[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    for record in records {
        let target = labels(&record.target);
        out.extend([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60]);
        out.extend((target.len() as u16 + 6).to_be_bytes());
        for field in [record.priority, record.weight, record.port] {
            out.extend(field.to_be_bytes());
        }
        out.extend(target);
    }
    out
}

const OK: u16 = 0x8180;
const TRUNCATED: u16 = 0x8380;
const NO_SUCH_NAME: u16 = 0x8183;
const SERVER_FAILURE: u16 = 0x8182;

#[test]
fn an_answer_gives_its_records() {
    let records = vec![
        srv(1, 2, 2380, "a.example.com."),
        srv(0, 0, 1, "b.example.com."),
    ];
    let question = message::question(7, NAME);
    let bytes = reply(&question, OK, &records);
    assert_eq!(
        message::answer(&bytes, 7, NAME),
        Some(Answer::Records(records))
    );
    assert_eq!(message::answer(&bytes, 8, NAME), None, "another id");
    assert_eq!(
        message::answer(&bytes, 7, "other.example.com"),
        None,
        "another name"
    );
    assert_eq!(message::answer(&question, 7, NAME), None, "a question");
    assert_eq!(
        message::answer(&reply(&question, NO_SUCH_NAME, &[]), 7, NAME),
        Some(Answer::NoSuchHost)
    );
    assert_eq!(
        message::answer(&reply(&question, OK, &[]), 7, NAME),
        Some(Answer::NoSuchHost)
    );
    assert_eq!(
        message::answer(&reply(&question, SERVER_FAILURE, &[]), 7, NAME),
        Some(Answer::Misbehaving)
    );
}

#[test]
fn a_target_that_is_no_host_is_left_out() {
    let question = message::question(7, NAME);
    let records = [
        srv(0, 0, 1, "a/b.example.com."),
        srv(0, 0, 2, "good.example.com."),
    ];
    assert_eq!(
        message::answer(&reply(&question, OK, &records), 7, NAME),
        Some(Answer::Records(vec![records[1].clone()]))
    );
}

#[test]
fn a_pointer_that_leads_on_or_to_itself_ends_the_message() {
    let mut bytes = message::question(7, NAME);
    bytes[2..4].copy_from_slice(&OK.to_be_bytes());
    bytes[6..8].copy_from_slice(&1u16.to_be_bytes());
    let at = bytes.len() as u8;
    for to in [at, at + 1, 200] {
        let mut looping = bytes.clone();
        looping.extend([0xc0, to, 0, 33, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(message::answer(&looping, 7, NAME), None);
    }
}

fn records() -> impl Strategy<Value = Vec<Srv>> {
    prop::collection::vec(
        (
            any::<u16>(),
            any::<u16>(),
            any::<u16>(),
            "[a-z0-9-]{1,20}(\\.[a-z]{1,8}){0,4}\\.",
        ),
        1..20,
    )
    .prop_map(|all| {
        all.iter()
            .map(|(p, w, port, t)| srv(*p, *w, *port, t))
            .collect()
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..600), id: u16) {
        let _ = message::answer(&bytes, id, NAME);
    }

    #[test]
    fn a_damaged_answer_is_read_without_harm(records in records(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let mut bytes = reply(&message::question(7, NAME), OK, &records);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = message::answer(&bytes, 7, NAME);
        bytes.truncate(cut.index(bytes.len()));
        let _ = message::answer(&bytes, 7, NAME);
    }

    #[test]
    fn what_a_server_sends_arrives(records in records(), id: u16) {
        let bytes = reply(&message::question(id, NAME), OK, &records);
        prop_assert_eq!(message::answer(&bytes, id, NAME), Some(Answer::Records(records)));
    }

    #[test]
    fn a_question_cut_short_is_no_answer(records in records(), cut: prop::sample::Index) {
        let mut bytes = reply(&message::question(7, NAME), OK, &records);
        bytes.truncate(cut.index(bytes.len()));
        prop_assert_eq!(message::answer(&bytes, 7, NAME), None);
    }

    #[test]
    fn the_order_keeps_every_record_and_the_priorities(records in records(), seed: u32) {
        let mut state = seed;
        let out = arrange(records.clone(), |n| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state % n
        });
        let key = |r: &Srv| (r.priority, r.weight, r.port, r.target.clone());
        let (mut a, mut b): (Vec<_>, Vec<_>) = (records.iter().map(key).collect(), out.iter().map(key).collect());
        prop_assert!(out.is_sorted_by_key(|r| r.priority));
        a.sort();
        b.sort();
        prop_assert_eq!(a, b);
    }

    #[test]
    fn any_settings_file_is_read(text in "\\PC{0,200}") {
        prop_assert!(!resolv::parse(&text).servers.is_empty());
    }
}

#[test]
fn heavier_records_come_first_more_often() {
    let records = vec![srv(0, 1, 1, "light."), srv(0, 9, 2, "heavy.")];
    // All draws once: 0 and 1 give the light one, 2 to 10 the heavy one.
    let heavy = (0..=10)
        .filter(|&draw| arrange(records.clone(), |n| draw.min(n - 1))[0].port == 2)
        .count();
    assert_eq!(heavy, 9);
}

#[test]
fn the_settings_file_is_read_as_documented() {
    let settings = resolv::parse(
        "# a comment\nnameserver 10.0.0.2\nnameserver fe80::1%3\nnameserver odd\nsearch a.example b.example\n\
         options ndots:3 timeout:1 attempts:9 rotate use-vc odd:1 ; and more\n",
    );
    assert_eq!(
        settings,
        Settings {
            servers: vec![
                "10.0.0.2:53".parse().expect("v4"),
                "[fe80::1%3]:53".parse().expect("v6"),
            ],
            search: vec!["a.example".into(), "b.example".into()],
            ndots: 3,
            timeout: Duration::from_secs(1),
            attempts: 5,
            rotate: true,
            use_tcp: true,
        }
    );
    let silent = resolv::parse("");
    assert_eq!(silent.servers[0], "127.0.0.1:53".parse().expect("loopback"));
}

#[test]
fn services_are_named_as_etcd_names_them() {
    assert_eq!(service("etcd-server", "", false), "etcd-server");
    assert_eq!(service("etcd-server", "", true), "etcd-server-ssl");
    assert_eq!(service("etcd-client", "blue", true), "etcd-client-ssl-blue");
}

#[test]
fn a_name_and_an_address_of_one_place_are_equal() {
    assert_eq!(endpoint("localhost:77"), endpoint("127.0.0.1:77"));
    let error = endpoint("no-such-host.invalid:1")
        .expect_err("reserved")
        .to_string();
    assert!(
        error.starts_with("lookup no-such-host.invalid:1: "),
        "{error}"
    );
}

/// A name server that answers each UDP question with what `serve` makes of it,
/// and each TCP question with `records`. Ends with the test's process.
fn name_server(
    records: Vec<Srv>,
    serve: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
) -> (SocketAddr, Arc<AtomicUsize>) {
    // A port that is free for UDP may be taken for TCP.
    let (udp, address, tcp) = (0..100)
        .find_map(|_| {
            let udp = UdpSocket::bind("127.0.0.1:0").ok()?;
            let address = udp.local_addr().ok()?;
            Some((udp, address, TcpListener::bind(address).ok()?))
        })
        .expect("a port that is free for both");
    let streams = Arc::new(AtomicUsize::new(0));
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((len, from)) = udp.recv_from(&mut buffer) {
            for answer in serve(&buffer[..len]) {
                let _ = udp.send_to(&answer, from);
            }
        }
    });
    let count = streams.clone();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = tcp.accept() {
            count.fetch_add(1, Ordering::Relaxed);
            let mut len = [0; 2];
            let _ = stream.read_exact(&mut len);
            let mut question = vec![0; usize::from(u16::from_be_bytes(len))];
            let _ = stream.read_exact(&mut question);
            let answer = reply(&question, OK, &records);
            let _ = stream.write_all(&(answer.len() as u16).to_be_bytes());
            let _ = stream.write_all(&answer);
        }
    });
    (address, streams)
}

fn resolver(servers: &[SocketAddr]) -> Resolver {
    Resolver::new(Settings {
        servers: servers.to_vec(),
        timeout: Duration::from_millis(300),
        attempts: 1,
        ..Settings::default()
    })
}

fn three() -> Vec<Srv> {
    (1..=3)
        .map(|n| srv(n, 0, 2380 + n, &format!("m{n}.example.com.")))
        .collect()
}

#[test]
fn an_answer_comes_by_udp() {
    let (server, streams) = name_server(Vec::new(), |question| vec![reply(question, OK, &three())]);
    let found = resolver(&[server]).srv("etcd-server", "tcp", "example.com");
    assert_eq!(found, Ok(three()));
    assert_eq!(streams.load(Ordering::Relaxed), 0);
}

#[test]
fn an_answer_that_does_not_fit_comes_by_tcp() {
    let (server, streams) = name_server(three(), |question| vec![reply(question, TRUNCATED, &[])]);
    let found = resolver(&[server]).srv("etcd-server", "tcp", "example.com");
    assert_eq!(found, Ok(three()));
    assert_eq!(streams.load(Ordering::Relaxed), 1);
}

#[test]
fn a_forged_answer_is_passed_over() {
    let (server, _) = name_server(Vec::new(), |question| {
        let mut forged = reply(question, OK, &[srv(0, 0, 666, "evil.example.com.")]);
        forged[0] ^= 1;
        vec![forged, b"rubbish".to_vec(), reply(question, OK, &three())]
    });
    assert_eq!(
        resolver(&[server]).srv("etcd-server", "tcp", "example.com"),
        Ok(three())
    );
}

#[test]
fn the_next_server_is_asked_when_one_is_silent_or_sick() {
    let (silent, _) = name_server(Vec::new(), |_| Vec::new());
    let (sick, _) = name_server(Vec::new(), |q| vec![reply(q, SERVER_FAILURE, &[])]);
    let (well, _) = name_server(Vec::new(), |q| vec![reply(q, OK, &three())]);
    let found = resolver(&[silent, sick, well]).srv("etcd-server", "tcp", "example.com");
    assert_eq!(found, Ok(three()));
}

#[test]
fn failures_speak_with_gos_words() {
    let (none, _) = name_server(Vec::new(), |q| vec![reply(q, NO_SUCH_NAME, &[])]);
    let (sick, _) = name_server(Vec::new(), |q| vec![reply(q, SERVER_FAILURE, &[])]);
    let (silent, _) = name_server(Vec::new(), |_| Vec::new());
    for (server, why) in [
        (none, "no such host"),
        (sick, "server misbehaving"),
        (silent, "i/o timeout"),
    ] {
        let error = resolver(&[server])
            .srv("etcd-server", "tcp", "example.com")
            .expect_err(why);
        assert_eq!(
            error.to_string(),
            format!("lookup {NAME} on {server}: {why}")
        );
    }
}

#[test]
fn a_short_domain_is_tried_in_the_search_domains() {
    let (server, _) = name_server(Vec::new(), |question| {
        let known = question.windows(8).any(|part| part == b"\x07example");
        vec![if known {
            reply(question, OK, &three())
        } else {
            reply(question, NO_SUCH_NAME, &[])
        }]
    });
    let mut settings = Settings {
        servers: vec![server],
        search: vec!["example.com".into()],
        ..Settings::default()
    };
    let found = Resolver::new(settings.clone()).srv("etcd-server", "tcp", "east");
    assert_eq!(found, Ok(three()));
    let rooted = Resolver::new(settings.clone()).srv("etcd-server", "tcp", "east.");
    assert!(rooted.is_err(), "a final dot ends the name");
    settings.search.clear();
    assert!(
        Resolver::new(settings)
            .srv("etcd-server", "tcp", "east")
            .is_err()
    );
}

#[test]
fn a_domain_that_cannot_be_asked_for_is_no_host() {
    let (server, _) = name_server(Vec::new(), |q| vec![reply(q, OK, &three())]);
    let long = "x".repeat(64);
    for domain in ["a..b", long.as_str(), "münchen.example"] {
        let error = resolver(&[server])
            .srv("etcd-server", "tcp", domain)
            .expect_err(domain);
        assert!(error.to_string().ends_with("no such host"), "{error}");
    }
}
