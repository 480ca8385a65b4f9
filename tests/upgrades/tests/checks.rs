//! `pintle upgrade check` on what operators really point it at: real members with
//! flags, certificates and neighbours, and everything that is no member at all.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use peers::{
    api::{self, Api},
    cluster::{Plan, Role},
    dirs,
    peer::{self, Program},
    ports,
    server::Launch,
};
use proto::etcdserverpb::HashKvRequest;
use serde_json::Value;
use tempfile::TempDir;
use upgrades::{
    certificates,
    operated::{block_on, subject},
};

fn etcd(version: &str) -> Option<Program> {
    let found = peer::etcd(version);
    if found.is_none() {
        peer::say(&format!("SKIP: checks: etcd {version} is not installed"));
    }
    found
}

/// A loaded machine may take its time.
const PATIENT: [&str; 2] = ["--dial-timeout=8s", "--command-timeout=20s"];

/// Exit code, report and what was said on stderr.
fn check(pintle: &Program, words: &[&str]) -> Result<(i32, Value, String)> {
    let answer = Command::new(&pintle.path)
        .args(["upgrade", "check", "-w", "json"])
        .args(PATIENT)
        .args(words)
        .output()?;
    let code = answer.status.code().context("ended by a signal")?;
    let said = String::from_utf8_lossy(&answer.stderr).into_owned();
    ensure!(!said.contains("panicked"), "{said}");
    let report = match code {
        1 => Value::Null,
        _ => serde_json::from_slice(&answer.stdout)?,
    };
    Ok((code, report, said))
}

fn state<'a>(report: &'a Value, id: &str) -> &'a str {
    let checks = report["checks"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let found = checks.iter().find(|check| check["id"] == id);
    found
        .and_then(|check| check["state"].as_str())
        .unwrap_or("?")
}

