//! Clusters whose members find each other: through the v3 registry of a real
//! etcd 3.6, through the v2 directory of a real etcd 3.5, and by SRV records.
//! What real etcd does with the same flags is the measure.

#[path = "tls/certs.rs"]
#[allow(
    dead_code,
    reason = "shared with the suite on TLS, which needs all of it"
)]
mod certs;

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, ensure};
use peers::{
    api,
    cluster::{Cluster, Plan},
    http,
    names::{HOST, NameServer, Zone},
    peer::{self, Program},
    ports,
    server::{Launch, Server},
};
const ENDED_WITHIN: Duration = Duration::from_secs(20);

/// A put at one member is read at every other, all hold the same, and all end well.
async fn works(mut cluster: Cluster) -> Result<()> {
    cluster.api(0).put(api::put("who", "found us")).await?;
    for place in cluster.places() {
        let found = cluster.api(place).range(api::get("who")).await?;
        ensure!(found.kvs.len() == 1, "member {place} reads {found:?}");
    }
    // A second start needs no discovery: whoever helped may be gone.
    cluster.stop(1).await?;
    cluster.start(1).await?;
    let agreed = cluster.finish().await?;
    ensure!(agreed.members.len() == 3, "{:?}", agreed.members);
    let names: BTreeSet<&str> = agreed.members.iter().map(|m| m.1.as_str()).collect();
    ensure!(names == BTreeSet::from(["m0", "m1", "m2"]), "{names:?}");
    Ok(())
}

/// A member that is started with `flags` and must end by itself; the text of its log.
async fn ends(program: &Program, name: &str, flags: &[String]) -> Result<String> {
    let dir = tempfile::tempdir()?;
    let mut server = alone(program, name, dir.path(), flags)?;
    let status = server.wait_exit(ENDED_WITHIN).await?;
    let text = server.log_text();
    ensure!(
        status.code() == Some(1),
        "{program} ended with {status}, not code 1\n{text}"
    );
    ensure!(!text.contains("panicked at"), "{text}");
    Ok(text)
}

fn alone(program: &Program, name: &str, dir: &std::path::Path, flags: &[String]) -> Result<Server> {
    let (client, peer) = (ports::claim()?, ports::claim()?);
    let mut launch = Launch::new(program, &dir.join("data"))
        .only_given_flags()
        .ports(client, peer)
        .flag(&format!("--name={name}"))
        .flag(&format!("--data-dir={}", dir.join("data").display()))
        .flag(&format!("--listen-client-urls=http://127.0.0.1:{client}"))
        .flag(&format!(
            "--advertise-client-urls=http://127.0.0.1:{client}"
        ))
        .flag(&format!("--listen-peer-urls=http://127.0.0.1:{peer}"));
    if !flags
        .iter()
        .any(|f| f.starts_with("--initial-advertise-peer-urls"))
    {
        launch = launch.flag(&format!(
            "--initial-advertise-peer-urls=http://127.0.0.1:{peer}"
        ));
    }
    for flag in flags {
        launch = launch.flag(flag);
    }
    launch.spawn()
}

/// Both logs must hold this text, or Pintle's alone where there is no etcd.
fn both_say(logs: &[String], text: &str) -> Result<()> {
    for log in logs {
        ensure!(log.contains(text), "{text:?} is not in\n{log}");
    }
    Ok(())
}

/// The subject, etcd 3.5.30, and the names that both of them resolve by.
fn both_with_names() -> Result<Option<(Program, Program, NameServer)>> {
    let (Some(subject), Some(etcd)) = (peer::subject(), peer::etcd("3.5.30")) else {
        return Ok(None);
    };
    let Some(names) = NameServer::on_port_53(Zone::new()) else {
        return Ok(None);
    };
    let (subject, etcd) = (names.for_program(&subject)?, names.for_program(&etcd)?);
    Ok(Some((subject, etcd, names)))
}

/// The programs of a cluster, as failures name them.
fn label(mix: &[Program]) -> String {
    let programs: Vec<String> = mix.iter().map(Program::to_string).collect();
    programs.join(" + ")
}

/// Every mix of three of the subject and another program, the other alone last.
fn mixes(subject: &Program, other: &Program) -> Vec<Vec<Program>> {
    vec![
        vec![subject.clone(); 3],
        vec![subject.clone(), other.clone(), subject.clone()],
        vec![other.clone(), subject.clone(), other.clone()],
        vec![other.clone(); 3],
    ]
}

