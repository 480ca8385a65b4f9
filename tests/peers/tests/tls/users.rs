//! Users of client certificates: the common name is the user, with either etcdctl, at either
//! server, next to passwords and tokens; every output is equal.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use peers::run;

use super::{Ca, Ctl, Member, files, https, programs, start};

/// Who makes a command: the name of a certificate, and what is said besides.
struct Line {
    certificate: &'static str,
    args: &'static str,
}

const fn line(certificate: &'static str, args: &'static str) -> Line {
    Line { certificate, args }
}

/// Before authentication is on.
const SETUP: [Line; 12] = [
    line("root", "user add root --no-password"),
    line("root", "user add alice --no-password"),
    line("root", "user add bob:bob"),
    line("root", "role add a"),
    line("root", "role add b"),
    line("root", "role grant-permission a readwrite a b"),
    line("root", "role grant-permission b readwrite b c"),
    line("root", "user grant-role root root"),
    line("root", "user grant-role alice a"),
    line("root", "user grant-role bob b"),
    line("stranger", "put a/0 before"),
    line("root", "auth enable"),
];

/// With authentication on.
const USE: [Line; 26] = [
    line("alice", "put a/1 v"),
    line("alice", "get a b"),
    line("alice", "put b/1 v"),
    line("alice", "get b/1"),
    line("alice", "del a/1 --prev-kv"),
    line("alice", "user get alice"),
    line("alice", "user get bob"),
    line("alice", "role get a"),
    line("alice", "user list"),
    line("alice", "compact 2"),
    // A token is asked before the certificate.
    line("alice", "put b/1 v --user=bob:bob"),
    line("alice", "put a/1 v --user=bob:bob"),
    line("alice", "put a/1 v --user=bob:wrong"),
    line("alice", "put a/1 v --user=alice:alice"),
    line("bob", "put b/2 v"),
    // No user has these names.
    line("stranger", "put a/1 v"),
    line("stranger", "get a/1"),
    line("stranger", "user list"),
    line("stranger", "member list"),
    line("unnamed", "get a/1"),
    line("unnamed", "put b/1 v --user=bob:bob"),
    line("root", "user list"),
    line("root", "put z v"),
    line("root", "user revoke-role alice a"),
    line("alice", "put a/1 v"),
    line("root", "user grant-role alice a"),
];

/// After a user is gone.
const GONE: [Line; 4] = [
    line("root", "user delete alice"),
    line("alice", "put a/1 v"),
    line("alice", "user get alice"),
    line("root", "auth disable"),
];

/// What a command prints and how it ends.
fn outcome(ctl: &Ctl, member: &Member, ca: &Ca, line: &Line) -> Result<String> {
    let args: Vec<&str> = line.args.split(' ').collect();
    let out = ctl.run(member.client, Some((ca, line.certificate)), &ca.file, &args)?;
    let errors = String::from_utf8_lossy(&out.stderr).into_owned();
    // etcdctl logs its own retries.
    let errors: Vec<&str> = errors.lines().filter(|l| !l.starts_with('{')).collect();
    let masked = errors
        .join("\n")
        .replace(&format!(":{}", member.client), ":<port>");
    Ok(format!(
        "{} {}: {:?}\n{}{masked}",
        line.certificate,
        line.args,
        out.status.code(),
        String::from_utf8_lossy(&out.stdout),
    ))
}

/// A server and an etcdctl.
async fn session(member: &Member, ctl: &Ctl, ca: &Ca) -> Result<Vec<String>> {
    let mut seen = Vec::new();
    for line in SETUP.iter().chain(&USE).chain(&GONE) {
        // What members are called and where they listen differs.
        let mut text = outcome(ctl, member, ca, line)?;
        if line.args == "member list" {
            text.truncate(text.find('\n').context("one line")?);
        }
        seen.push(text);
    }
    Ok(seen)
}

/// A connection with this certificate, for the gateway.
fn connector(ca: &Ca, name: &str) -> Result<Arc<tls::Connector>> {
    let options = tls::ClientOptions {
        identity: Some(tls::Identity {
            cert: ca.path(name, "crt"),
            key: ca.path(name, "key"),
        }),
        trusted_ca: Some(ca.file.clone()),
        alpn: vec![b"http/1.1".to_vec()],
        ..tls::ClientOptions::default()
    };
    Ok(Arc::new(tls::Connector::new(options)?))
}

/// A call over the gateway: its status line and its body. Without `Accept`, which every client
/// sends, etcd takes the name in its own certificate for the user; Pintle takes no one.
async fn gateway(
    member: &Member,
    connector: &Arc<tls::Connector>,
    headers: &str,
    path: &str,
    body: &str,
) -> Result<(String, String)> {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\nConnection: close\r\n{headers}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = https(connector, member.client, &request).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
    let status = head.lines().next().unwrap_or_default();
    Ok((status.to_owned(), body.to_owned()))
}

