//! `pintle upgrade` where authentication is on: root's name and password let it see and do
//! everything that it does without users; whoever else asks stops no member; and the password is
//! written nowhere. `PINTLE_UPGRADES=full` goes on to 3.6.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use peers::{
    api::Api,
    http, peer,
    users::{self, Code},
};
use proto::etcdserverpb::AuthUserAddRequest;
use upgrades::{
    operated::{block_on, subject, until},
    scripted::{MEMBERS, Scripted, have, outcome, success},
};

const PASSWORD: &str = "a-secret-of-root";

/// Root with a password that is found where it must not be, `u` with the keys that begin so.
async fn lock(api: &Api) -> Result<()> {
    let root = AuthUserAddRequest {
        name: "root".into(),
        password: PASSWORD.into(),
        ..AuthUserAddRequest::default()
    };
    for call in [
        users::add_user("u"),
        users::add_role("r"),
        users::allow("r", 2, "u", "v"),
        users::grant("u", "r"),
        users::call("/etcdserverpb.Auth/UserAdd", &root),
        users::grant("root", "root"),
        users::call("/etcdserverpb.Auth/AuthEnable", &()),
    ] {
        users::ask(api, None, &call).await?;
    }
    Ok(())
}

/// Users are as they were, at every member.
async fn intact(cluster: &Scripted) -> Result<()> {
    until(async || {
        for member in 0..MEMBERS {
            let api = cluster.api(member);
            let token = users::login(&api, "u", "u").await?;
            users::ask(&api, Some(&token), &users::put("u")).await?;
            let denied = users::ask(&api, Some(&token), &users::put("a")).await;
            let code = users::refusal(&denied).map(|(code, _)| code);
            ensure!(code == Some(Code::PermissionDenied), "m{member}: {code:?}");
            let none = users::ask(&api, None, &users::range("u", "")).await;
            ensure!(none.is_err(), "m{member} answers no one");
            users::login(&api, "root", PASSWORD).await?;
        }
        Ok(())
    })
    .await
}

/// Every member says this on its page of versions, and whether it is Pintle.
async fn all_run(cluster: &Scripted, version: &str, is_pintle: bool) -> Result<()> {
    until(async || {
        for (client, _) in &cluster.ports {
            let page = http::send(*client, "GET", "/version", "").await?.text();
            let server = format!("\"etcdserver\":\"{version}\"");
            ensure!(page.contains(&server), "{client}: {page}");
            let page = http::send(*client, "GET", "/metrics", "").await?.text();
            ensure!(page.contains("\npintle_version") == is_pintle, "{client}");
        }
        Ok(())
    })
    .await
}

/// No file below has the password.
fn unwritten(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            unwritten(&path)?;
            continue;
        }
        let bytes = fs::read(&path)?;
        let found = bytes
            .windows(PASSWORD.len())
            .any(|part| part == PASSWORD.as_bytes());
        ensure!(!found, "the password is in {}", path.display());
    }
    Ok(())
}

/// One of the commands that only look.
fn look(pintle: &Path, cluster: &Scripted, command: &str, target: &str) -> Command {
    let urls: Vec<String> = (0..MEMBERS).map(|member| cluster.url(member)).collect();
    let mut line = Command::new(pintle);
    line.args(["upgrade", command, "--dial-timeout=8s", "--target", target])
        .arg(format!("--endpoints={}", urls.join(",")))
        .stdin(Stdio::null());
    line
}

#[test]
fn an_upgrade_as_root_goes_through_and_as_no_one_else() {
    let Some(pintle) = subject() else { return };
    if !have(&["3.5.30", "3.6.14"]) {
        return;
    }
    block_on(async {
        let cluster = Scripted::new(&pintle, &["3.5.30", "3.6.14"])?;
        cluster.grow("3.5.30").await?;
        let tool = |command: &str, target: &str| match command {
            "run" => cluster.tool(command, target),
            _ => look(&pintle.path, &cluster, command, target),
        };
        let mut without_users = Vec::new();
        for command in ["check", "plan"] {
            without_users.push(outcome(&mut tool(command, "pintle"))?.0);
        }
        lock(&cluster.api(0)).await?;
        intact(&cluster).await?;
        let before = cluster.events();
        for who in [None, Some("u:u"), Some("root:wrong"), Some("x:x")] {
            for command in ["check", "plan", "run"] {
                let mut line = tool(command, "pintle");
                line.args(who.map(|who| format!("--user={who}")));
                let (code, said) = outcome(&mut line)?;
                let refused = code == Some(1) && said.contains("etcdserver: ");
                ensure!(refused, "{command} as {who:?}: {code:?}: {said}");
                ensure!(
                    !said.contains("DOES NOT SERVE"),
                    "{command} as {who:?}: {said}"
                );
                ensure!(
                    cluster.events() == before,
                    "{command} as {who:?} did something"
                );
            }
        }
        let root = format!("--user=root:{PASSWORD}");
        for (command, expected) in ["check", "plan"].into_iter().zip(without_users) {
            let (code, said) = outcome(tool(command, "pintle").arg(&root))?;
            ensure!(
                code == expected,
                "{command}: {code:?} and not {expected:?}: {said}"
            );
            ensure!(!said.contains(PASSWORD), "{command}: {said}");
        }
        let hops = [("pintle", "3.5.30", true), ("3.6.14", "3.6.14", false)];
        let all = std::env::var_os("PINTLE_UPGRADES").is_some();
        let count = if all { hops.len() } else { 1 };
        for (target, version, is_pintle) in hops.into_iter().take(count) {
            let said = success(tool("run", target).arg(&root));
            let said = said.with_context(|| format!("run to {target}"))?;
            ensure!(!said.contains(PASSWORD), "run: {said}");
            all_run(&cluster, version, is_pintle).await?;
            intact(&cluster).await?;
            let said = success(cluster.tool("rollback", "").arg(&root).arg("--dry-run"))?;
            ensure!(!said.contains(PASSWORD), "rollback: {said}");
        }
        unwritten(&cluster.at("state"))?;
        let path: Vec<_> = hops.iter().take(count).map(|hop| hop.0).collect();
        peer::say(&format!(
            "RAN: upgrade 3.5.30 -> {} with authentication on",
            path.join(" -> ")
        ));
        Ok(())
    });
}
