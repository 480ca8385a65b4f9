//! Tokens next to real etcd. A JWT of every signing method, from key files of every form, that one
//! program signs is good at the other; what is expired, forged or old is refused by both alike.
//! Simple tokens end with what they stand for at both.

mod keys;
mod secrets;

use std::{slice::from_ref, time::Duration};

use anyhow::{Context as _, Result, ensure};
use auth::tokens::{Login, Provider};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use keys::{Files, Method};
use peers::{
    cluster::{WITHIN, until},
    peer::{self, Program},
    server::Launch,
    users::{self, Call, Pair, call},
};
use proto::etcdserverpb::{
    AuthDisableRequest, AuthRoleDeleteRequest, AuthUserAddRequest, AuthUserChangePasswordRequest,
    AuthUserDeleteRequest, AuthUserGetRequest, AuthUserRevokeRoleRequest, AuthenticateRequest,
};
use serde_json::Value;
use tonic::Code;

const INVALID: &str = "etcdserver: invalid auth token";
const OLD: &str = "etcdserver: revision of auth store is old";
const DENIED: &str = "etcdserver: permission denied";

/// The auth revision after [`prepare`].
const REVISION: u64 = 7;

/// Root, and a user `u` that may use the keys from `a` to `b`.
async fn prepare(pair: &Pair) -> Result<()> {
    let of_u = [
        users::add_user("u"),
        users::add_role("r"),
        users::allow("r", 2, "a", "b"),
        users::grant("u", "r"),
    ];
    pair.accept("", &of_u).await?;
    pair.accept("", &users::enable()).await
}

fn change_password(name: &str, password: &str) -> Call {
    let request = AuthUserChangePasswordRequest {
        name: name.to_owned().into(),
        password: password.to_owned().into(),
        ..AuthUserChangePasswordRequest::default()
    };
    call("/etcdserverpb.Auth/UserChangePassword", &request)
}

fn option(method: &Method, files: &Files, with_private: bool) -> String {
    let mut option = format!("jwt,sign-method={},ttl=1m", method.name);
    if with_private {
        option += &format!(",priv-key={}", files.private);
    }
    if !files.public.is_empty() {
        option += &format!(",pub-key={}", files.public);
    }
    option
}

/// Header and claims of a token.
fn parts(token: &str) -> Result<[Value; 2]> {
    let mut parts = token.split('.');
    let mut next = || -> Result<Value> {
        let part = parts.next().context("too few parts")?;
        Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part)?)?)
    };
    Ok([next()?, next()?])
}

/// Gives both servers this token for the user `forger`.
fn show(pair: &mut Pair, token: &str) {
    for side in &mut pair.sides {
        side.tokens.insert("forger".into(), token.into());
    }
}

/// What `pair` makes of tokens that are signed as its own are.
async fn signed_elsewhere(pair: &mut Pair, option: &str, revision: u64) -> Result<()> {
    let signer = Provider::parse(option, Duration::ZERO)?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let now = i64::try_from(now.as_secs())?;
    let sign = |user: &str, revision, unix_secs| {
        let login = Login {
            user: user.as_bytes(),
            revision,
            prefix: "",
            index: 0,
        };
        signer.write(&login, unix_secs)
    };
    show(pair, &sign("u", revision, now)?);
    pair.accept("forger", &[users::put("a")]).await?;
    show(pair, &sign("u", revision, now - 120)?);
    pair.refuse("forger", &users::put("a"), Code::Unauthenticated, INVALID)
        .await?;
    show(pair, &sign("u", revision - 1, now)?);
    pair.refuse("forger", &users::put("a"), Code::InvalidArgument, OLD)
        .await?;
    pair.refuse("forger", &users::range("a", ""), Code::InvalidArgument, OLD)
        .await?;
    // A revision of the future, and users that are not there: what both make of them.
    for (user, revision) in [("u", revision + 1), ("x", revision), ("", revision)] {
        show(pair, &sign(user, revision, now)?);
        for call in [users::put("a"), users::range("a", ""), users::put("z")] {
            pair.equal("forger", &call).await?;
        }
    }
    Ok(())
}

