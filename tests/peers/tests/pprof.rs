//! `--enable-pprof`: profiles under etcd's paths that Go's tool reads.

use std::{io::Read as _, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use flate2::read::GzDecoder;
use peers::{
    api::{get, put},
    http, peer, run,
    server::{Launch, Server},
};
use prost::Message as _;
use proto::profilepb::Profile;

fn read(gzip: &[u8]) -> Result<Profile> {
    let mut bytes = Vec::new();
    GzDecoder::new(gzip).read_to_end(&mut bytes)?;
    Ok(Profile::decode(bytes.as_slice())?)
}

fn text(profile: &Profile, at: i64) -> &str {
    &profile.string_table[at as usize]
}

/// Every reference leads somewhere.
fn check(profile: &Profile) -> Result<()> {
    for sample in &profile.sample {
        ensure!(
            sample.value.len() == profile.sample_type.len(),
            "{sample:?}"
        );
        for id in &sample.location_id {
            let location = profile.location.iter().find(|location| location.id == *id);
            for line in &location.context("a location")?.line {
                let function = profile.function.iter().find(|f| f.id == line.function_id);
                ensure!(!text(profile, function.context("a function")?.name).is_empty());
            }
        }
    }
    Ok(())
}

/// What Go's tool says of it, where there is Go.
fn top(gzip: &[u8]) -> Result<Option<String>> {
    if Command::new("go").arg("version").output().is_err() {
        peer::say("SKIP: no Go here: go tool pprof does not read the profiles");
        return Ok(None);
    }
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("profile");
    std::fs::write(&file, gzip)?;
    let out = Command::new("go")
        .args(["tool", "pprof", "-top", "-nodecount=500"])
        .arg(&file)
        .env("PPROF_TMPDIR", dir.path())
        .output()?;
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    ensure!(
        out.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(Some(said))
}

/// Writes and reads until the profile is there.
async fn profile_under_load(server: &Server) -> Result<Vec<u8>> {
    let load = async {
        loop {
            server.api().put(put("k", vec![0; 1000])).await?;
            server.api().range(get("k")).await?;
        }
    };
    tokio::select! {
        profile = http::send(server.port(), "GET", "/debug/pprof/profile?seconds=2", "") => {
            let answer = profile?;
            ensure!(answer.status == 200, "{}", answer.text());
            Ok(answer.body)
        }
        failed = load => failed,
    }
}

#[test]
fn profiles_are_read_by_gos_tool() {
    let Some((subject, _)) = peer::pair() else {
        return;
    };
    if !subject.is_pintle {
        return;
    }
    run(120, async {
        let data = tempfile::tempdir()?;
        let launch = Launch::new(&subject, data.path()).flag("--enable-pprof");
        let server = launch.start().await?;
        // A slow machine may spend the two seconds on others.
        let mut cpu = Vec::new();
        for _ in 0..10 {
            cpu = profile_under_load(&server).await?;
            if !read(&cpu)?.sample.is_empty() {
                break;
            }
        }
        let profile = read(&cpu)?;
        check(&profile)?;
        ensure!(!profile.sample.is_empty(), "no sample");
        let kinds: Vec<_> = profile
            .sample_type
            .iter()
            .map(|kind| text(&profile, kind.r#type))
            .collect();
        ensure!(kinds == ["samples", "cpu"], "{kinds:?}");
        ensure!(profile.period == 10_000_000 && profile.duration_nanos >= 2_000_000_000);
        if let Some(said) = top(&cpu)? {
            ensure!(
                said.contains("Type: cpu") && said.contains("flat%"),
                "{said}"
            );
        }
        for (page, kind) in [("heap", "inuse_space"), ("threadcreate", "threadcreate")] {
            let answer =
                http::send(server.port(), "GET", &format!("/debug/pprof/{page}"), "").await?;
            let profile = read(&answer.body)?;
            check(&profile)?;
            let total: i64 = profile.sample.iter().flat_map(|sample| &sample.value).sum();
            ensure!(total > 0, "{page}");
            if let Some(said) = top(&answer.body)? {
                ensure!(said.contains(&format!("Type: {kind}")), "{said}");
            }
        }
        server.no_panic()?;
        server.terminate().await
    });
}

#[test]
fn one_profile_is_taken_at_a_time() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    run(120, async {
        for program in [&reference, &subject] {
            let data = tempfile::tempdir()?;
            let server = Launch::new(program, data.path())
                .flag("--enable-pprof")
                .start()
                .await?;
            let path = "/debug/pprof/profile?seconds=60";
            let first = http::send(server.port(), "GET", path, "");
            let second = async {
                // Until the first is under way, this one is it.
                loop {
                    let again = http::send(server.port(), "GET", path, "");
                    if let Ok(answer) = tokio::time::timeout(Duration::from_secs(1), again).await {
                        return answer;
                    }
                }
            };
            let answer = tokio::select! {
                biased;
                first = first => first?,
                second = second => second?,
            };
            ensure!(answer.status == 500, "{program}: {}", answer.status);
            let said = "Could not enable CPU profiling: cpu profiling already in use\n";
            ensure!(answer.text() == said, "{program}: {}", answer.text());
            server.kill().await?;
        }
        Ok(())
    });
}

/// etcd takes any length, and none other is taken until its end.
#[test]
fn a_profile_has_an_end() {
    let Some((subject, _)) = peer::pair() else {
        return;
    };
    if !subject.is_pintle {
        return;
    }
    run(60, async {
        let data = tempfile::tempdir()?;
        let launch = Launch::new(&subject, data.path()).flag("--enable-pprof");
        let server = launch.start().await?;
        let path = "/debug/pprof/profile?seconds=601";
        let answer = http::send(server.port(), "GET", path, "").await?;
        ensure!(answer.status == 400, "{}", answer.status);
        let said = "a profile takes 600 seconds at most, not 601\n";
        ensure!(answer.text() == said, "{}", answer.text());
        server.terminate().await
    });
}

#[test]
fn pages_are_where_etcd_has_them_and_nowhere_without_the_flag() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    run(120, async {
        for flag in ["--enable-pprof=true", "--enable-pprof=false"] {
            let mut said = Vec::new();
            for program in [&reference, &subject] {
                let data = tempfile::tempdir()?;
                let server = Launch::new(program, data.path()).flag(flag).start().await?;
                let mut statuses = Vec::new();
                for page in [
                    "",
                    "heap",
                    "threadcreate",
                    "cmdline",
                    "symbol",
                    "profile?seconds=1",
                    "nothing",
                ] {
                    let path = format!("/debug/pprof/{page}");
                    let answer = http::send(server.port(), "GET", &path, "").await?;
                    statuses.push((path, answer.status));
                }
                server.terminate().await?;
                said.push(statuses);
            }
            ensure!(said[0] == said[1], "{flag}: {said:#?}");
        }
        Ok(())
    });
}
