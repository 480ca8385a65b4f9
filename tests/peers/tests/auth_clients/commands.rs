//! `etcdctl` and `pintle ctl` as users.

use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use peers::{
    cluster::{WITHIN, until},
    ctl::{Ctl, Line, line},
    peer,
    server::Launch,
    users,
};
use tokio::process::Command;

use super::lock;

const fn fed(args: &'static str, stdin: &'static str) -> Line {
    Line {
        args,
        stdin,
        lines: None,
    }
}

fn script() -> Vec<Line> {
    vec![
        fed("user add u --interactive=false", "u\n"),
        line("user add n --no-password"),
        line("user add --new-user-password=p p"),
        line("role add r"),
        line("role add s"),
        line("role grant-permission r --prefix=true readwrite u"),
        line("role grant-permission s read a c"),
        line("role grant-permission s write --from-key x"),
        line("user grant-role u r"),
        line("auth enable"),
        line("user add root:root"),
        line("user grant-role root root"),
        line("auth enable"),
        // No one.
        line("get u"),
        line("put u 1"),
        line("user list"),
        line("auth status"),
        line("member list"),
        line("endpoint health"),
        // Passwords by every path.
        line("--user=u:u put u 1"),
        line("--user=u --password=u put u/1 2"),
        line("ETCDCTL_USER=u:u get u --prefix"),
        line("ETCDCTL_USER=u ETCDCTL_PASSWORD=u get u"),
        fed("--user=u get u", "u\n"),
        fed("--user=u get u", "wrong\n"),
        line("--user=u:wrong get u"),
        line("--user=x:x get u"),
        line("--user=n:n get u"),
        line("--user=u: get u"),
        line("ETCDCTL_USER=u:wrong --user=u:u get u"),
        // What the user may do.
        line("--user=u:u put a 1"),
        line("--user=u:u get a"),
        line("--user=u:u get u --from-key"),
        line("--user=u:u del u --prefix --prev-kv"),
        fed(
            "--user=u:u txn",
            "ver(\"u\") = \"0\"\n\nput u 3\n\nput a 3\n\n",
        ),
        fed(
            "--user=u:u txn",
            "ver(\"u\") = \"0\"\n\nput u 3\n\nget u\n\n",
        ),
        line("--user=u:u user get u"),
        line("--user=u:u user get u --detail"),
        line("--user=u:u user get root"),
        line("--user=u:u role get r"),
        line("--user=u:u role get s"),
        line("--user=u:u role list"),
        line("--user=u:u lease list"),
        line("--user=u:u compaction 2"),
        line("--user=u:u alarm list"),
        line("--user=u:u endpoint health"),
        line("--user=u:u endpoint status"),
        line("--user=u:u user passwd u"),
        // Root.
        line("--user=root:root auth status"),
        line("--user=root:root user list"),
        line("--user=root:root role list"),
        line("--user=root:root role get s -w json"),
        line("--user=root:root user get u --detail"),
        line("--user=root:root role revoke-permission s a c"),
        line("--user=root:root role revoke-permission s a c"),
        line("--user=root:root user revoke-role u r"),
        line("--user=u:u get u"),
        line("--user=root:root user grant-role u s"),
        line("--user=u:u put xx 1"),
        line("--user=u:u get xx"),
        fed(
            "--user=root:root user passwd u --interactive=false",
            "new\n",
        ),
        line("--user=u:u put xx 1"),
        line("--user=u:new put xx 1"),
        line("--user=root:root user delete root"),
        line("--user=root:root user delete u"),
        line("--user=u:new put xx 1"),
        line("--user=root:root role delete root"),
        line("--user=root:root role delete s"),
        line("--user=root:root user revoke-role root root"),
        line("auth disable"),
        line("--user=root:root auth disable"),
        line("get u"),
        // A login where there is nothing to log in to.
        line("--user=root:root get u"),
    ]
}

