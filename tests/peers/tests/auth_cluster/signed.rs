//! JSON Web Tokens in a mixed cluster: what one member signs is good at all, and none of them
//! takes it once users or roles have changed through any.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use peers::{
    cluster::{Cluster, Plan, WITHIN, until},
    peer,
    users::{self, Call},
};
use tonic::Code;

/// What every member answers to a call with this token, when it has caught up.
async fn everywhere(
    cluster: &Cluster,
    token: &str,
    call: &Call,
    expected: Option<Code>,
) -> Result<()> {
    for place in cluster.places() {
        until("the expected answer", WITHIN, async || {
            let answer = users::ask(cluster.api(place), Some(token), call).await;
            let refusal = users::refusal(&answer);
            let code = refusal.map(|(code, _)| code);
            ensure!(code == expected, "{refusal:?} and not {expected:?}");
            Ok(())
        })
        .await
        .with_context(|| format!("{} at {place}", call.path))?;
    }
    Ok(())
}

#[test]
fn a_jwt_is_good_at_every_member_until_users_change() {
    let Some((pintle, etcd)) = peer::pair() else {
        return;
    };
    peers::run(300, async {
        let dir = tempfile::tempdir()?;
        let secret = dir.path().join("secret");
        fs::write(&secret, "of all members")?;
        let option = format!("jwt,sign-method=HS256,priv-key={}", secret.display());
        let plan = Plan::of(&[etcd.clone(), pintle.clone(), etcd.clone()])
            .flag("--bcrypt-cost=4")
            .flag(&format!("--auth-token={option}"));
        let mut cluster = plan.start().await?;
        let setup = [
            users::add_user("u"),
            users::add_role("r"),
            users::allow("r", 2, "a", "b"),
            users::grant("u", "r"),
        ];
        for call in setup.iter().chain(&users::enable()) {
            users::ask(cluster.api(0), None, call).await?;
        }
        for place in cluster.places() {
            until("a login", WITHIN, async || {
                Ok(users::login(cluster.api(place), "u", "u").await.map(drop)?)
            })
            .await?;
            let user = users::login(cluster.api(place), "u", "u").await?;
            everywhere(&cluster, &user, &users::put("a"), None).await?;
            everywhere(&cluster, &user, &users::range("a", "b"), None).await?;
            everywhere(
                &cluster,
                &user,
                &users::put("b"),
                Some(Code::PermissionDenied),
            )
            .await?;
            let other = (place + 1) % cluster.places().len();
            let root = users::login(cluster.api(other), "root", "root").await?;
            let change = users::add_role(&format!("of-{place}"));
            users::ask(cluster.api(other), Some(&root), &change).await?;
            let old = Some(Code::InvalidArgument);
            for token in [&user, &root] {
                everywhere(&cluster, token, &users::put("a"), old).await?;
                everywhere(&cluster, token, &users::range("a", ""), old).await?;
            }
        }
        cluster.end().await
    });
}
