//! `pintle upgrade run` on a cluster of real etcd with sick databases, under load,
//! killed once in every step of its journal: it goes on each time, and no
//! acknowledged write is lost. Then a run that cannot go on is taken back.

use std::{
    fs,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use peers::{
    api::{self, Api},
    peer::{self, Program},
};
use proto::etcdserverpb::*;
use upgrades::{
    background::{start, wait},
    operated::{Writers, begun, block_on, run, subject, until},
    scripted::{MEMBERS, Scripted, have, outcome, success},
};

#[test]
fn a_run_that_is_killed_in_every_step_loses_nothing() {
    let Some(pintle) = subject() else { return };
    for release in ["3.5.16", "3.5.30", "3.6.14"] {
        if peer::etcd(release).is_none() {
            peer::say(&format!(
                "SKIP: upgrade run: etcd {release} is not installed"
            ));
            return;
        }
    }
    block_on(async {
        let cluster = Scripted::new(&pintle, &["3.5.16", "3.5.30", "3.6.14"])?;
        cluster.grow("3.5.16").await?;
        let apis: Vec<Api> = (0..MEMBERS).map(|m| cluster.api(m)).collect();
        let writers = Writers::start(&apis);
        let mut kills = 0;
        for target in ["3.5.30", "pintle", "3.6.14"] {
            let command = || cluster.tool("run", target);
            kills += tokio::task::block_in_place(|| run(command, cluster.dir.path(), true))
                .with_context(|| format!("to {target}"))?;
        }
        let acknowledged = writers.end(&apis, "3.6.14").await?;
        ensure!(acknowledged > 0, "no write was acknowledged");
        peer::say(&format!(
            "RAN: upgrade run 3.5.16 -> 3.5.30 -> pintle -> 3.6.14, killed {kills} times: {} acknowledged writes, none lost",
            acknowledged
        ));
        Ok(())
    });
}

#[test]
fn a_run_that_cannot_go_on_is_taken_back() {
    let Some(pintle) = subject() else { return };
    for release in ["3.5.30", "3.6.14"] {
        if peer::etcd(release).is_none() {
            peer::say(&format!("SKIP: rollback: etcd {release} is not installed"));
            return;
        }
    }
    block_on(async {
        let cluster = Scripted::new(&pintle, &["3.5.30", "3.6.14"])?;
        cluster.grow("3.5.30").await?;
        // The second member to be swapped does not come up with the new release.
        let start = cluster.dir.path().join("start.sh");
        let text = fs::read_to_string(&start)?;
        let broken = text.replacen(
            "case $r in\n",
            "[ $m$r = m23.6.14 ] && exit 1\ncase $r in\n",
            1,
        );
        fs::write(&start, broken)?;
        let before: Vec<String> = cluster.versions().await?;
        let answer = cluster.tool("run", "3.6.14").output()?;
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        ensure!(answer.status.code() == Some(3), "{}: {said}", answer.status);
        ensure!(said.contains("upgrade rollback"), "{said}");
        ensure!(
            begun(&cluster.journal()) > 1,
            "it stopped too early: {said}"
        );
        // Two of three serve all the same.
        cluster.api(0).put(api::put("still", "here")).await?;
        let answer = cluster.tool("rollback", "").output()?;
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        ensure!(answer.status.success(), "{}: {said}", answer.status);
        let after = until(async || {
            let now = cluster.versions().await?;
            ensure!(now == before, "{now:?}");
            Ok(now)
        })
        .await?;
        let kept = cluster.api(1).range(api::get("still")).await?;
        ensure!(kept.kvs.len() == 1, "the write in between is lost");
        peer::say(&format!("RAN: upgrade rollback to {after:?}"));
        Ok(())
    });
}

#[test]
fn a_finished_run_is_taken_back_by_a_downgrade() {
    let Some(pintle) = subject() else { return };
    for release in ["3.5.30", "3.6.14"] {
        if peer::etcd(release).is_none() {
            peer::say(&format!("SKIP: downgrade: etcd {release} is not installed"));
            return;
        }
    }
    block_on(async {
        let cluster = Scripted::new(&pintle, &["3.5.30", "3.6.14"])?;
        cluster.grow("3.5.30").await?;
        let before = cluster.versions().await?;
        let forth = |kill| run(|| cluster.tool("run", "3.6.14"), cluster.dir.path(), kill);
        tokio::task::block_in_place(|| forth(false))?;
        cluster.api(0).put(api::put("on 3.6", "here")).await?;
        // Killed in the middle, it goes on when it is asked again.
        let stops = stops(&cluster.journal());
        let mut first = cluster.tool("rollback", "").spawn()?;
        stops_one_more(&cluster.journal(), stops).await?;
        first.kill()?;
        first.wait()?;
        let answer = cluster.tool("rollback", "").output()?;
        let said = String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).into_owned();
        ensure!(answer.status.success(), "{}: {said}", answer.status);
        ensure!(said.contains("taken back"), "{said}");
        let after = until(async || {
            let now = cluster.versions().await?;
            ensure!(now == before, "{now:?}");
            Ok(now)
        })
        .await?;
        let kept = cluster.api(1).range(api::get("on 3.6")).await?;
        ensure!(kept.kvs.len() == 1, "a write of 3.6 is lost");
        // And forth again.
        tokio::task::block_in_place(|| forth(false))?;
        peer::say(&format!(
            "RAN: upgrade rollback by a downgrade to {after:?}, and forth again"
        ));
        Ok(())
    });
}