#[test]
fn commands_of_users_print_the_same() {
    let (Some((pintle, etcd)), Some(real)) = (peer::pair(), Ctl::of(peer::REFERENCE)) else {
        return;
    };
    peers::run(400, async {
        let dir = tempfile::tempdir()?;
        let link = dir.path().join("etcdctl");
        std::os::unix::fs::symlink(&pintle.path, &link)?;
        let ctls = [real, Ctl::at(link, "of pintle")];
        let lines = script();
        let mut all = Vec::new();
        for program in [&etcd, &pintle] {
            for ctl in &ctls {
                let temp = tempfile::tempdir()?;
                let launch = Launch::new(program, temp.path()).flag("--bcrypt-cost=4");
                let server = launch.advertise_real().start().await?;
                let seen = ctl.script(server.port(), &lines).await?;
                all.push((format!("etcdctl {} at {program}", ctl.version), seen));
                server.terminate().await?;
            }
        }
        let [(first, of_first), ..] = &all[..] else {
            bail!("nothing ran");
        };
        for (n, (name, seen)) in all.iter().enumerate().skip(1) {
            // Of the same program at another server, or of the other program.
            let (other, of_other) = &all[n % ctls.len()];
            for (line, (here, there)) in lines.iter().zip(seen.iter().zip(of_other)) {
                ensure!(
                    here == there,
                    "{}\n{name}: {here:#?}\n{other}: {there:#?}",
                    line.args
                );
            }
            // Pintle's may word an error otherwise, and does not ask stty where there is no
            // terminal.
            for (line, (here, there)) in lines.iter().zip(seen.iter().zip(of_first)) {
                let is_alike = here.code == there.code && here.stdout == there.stdout;
                ensure!(
                    is_alike,
                    "{}\n{name}: {here:#?}\n{first}: {there:#?}",
                    line.args
                );
            }
        }
        let fine = of_first.iter().filter(|one| one.code == Some(0)).count();
        ensure!(
            fine >= 35 && lines.len() - fine >= 25,
            "{fine} of {}",
            lines.len()
        );
        Ok(())
    });
}

#[test]
fn a_mirror_reads_as_one_user_and_writes_as_another() {
    let Some((pintle, etcd)) = peer::pair() else {
        return;
    };
    peers::run(200, async {
        for (from, to) in [(&etcd, &pintle), (&pintle, &etcd)] {
            let temp = tempfile::tempdir()?;
            let start = |program, name: &str| {
                Launch::new(program, &temp.path().join(name)).flag("--bcrypt-cost=4")
            };
            let source = start(from, "source").start().await?;
            let target = start(to, "target").start().await?;
            for server in [&source, &target] {
                lock(server).await?;
            }
            let token = users::login(source.api(), "root", "root").await?;
            let put = async |key: &str| {
                let call = users::put(key);
                users::ask(source.api(), Some(&token), &call)
                    .await
                    .map(drop)
            };
            for key in ["u/before", "a"] {
                put(key).await?;
            }
            let mut mirror = Command::new(&pintle.path);
            mirror
                .args(["ctl", "make-mirror", "--prefix=u"])
                .arg(format!("--endpoints=127.0.0.1:{}", source.port()))
                .args(["--user=u:u", "--dest-user=u", "--dest-password=u"])
                .arg(format!("127.0.0.1:{}", target.port()))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::inherit())
                .kill_on_drop(true);
            let mut mirror = mirror.spawn()?;
            let reader = users::login(target.api(), "root", "root").await?;
            let arrived = async |key: &str| {
                until("the key is there", WITHIN, async || {
                    let call = users::range(key, "");
                    let answer = users::ask(target.api(), Some(&reader), &call).await?;
                    let answer: proto::etcdserverpb::RangeResponse =
                        prost::Message::decode(answer)?;
                    ensure!(answer.count == 1, "{key} is not there");
                    Ok(())
                })
                .await
            };
            arrived("u/before")
                .await
                .with_context(|| format!("{from} to {to}"))?;
            put("u/after").await?;
            arrived("u/after")
                .await
                .with_context(|| format!("{from} to {to}"))?;
            mirror.kill().await?;
            let all = proto::etcdserverpb::RangeRequest {
                count_only: true,
                ..peers::api::all()
            };
            let all = users::call("/etcdserverpb.KV/Range", &all);
            let answer = users::ask(target.api(), Some(&reader), &all).await?;
            let answer: proto::etcdserverpb::RangeResponse = prost::Message::decode(answer)?;
            ensure!(answer.count == 2, "{} keys at the target", answer.count);
            source.terminate().await?;
            target.terminate().await?;
        }
        Ok(())
    });
}