/// What a check found, in one text.
fn seen(report: &Value, id: &str) -> String {
    let all = report["findings"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let found = all.iter().filter(|f| f["check"] == id);
    let texts = found.filter_map(|f| f["seen"].as_str());
    texts.collect::<Vec<_>>().join("; ")
}

#[test]
fn a_running_member_tells_its_flags_its_measures_and_its_neighbours() {
    let (Some(pintle), Some(etcd)) = (subject(), etcd("3.5.30")) else {
        return;
    };
    block_on(async move {
        let temp = TempDir::new()?;
        let server = Launch::new(&etcd, &temp.path().join("data"))
            .flag("--experimental-compaction-batch-limit=500")
            .advertise_real()
            .start()
            .await?;
        for i in 0..20 {
            let key = format!("/registry/pods/{i}");
            server.api().put(api::put(key, b"v".to_vec())).await?;
        }
        let endpoint = format!("http://127.0.0.1:{}", server.port());
        let (_, sound, said) = check(&pintle, &["--target=3.6.14", "--endpoints", &endpoint])?;
        for id in [
            "P1", "P4", "P5", "P6", "P7", "P12", "P14", "P19", "P20", "P21",
        ] {
            ensure!(state(&sound, id) == "passed", "{id}: {sound} {said}");
        }
        let measures = &sound["members"][0]["live"]["metrics"];
        for name in [
            "wal_fsync_p99_seconds",
            "backend_commit_p99_seconds",
            "read_p50_seconds",
        ] {
            ensure!(
                measures[name].as_f64().is_some_and(|v| v > 0.0),
                "{name}: {measures}"
            );
        }
        // 3.7 does not know the flag, and someone else keeps keys here.
        let key = "/calico/ipam/v2".to_owned();
        server.api().put(api::put(key, b"v".to_vec())).await?;
        let (code, sick, _) = check(&pintle, &["--target=3.7.1", "--endpoints", &endpoint])?;
        ensure!(code == 3, "exit {code}");
        ensure!(
            seen(&sick, "P12").contains("--experimental-compaction-batch-limit is set"),
            "{sick}"
        );
        ensure!(
            seen(&sick, "P21").contains("/calico"),
            "{}",
            seen(&sick, "P21")
        );
        // An API server that asks someone else.
        let manifest = temp.path().join("kube-apiserver.yaml");
        let write = |servers: &str| {
            fs::write(
                &manifest,
                format!(
                    "spec:\n  containers:\n  - command:\n    - kube-apiserver\n    - --etcd-servers={servers}\n    image: registry.example/kube-apiserver:v1.34.1\n"
                ),
            )
        };
        let shown = manifest.display().to_string();
        let words = [
            "--target=3.6.14",
            "--endpoints",
            &endpoint,
            "--kube-manifest",
            &shown,
        ];
        write(&endpoint)?;
        ensure!(state(&check(&pintle, &words)?.1, "P22") == "passed");
        write("https://10.9.9.9:2379")?;
        ensure!(seen(&check(&pintle, &words)?.1, "P22").contains("no member advertises"));
        server.terminate().await?;
        peer::say("RAN: checks: flags, measures, neighbours, API servers of a running member");
        Ok(())
    });
}

#[test]
fn certificates_are_seen_on_the_connection() {
    let (Some(pintle), Some(etcd)) = (subject(), etcd("3.5.30")) else {
        return;
    };
    block_on(async move {
        for (days, expected) in [(365, ""), (10, "expires in")] {
            let temp = TempDir::new()?;
            certificates::write(temp.path(), days)?;
            let at = |name: &str| temp.path().join(name).display().to_string();
            let (client, peer_port) = (ports::claim()?, ports::claim()?);
            let url = format!("https://127.0.0.1:{client}");
            let mut server = Command::new(&etcd.path);
            server
                .args(["--name=m", &format!("--data-dir={}", at("data"))])
                .args([
                    format!("--listen-client-urls={url}"),
                    format!("--advertise-client-urls={url}"),
                ])
                .arg(format!("--listen-peer-urls=http://127.0.0.1:{peer_port}"))
                .arg(format!(
                    "--initial-advertise-peer-urls=http://127.0.0.1:{peer_port}"
                ))
                .arg(format!("--initial-cluster=m=http://127.0.0.1:{peer_port}"))
                .args([
                    format!("--cert-file={}", at("server.crt")),
                    format!("--key-file={}", at("server.key")),
                ])
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null());
            let mut server = peers::server::spawn_bound(server)?;
            let ca = at("ca.crt");
            let words = ["--target=3.6.14", "--cacert", &ca, "--endpoints", &url];
            let outcome = upgrades::operated::until(async || {
                let (_, report, said) = check(&pintle, &words)?;
                ensure!(state(&report, "P1") == "passed", "{report} {said}");
                Ok(report)
            })
            .await;
            // A member that cannot be asked in this way is not down: "bring it back" or
            // "remove it" would be the wrong advice.
            let other = TempDir::new()?;
            certificates::write(other.path(), days)?;
            let other = other.path().join("ca.crt").display().to_string();
            let (plain, bare) = (url.replace("https", "http"), url.replace("https://", ""));
            let wrong: [(&[&str], &str); 4] = [
                (&["--endpoints", &url], "TLS: "),
                (&["--cacert", &other, "--endpoints", &url], "TLS: "),
                (&["--endpoints", &plain], "name it with https://"),
                (&["--endpoints", &bare], "name it with https://"),
            ];
            let mut outcomes = Vec::new();
            for (words, text) in wrong {
                // What refuses does so at once, and is asked again until the time is over.
                let words = [&["--target=3.6.14", "--command-timeout=4s"], words].concat();
                outcomes.push((text, check(&pintle, &words)));
            }
            server.kill()?;
            server.wait()?;
            for (text, outcome) in outcomes {
                let (code, _, said) = outcome?;
                ensure!(code == 1 && said.contains(text), "{code}: {said}");
                ensure!(
                    !said.contains("bring it back") && !said.contains("remove"),
                    "{said}"
                );
            }
            let found = seen(&outcome?, "P19");
            match expected {
                "" => ensure!(found.is_empty(), "{found}"),
                text => ensure!(found.contains(text), "{found}"),
            }
        }
        peer::say("RAN: checks: certificates on the connection");
        Ok(())
    });
}