#[test]
fn over_two_lines_and_back_a_member_restarts_once_each_way() {
    let Some(pintle) = subject() else { return };
    if !have(&["3.5.30"]) {
        return;
    }
    block_on(async {
        let cluster = Scripted::alone(&pintle, &["3.5.30"])?;
        cluster.grow("3.5.30").await?;
        cluster.api(0).put(api::put("on 3.5", "here")).await?;
        let starts = || cluster.events().matches("start ").count();
        let before = starts();
        let said = success(&mut cluster.tool("run", "pintle:3.7"))?;
        ensure!(said.contains("set the line from 3.6 to 3.7"), "{said}");
        ensure!(cluster.versions().await? == ["3.7.3"], "{said}");
        ensure!(starts() == before + 1, "{}", cluster.events());
        cluster.api(0).put(api::put("on 3.7", "here")).await?;
        let said = success(&mut cluster.tool("rollback", ""))?;
        ensure!(said.contains("taken back"), "{said}");
        ensure!(cluster.versions().await? == ["3.5.30"], "{said}");
        ensure!(starts() == before + 2, "{}", cluster.events());
        ensure!(
            cluster.events().ends_with("start m0 3.5.30\n"),
            "{}",
            cluster.events()
        );
        for key in ["on 3.5", "on 3.7"] {
            let kept = cluster.api(0).range(api::get(key)).await?;
            ensure!(kept.kvs.len() == 1, "{key} is lost");
        }
        peer::say("RAN: upgrade run 3.5.30 -> pintle -> line 3.6 -> line 3.7, and rollback");
        Ok(())
    });
}

/// The same in a cluster under load, killed in every step; then with a member that dies while the
/// line changes, and back without a journal. `PINTLE_UPGRADES` asks for it.
#[test]
fn a_run_over_lines_that_is_killed_in_every_step_loses_nothing() {
    let Some(pintle) = subject() else { return };
    if std::env::var_os("PINTLE_UPGRADES").is_none() || !have(&["3.5.30"]) {
        return;
    }
    block_on(async {
        let cluster = Scripted::new(&pintle, &["3.5.30"])?;
        cluster.grow("3.5.30").await?;
        let apis: Vec<Api> = (0..MEMBERS).map(|m| cluster.api(m)).collect();
        let writers = Writers::start(&apis);
        let starts = || cluster.events().matches("start ").count();
        let mut before = starts();
        let forth = || cluster.tool("run", "pintle:3.7");
        let kills = tokio::task::block_in_place(|| run(forth, cluster.dir.path(), true))?;
        ensure!(starts() == before + MEMBERS, "{}", cluster.events());
        let said = success(&mut cluster.tool("rollback", ""))?;
        ensure!(said.contains("taken back"), "{said}");
        before = starts();

        // It dies in the middle of the change, and the same command starts it again.
        let mut first = forth().spawn()?;
        line_begins(&cluster).await?;
        cluster.crash(1)?;
        tokio::task::block_in_place(|| first.wait())?;
        tokio::task::block_in_place(|| run(forth, cluster.dir.path(), false))?;
        ensure!(starts() <= before + MEMBERS + 1, "{}", cluster.events());

        let mut back = cluster.tool("rollback", "");
        back.args(["--to", "3.5.30", "--state"])
            .arg(cluster.at("other-state"));
        let said = success(&mut back)?;
        ensure!(said.contains("take the line back to 3.5"), "{said}");
        let acknowledged = writers.end(&apis, "3.5.30").await?;
        ensure!(acknowledged > 0, "no write was acknowledged");
        peer::say(&format!(
            "RAN: upgrade run 3.5.30 -> pintle -> 3.6 -> 3.7 and back, twice, killed {kills} times, a member once: {acknowledged} acknowledged writes, none lost"
        ));
        Ok(())
    });
}