fn v3_flags(service: &Server, token: &str) -> Vec<String> {
    vec![
        format!("--discovery-token={token}"),
        format!("--discovery-endpoints=127.0.0.1:{}", service.port()),
    ]
}

async fn set_size(service: &Server, token: &str, size: &str) -> Result<()> {
    let key = format!("/_etcd/registry/{token}/_config/size");
    service.api().put(api::put(key, size.to_owned())).await?;
    Ok(())
}

#[test]
fn members_find_each_other_through_a_registry() {
    peers::run(280, async {
        let (Some(subject), Some(etcd)) = (peer::subject(), peer::etcd("3.6.14")) else {
            return Ok(());
        };
        let dir = tempfile::tempdir()?;
        let service = Launch::new(&etcd, dir.path()).start().await?;
        for (number, mix) in mixes(&subject, &etcd).into_iter().enumerate() {
            let label = label(&mix);
            let token = format!("cluster-{number}");
            set_size(&service, &token, "3").await?;
            let mut cluster = Plan::of(&mix).prepare().await?;
            cluster
                .found(&v3_flags(&service, &token))
                .await
                .with_context(|| label.clone())?;
            // What they wrote, and a fourth that comes too late.
            let prefix = format!("/_etcd/registry/{token}/members/");
            let mut registered = api::get(prefix.clone());
            registered.range_end = api::prefix_end(prefix.as_bytes());
            let registered = service.api().range(registered).await?;
            let found: BTreeSet<(String, String)> = registered
                .kvs
                .iter()
                .map(|kv| {
                    let key = String::from_utf8_lossy(&kv.key).into_owned();
                    (key, String::from_utf8_lossy(&kv.value).into_owned())
                })
                .collect();
            let expected: BTreeSet<(String, String)> = cluster
                .members()
                .iter()
                .map(|m| {
                    (
                        format!("{prefix}{:x}", m.id),
                        format!("{}={}", m.name, m.peer_url),
                    )
                })
                .collect();
            ensure!(found == expected, "{label}: {found:?}, not {expected:?}");
            let mut logs = Vec::new();
            for late in [&subject, &etcd] {
                logs.push(ends(late, "late", &v3_flags(&service, &token)).await?);
            }
            both_say(&logs, "discovery: cluster is full")?;
            both_say(
                &logs,
                "failed to bootstrap; discovery token was already used",
            )?;
            works(cluster).await.with_context(|| label.clone())?;
            println!("{label}: found each other by v3 discovery");
        }
        Ok(())
    });
}

#[test]
fn a_registry_that_is_not_prepared_is_refused() {
    peers::run(120, async {
        let (Some(subject), Some(etcd)) = (peer::subject(), peer::etcd("3.6.14")) else {
            return Ok(());
        };
        let dir = tempfile::tempdir()?;
        let service = Launch::new(&etcd, dir.path()).start().await?;
        set_size(&service, "bad", "many").await?;
        for (token, text) in [
            (
                "none",
                "failed to join discovery cluster (discovery: size key not found)",
            ),
            (
                "bad",
                "failed to join discovery cluster (discovery: size key is bad)",
            ),
        ] {
            let mut logs = Vec::new();
            for program in [&subject, &etcd] {
                logs.push(ends(program, "m", &v3_flags(&service, token)).await?);
            }
            both_say(&logs, text)?;
        }
        let half = vec!["--discovery-token=t".to_owned()];
        let mut logs = Vec::new();
        for program in [&subject, &etcd] {
            logs.push(ends(program, "m", &half).await?);
        }
        both_say(
            &logs,
            "both --discovery-token and --discovery-endpoints must be set",
        )?;
        let both = vec![
            "--initial-cluster=m=http://127.0.0.1:1".to_owned(),
            "--discovery-token=t".to_owned(),
            "--discovery-endpoints=127.0.0.1:1".to_owned(),
        ];
        logs.clear();
        for program in [&subject, &etcd] {
            logs.push(ends(program, "m", &both).await?.replace("\\\"", "\""));
        }
        both_say(
            &logs,
            "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \"discovery\", \
             \"discovery-endpoints\" or \"discovery-srv\"",
        )
    });
}