#[test]
fn what_is_no_sound_member_is_named_and_left_as_it_is() {
    let (Some(pintle), Some(etcd)) = (subject(), etcd("3.5.30")) else {
        return;
    };
    block_on(async move {
        let temp = TempDir::new()?;
        let at = |name: &str| temp.path().join(name);
        let launch = Launch::new(&etcd, &at("good")).flag("--snapshot-count=10");
        let server = launch.start().await?;
        for i in 0..40 {
            server
                .api()
                .put(api::put(format!("k{i}"), b"v".to_vec()))
                .await?;
        }
        // In use.
        let good = at("good").display().to_string();
        let (code, _, said) = check(&pintle, &["--target=3.6.14", "--data-dir", &good])?;
        ensure!(
            code == 1 && said.contains("is in use by a running member"),
            "{code}: {said}"
        );
        // Over HTTP it is a member of another cluster than the directory's copy claims.
        server.terminate().await?;

        type Spoil = fn(&Path) -> Result<()>;
        let spoiled: [(&str, i32, &str, Spoil); 6] = [
            ("a database that is cut", 3, "P25", |dir| {
                let db = fs::File::options()
                    .write(true)
                    .open(dir.join("member/snap/db"))?;
                Ok(db.set_len(12_000)?)
            }),
            ("a database of other bytes", 3, "P25", |dir| {
                Ok(fs::write(dir.join("member/snap/db"), vec![7; 40_000])?)
            }),
            ("no database", 3, "P25", |dir| {
                Ok(fs::remove_file(dir.join("member/snap/db"))?)
            }),
            ("a damaged .snap", 3, "P24", |dir| {
                let snap = dirs::snapshots(dir)?.pop().context("no .snap")?;
                dirs::flip_bit(&snap, 60)
            }),
            ("a log without its segments", 1, "no log segment", |dir| {
                for segment in dirs::segments(dir)? {
                    fs::remove_file(segment)?;
                }
                Ok(())
            }),
            ("a log with a flipped bit", 1, "damaged", |dir| {
                let segment = dirs::segments(dir)?.pop().context("no segment")?;
                dirs::flip_bit(&segment, 300)
            }),
        ];
        for (what, code, word, spoil) in spoiled {
            let dir = at("spoiled");
            dirs::copy(&at("good"), &dir)?;
            spoil(&dir)?;
            let before = dirs::contents(&dir)?;
            let shown = dir.display().to_string();
            let (got, report, said) = check(&pintle, &["--target=3.6.14", "--data-dir", &shown])?;
            ensure!(got == code, "{what}: exit {got}: {said}{report}");
            match code {
                3 => ensure!(!seen(&report, word).is_empty(), "{what}: {report}"),
                _ => ensure!(
                    said.contains(word) && said.starts_with("Error: "),
                    "{what}: {said}"
                ),
            }
            ensure!(
                dirs::contents(&dir)? == before,
                "{what}: the check changed a file"
            );
            fs::remove_dir_all(&dir)?;
        }

        // Files and words that are something else.
        fs::write(at("text"), "kind: Pod\n")?;
        let cut = at("cut.db");
        fs::copy(at("good/member/snap/db"), &cut)?;
        fs::File::options().write(true).open(&cut)?.set_len(9000)?;
        fs::create_dir(at("empty"))?;
        let text = at("text").display().to_string();
        let (cut, empty) = (cut.display().to_string(), at("empty").display().to_string());
        let wrong: [(&[&str], &str); 10] = [
            (&["--target=latest", "--data-dir", &good], "is no target"),
            (&["--target=3.6.14"], "nothing to look at"),
            (
                &["--target=3.6.14", "--data-dir", "nowhere"],
                "No such file",
            ),
            (
                &["--target=3.6.14", "--data-dir", &empty],
                "no member of etcd has been here",
            ),
            (&["--target=3.6.14", "--data-dir", &text], "not a directory"),
            (
                &["--target=3.6.14", "--snapshot", &text],
                "not a usable bbolt database",
            ),
            (&["--target=3.6.14", "--snapshot", &cut], "truncated"),
            (
                &["--target=3.6.14", "--data-dir", &good, "--manifest", &text],
                "not a manifest of etcd",
            ),
            (
                &[
                    "--target=3.6.14",
                    "--data-dir",
                    &good,
                    "--kube-manifest",
                    &text,
                ],
                "not the manifest of an API server",
            ),
            (
                &[
                    "--target=3.6.14",
                    "--data-dir",
                    &good,
                    "--cacert",
                    &text,
                    "--endpoints=https://127.0.0.1:1",
                ],
                "no certificate",
            ),
        ];
        for (words, text) in wrong {
            let (code, _, said) = check(&pintle, words)?;
            ensure!(
                code == 1 && said.contains(text),
                "{words:?}: exit {code}: {said}"
            );
        }

        // Endpoints that are no one, or not etcd.
        let web = TcpListener::bind("127.0.0.1:0")?;
        let port = web.local_addr()?.port();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = web.accept() {
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
            }
        });
        for endpoint in [format!("127.0.0.1:{port}"), "127.0.0.1:1".to_owned()] {
            // A mistyped address is no verdict on a cluster.
            let (code, _, said) = check(&pintle, &["--target=3.6.14", "--endpoints", &endpoint])?;
            ensure!(
                code == 1 && said.contains("no member answered") && said.contains(&endpoint),
                "{code}: {said}"
            );
        }
        // A plain port that is asked by TLS.
        let plain = Launch::new(&etcd, &at("plain")).start().await?;
        let secure = format!("https://127.0.0.1:{}", plain.port());
        let (code, _, said) = check(&pintle, &["--target=3.6.14", "--endpoints", &secure])?;
        ensure!(code == 1 && said.contains("TLS: "), "{code}: {said}");
        plain.terminate().await?;
        // Members of two clusters.
        let one = Launch::new(&etcd, &at("one")).start().await?;
        let two = Launch::new(&etcd, &at("two"))
            .flag("--initial-cluster-token=two")
            .start()
            .await?;
        let both = format!("127.0.0.1:{},127.0.0.1:{}", one.port(), two.port());
        let (code, report, _) = check(&pintle, &["--target=3.6.14", "--endpoints", &both])?;
        ensure!(
            code == 3 && seen(&report, "P1").contains("different clusters"),
            "{report}"
        );
        one.terminate().await?;
        two.terminate().await?;
        peer::say(
            "RAN: checks: 6 spoiled directories, 10 wrong inputs, endpoints that are no etcd",
        );
        Ok(())
    });
}