/// Waits until a step that changes the line has begun.
async fn line_begins(cluster: &Scripted) -> Result<()> {
    until(async || {
        let text = fs::read_to_string(cluster.journal())?;
        let plan: serde_json::Value =
            serde_json::from_str(text.lines().next().context("no plan")?)?;
        let steps = plan["steps"].as_array().context("no steps")?;
        let line = steps.iter().position(|step| step["step"] == "line");
        let begun = format!(
            "{{\"event\":\"begin\",\"at\":{}}}",
            line.context("no line")?
        );
        ensure!(text.contains(&begun), "the line is not set yet");
        Ok(())
    })
    .await
}

#[test]
fn a_run_with_nothing_to_do_restarts_no_one() {
    let Some(pintle) = subject() else { return };
    if !have(&["3.5.16", "3.5.30"]) {
        return;
    }
    block_on(async {
        let cluster = Scripted::new(&pintle, &["3.5.16", "3.5.30"])?;
        cluster.grow("3.5.16").await?;
        let done = |command: &mut Command, text: &str| -> Result<usize> {
            let (code, said) = outcome(command)?;
            ensure!(code == Some(0) && said.contains(text), "{code:?}: {said}");
            Ok(cluster.events().matches("stop ").count())
        };
        let upgraded = done(&mut cluster.tool("run", "3.5.30"), "done; journal: ")?;
        let again = done(&mut cluster.tool("run", "3.5.30"), "nothing to do")?;
        ensure!(again == upgraded, "{}", cluster.events());
        ensure!(
            !cluster.at("state/journal.2.jsonl").exists(),
            "it left a journal"
        );
        // What is taken back is the upgrade.
        done(&mut cluster.tool("rollback", ""), "taken back")?;
        let versions = cluster.versions().await?;
        ensure!(versions.iter().all(|v| v == "3.5.16"), "{versions:?}");
        // Of a command no one can tell which build it starts: a new one is asked for.
        let back = done(&mut cluster.tool("run", "3.5.16"), "nothing to do")?;
        let mut anew = cluster.tool("run", "3.5.16");
        let anew = done(anew.arg("--new-build"), "done; journal: ")?;
        ensure!(anew == back + MEMBERS, "{}", cluster.events());
        peer::say("RAN: a run with nothing to do, and a new build that is asked for");
        Ok(())
    });
}

#[test]
fn one_member_goes_forth_killed_in_every_step_and_back() {
    let Some(pintle) = subject() else { return };
    if !have(&["3.5.30", "3.6.14"]) {
        return;
    }
    block_on(async {
        let cluster = Scripted::alone(&pintle, &["3.5.30", "3.6.14"])?;
        cluster.grow("3.5.30").await?;
        let api = cluster.api(0);
        api.put(api::put("on 3.5", "here")).await?;
        let command = || cluster.tool("run", "3.6.14");
        let kills = tokio::task::block_in_place(|| run(command, cluster.dir.path(), true))?;
        let version = cluster.versions().await?;
        ensure!(version == ["3.6.14"], "{version:?}");
        let said = success(&mut cluster.tool("rollback", ""))?;
        ensure!(said.contains("taken back"), "{said}");
        let version = cluster.versions().await?;
        ensure!(version == ["3.5.30"], "{version:?}");
        let kept = api.range(api::get("on 3.5")).await?;
        ensure!(kept.kvs.len() == 1, "a write is lost");
        peer::say(&format!(
            "RAN: one member forth and back, killed {kills} times"
        ));
        Ok(())
    });
}