fn certificates(dir: &std::path::Path) -> Result<Ca> {
    let ca = Ca::new(dir, "ca")?;
    ca.issue("server", "server", 1, 2080)?;
    for (serial, name) in ["root", "alice", "bob", "stranger"].into_iter().enumerate() {
        ca.issue(name, name, 2 + serial as u64, 2080)?;
    }
    ca.issue("unnamed", "", 9, 2080)?;
    Ok(ca)
}

#[test]
fn the_common_name_of_a_certificate_is_a_user() {
    let Some((servers, ctls)) = programs() else {
        return;
    };
    run(300, async {
        let dir = tempfile::tempdir()?;
        let ca = certificates(dir.path())?;
        let mut all = Vec::new();
        for program in &servers {
            for ctl in &ctls {
                let data = tempfile::tempdir()?;
                let mut flags = files(&ca);
                flags.push("--bcrypt-cost=4".to_owned());
                let member = start(program, data.path(), &flags).await?;
                let name = format!("{} with {}", program, ctl.path.display());
                all.push((name, session(&member, ctl, &ca).await?));
                member.server.no_panic()?;
                member.server.terminate().await?;
            }
        }
        let (first, rest) = all.split_first().context("nothing ran")?;
        for (name, seen) in rest {
            for (theirs, ours) in first.1.iter().zip(seen) {
                ensure!(theirs == ours, "{}: {theirs}\n{name}: {ours}", first.0);
            }
        }
        // The table is worth something only if it lets some in and others not.
        let denied = |text: &&String| text.contains("permission denied");
        let (denied, fine) = (
            first.1.iter().filter(denied).count(),
            first
                .1
                .iter()
                .filter(|text| text.contains("Some(0)"))
                .count(),
        );
        ensure!(
            denied >= 8 && fine >= 20,
            "{denied} denied, {fine} fine: {:#?}",
            first.1
        );
        Ok(())
    });
}

#[test]
fn the_gateway_takes_tokens_and_no_certificates() {
    let Some((servers, ctls)) = programs() else {
        return;
    };
    run(120, async {
        let dir = tempfile::tempdir()?;
        let ca = certificates(dir.path())?;
        let mut all = Vec::new();
        for program in &servers {
            let data = tempfile::tempdir()?;
            let mut flags = files(&ca);
            flags.push("--bcrypt-cost=4".to_owned());
            let member = start(program, data.path(), &flags).await?;
            for line in &SETUP {
                outcome(&ctls[0], &member, &ca, line)?;
            }
            let (alice, unnamed) = (connector(&ca, "alice")?, connector(&ca, "unnamed")?);
            let login = r#"{"name":"bob","password":"bob"}"#;
            let path = "/v3/auth/authenticate";
            let (status, body) = gateway(&member, &unnamed, "", path, login).await?;
            ensure!(status.contains("200"), "{program}: {status} {body}");
            let answer: serde_json::Value = serde_json::from_str(&body)?;
            let token = answer["token"].as_str().context("no token")?;
            let (with_token, bearer, wrong) = (
                format!("Authorization: {token}\r\n"),
                format!("Authorization: Bearer {token}\r\n"),
                "Authorization: abcdefghijklmnop.7\r\n".to_owned(),
            );
            let (own, other) = (r#"{"key":"Yi8x"}"#, r#"{"key":"YS8w"}"#);
            let mut seen = Vec::new();
            for (connector, headers, body) in [
                (&alice, "", own),
                (&alice, with_token.as_str(), own),
                (&unnamed, with_token.as_str(), own),
                (&unnamed, with_token.as_str(), other),
                (&unnamed, bearer.as_str(), own),
                (&unnamed, wrong.as_str(), own),
                (&unnamed, "", own),
            ] {
                let answer = gateway(&member, connector, headers, "/v3/kv/range", body).await?;
                seen.push(answer);
            }
            all.push((program.to_string(), seen));
            member.server.terminate().await?;
        }
        let (theirs, ours) = (&all[0], &all[1]);
        for (theirs, ours) in theirs.1.iter().zip(&ours.1) {
            let settled = |(status, body): &(String, String)| -> Result<String> {
                // Ids are of the directory; the text of a chunked body has its lengths.
                let start = body.find('{');
                let json = start.and_then(|at| body.get(at..=body.rfind('}')?));
                let Some(json) = json else {
                    return Ok(format!("{status} {body}"));
                };
                let mut json: serde_json::Value = serde_json::from_str(json)?;
                if let Some(map) = json.as_object_mut() {
                    // Builds on a newer gateway have no "error", which repeats the message.
                    map.remove("header");
                    map.remove("error");
                }
                Ok(format!("{status} {json}"))
            };
            let (theirs, ours) = (settled(theirs)?, settled(ours)?);
            ensure!(theirs == ours, "etcd: {theirs}\nPintle: {ours}");
        }
        ensure!(theirs.1[0].0.contains("400"), "{:?}", theirs.1);
        ensure!(theirs.1[2].0.contains("200"), "{:?}", theirs.1);
        Ok(())
    });
}