#[test]
fn running_members_are_repaired_without_a_restart() {
    let (Some(pintle), Some(old), Some(new)) = (subject(), etcd("3.5.16"), etcd("3.5.30")) else {
        return;
    };
    block_on(async move {
        // Under `ETCD_VERIFY` the first of two updates ends a member: the other record is still stale.
        let mut cluster = Plan::of(std::slice::from_ref(&old))
            .unverified()
            .start()
            .await?;
        for _ in 0..2 {
            let place = cluster.add(&old, Role::Learner, 0).await?;
            cluster.promote(place, 0).await?;
        }
        cluster.settled().await?;
        let endpoints: Vec<String> = cluster
            .members()
            .iter()
            .map(|m| format!("http://127.0.0.1:{}", m.client_port))
            .collect();
        let endpoints = endpoints.join(",");
        let repair = |words: &[&str]| -> Result<(i32, String)> {
            let answer = Command::new(&pintle.path)
                .args(["upgrade", "repair", "--endpoints", &endpoints])
                .args(PATIENT)
                .args(words)
                .output()?;
            let said = [answer.stdout, answer.stderr].concat();
            let code = answer.status.code().context("ended by a signal")?;
            Ok((code, String::from_utf8_lossy(&said).into_owned()))
        };
        let (code, said) = repair(&["--yes"])?;
        ensure!(code == 1 && said.contains("runs 3.5.16"), "{code}: {said}");
        for place in cluster.places() {
            cluster.swap(place, &new).await?;
        }
        cluster.settled().await?;
        let words = ["--target=3.6.14", "--endpoints", &endpoints];
        let (code, sick, _) = check(&pintle, &words)?;
        ensure!(
            code == 3 && seen(&sick, "P4").contains("as a learner"),
            "{sick}"
        );
        // What decides is in the databases: without them no one can say that it is safe.
        let blind = [&words[..], &["--no-databases"]].concat();
        let (code, report, _) = check(&pintle, &blind)?;
        ensure!(
            code == 5 && report["verdict"] == "incomplete",
            "{code}: {report}"
        );
        let missing = report["missing"].to_string();
        ensure!(
            missing.contains("\"P4\"") && missing.contains("--no-databases"),
            "{missing}"
        );
        let (code, said) = repair(&[])?;
        ensure!(
            code == 6 && said.contains("nothing was changed"),
            "{code}: {said}"
        );
        ensure!(check(&pintle, &words)?.0 == 3, "it was only asked to show");
        let (code, said) = repair(&["--yes"])?;
        ensure!(code == 0 && said.contains("repaired: "), "{code}: {said}");
        // Only the files tell of API version 2, also those of members that run.
        let (code, report, said) = check(&pintle, &words)?;
        ensure!(code == 5, "exit {code}: {report}: {said}");
        let dirs: Vec<String> = cluster
            .members()
            .iter()
            .map(|m| m.dir.display().to_string())
            .collect();
        let some = [&words[..], &["--data-dir", &dirs[0]]].concat();
        let (code, report, _) = check(&pintle, &some)?;
        let missing = report["missing"].to_string();
        ensure!(
            code == 5 && missing.contains("not looked at: m1, m2"),
            "{code}: {missing}"
        );
        let dirs = dirs.join(",");
        let all = [&words[..], &["--data-dir", &dirs]].concat();
        let (code, report, _) = check(&pintle, &all)?;
        ensure!(
            code == 0 && report["verdict"] == "safe",
            "exit {code}: {report}"
        );
        // Hashes come out of the streamed databases, and are those that members tell.
        for (n, member) in cluster.members().iter().enumerate() {
            let told = &report["members"][n]["live"]["hash"];
            let revision = told["revision"].as_i64().context("no hash")?;
            let request = HashKvRequest { revision };
            let answer = Api::new(member.client_port).hash_kv(request).await?;
            ensure!(told["hash"] == answer.hash, "{told}: {answer:?}");
        }
        let (code, said) = repair(&["--yes"])?;
        let is_clean = said.starts_with("nothing to repair\n\nnext: ");
        ensure!(code == 0 && is_clean, "{code}: {said}");
        // One that is down counts once, by its name.
        cluster.stop(2).await?;
        // Once the others have a leader.
        upgrades::operated::until(async || {
            let (code, report, _) = check(&pintle, &words)?;
            let all = report["findings"].as_array().cloned().unwrap_or_default();
            let first = all.iter().filter(|f| f["check"] == "P1");
            let first: Vec<&str> = first.filter_map(|f| f["member"].as_str()).collect();
            ensure!(code == 3 && first == ["m2"], "{code}: {first:?} {report}");
            Ok(())
        })
        .await?;
        cluster.start(2).await?;
        cluster.finish().await?;
        peer::say("RAN: checks: a running cluster is repaired");
        Ok(())
    });
}