/// Pintle tells the version of the etcd that it stands for, and is another program.
#[test]
fn pintle_is_put_in_and_taken_out() {
    let Some(pintle) = subject() else { return };
    for release in ["3.5.30", "3.6.14"] {
        if peer::etcd(release).is_none() {
            peer::say(&format!(
                "SKIP: pintle in and out: etcd {release} is not installed"
            ));
            return;
        }
    }
    block_on(async {
        let cluster = Scripted::new(&pintle, &["3.5.30", "3.6.14"])?;
        cluster.grow("3.5.30").await?;
        let forth = |target| {
            tokio::task::block_in_place(|| {
                run(|| cluster.tool("run", target), cluster.dir.path(), false)
            })
        };
        let back = || -> Result<String> {
            let answer = tokio::task::block_in_place(|| cluster.tool("rollback", "").output())?;
            let said =
                String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).into_owned();
            ensure!(answer.status.success(), "{}: {said}", answer.status);
            ensure!(said.contains("taken back"), "{said}");
            Ok(said)
        };
        let all_are = async |ours: bool| {
            until(async || {
                ensure!(cluster.versions().await? == ["3.5.30"; MEMBERS]);
                for (client, _) in &cluster.ports {
                    let page = peers::http::send(*client, "GET", "/metrics", "").await?;
                    ensure!(page.text().contains("\npintle_version") == ours, "{client}");
                }
                Ok(())
            })
            .await
        };
        forth("pintle")?;
        all_are(true).await?;
        back()?;
        all_are(false).await?;
        forth("pintle")?;
        forth("3.6.14")?;
        cluster.api(0).put(api::put("on 3.6", "here")).await?;
        let said = back()?;
        ensure!(said.contains("back to pintle 3.5.30"), "{said}");
        all_are(true).await?;
        let kept = cluster.api(1).range(api::get("on 3.6")).await?;
        ensure!(kept.kvs.len() == 1, "a write of 3.6 is lost");
        let answer = cluster.tool("rollback", "").arg("--to=pintle").output()?;
        let said = String::from_utf8_lossy(&answer.stdout).into_owned();
        ensure!(
            said.contains("every member runs pintle (etcd 3.5.30) already"),
            "{said}"
        );
        peer::say(
            "RAN: upgrade run to pintle and rollback to 3.5.30; on to 3.6.14 and rollback to pintle",
        );
        Ok(())
    });
}

/// Someone else did the upgrade, and no journal tells what.
#[test]
fn without_a_journal_what_is_found_decides() {
    let Some(pintle) = subject() else { return };
    for release in ["3.5.30", "3.6.14"] {
        if peer::etcd(release).is_none() {
            peer::say(&format!(
                "SKIP: rollback without a journal: etcd {release} is not installed"
            ));
            return;
        }
    }
    block_on(async {
        let cluster = Scripted::new(&pintle, &["3.5.30", "3.6.14"])?;
        cluster.grow("3.5.30").await?;
        let before = cluster.versions().await?;
        let state = cluster.dir.path().join("state");
        let back = |words: &[&str]| -> Result<(Option<i32>, String)> {
            let answer =
                tokio::task::block_in_place(|| cluster.tool("rollback", "").args(words).output())?;
            let said = [answer.stdout, answer.stderr].concat();
            Ok((
                answer.status.code(),
                String::from_utf8_lossy(&said).into_owned(),
            ))
        };
        let swap = |member: usize, release: &str| -> Result<()> {
            cluster.script("stop.sh", member, "")?;
            cluster.script("start.sh", member, release)
        };
        let at_home = async || {
            until(async || {
                let now = cluster.versions().await?;
                ensure!(now == before, "{now:?}");
                Ok(())
            })
            .await
        };
        // One runs the new release, one does not start with it.
        swap(1, "3.6.14")?;
        cluster.script("stop.sh", 2, "")?;
        until(async || Ok(cluster.api(1).range(api::get("x")).await?)).await?;
        let (code, said) = back(&[])?;
        ensure!(
            code == Some(1) && said.contains("--to the release"),
            "{code:?}: {said}"
        );
        let (code, said) = back(&["--to=3.5.30", "--dry-run"])?;
        let (first, then) = (said.find("take m2 back"), said.find("take m1 back"));
        ensure!(
            code == Some(0) && first.is_some() && first < then,
            "{code:?}: {said}"
        );
        ensure!(!state.exists(), "a dry run left {}", state.display());
        let (code, said) = back(&["--to=3.5.30"])?;
        ensure!(
            code == Some(0) && said.contains("taken back"),
            "{code:?}: {said}"
        );
        at_home().await?;
        let (code, said) = back(&["--to=3.5.30"])?;
        ensure!(
            code == Some(0) && said.contains("runs etcd 3.5.30 already"),
            "{code:?}: {said}"
        );
        // All run the new one, and the cluster version has followed.
        for member in 0..MEMBERS {
            swap(member, "3.6.14")?;
            until(async || Ok(cluster.api(member).range(api::get("x")).await?)).await?;
        }
        until(async || {
            let page = peers::http::send(cluster.ports[0].0, "GET", "/version", "").await?;
            ensure!(
                page.text().contains("\"etcdcluster\":\"3.6.0\""),
                "{}",
                page.text()
            );
            Ok(())
        })
        .await?;
        cluster.api(0).put(api::put("on 3.6", "here")).await?;
        let (code, said) = back(&["--to=3.4.23"])?;
        ensure!(
            code == Some(3) && said.contains("--to a release of 3.5"),
            "{code:?}: {said}"
        );
        // Killed in the middle, it goes on when it is asked again.
        let mut first = cluster.tool("rollback", "").arg("--to=3.5.30").spawn()?;
        stops_one_more(&cluster.journal(), 0).await?;
        first.kill()?;
        first.wait()?;
        let (code, said) = back(&["--to=3.6.14"])?;
        ensure!(
            code == Some(1) && said.contains("leave --to out"),
            "{code:?}: {said}"
        );
        let (code, said) = back(&["--to=3.5.30"])?;
        ensure!(
            code == Some(0) && said.contains("taken back"),
            "{code:?}: {said}"
        );
        at_home().await?;
        let kept = cluster.api(1).range(api::get("on 3.6")).await?;
        ensure!(kept.kvs.len() == 1, "a write of 3.6 is lost");
        // What no binary repairs is left alone.
        for member in [1, 2] {
            cluster.script("stop.sh", member, "")?;
        }
        let (code, said) = back(&["--to=3.5.16"])?;
        ensure!(
            code == Some(3) && said.contains("1 of 3 members answer, and none knows a leader"),
            "{code:?}: {said}"
        );
        peer::say(
            "RAN: upgrade rollback without a journal: mixed, by a downgrade killed half way, refused",
        );
        Ok(())
    });
}