#[test]
fn a_member_waits_for_its_registry_and_comes_back_as_the_same() {
    peers::run(120, async {
        let (Some(subject), Some(etcd)) = (peer::subject(), peer::etcd("3.6.14")) else {
            return Ok(());
        };
        let dir = tempfile::tempdir()?;
        let (client, peer) = (ports::claim()?, ports::claim()?);
        let mut cluster = Plan::of(&vec![subject; 3]).prepare().await?;
        let flags = [
            "--discovery-token=slow".to_owned(),
            format!("--discovery-endpoints=127.0.0.1:{client}"),
            "--discovery-request-timeout=500ms".to_owned(),
        ];
        cluster.bootstrap_by(&flags);
        cluster.spawn(0)?;
        let first = cluster.member(0).server()?;
        first
            .wait_log("retry connecting to discovery service", ENDED_WITHIN)
            .await?;
        let service = Launch::new(&etcd, dir.path())
            .only_given_flags()
            .ports(client, peer)
            .flag(&format!("--data-dir={}", dir.path().display()))
            .flag(&format!("--listen-client-urls=http://127.0.0.1:{client}"))
            .flag(&format!(
                "--advertise-client-urls=http://127.0.0.1:{client}"
            ))
            .flag(&format!("--listen-peer-urls=http://127.0.0.1:{peer}"))
            .start()
            .await?;
        set_size(&service, "slow", "3").await?;
        let first = cluster.member(0).server()?;
        first
            .wait_log("waiting for peers from discovery service", ENDED_WITHIN)
            .await?;
        // It dies while it waits. The registry has it already, and knows it again.
        cluster.drop_process(0);
        cluster.found(&flags).await?;
        works(cluster).await
    });
}

#[test]
fn a_registry_may_ask_for_a_password() {
    peers::run(120, async {
        let (Some(subject), Some(etcd)) = (peer::subject(), peer::etcd("3.6.14")) else {
            return Ok(());
        };
        for registry in [&etcd, &subject] {
            asks_for_a_password(registry, &subject, &etcd).await?;
        }
        Ok(())
    });
}

async fn asks_for_a_password(registry: &Program, subject: &Program, etcd: &Program) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let service = Launch::new(registry, dir.path()).start().await?;
    set_size(&service, "locked", "3").await?;
    lock(&service).await?;
    let mut flags = v3_flags(&service, "locked");
    flags.push("--discovery-user=root".to_owned());
    let mut wrong = flags.clone();
    wrong.push("--discovery-password=wrong".to_owned());
    let mut logs = Vec::new();
    for program in [subject, etcd] {
        logs.push(ends(program, "m", &wrong).await?);
    }
    both_say(&logs, "authentication failed, invalid user ID or password")?;
    flags.push("--discovery-password=secret".to_owned());
    let mix = [subject.clone(), etcd.clone(), subject.clone()];
    let mut cluster = Plan::of(&mix).prepare().await?;
    cluster.found(&flags).await?;
    works(cluster).await
}

