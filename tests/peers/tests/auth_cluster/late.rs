//! A member that comes back late gets users, roles and whether authentication is on with a
//! snapshot: etcd's from Pintle, and Pintle's from etcd.

use anyhow::{Context as _, Result, ensure};
use peers::{
    api::{self, Api},
    cluster::{Cluster, Plan, WITHIN, until},
    peer::{self, Program},
    users::{self, Call},
};
use proto::etcdserverpb::{AuthUserDeleteRequest, AuthUserRevokeRoleRequest};
use tonic::Code;

use super::{Users, agree, lead, same_records};

/// The place of the member that is away.
const LATE: usize = 2;
/// A snapshot every so many entries, and how many of the log stay.
const SNAPSHOTS: (u64, u64) = (100, 20);
/// Puts while it is away: more than the log of a leader keeps.
const PUTS: usize = 400;

async fn accept(api: &Api, token: Option<&str>, calls: &[Call]) -> Result<()> {
    for call in calls {
        let answer = users::ask(api, token, call).await;
        answer.with_context(|| call.path.to_owned())?;
    }
    Ok(())
}

/// A user with a role of its own, both called `name`, that may use the keys that begin so.
fn user_with_keys(name: &str) -> [Call; 4] {
    let end = api::prefix_end(name.as_bytes());
    let end = std::str::from_utf8(&end).expect("names are ASCII");
    [
        users::add_user(name),
        users::add_role(name),
        users::allow(name, 2, name, end),
        users::grant(name, name),
    ]
}

async fn refused(api: &Api, token: &str, key: &str) -> Option<Code> {
    let answer = users::ask(api, Some(token), &users::put(key)).await;
    users::refusal(&answer).map(|(code, _)| code)
}

/// What changes while the member is away. Returns a token that was made then.
async fn meanwhile(api: &Api, root: Option<&str>, is_on: bool) -> Result<String> {
    accept(api, root, &user_with_keys("new")).await?;
    if !is_on {
        accept(api, None, &users::enable()).await?;
    }
    let root = users::login(api, "root", "root").await?;
    let root = Some(root.as_str());
    let delete = AuthUserDeleteRequest {
        name: "gone".into(),
    };
    let revoke = AuthUserRevokeRoleRequest {
        name: "less".into(),
        role: "less".into(),
    };
    let changes = [
        users::call("/etcdserverpb.Auth/UserDelete", &delete),
        users::call("/etcdserverpb.Auth/UserRevokeRole", &revoke),
    ];
    accept(api, root, &changes).await?;
    let token = users::login(api, "new", "new").await?;
    for n in 0..PUTS {
        let put = users::put(&format!("new/{n}"));
        accept(api, Some(&token), &[put]).await?;
    }
    Ok(token)
}

/// What the member that is back makes of users and of tokens from before.
async fn judge(cluster: &Cluster, tokens: &[(&str, String)], made_meanwhile: &str) -> Result<()> {
    let api = cluster.api(LATE);
    let new = users::login(api, "new", "new").await?;
    accept(
        api,
        Some(&new),
        &[users::put("new"), users::range("new", "")],
    )
    .await?;
    let code = refused(api, &new, "less").await;
    ensure!(
        code == Some(Code::PermissionDenied),
        "new at less: {code:?}"
    );
    let less = users::login(api, "less", "less").await?;
    let code = refused(api, &less, "less").await;
    ensure!(
        code == Some(Code::PermissionDenied),
        "less at less: {code:?}"
    );
    ensure!(
        users::login(api, "gone", "gone").await.is_err(),
        "gone is back"
    );
    // Simple tokens are in the memory of who has applied the login.
    for (user, token) in tokens.iter().map(|(user, token)| (*user, token.as_str())) {
        let code = refused(api, token, user).await;
        ensure!(
            code == Some(Code::Unauthenticated),
            "token of {user}: {code:?}"
        );
    }
    let code = refused(api, made_meanwhile, "new").await;
    ensure!(
        code == Some(Code::Unauthenticated),
        "token made meanwhile: {code:?}"
    );
    accept(cluster.api(0), Some(made_meanwhile), &[users::put("new")]).await
}

/// `is_on` says whether authentication is on before the member goes, or only when it is back.
async fn comes_back(programs: &[Program; 3], is_on: bool) -> Result<()> {
    let (count, keep) = SNAPSHOTS;
    let plan = Plan::of(programs)
        .flag("--bcrypt-cost=4")
        .snapshots(count, keep);
    let mut cluster = plan.start().await?;
    for user in ["gone", "less"] {
        accept(cluster.api(1), None, &user_with_keys(user)).await?;
    }
    let mut root = None;
    let mut tokens = Vec::new();
    if is_on {
        accept(cluster.api(1), None, &users::enable()).await?;
        root = Some(users::login(cluster.api(1), "root", "root").await?);
        for user in ["gone", "less"] {
            let token = users::login(cluster.api(LATE), user, user).await?;
            // A member knows a token once it has applied the login.
            until("the token is known at another member", WITHIN, async || {
                accept(cluster.api(0), Some(&token), &[users::put(user)]).await
            })
            .await?;
            tokens.push((user, token));
        }
    }
    cluster.stop(LATE).await?;
    until("the others have a leader", WITHIN, async || {
        accept(cluster.api(0), root.as_deref(), &[users::range("new", "")]).await
    })
    .await?;
    let made_meanwhile = meanwhile(cluster.api(0), root.as_deref(), is_on).await?;
    cluster.spawn(LATE)?;
    until("the member is back", WITHIN, async || {
        let log = cluster.member(LATE).server()?.log_text();
        let took = ["applied snapshot", "received and saved database snapshot"];
        ensure!(
            took.iter().any(|text| log.contains(text)),
            "it took no snapshot"
        );
        users::login(cluster.api(LATE), "root", "root").await?;
        Ok(())
    })
    .await?;
    judge(&cluster, &tokens, &made_meanwhile).await?;

    // What it got is good for leading, too.
    let root = users::login(cluster.api(LATE), "root", "root").await?;
    lead(&Users(&cluster), &root, LATE).await?;
    accept(cluster.api(LATE), Some(&root), &user_with_keys("after")).await?;
    agree(&Users(&cluster), &root).await?;
    same_records(&mut cluster).await.map(drop)
}

fn late(is_on: bool, programs: impl Fn(&Program, &Program) -> [Program; 3]) {
    let Some((pintle, etcd)) = peer::pair() else {
        return;
    };
    peers::run(300, comes_back(&programs(&pintle, &etcd), is_on));
}

#[test]
fn pintle_gets_changed_users_by_a_snapshot_of_etcd() {
    late(true, |pintle, etcd| {
        [etcd.clone(), etcd.clone(), pintle.clone()]
    });
}

#[test]
fn etcd_gets_changed_users_by_a_snapshot_of_pintle() {
    late(true, |pintle, etcd| {
        [pintle.clone(), pintle.clone(), etcd.clone()]
    });
}

#[test]
fn pintle_gets_its_first_users_by_a_snapshot_of_etcd() {
    late(false, |pintle, etcd| {
        [etcd.clone(), etcd.clone(), pintle.clone()]
    });
}

#[test]
fn etcd_gets_its_first_users_by_a_snapshot_of_pintle() {
    late(false, |pintle, etcd| {
        [pintle.clone(), pintle.clone(), etcd.clone()]
    });
}