/// What is found before another run has finished is not what there is to take back.
#[test]
#[ignore = "half a minute; the model of crates/upgrade has the same"]
fn a_rollback_begun_beside_a_run_takes_back_all_that_the_run_did() {
    let Some(pintle) = subject() else { return };
    if !have(&["3.5.16", "3.5.30"]) {
        return;
    }
    block_on(async {
        let cluster = Scripted::new(&pintle, &["3.5.16", "3.5.30"])?;
        cluster.grow("3.5.16").await?;
        let before = cluster.versions().await?;
        for raised in 1..MEMBERS {
            let known = cluster.events().len();
            let log = cluster.at("run.log");
            let mut run = start(cluster.tool("run", "3.5.30"), &log)?;
            let is_raised = || {
                let events = cluster.events();
                let starts = events[known..].lines();
                starts.filter(|line| line.starts_with("start ")).count() >= raised
            };
            tokio::task::block_in_place(|| wait(&mut run, &log, is_raised))?;
            let mut back = cluster.tool("rollback", "");
            back.args(["--to=3.5.16", "--state"])
                .arg(cluster.at("back"));
            let said = success(&mut back)?;
            let status = tokio::task::block_in_place(|| run.wait())?;
            ensure!(status.success(), "{status}: {}", fs::read_to_string(&log)?);
            ensure!(said.contains("another run is at work"), "{said}");
            ensure!(said.contains("taken back"), "{said}");
            let now = cluster.versions().await?;
            ensure!(now == before, "{now:?}: {said}");
        }
        peer::say("RAN: rollback --to, begun beside a run");
        Ok(())
    });
}

#[test]
fn a_moved_cluster_version_goes_down_before_any_older_release_comes() {
    let Some(pintle) = subject() else { return };
    if !have(&["3.5.30", "3.6.14"]) {
        return;
    }
    block_on(async {
        let cluster = Scripted::new(&pintle, &["3.5.30", "3.6.14"])?;
        cluster.grow("3.5.30").await?;
        let before = cluster.versions().await?;
        success(&mut cluster.tool("run", "3.6.14"))?;
        // As a run leaves it that is killed before its last step: all members are swapped.
        let state = cluster.dir.path().join("state");
        let text = fs::read_to_string(state.join("journal.1.jsonl"))?;
        let lines: Vec<&str> = text.lines().collect();
        let settle = lines
            .iter()
            .rposition(|l| l.contains("\"begin\""))
            .context("no begin")?;
        fs::write(cluster.journal(), lines[..settle].join("\n") + "\n")?;
        fs::remove_file(state.join("journal.1.jsonl"))?;
        cluster.crash(1)?;
        let said = success(&mut cluster.tool("rollback", ""))?;
        ensure!(said.contains("taken back"), "{said}");
        ensure!(said.contains("take it down to 3.5 first"), "{said}");
        ensure!(cluster.versions().await? == before);
        peer::say("RAN: rollback under a moved cluster version, with a crashed member");
        Ok(())
    });
}