#[test]
fn a_registry_may_ask_for_a_certificate() {
    peers::run(120, async {
        let (Some(subject), Some(etcd), Some(etcdctl)) = (
            peer::subject(),
            peer::etcd("3.6.14"),
            peer::tool("3.6.14", "etcdctl"),
        ) else {
            return Ok(());
        };
        let dir = tempfile::tempdir()?;
        let ca = certs::Ca::new(dir.path(), "ca")?;
        ca.issue("server", "server", 1, 2090)?;
        ca.issue("client", "client", 2, 2090)?;
        let file = |name: &str| dir.path().join(name).display().to_string();
        let (client_port, peer_port) = (ports::claim()?, ports::claim()?);
        let url = format!("https://127.0.0.1:{client_port}");
        let mut service = Launch::new(&etcd, dir.path())
            .only_given_flags()
            .ports(client_port, peer_port)
            .flag(&format!("--data-dir={}", file("registry")))
            .flag(&format!("--listen-client-urls={url}"))
            .flag(&format!("--advertise-client-urls={url}"))
            .flag(&format!("--listen-peer-urls=http://127.0.0.1:{peer_port}"))
            .flag(&format!("--cert-file={}", file("server.crt")))
            .flag(&format!("--key-file={}", file("server.key")))
            .flag(&format!("--trusted-ca-file={}", file("ca.crt")))
            .flag("--client-cert-auth")
            .spawn()?;
        service
            .wait_log("ready to serve client requests", ENDED_WITHIN)
            .await?;
        let mut words = vec![etcdctl.display().to_string(), format!("--endpoints={url}")];
        for (flag, name) in [
            ("cacert", "ca.crt"),
            ("cert", "client.crt"),
            ("key", "client.key"),
        ] {
            words.push(format!("--{flag}={}", file(name)));
        }
        words.extend(["put", "/_etcd/registry/tls/_config/size", "3"].map(str::to_owned));
        let (code, out, err) = client(&words).await?;
        ensure!(code == Some(0), "{out}{err}");
        // Without a scheme, the certificates alone say that it is TLS.
        let mut flags = vec![
            "--discovery-token=tls".to_owned(),
            format!("--discovery-endpoints=127.0.0.1:{client_port}"),
            format!("--discovery-cacert={}", file("ca.crt")),
        ];
        let stranger = tempfile::tempdir()?;
        let mut refused = alone(&subject, "m", stranger.path(), &flags)?;
        refused
            .wait_log("retry connecting to discovery service", ENDED_WITHIN)
            .await?;
        drop(refused);
        flags.push(format!("--discovery-cert={}", file("client.crt")));
        flags.push(format!("--discovery-key={}", file("client.key")));
        let mut cluster = Plan::of(&[subject.clone(), etcd, subject])
            .prepare()
            .await?;
        cluster.found(&flags).await?;
        works(cluster).await
    });
}

async fn lock(service: &Server) -> Result<()> {
    let etcdctl = peer::tool("3.6.14", "etcdctl").context("etcdctl 3.6.14")?;
    for args in [
        "user add root:secret",
        "user grant-role root root",
        "auth enable",
    ] {
        let mut words = vec![
            etcdctl.display().to_string(),
            format!("--endpoints=127.0.0.1:{}", service.port()),
        ];
        words.extend(args.split(' ').map(str::to_owned));
        let (code, out, err) = client(&words).await?;
        ensure!(code == Some(0), "{args}: {out}{err}");
    }
    Ok(())
}

const DOMAIN: &str = "pintle.example";

/// The records of a cluster, every member at `host`.
fn list(names: &NameServer, service: &str, host: &str, cluster: &Cluster) {
    let members = cluster.members().iter();
    let records = members.map(|m| (m.peer_port, host.to_owned())).collect();
    names.set(&format!("_{service}._tcp.{DOMAIN}"), records);
}

fn check_asked(names: &NameServer, service: &str) -> Result<()> {
    let asked: BTreeSet<String> = names.asked().into_iter().collect();
    let expected: BTreeSet<String> = ["etcd-server-ssl", "etcd-server"]
        .map(|base| {
            let name = service.trim_start_matches("etcd-server");
            format!("_{base}{name}._tcp.{DOMAIN}")
        })
        .into();
    ensure!(asked == expected, "asked were {asked:?}, not {expected:?}");
    Ok(())
}

#[test]
fn members_find_each_other_by_srv_records() {
    peers::run(200, async {
        let Some(subject) = peer::subject().filter(|p| p.is_pintle) else {
            return Ok(());
        };
        let names = NameServer::start(Zone::new())?;
        let pintle = names.for_pintle(&subject)?;
        for (service, flags) in [
            ("etcd-server", vec![]),
            (
                "etcd-server-blue",
                vec!["--discovery-srv-name=blue".to_owned()],
            ),
        ] {
            let mut cluster = Plan::of(&vec![pintle.clone(); 3]).prepare().await?;
            list(&names, service, "localhost", &cluster);
            let mut all = vec![format!("--discovery-srv={DOMAIN}")];
            all.extend(flags);
            cluster.found(&all).await?;
            check_asked(&names, service)?;
            works(cluster).await?;
            ensure!(names.asked().is_empty(), "a second start asked again");
        }
        Ok(())
    });
}

