//! Members that do not answer, of real clusters: each is started once with the release that it
//! should run, none is stopped that may serve out of reach, and a dead cluster comes back.

use std::fs;

use anyhow::{Result, ensure};
use peers::{api, peer};
use upgrades::{
    background::{cut_off, holds, start, terminated, wait},
    operated::{block_on, subject, until},
    scripted::{Scripted, have, outcome, success},
};

/// Short, for members that never come.
const PATIENCE: &str = "--patience=8s";

/// What the scripts did with `member` since they had written `before`.
fn starts(cluster: &Scripted, member: &str, before: &str) -> Vec<String> {
    let events = cluster.events();
    let begun = format!("start {member} ");
    let since = events[before.len()..].lines();
    let starts = since.filter_map(|line| line.strip_prefix(&begun));
    starts.map(str::to_owned).collect()
}

/// Starts of `member` come to nothing: its machine is gone. Returns the script as it was.
fn lose(cluster: &Scripted, member: &str) -> Result<String> {
    let script = fs::read_to_string(cluster.at("start.sh"))?;
    // Before it looks whether it runs: what was started is noted.
    let lost = script.replacen("# One", &format!("[ $m = {member} ] && exit 0\n# One"), 1);
    cluster.write_script("start.sh", &lost)?;
    Ok(script)
}

#[test]
#[ignore = "some minutes; the model of crates/upgrade has the same"]
fn a_member_that_crashed_for_good_is_started_once() {
    let Some(pintle) = subject() else { return };
    if !have(&["3.5.16", "3.5.30", "3.6.14"]) {
        return;
    }
    block_on(async {
        // Where the cluster version has followed, the newer release is the one to start.
        for (from, to, with) in [
            ("3.5.16", "3.5.30", "3.5.16"),
            ("3.5.30", "3.6.14", "3.6.14"),
        ] {
            let cluster = Scripted::new(&pintle, &[from, to])?;
            cluster.grow(from).await?;
            success(&mut cluster.tool("run", to))?;
            cluster.crash(1)?;
            let script = lose(&cluster, "m1")?;
            let before = cluster.events();
            let (code, said) = outcome(cluster.tool("rollback", "").arg(PATIENCE))?;
            ensure!(code == Some(3), "{code:?}: {said}");
            ensure!(said.contains("m1 does not come up"), "{said}");
            let started = starts(&cluster, "m1", &before);
            ensure!(started == [with], "{started:?}: {said}");
            cluster.write_script("start.sh", &script)?;
            let said = success(&mut cluster.tool("rollback", ""))?;
            ensure!(said.contains("taken back"), "{said}");
            peer::say(&format!(
                "RAN: rollback from {to} with a member that is gone"
            ));
        }
        Ok(())
    });
}

#[test]
fn a_frozen_member_holds_up_no_signal() {
    let Some(pintle) = subject() else { return };
    if !have(&["3.5.16", "3.5.30"]) {
        return;
    }
    block_on(async {
        let cluster = Scripted::alone(&pintle, &["3.5.16", "3.5.30"])?;
        cluster.grow("3.5.16").await?;
        success(&mut cluster.tool("run", "3.5.30"))?;
        let before = cluster.events();
        cluster.signal(0, "-STOP")?;
        let log = cluster.at("rollback.log");
        let mut back = start(cluster.tool("rollback", ""), &log)?;
        let is_told = || holds(&log, "waiting: m0 does not answer yet");
        tokio::task::block_in_place(|| wait(&mut back, &log, is_told))?;
        let ended = tokio::task::block_in_place(|| terminated(back, &log));
        cluster.signal(0, "-CONT")?;
        let (code, said) = ended?;
        ensure!(code == Some(7), "{code:?}: {said}");
        ensure!(cluster.events() == before, "{}", cluster.events());
        let said = success(&mut cluster.tool("rollback", ""))?;
        ensure!(said.contains("taken back"), "{said}");
        peer::say("RAN: rollback with a frozen member, ended by SIGTERM");
        Ok(())
    });
}

/// What is said of a cluster that is out of reach, and serves.
fn says_only_what_is_known(said: &str) -> Result<()> {
    ensure!(said.contains("may serve one another"), "{said}");
    for word in ["DOES NOT SERVE", "restore", "force-new-cluster"] {
        ensure!(!said.contains(word), "{word}: {said}");
    }
    Ok(())
}

#[test]
#[ignore = "some minutes; the model of crates/upgrade has the same"]
fn where_no_member_is_reached_none_is_stopped_and_a_dead_cluster_comes_back() {
    let Some(pintle) = subject() else { return };
    if !have(&["3.5.30", "3.6.14"]) {
        return;
    }
    block_on(async {
        let (cluster, members) = cut_off(&pintle).await?;
        let before = cluster.events();
        cluster.proxies.iter().for_each(upgrades::proxy::Proxy::cut);
        for _ in 0..2 {
            let (code, said) = outcome(cluster.tool("rollback", "").arg(PATIENCE))?;
            ensure!(code == Some(3), "{code:?}: {said}");
            says_only_what_is_known(&said)?;
            let events = cluster.events();
            ensure!(!events[before.len()..].contains("stop"), "{events}{said}");
            until(async || Ok(cluster.api(0).put(api::put("still", "serving")).await?)).await?;
        }
        // The same of a command that begins there.
        let elsewhere = format!("--state={}", cluster.at("elsewhere").display());
        let here: &[&str] = &[];
        for (command, target, more, ends) in [
            ("run", "3.6.14", here, 3),
            ("run", "3.6.14", &[elsewhere.as_str()], 1),
            ("rollback", "", &[elsewhere.as_str(), "--to=3.5.30"], 3),
        ] {
            let mut tool = cluster.tool(command, target);
            let (code, said) = outcome(tool.args(more).arg(PATIENCE))?;
            ensure!(code == Some(ends), "{code:?}: {said}");
            says_only_what_is_known(&said)?;
        }
        // Now all of them are down, and nothing but their start can be tried.
        for member in members {
            cluster.crash(member)?;
        }
        for proxy in &cluster.proxies {
            proxy.join()?;
        }
        let said = success(&mut cluster.tool("rollback", ""))?;
        ensure!(said.contains("taken back"), "{said}");
        let versions = cluster.versions().await?;
        ensure!(versions.iter().all(|v| v == "3.5.30"), "{versions:?}");
        peer::say("RAN: rollback of a cluster out of reach, and of a dead one");
        Ok(())
    });
}