#[test]
fn what_loses_data_and_what_is_of_another_run_is_refused() {
    let Some(pintle) = subject() else { return };
    if !have(&["3.5.1", "3.5.16", "3.5.30"]) {
        return;
    }
    block_on(async {
        let cluster = Scripted::new(&pintle, &["3.5.1", "3.5.16", "3.5.30"])?;
        cluster.grow("3.5.16").await?;
        let before = cluster.versions().await?;
        let (code, said) = outcome(&mut cluster.tool("run", "3.5.1"))?;
        ensure!(
            code == Some(1) && said.contains("etcd#13766"),
            "{code:?}: {said}"
        );
        let (code, said) = outcome(&mut cluster.tool("run", "3.5.15"))?;
        ensure!(
            code == Some(1) && said.contains("--allow-lower-patch"),
            "{code:?}: {said}"
        );
        ensure!(cluster.versions().await? == before, "a member was changed");
        // Another run, from another folder, has a member in hand.
        let turn = "pintle-upgrade/turn";
        cluster
            .api(0)
            .put(api::put(turn, "m1 0123456789abcdef"))
            .await?;
        let mut run = cluster.tool("run", "3.5.30");
        let (code, said) = outcome(run.arg("--patience=20s"))?;
        ensure!(
            code == Some(3) && said.contains("it is the turn of m1"),
            "{code:?}: {said}"
        );
        ensure!(cluster.versions().await? == before, "a member was changed");
        cluster
            .api(0)
            .delete_range(DeleteRangeRequest {
                key: turn.into(),
                ..Default::default()
            })
            .await?;
        // A run that cannot stop its first member leaves its journal.
        let stop = fs::read_to_string(cluster.at("stop.sh"))?;
        cluster.write_script("stop.sh", "#!/bin/sh\nexit 1\n")?;
        let (code, said) = outcome(&mut cluster.tool("run", "3.5.30"))?;
        ensure!(code == Some(3), "{code:?}: {said}");
        cluster.write_script("stop.sh", &stop)?;
        // The journal leads to 3.5.30, and is of this cluster.
        let (code, said) = outcome(&mut cluster.tool("run", "3.6.14"))?;
        ensure!(
            code == Some(1) && said.contains("leads to 3.5.30"),
            "{code:?}: {said}"
        );
        let text = fs::read_to_string(cluster.journal())?;
        let at = text.find("\"cluster\":\"").context("no cluster")? + 11;
        fs::write(
            cluster.journal(),
            format!("{}dead{}", &text[..at], &text[at..]),
        )?;
        for command in [
            &mut cluster.tool("run", "3.5.30"),
            &mut cluster.tool("rollback", ""),
        ] {
            let (code, said) = outcome(command)?;
            ensure!(
                code == Some(1) && said.contains("is of cluster"),
                "{code:?}: {said}"
            );
        }
        ensure!(cluster.versions().await? == before, "a member was changed");
        peer::say("RAN: upgrade run refuses what loses data, and what is of another run");
        Ok(())
    });
}

/// Seeds with real members; `UPGRADE_REAL_SEEDS` asks for more than the gate takes, from
/// `UPGRADE_REAL_SEED` on. Ranges may run side by side, each in a process of its own.
const REAL_SEEDS: u64 = 1;

/// Every stop of a member that runs, with how many of the others ran.
const COUNTED_STOP: &str = r#"#!/bin/sh
runs() { grep -qs '^State:[^Z]*$' /proc/$(cat AT/$1.pid 2>/dev/null)/status; }
if runs $1; then
  n=0; for m in m0 m1 m2; do [ $m = $1 ] || { runs $m && n=$((n+1)); }; done
  echo $1 $n >>AT/stops
fi
exec AT/stop-it.sh $1
"#;

