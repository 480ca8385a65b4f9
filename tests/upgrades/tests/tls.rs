//! Commands that reach the members in a wrong way: of what they cannot see nothing is
//! judged, and nothing is stopped.

use std::{
    fs,
    process::{Command, Stdio},
};

use anyhow::{Result, ensure};
use peers::{api, peer};
use tempfile::TempDir;
use upgrades::{
    certificates,
    operated::{begun, block_on, subject, until},
    scripted::{Scripted, have, outcome, success},
};

/// The flags of a client that the members take.
fn let_in(cluster: &Scripted) -> Vec<String> {
    [
        ("cacert", "ca.crt"),
        ("cert", "client.crt"),
        ("key", "client.key"),
    ]
    .map(|(flag, file)| format!("--{flag}={}", cluster.at(file).display()))
    .into()
}

/// Starts a command and kills it when its journal has begun `steps` steps.
fn killed(cluster: &Scripted, command: &mut Command, steps: usize) -> Result<()> {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    while begun(&cluster.journal()) < steps {
        ensure!(child.try_wait()?.is_none(), "it ended before");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill()?;
    child.wait()?;
    Ok(())
}

#[test]
fn who_is_refused_by_tls_stops_no_member() {
    let Some(pintle) = subject() else { return };
    if !have(&["3.5.16", "3.5.30"]) {
        return;
    }
    block_on(async {
        let cluster = Scripted::secure(&pintle, &["3.5.16", "3.5.30"])?;
        cluster.grow("3.5.16").await?;
        let mut run = cluster.tool("run", "3.5.30");
        run.args(let_in(&cluster));
        // m1 runs the new release, nothing is stopped.
        tokio::task::block_in_place(|| killed(&cluster, &mut run, 3))?;
        until(async || Ok(cluster.versions().await?)).await?;
        let before = cluster.events();
        let other = TempDir::new()?;
        certificates::write(other.path(), 365)?;
        let foreign = |name: &str| other.path().join(name).display().to_string();
        let own = let_in(&cluster);
        let wrong: [(&str, Vec<String>); 4] = [
            ("no TLS flags", vec![]),
            (
                "another CA",
                vec![
                    format!("--cacert={}", foreign("ca.crt")),
                    own[1].clone(),
                    own[2].clone(),
                ],
            ),
            ("no client certificate", vec![own[0].clone()]),
            (
                "a client certificate of another CA",
                vec![
                    own[0].clone(),
                    format!("--cert={}", foreign("client.crt")),
                    format!("--key={}", foreign("client.key")),
                ],
            ),
        ];
        let refused = |what: &str, command: &mut Command| -> Result<()> {
            let (code, said) = outcome(command)?;
            let said_so = said.contains("TLS") && said.contains("nothing was done");
            ensure!(code == Some(1) && said_so, "{what}: {code:?}: {said}");
            ensure!(!said.contains("DOES NOT SERVE"), "{what}: {said}");
            let after = cluster.events();
            ensure!(after == before, "{what}: {}", &after[before.len()..]);
            Ok(())
        };
        for (what, flags) in &wrong {
            refused(what, cluster.tool("run", "3.5.30").args(flags))?;
            refused(what, cluster.tool("rollback", "").args(flags))?;
            refused(
                what,
                cluster.tool("rollback", "").args(flags).arg("--dry-run"),
            )?;
        }
        // TLS where a member speaks none.
        let text = fs::read_to_string(cluster.at("members.yaml"))?;
        let plain = cluster
            .ports
            .iter()
            .enumerate()
            .fold(text, |text, (n, (port, _))| {
                text.replace(&cluster.url(n), &format!("https://127.0.0.1:{port}"))
            });
        let members = cluster.at("plain.yaml");
        fs::write(&members, plain)?;
        let mut command = cluster.tool("rollback", "");
        command.args(&own).arg("--members").arg(&members);
        refused("TLS to a plain port", &mut command)?;
        // With the right ones it goes on.
        success(&mut run)?;
        peer::say("RAN: upgrade run and rollback that TLS refuses: exit 1, no member stopped");
        Ok(())
    });
}

#[test]
fn who_has_not_logged_in_stops_no_member() {
    let Some(pintle) = subject() else { return };
    if !have(&["3.5.16", "3.5.30"]) {
        return;
    }
    block_on(async {
        let cluster = Scripted::new(&pintle, &["3.5.16", "3.5.30"])?;
        cluster.grow("3.5.16").await?;
        for words in [
            &["user", "add", "root:secret"][..],
            &["role", "add", "root"],
            &["user", "grant-role", "root", "root"],
            &["auth", "enable"],
        ] {
            let mut ctl = Command::new(&pintle.path);
            ctl.args(["ctl", "--endpoints", &cluster.url(0)])
                .args(words);
            let (code, said) = outcome(&mut ctl)?;
            ensure!(code == Some(0), "{words:?}: {said}");
        }
        let before = cluster.events();
        for flags in [&[][..], &["--user=root:wrong"]] {
            let (code, said) = outcome(cluster.tool("run", "3.5.30").args(flags))?;
            ensure!(code == Some(1), "{flags:?}: {code:?}: {said}");
            ensure!(said.contains("nothing was done"), "{flags:?}: {said}");
            ensure!(
                cluster.events() == before,
                "{flags:?}: {}",
                cluster.events()
            );
        }
        success(cluster.tool("run", "3.5.30").arg("--user=root:secret"))?;
        peer::say("RAN: upgrade run without a login: exit 1, no member stopped");
        Ok(())
    });
}

#[test]
fn the_printed_rollback_can_be_pasted() {
    let Some(pintle) = subject() else { return };
    if !have(&["3.5.16", "3.5.30"]) {
        return;
    }
    block_on(async {
        let cluster = Scripted::secure(&pintle, &["3.5.16", "3.5.30"])?;
        cluster.grow("3.5.16").await?;
        cluster.api(0).put(api::put("still", "here")).await?;
        // The second member to be swapped does not come up with the new release.
        let start = fs::read_to_string(cluster.at("start.sh"))?;
        let broken = start.replacen(
            "case $r in\n",
            "[ $m$r = m23.5.30 ] && exit 1\ncase $r in\n",
            1,
        );
        cluster.write_script("start.sh", &broken)?;
        // A name that a shell would take apart.
        let state = cluster.at("it's $HOME `here`");
        let mut run = cluster.tool("run", "3.5.30");
        run.args(let_in(&cluster)).arg("--state").arg(&state);
        let (code, said) = outcome(&mut run)?;
        ensure!(code == Some(3), "{code:?}: {said}");
        let printed = said
            .lines()
            .find_map(|line| Some(line.split_once(" or: ")?.1));
        let Some(printed) = printed else {
            anyhow::bail!("no command in: {said}");
        };
        let (code, said) = outcome(Command::new("sh").arg("-c").arg(printed))?;
        ensure!(
            code == Some(0) && said.contains("taken back"),
            "{printed}: {code:?}: {said}"
        );
        let versions = cluster.versions().await?;
        ensure!(
            versions.iter().all(|version| version == "3.5.16"),
            "{versions:?}"
        );
        peer::say(&format!("RAN: pasted: {printed}"));
        Ok(())
    });
}