#[test]
fn members_and_etcd_find_each_other_by_srv_records() {
    peers::run(280, async {
        let Some((subject, etcd, names)) = both_with_names()? else {
            return Ok(());
        };
        let flags = [format!("--discovery-srv={DOMAIN}")];
        for mix in mixes(&subject, &etcd) {
            let label = label(&mix);
            let mut cluster = Plan::of(&mix).prepare().await?;
            list(&names, "etcd-server", HOST, &cluster);
            cluster.found(&flags).await.with_context(|| label.clone())?;
            works(cluster).await.with_context(|| label.clone())?;
            println!("{label}: found each other by SRV records");
        }

        // A member that the records do not name; records that name no one.
        let mut logs = Vec::new();
        for program in [&subject, &etcd] {
            logs.push(ends(program, "late", &flags).await?.replace("\\\"", "\""));
        }
        both_say(
            &logs,
            "error setting up initial cluster: cannot find local etcd member \"late\" in SRV records",
        )?;
        logs.clear();
        for program in [&subject, &etcd] {
            let elsewhere = ["--discovery-srv=nowhere.example".to_owned()];
            logs.push(ends(program, "late", &elsewhere).await?);
        }
        for scheme in ["-ssl", ""] {
            both_say(
                &logs,
                &format!(
                    "error querying DNS SRV records for _etcd-server{scheme} lookup \
                     _etcd-server{scheme}._tcp.nowhere.example on {}: no such host",
                    names.address()
                ),
            )?;
        }
        Ok(())
    });
}

#[test]
fn members_with_tls_find_each_other_by_srv_records() {
    peers::run(120, async {
        let Some((subject, etcd, names)) = both_with_names()? else {
            return Ok(());
        };
        let dir = tempfile::tempdir()?;
        let ca = certs::Ca::new(dir.path(), "ca")?;
        ca.issue("peer", "peer", 1, 2090)?;
        let file = |name: &str| dir.path().join(name).display().to_string();
        let mix = [subject.clone(), etcd, subject];
        let mut cluster = Plan::of(&mix).prepare().await?;
        let mut records = Vec::new();
        for place in cluster.places() {
            let port = cluster.members()[place].peer_port;
            let own = [
                format!("--listen-peer-urls=https://127.0.0.1:{port}"),
                format!("--initial-advertise-peer-urls=https://{HOST}:{port}"),
                format!("--peer-cert-file={}", file("peer.crt")),
                format!("--peer-key-file={}", file("peer.key")),
                format!("--peer-trusted-ca-file={}", file("ca.crt")),
                "--peer-client-cert-auth".to_owned(),
            ];
            let own: Vec<&str> = own.iter().map(String::as_str).collect();
            cluster.refit(place, &mix[place], &own);
            records.push((port, HOST.to_owned()));
        }
        names.set(&format!("_etcd-server-ssl._tcp.{DOMAIN}"), records);
        cluster
            .found(&[format!("--discovery-srv={DOMAIN}")])
            .await?;
        works(cluster).await
    });
}

/// Runs a client with these arguments; code, standard output, standard error.
async fn client(words: &[String]) -> Result<(Option<i32>, String, String)> {
    let out = tokio::process::Command::new(&words[0])
        .args(&words[1..])
        .output()
        .await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((out.status.code(), text(&out.stdout), text(&out.stderr)))
}