/// The newest releases of 3.6 and 3.7 that are installed: `.ci/peers.sh 3.6.16 3.7.3` brings these.
fn newest() -> [&'static str; 2] {
    let installed = |release: &str| peer::etcd(release).is_some();
    [("3.6.16", "3.6.14"), ("3.7.3", "3.7.1")]
        .map(|(newest, gate)| if installed(newest) { newest } else { gate })
}

/// A step of a simple generator.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

async fn one_seed(pintle: &Program, seed: u64) -> Result<String> {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let [v3_6, v3_7] = newest();
    let ways = [["3.5.30", v3_6], [v3_6, v3_7], ["3.5.16", "3.5.30"]];
    let [old, new] = ways[usize::try_from(seed % 3)?];
    let cluster = Scripted::new(pintle, &[old, new])?;
    let at = cluster.dir.path();
    fs::rename(at.join("stop.sh"), at.join("stop-it.sh"))?;
    let stop = COUNTED_STOP.replace("AT", &at.display().to_string());
    cluster.write_script("stop.sh", &stop)?;
    cluster.grow(old).await?;
    let mut story = format!("{old} -> {new}:");
    let mut is_begun = false;
    for _ in 0..3 {
        let is_run = !is_begun || next(&mut random).is_multiple_of(2);
        let (name, target) = if is_run {
            ("run", new)
        } else {
            ("rollback", "")
        };
        let mut child = cluster
            .tool(name, target)
            .stdout(fs::File::create(at.join("said"))?)
            .stderr(Stdio::null())
            .spawn()?;
        is_begun = true;
        let lives = std::time::Duration::from_millis(next(&mut random) % 40_000);
        let ended = tokio::task::block_in_place(|| {
            let deadline = std::time::Instant::now() + lives;
            loop {
                match child.try_wait() {
                    Ok(None) if std::time::Instant::now() < deadline => {
                        std::thread::sleep(std::time::Duration::from_millis(20));
                    }
                    outcome => return outcome,
                }
            }
        })?;
        if ended.is_none() {
            child.kill()?;
            child.wait()?;
        }
        story += &format!(" {name} {:?}", ended.and_then(|status| status.code()));
        // Where there was nothing to do, a member that crashed since is still down.
        let said = fs::read_to_string(at.join("said"))?;
        let is_back = name == "rollback" && !said.contains("there was nothing to do");
        if is_back && ended.is_some_and(|status| status.success()) {
            let now = until(async || cluster.versions().await).await?;
            ensure!(now.iter().all(|v| v == old), "{story}: {now:?}");
        }
        if next(&mut random).is_multiple_of(2) {
            let member = usize::try_from(next(&mut random) % 3)?;
            // One that the killed command had stopped is not there to die.
            if cluster.crash(member).is_ok() {
                story += &format!(" m{member} crashes");
            }
        }
    }
    // However it stands, one of both leads out.
    let (name, target) = match next(&mut random).is_multiple_of(2) {
        true => ("run", new),
        false => ("rollback", ""),
    };
    let mut said = String::new();
    for (name, target) in [(name, target), ("rollback", ""), ("rollback", "")] {
        let (code, words) = outcome(&mut cluster.tool(name, target))?;
        story += &format!(" {name} {code:?}");
        said = words;
        if code == Some(0) {
            break;
        }
    }
    // Who crashes when all is taken back is no longer the tool's to start.
    if said.contains("there was nothing to do") {
        for member in (0..MEMBERS).filter(|n| !cluster.runs(*n)) {
            cluster.script("start.sh", member, old)?;
        }
    }
    let now = until(async || cluster.versions().await)
        .await
        .with_context(|| format!("{story}: {said}"))?;
    ensure!(now.iter().all(|v| *v == now[0]), "{story}: {now:?}: {said}");
    until(async || Ok(cluster.api(0).put(api::put("still", "serving")).await?)).await?;
    let stops = fs::read_to_string(at.join("stops")).unwrap_or_default();
    // Of three, the two that ran were a quorum; one that ran alone was none.
    let short: Vec<&str> = stops.lines().filter(|line| line.ends_with(" 1")).collect();
    ensure!(short.is_empty(), "{story}: a quorum was ended: {short:?}");
    Ok(format!("{story}; {} stops", stops.lines().count()))
}

