//! What the tool does not do, and what it says instead: about members that are down, a
//! downgrade that is under way, a release that loses data.

use anyhow::{Result, ensure};
use peers::peer;
use proto::etcdserverpb::{DowngradeRequest, downgrade_request::DowngradeAction};
use upgrades::{
    operated::{block_on, subject, until},
    scripted::{MEMBERS, Scripted, have, outcome, success},
};

#[test]
fn a_rollback_with_nothing_to_do_names_a_member_that_does_not_answer() {
    let Some(pintle) = subject() else { return };
    if !have(&["3.5.16", "3.5.30"]) {
        return;
    }
    block_on(async {
        let cluster = Scripted::alone(&pintle, &["3.5.16", "3.5.30"])?;
        cluster.grow("3.5.16").await?;
        success(&mut cluster.tool("run", "3.5.30"))?;
        let said = success(&mut cluster.tool("rollback", ""))?;
        ensure!(said.contains("taken back"), "{said}");
        let said = success(&mut cluster.tool("rollback", ""))?;
        ensure!(
            said.contains("nothing to do") && !said.contains("m0"),
            "{said}"
        );
        cluster.crash(0)?;
        let said = success(&mut cluster.tool("rollback", ""))?;
        ensure!(
            said.contains("nothing to do") && said.contains("m0 does not answer"),
            "{said}"
        );
        peer::say("RAN: a rollback with nothing to do and a member that is down");
        Ok(())
    });
}

#[test]
fn no_rollback_leads_to_a_release_that_loses_data() {
    let Some(pintle) = subject() else { return };
    if !have(&["3.5.1", "3.5.30"]) {
        return;
    }
    block_on(async {
        let cluster = Scripted::alone(&pintle, &["3.5.1", "3.5.30"])?;
        cluster.grow("3.5.30").await?;
        let before = cluster.events();
        for more in [&["--to=3.5.1", "--dry-run"][..], &["--to=3.5.1"]] {
            let (code, said) = outcome(cluster.tool("rollback", "").args(more))?;
            ensure!(code == Some(1), "{code:?}: {said}");
            ensure!(
                said.contains("3.5.1 is known to lose or corrupt data"),
                "{said}"
            );
        }
        ensure!(cluster.events() == before, "{}", cluster.events());
        peer::say("RAN: rollback --to a release that loses data, refused");
        Ok(())
    });
}

#[test]
fn nothing_is_as_it_should_be_while_a_downgrade_is_under_way() {
    let Some(pintle) = subject() else { return };
    if !have(&["3.6.14"]) {
        return;
    }
    block_on(async {
        let cluster = Scripted::alone(&pintle, &["3.6.14"])?;
        cluster.grow("3.6.14").await?;
        let plan = || -> Result<_> {
            let mut line = std::process::Command::new(&pintle.path);
            line.args(["upgrade", "plan", "--target=3.6.14", "--no-databases"]);
            outcome(line.arg(format!("--endpoints={}", cluster.url(0))))
        };
        let (_, said) = plan()?;
        ensure!(said.contains("nothing to do"), "{said}");
        let said = success(&mut cluster.tool("run", "3.6.14"))?;
        ensure!(said.contains("nothing to do"), "{said}");
        // It waits for the cluster version to be known.
        until(async || {
            let enable = DowngradeRequest {
                action: DowngradeAction::Enable.into(),
                version: "3.5.0".into(),
            };
            cluster.api(0).downgrade(enable).await?;
            Ok(())
        })
        .await?;
        let (code, said) = plan()?;
        ensure!(
            code == Some(3) && said.contains("a downgrade to 3.5.0 is under way"),
            "{code:?}: {said}"
        );
        let (code, said) = outcome(&mut cluster.tool("run", "3.6.14"))?;
        ensure!(
            code == Some(3) && said.contains("a downgrade to 3.5.0 is under way"),
            "{code:?}: {said}"
        );
        peer::say("RAN: plan and run while a downgrade is under way");
        Ok(())
    });
}

#[test]
fn members_of_3_4_survive_every_question_next_to_one_of_3_5() {
    let Some(pintle) = subject() else { return };
    if !have(&["3.4.23", "3.5.30"]) {
        return;
    }
    block_on(async {
        let cluster = Scripted::new(&pintle, &["3.4.23", "3.5.30"])?;
        cluster.grow("3.4.23").await?;
        cluster.script("stop.sh", 1, "")?;
        cluster.script("start.sh", 1, "3.5.30")?;
        until(async || Ok(cluster.api(1).range(peers::api::get("x")).await?)).await?;
        let urls: Vec<String> = (0..MEMBERS).map(|n| cluster.url(n)).collect();
        for command in ["check", "plan"] {
            let mut line = std::process::Command::new(&pintle.path);
            line.args(["upgrade", command, "--target=3.5.30"]);
            let (_, said) = outcome(line.arg(format!("--endpoints={}", urls.join(","))))?;
            ensure!(!said.contains("does not answer"), "{command}: {said}");
            for n in 0..MEMBERS {
                ensure!(cluster.runs(n), "m{n} ended by {command}: {said}");
            }
        }
        success(&mut cluster.tool("run", "3.5.30"))?;
        let versions = cluster.versions().await?;
        ensure!(versions.iter().all(|v| v == "3.5.30"), "{versions:?}");
        peer::say("RAN: check, plan and run in a cluster of 3.4 and 3.5");
        Ok(())
    });
}