/// Tokens that were tampered with.
async fn forged(pair: &mut Pair) -> Result<()> {
    let token = pair.sides[0].tokens["u"].clone();
    let parts: Vec<&str> = token.split('.').collect();
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let none = encode(r#"{"alg":"none","typ":"JWT"}"#);
    let root = encode(r#"{"exp":4000000000,"revision":3,"username":"root"}"#);
    for forgery in [
        format!("{}.{root}.{}", parts[0], parts[2]),
        format!("{none}.{}.", parts[1]),
        format!("{none}.{root}.{}", parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{token}.x"),
        "abcdefghijklmnop.3".to_owned(),
    ] {
        show(pair, &forgery);
        for call in [users::put("a"), users::range("a", "")] {
            let refused = pair
                .refuse("forger", &call, Code::Unauthenticated, INVALID)
                .await;
            refused.with_context(|| forgery.clone())?;
        }
    }
    Ok(())
}

/// One pair of keys at both servers.
async fn jwt(programs: [&Program; 2], method: &Method, files: &Files) -> Result<()> {
    let temp = tempfile::tempdir()?;
    let signing = option(method, files, true);
    let flag = format!("--auth-token={signing}");
    let mut pair = Pair::start(programs, temp.path(), &[&flag]).await?;
    prepare(&pair).await?;
    for user in ["root", "u"] {
        pair.login(user).await?;
    }
    let [mut ours, mut theirs] = [0, 1].map(|n| parts(&pair.sides[n].tokens["u"]));
    for parts in [&mut ours, &mut theirs] {
        let parts = parts
            .as_mut()
            .map_err(|error| anyhow::anyhow!("{error:#}"))?;
        ensure!(parts[1]["exp"].take().is_number(), "{parts:?}");
    }
    let (ours, theirs) = (ours?, theirs?);
    ensure!(ours == theirs, "{ours:?} and {theirs:?}");
    let revision = ours[1]["revision"].as_u64().context("no revision")?;

    // Each server is shown what the other has signed.
    let [a, b] = &mut pair.sides;
    std::mem::swap(&mut a.tokens, &mut b.tokens);
    pair.accept("u", &[users::put("a"), users::range("a", "b")])
        .await?;
    pair.refuse("u", &users::put("c"), Code::PermissionDenied, DENIED)
        .await?;
    forged(&mut pair).await?;
    signed_elsewhere(&mut pair, &signing, revision).await?;

    // A change of any role makes all of them old; a new login is good again.
    pair.accept("root", &[users::add_role("s")]).await?;
    for user in ["u", "root"] {
        pair.refuse(user, &users::put("a"), Code::InvalidArgument, OLD)
            .await?;
        pair.refuse(user, &users::range("a", ""), Code::InvalidArgument, OLD)
            .await?;
        pair.login(user).await?;
        pair.accept(user, &[users::put("a")]).await?;
    }
    pair.stop().await
}

/// One of several parts of the methods, so that the test runner has something to share out.
fn every_form(methods: &[Method], version: &str) {
    let (Some(pintle), Some(etcd)) = (peer::subject(), peer::etcd(version)) else {
        return;
    };
    peers::run(300, async {
        let dir = tempfile::tempdir()?;
        for method in methods {
            for files in method.write(dir.path())? {
                let done = jwt([&pintle, &etcd], method, &files).await;
                done.with_context(|| format!("{}, {}", method.name, files.form))?;
            }
        }
        Ok(())
    });
}

#[test]
fn jwt_of_rsa() {
    every_form(&keys::METHODS[..3], peer::REFERENCE);
}

#[test]
fn jwt_of_rsa_pss() {
    every_form(&keys::METHODS[3..6], peer::REFERENCE);
}

#[test]
fn jwt_of_curves() {
    every_form(&keys::METHODS[6..9], peer::REFERENCE);
}

#[test]
fn jwt_of_shared_secrets() {
    every_form(&keys::METHODS[9..], peer::REFERENCE);
}

/// 3.5 does not know the method.
#[test]
fn jwt_of_ed25519_as_in_3_6() {
    every_form(from_ref(&keys::ED), "3.6.14");
}

/// Unlike simple tokens.
#[test]
fn a_jwt_outlives_its_server() {
    let Some((pintle, etcd)) = peer::pair() else {
        return;
    };
    peers::run(120, async {
        let (dir, temp) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let method = &keys::METHODS[6];
        let files = method.write(dir.path())?.remove(0);
        let flag = format!("--auth-token={}", option(method, &files, true));
        let mut pair = Pair::start([&pintle, &etcd], temp.path(), &[&flag]).await?;
        prepare(&pair).await?;
        pair.login("u").await?;
        let tokens = pair.sides.each_ref().map(|side| side.tokens.clone());
        pair.stop().await?;
        let mut pair = Pair::start([&pintle, &etcd], temp.path(), &[&flag]).await?;
        for (side, tokens) in pair.sides.iter_mut().zip(tokens) {
            side.tokens = tokens;
        }
        pair.accept("u", &[users::put("a")]).await?;
        pair.stop().await
    });
}

/// A member that has a public key alone recognises tokens, and makes none.
#[test]
fn a_member_with_a_public_key_alone_makes_no_tokens() {
    let Some((pintle, etcd)) = peer::pair() else {
        return;
    };
    peers::run(120, async {
        let dir = tempfile::tempdir()?;
        for method in [&keys::METHODS[0], &keys::METHODS[4], &keys::METHODS[8]] {
            let files = method.write(dir.path())?.remove(0);
            let temp = tempfile::tempdir()?;
            let flag = format!("--auth-token={}", option(method, &files, false));
            let mut pair = Pair::start([&pintle, &etcd], temp.path(), &[&flag]).await?;
            prepare(&pair).await?;
            let request = AuthenticateRequest {
                name: "u".into(),
                password: "u".into(),
            };
            let login = call("/etcdserverpb.Auth/Authenticate", &request);
            let refused = pair.equal("", &login).await?;
            ensure!(refused.is_some(), "{}: a token without a key", method.name);
            let signer = option(method, &files, true);
            signed_elsewhere(&mut pair, &signer, REVISION)
                .await
                .context(method.name)?;
            pair.stop().await?;
        }
        Ok(())
    });
}

/// Whether a server starts with an option, and if not, whether it says so and ends.
async fn starts(program: &Program, option: &str) -> Result<bool> {
    let temp = tempfile::tempdir()?;
    let flag = format!("--auth-token={option}");
    let mut server = Launch::new(program, temp.path()).flag(&flag).spawn()?;
    until("it serves or ends", WITHIN, async || {
        if server.poll_exit()?.is_some() {
            return Ok(false);
        }
        ensure!(
            server.log_text().contains("ready to serve client requests"),
            "neither"
        );
        Ok(true)
    })
    .await
    .with_context(|| format!("{program}: {option}"))
}

#[test]
fn the_same_options_are_taken() {
    let Some((pintle, etcd)) = peer::pair() else {
        return;
    };
    peers::run(300, async {
        let dir = tempfile::tempdir()?;
        let [rsa, ec, hs] = [0, 6, 9].map(|n| keys::METHODS[n].write(dir.path()));
        let (rsa, ec, hs) = (rsa?.remove(0), ec?.remove(0), hs?.remove(0));
        let (private, public) = (&rsa.private, &rsa.public);
        for option in [
            "jot".to_owned(),
            "simple,x=y".to_owned(),
            "jwt".to_owned(),
            format!("jwt,sign-method=RS256,priv-key={private},ttl=5"),
            format!("jwt,sign-method=RS256,priv-key={private},ttl=-5m"),
            format!("jwt,sign-method=RS256,priv-key={public}"),
            format!("jwt,sign-method=RS256,pub-key={private}"),
            format!("jwt,sign-method=rs256,priv-key={private}"),
            format!("jwt,sign-method=RS256,priv-key={private},priv-key={private}"),
            format!("jwt,priv-key={private}"),
            format!("jwt,sign-method=RS256,priv-key={private},x=y"),
            format!("jwt,sign-method=ES384,priv-key={}", ec.private),
            format!("jwt,sign-method=ES256,priv-key={private}"),
            format!("jwt,sign-method=HS256,pub-key={}", hs.private),
            format!("jwt,sign-method=none,priv-key={private}"),
        ] {
            let [ours, theirs] = [
                starts(&pintle, &option).await?,
                starts(&etcd, &option).await?,
            ];
            ensure!(
                ours == theirs,
                "{option}: Pintle starts: {ours}, etcd starts: {theirs}"
            );
        }
        Ok(())
    });
}

/// What ends a simple token, and what does not.
#[test]
fn simple_tokens_end_with_what_they_stand_for() {
    let Some((pintle, etcd)) = peer::pair() else {
        return;
    };
    peers::run(120, async {
        let temp = tempfile::tempdir()?;
        let programs = [&pintle, &etcd];
        let mut pair = Pair::start(programs, temp.path(), &[]).await?;
        prepare(&pair).await?;
        for user in ["root", "u"] {
            pair.login(user).await?;
        }
        let of_user = |name: &str| AuthUserRevokeRoleRequest {
            name: name.to_owned().into(),
            role: "r".into(),
        };
        let revoke = call("/etcdserverpb.Auth/UserRevokeRole", &of_user("u"));
        let delete_role = AuthRoleDeleteRequest { role: "r".into() };
        let delete_role = call("/etcdserverpb.Auth/RoleDelete", &delete_role);
        let delete = AuthUserDeleteRequest { name: "u".into() };
        let delete = call("/etcdserverpb.Auth/UserDelete", &delete);
        let disable = call("/etcdserverpb.Auth/AuthDisable", &AuthDisableRequest {});
        let put = users::put("a");

        // A role that is taken away takes its keys with it, not the token.
        pair.accept("u", from_ref(&put)).await?;
        pair.accept("root", &[revoke]).await?;
        pair.refuse("u", &put, Code::PermissionDenied, DENIED)
            .await?;
        pair.accept("root", &[users::grant("u", "r")]).await?;
        pair.accept("u", from_ref(&put)).await?;
        pair.accept("root", &[delete_role]).await?;
        pair.refuse("u", &put, Code::PermissionDenied, DENIED)
            .await?;
        let again = [
            users::add_role("r"),
            users::allow("r", 2, "a", "b"),
            users::grant("u", "r"),
        ];
        pair.accept("root", &again).await?;
        pair.accept("u", from_ref(&put)).await?;

        // A password ends those of its user alone.
        pair.accept("root", &[change_password("u", "new")]).await?;
        pair.refuse("u", &put, Code::Unauthenticated, INVALID)
            .await?;
        pair.accept("root", &[change_password("u", "u")]).await?;
        pair.login("u").await?;
        pair.accept("u", from_ref(&put)).await?;
        pair.accept(
            "root",
            &[delete, users::add_user("u"), users::grant("u", "r")],
        )
        .await?;
        pair.refuse("u", &put, Code::Unauthenticated, INVALID)
            .await?;

        // Off and on again: all are gone, root's too.
        pair.login("u").await?;
        pair.accept("root", from_ref(&disable)).await?;
        pair.equal("u", &disable).await?;
        pair.accept("", &[call("/etcdserverpb.Auth/AuthEnable", &())])
            .await?;
        for user in ["u", "root"] {
            pair.refuse(user, &put, Code::Unauthenticated, INVALID)
                .await?;
            pair.login(user).await?;
            pair.accept(user, from_ref(&put)).await?;
        }
        // A restart forgets them.
        let tokens = pair.sides.each_ref().map(|side| side.tokens.clone());
        pair.stop().await?;
        let mut pair = Pair::start(programs, temp.path(), &[]).await?;
        for (side, tokens) in pair.sides.iter_mut().zip(tokens) {
            side.tokens = tokens;
        }
        pair.refuse("u", &put, Code::Unauthenticated, INVALID)
            .await?;
        pair.stop().await
    });
}

#[test]
fn a_simple_token_ends_after_its_time() {
    let Some((pintle, etcd)) = peer::pair() else {
        return;
    };
    peers::run(120, async {
        let temp = tempfile::tempdir()?;
        let flags = ["--auth-token=simple", "--auth-token-ttl=1"];
        let mut pair = Pair::start([&pintle, &etcd], temp.path(), &flags).await?;
        prepare(&pair).await?;
        pair.login("u").await?;
        // Every use renews it: it must be left alone for longer than its time, whatever that is.
        let mut pause = Duration::from_secs(2);
        until("the token has ended", WITHIN, async || {
            tokio::time::sleep(pause).await;
            pause *= 2;
            pair.refuse("u", &users::put("a"), Code::Unauthenticated, INVALID)
                .await
        })
        .await?;
        pair.login("u").await?;
        pair.stop().await
    });
}

#[test]
fn users_without_a_password_have_no_tokens() {
    let Some((pintle, etcd)) = peer::pair() else {
        return;
    };
    peers::run(120, async {
        let temp = tempfile::tempdir()?;
        let mut pair = Pair::start([&pintle, &etcd], temp.path(), &[]).await?;
        prepare(&pair).await?;
        pair.login("root").await?;
        let login = |password: &str| {
            let request = AuthenticateRequest {
                name: "n".into(),
                password: password.to_owned().into(),
            };
            call("/etcdserverpb.Auth/Authenticate", &request)
        };
        let both = AuthUserAddRequest {
            name: "m".into(),
            password: "m".into(),
            options: Some(proto::authpb::UserAddOptions { no_password: true }),
            ..AuthUserAddRequest::default()
        };
        let none = AuthUserAddRequest {
            name: "o".into(),
            ..AuthUserAddRequest::default()
        };
        let get = AuthUserGetRequest { name: "n".into() };
        for (user, call) in [
            ("root", users::add_user_without_password("n")),
            ("root", users::add_user_without_password("n")),
            ("root", users::grant("n", "r")),
            ("root", call("/etcdserverpb.Auth/UserGet", &get)),
            ("", login("")),
            ("", login("n")),
            ("root", change_password("n", "n")),
            ("", login("n")),
            ("root", change_password("n", "")),
            ("root", call("/etcdserverpb.Auth/UserAdd", &both)),
            ("root", call("/etcdserverpb.Auth/UserAdd", &none)),
            ("root", change_password("o", "")),
            ("root", add_long("p", 72)),
            ("root", add_long("q", 73)),
        ] {
            pair.equal(user, &call).await?;
        }
        for side in &pair.sides {
            let refused = users::login(side.server.api(), "n", "n").await;
            ensure!(refused.is_err(), "a user without a password has logged in");
        }
        pair.stop().await
    });
}

/// A user with a password of this length.
fn add_long(name: &str, len: usize) -> Call {
    let request = AuthUserAddRequest {
        name: name.to_owned().into(),
        password: "p".repeat(len).into(),
        ..AuthUserAddRequest::default()
    };
    call("/etcdserverpb.Auth/UserAdd", &request)
}