#[test]
fn clients_find_members_by_srv_records() {
    peers::run(100, async {
        let (Some(subject), Some(etcdctl)) = (
            peer::subject().filter(|p| p.is_pintle),
            peer::tool("3.5.30", "etcdctl"),
        ) else {
            return Ok(());
        };
        let Some(names) = NameServer::on_port_53(Zone::new()) else {
            return Ok(());
        };
        let dir = tempfile::tempdir()?;
        let server = Launch::new(&subject, dir.path()).start().await?;
        let here = vec![(server.port(), HOST.to_owned())];
        names.set(&format!("_etcd-client._tcp.{DOMAIN}"), here.clone());
        names.set(&format!("_etcd-client-blue._tcp.{DOMAIN}"), here);
        let path = |p: &std::path::Path| p.display().to_string();
        let programs = [
            vec![path(&subject.path), "ctl".to_owned()],
            vec![path(&etcdctl)],
        ];
        // Not `endpoint hashkv`: etcdctl cannot dial a name with its final dot there.
        for args in [
            vec!["-d", DOMAIN, "put", "k", "v"],
            vec!["--discovery-srv", DOMAIN, "get", "k"],
            vec![
                "--discovery-srv",
                DOMAIN,
                "--discovery-srv-name",
                "blue",
                "get",
                "k",
            ],
            vec!["--discovery-srv", DOMAIN, "member", "list"],
            vec!["--discovery-srv", "nowhere.example", "get", "k"],
            vec![
                "--discovery-srv",
                DOMAIN,
                "--discovery-srv-name",
                "red",
                "get",
                "k",
            ],
        ] {
            let mut outcomes = Vec::new();
            for program in &programs {
                let mut words = names.inside();
                words.extend(program.iter().cloned());
                words.extend(args.iter().map(|arg| (*arg).to_owned()));
                let (code, out, err) = client(&words).await?;
                // etcdctl answers an error with its usage as well.
                let first = err.lines().find(|line| line.starts_with("Error:"));
                outcomes.push((code, out, first.map(str::to_owned)));
            }
            println!("{args:?}: {:?}", outcomes[0]);
            let code = if args.contains(&"nowhere.example") || args.contains(&"red") {
                1
            } else {
                0
            };
            ensure!(outcomes[0].0 == Some(code), "{args:?}: {outcomes:#?}");
            ensure!(outcomes[0] == outcomes[1], "{args:?}: {outcomes:#?}");
        }
        // A plain endpoint is left out on demand; the flag's own are taken then.
        for program in &programs {
            let mut words = names.inside();
            words.extend(program.iter().cloned());
            let rest = ["--discovery-srv", DOMAIN, "--insecure-discovery=false"];
            words.extend(rest.map(str::to_owned));
            words.extend(
                [
                    "--endpoints=127.0.0.1:1",
                    "--command-timeout=1s",
                    "--dial-timeout=1s",
                    "get",
                    "k",
                ]
                .map(str::to_owned),
            );
            let (code, _, err) = client(&words).await?;
            let expected = format!(
                "ignoring discovered insecure endpoint \"http://{HOST}.:{}\"",
                server.port()
            );
            ensure!(
                err.contains(&expected) && code == Some(1),
                "{program:?}: {code:?} {err}"
            );
        }
        server.terminate().await
    });
}

#[test]
fn members_find_each_other_through_a_v2_directory() {
    peers::run(280, async {
        let (Some(subject), Some(etcd)) = (peer::subject(), peer::etcd("3.5.30")) else {
            return Ok(());
        };
        let dir = tempfile::tempdir()?;
        let service = Launch::new(&etcd, dir.path())
            .flag("--enable-v2")
            .start()
            .await?;
        let size = |token: &str| format!("/v2/keys/discovery/{token}/_config/size?value=3");
        let flags = |token: &str| {
            vec![
                format!(
                    "--discovery=http://127.0.0.1:{}/v2/keys/discovery/{token}",
                    service.port()
                ),
                "--discovery-fallback=exit".to_owned(),
            ]
        };
        for (number, mix) in mixes(&subject, &etcd).into_iter().enumerate() {
            let label = label(&mix);
            let token = format!("cluster-{number}");
            http::send(service.port(), "PUT", &size(&token), "").await?;
            let mut cluster = Plan::of(&mix).prepare().await?;
            cluster
                .found(&flags(&token))
                .await
                .with_context(|| label.clone())?;
            let mut logs = Vec::new();
            for late in [&subject, &etcd] {
                logs.push(ends(late, "late", &flags(&token)).await?);
            }
            both_say(&logs, "discovery: cluster is full")?;
            works(cluster).await.with_context(|| label.clone())?;
            println!("{label}: found each other by v2 discovery");
        }
        let mut logs = Vec::new();
        for program in [&subject, &etcd] {
            logs.push(ends(program, "m", &flags("none")).await?);
        }
        both_say(
            &logs,
            "failed to join discovery cluster (100: Key not found (/discovery/none) [",
        )?;
        // Who is registered already is not registered again.
        logs.clear();
        for (token, program) in [("twice-a", &subject), ("twice-b", &etcd)] {
            http::send(service.port(), "PUT", &size(token), "").await?;
            let mut flags = flags(token);
            flags.push("--initial-advertise-peer-urls=http://127.0.0.1:9".to_owned());
            let first = tempfile::tempdir()?;
            let mut waiting = alone(program, "m", first.path(), &flags)?;
            let needed = "found peers from discovery server; waiting for more";
            waiting.wait_log(needed, ENDED_WITHIN).await?;
            waiting.kill().await?;
            logs.push(ends(program, "m", &flags).await?);
        }
        both_say(&logs, "member has been registered with discovery service")?;
        both_say(&logs, "discovery: found duplicate id")
    });
}
