//! Signals to a run or a rollback, and members that it does not reach: nothing is cut off
//! between a stop and a start, nothing further is begun, and no quorum is taken away.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use peers::{api, peer};
use rustix::process::{Pid, Signal, kill_process_group};
use upgrades::{
    background::{cut_off, holds, start, terminated, wait},
    operated::{block_on, subject, until},
    scripted::{MEMBERS, Scripted, have, success},
};

/// The mask of the signals that a process ignores; bit 0 is SIGHUP.
fn ignored(pid: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    Ok(u64::from_str_radix(mask.context("no mask")?.trim(), 16)?)
}

#[test]
fn a_signal_to_the_group_ends_no_command_between_stop_and_start() {
    let Some(pintle) = subject() else { return };
    if !have(&["3.5.16", "3.5.30"]) {
        return;
    }
    block_on(async {
        let cluster = Scripted::new(&pintle, &["3.5.16", "3.5.30"])?;
        cluster.grow("3.5.16").await?;
        let at = cluster.dir.path().display();
        let (held, go, log) = (
            cluster.at("held"),
            cluster.at("go"),
            cluster.at("signal.log"),
        );
        let hold = format!("echo held >{at}/held; while [ ! -e {at}/go ]; do sleep 0.05; done\n");
        for name in ["stop.sh", "start.sh"] {
            let text = fs::read_to_string(cluster.at(name))?;
            let (_, rest) = text.split_once('\n').context("one line")?;
            cluster.write_script(name, &format!("#!/bin/sh\n{hold}{rest}"))?;
            let mut run = start(cluster.tool("run", "3.5.30"), &log)?;
            tokio::task::block_in_place(|| wait(&mut run, &log, || held.exists()))?;
            kill_process_group(Pid::from_child(&run), Signal::TERM)?;
            let is_told = || holds(&log, "this step is finished first");
            tokio::task::block_in_place(|| wait(&mut run, &log, is_told))?;
            fs::write(&go, "")?;
            let status = tokio::task::block_in_place(|| run.wait())?;
            let said = fs::read_to_string(&log)?;
            ensure!(status.code() == Some(7), "{name}: {status}: {said}");
            ensure!(
                said.contains("the cluster serves: all 3 voters do"),
                "{name}: {said}"
            );
            cluster.write_script(name, &text)?;
            fs::remove_file(&held)?;
            fs::remove_file(&go)?;
        }
        // What the commands started ignores no signal but what this test was started to
        // ignore (nohup).
        let inherited = ignored("self")?;
        for n in 0..MEMBERS {
            let pid = fs::read_to_string(cluster.at(&format!("m{n}.pid")))?;
            let ignored = ignored(pid.trim())?;
            ensure!(ignored & 0b11 & !inherited == 0, "m{n} ignores {ignored:x}");
        }
        success(&mut cluster.tool("run", "3.5.30"))?;
        peer::say("RAN: SIGTERM to the process group while a member is stopped, and started");
        Ok(())
    });
}

#[test]
fn a_signal_in_a_flush_waits_for_the_restart_with_the_own_flags() {
    let Some(pintle) = subject() else { return };
    if !have(&["3.6.14", "3.7.1"]) {
        return;
    }
    block_on(async {
        let cluster = Scripted::new(&pintle, &["3.6.14", "3.7.1"])?;
        cluster.grow("3.6.14").await?;
        let log = cluster.at("flush.log");
        let mut run = start(cluster.tool("run", "3.7.1"), &log)?;
        let is_flagged = || cluster.events().contains("--snapshot-count=");
        tokio::task::block_in_place(|| wait(&mut run, &log, is_flagged))?;
        let (code, said) = tokio::task::block_in_place(|| terminated(run, &log))?;
        ensure!(code == Some(7), "{code:?}: {said}");
        ensure!(said.contains("this step is finished first"), "{said}");
        let events = cluster.events();
        let last = events.lines().last().unwrap_or_default();
        ensure!(
            last.starts_with("start ") && !last.contains("--snapshot-count="),
            "{events}"
        );
        success(&mut cluster.tool("run", "3.7.1"))?;
        peer::say("RAN: SIGTERM in a flush");
        Ok(())
    });
}

#[test]
fn a_member_that_serves_out_of_reach_is_not_stopped_and_a_signal_is_not_held_back() {
    let Some(pintle) = subject() else { return };
    if !have(&["3.5.30", "3.6.14"]) {
        return;
    }
    block_on(async {
        let (cluster, [first, second, third]) = cut_off(&pintle).await?;
        // The third dies for good, and the second is out of reach of the tool: with the first
        // it is the quorum.
        let start_script = fs::read_to_string(cluster.at("start.sh"))?;
        let dead = start_script.replacen(
            "case $r in\n",
            &format!("[ $m = m{third} ] && exit 255\ncase $r in\n"),
            1,
        );
        cluster.write_script("start.sh", &dead)?;
        cluster.crash(third)?;
        cluster.proxies[second].cut();
        let serves = async || {
            until(async || Ok(cluster.api(first).put(api::put("still", "serving")).await?)).await
        };
        serves().await?;
        let before = cluster.events();
        let log = cluster.at("rollback.log");
        let mut back = start(cluster.tool("rollback", ""), &log)?;
        let is_refused = || holds(&log, "it does not answer from here, but it serves");
        tokio::task::block_in_place(|| wait(&mut back, &log, is_refused))?;
        let (code, said) = tokio::task::block_in_place(|| terminated(back, &log))?;
        ensure!(code == Some(7), "{code:?}: {said}");
        ensure!(!said.contains("finished first"), "{said}");
        let events = cluster.events();
        ensure!(!events[before.len()..].contains("stop"), "{events}");
        serves().await?;
        // In reach again: the dead one does not start, and no other may be stopped. A signal
        // is held back by nothing.
        cluster.proxies[second].join()?;
        let mut back = start(cluster.tool("rollback", ""), &log)?;
        let is_refused = || holds(&log, &format!("m{first} is not stopped: "));
        tokio::task::block_in_place(|| wait(&mut back, &log, is_refused))?;
        let (code, said) = tokio::task::block_in_place(|| terminated(back, &log))?;
        ensure!(code == Some(7), "{code:?}: {said}");
        ensure!(!said.contains("finished first"), "{said}");
        let state = format!("the cluster serves: 2 of 3 voters do; not m{third}");
        ensure!(
            said.contains(&state) && !said.contains("every member runs"),
            "{said}"
        );
        let events = cluster.events();
        for alive in [first, second] {
            let stop = format!("stop m{alive}");
            ensure!(!events[before.len()..].contains(&stop), "{events}");
        }
        serves().await?;
        // Its machine is there again.
        cluster.write_script("start.sh", &start_script)?;
        let said = success(&mut cluster.tool("rollback", ""))?;
        ensure!(said.contains("taken back"), "{said}");
        let versions = cluster.versions().await?;
        ensure!(
            versions.iter().all(|version| version == "3.5.30"),
            "{versions:?}"
        );
        peer::say("RAN: rollback with one member dead and one out of reach, ended by SIGTERM");
        Ok(())
    });
}