#[test]
fn no_order_of_commands_kills_and_crashes_strands_real_members() {
    let Some(pintle) = subject() else { return };
    if !have(&["3.5.16", "3.5.30", "3.6.14", "3.7.1"]) {
        return;
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let first = number("UPGRADE_REAL_SEED").unwrap_or(0);
    let seeds = number("UPGRADE_REAL_SEEDS").unwrap_or(REAL_SEEDS);
    block_on(async {
        let mut failed = Vec::new();
        for seed in first..first + seeds {
            match one_seed(&pintle, seed).await {
                Ok(story) => peer::say(&format!("RAN: seed {seed}: {story}")),
                Err(error) => {
                    peer::say(&format!("FAILED: seed {seed}: {error:#}"));
                    failed.push(seed);
                }
            }
        }
        ensure!(failed.is_empty(), "seeds {failed:?}");
        Ok(())
    });
}

/// The stops of members that a journal has.
fn stops(journal: &std::path::Path) -> usize {
    let text = fs::read_to_string(journal).unwrap_or_default();
    text.matches("\"stopping\"").count()
}

/// Waits until a command stops a member, after `before` earlier stops.
async fn stops_one_more(journal: &std::path::Path, before: usize) -> Result<()> {
    until(async || {
        ensure!(stops(journal) > before, "it has stopped no member");
        Ok(())
    })
    .await
}

/// Waits until a file holds a word.
fn wait_for(path: &std::path::Path, word: &str) -> Result<String> {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(90);
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        if text.contains(word) {
            return Ok(text);
        }
        ensure!(
            std::time::Instant::now() < deadline,
            "{word:?} is not in {text:?}"
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_signal_ends_a_run_where_every_member_runs() {
    let Some(pintle) = subject() else { return };
    if !have(&["3.5.30", "3.6.14"]) {
        return;
    }
    block_on(async {
        let cluster = Scripted::new(&pintle, &["3.5.30", "3.6.14"])?;
        cluster.grow("3.5.30").await?;
        let at = |name: &str| cluster.dir.path().join(name);
        // A start with the new release takes as long as the test wants.
        let text = fs::read_to_string(at("start.sh"))?;
        let held = format!(
            "case $r in\n3.6.14) echo held >{0}/held; while [ ! -e {0}/go ]; do sleep 0.05; done;;\nesac\ncase $r in\n",
            cluster.dir.path().display()
        );
        fs::write(at("start.sh"), text.replacen("case $r in\n", &held, 1))?;
        let start = || -> Result<std::process::Child> {
            let _ = fs::remove_file(at("held"));
            let log = fs::File::create(at("signal.log"))?;
            let mut command = cluster.tool("run", "3.6.14");
            command.stdout(log.try_clone()?).stderr(log);
            Ok(peers::server::spawn_bound(command)?)
        };
        let signal = |child: &std::process::Child| -> Result<()> {
            let pid = rustix::process::Pid::from_child(child);
            Ok(rustix::process::kill_process(
                pid,
                rustix::process::Signal::INT,
            )?)
        };
        // The first signal: the step is done to its end.
        let mut run = start()?;
        wait_for(&at("held"), "held")?;
        signal(&run)?;
        wait_for(&at("signal.log"), "this step is finished first")?;
        fs::write(at("go"), "")?;
        let status = run.wait()?;
        let said = fs::read_to_string(at("signal.log"))?;
        ensure!(status.code() == Some(7), "{status}: {said}");
        ensure!(
            said.contains("the cluster serves: all 3 voters do. To go on: "),
            "{said}"
        );
        for n in 0..MEMBERS {
            cluster.api(n).range(api::get("x")).await?;
        }
        // A second one: it says who is stopped, and what the next command is.
        fs::remove_file(at("go"))?;
        let mut run = start()?;
        wait_for(&at("held"), "held")?;
        signal(&run)?;
        wait_for(&at("signal.log"), "this step is finished first")?;
        signal(&run)?;
        let status = run.wait()?;
        let said = fs::read_to_string(at("signal.log"))?;
        ensure!(status.code() == Some(7), "{status}: {said}");
        let down = (0..MEMBERS).find(|n| said.contains(&format!("m{n} is stopped and was not")));
        let down = down.with_context(|| said.clone())?;
        ensure!(
            said.contains("The next command: ") && said.contains("upgrade run"),
            "{said}"
        );
        ensure!(cluster.api(down).range(api::get("x")).await.is_err());
        // That command goes on to the end.
        fs::write(at("go"), "")?;
        let mut run = start()?;
        let status = run.wait()?;
        let said = fs::read_to_string(at("signal.log"))?;
        ensure!(status.success(), "{status}: {said}");
        peer::say("RAN: signals: the first finishes the step, the second says who is stopped");
        Ok(())
    });
}
