//! Authentication in clusters of etcd and Pintle: users and roles are changed through every
//! member, whoever leads; tokens made by one are good at all; every member refuses and allows the
//! same; and all have the same records and hashes afterwards.

mod late;
mod signed;

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use peers::{
    api,
    cluster::{Cluster, Plan, WITHIN, until},
    peer::{self, Program},
};
use prost::Message;
use proto::{
    authpb::Permission,
    etcdserverpb::{
        AuthRoleAddRequest, AuthRoleGrantPermissionRequest, AuthStatusResponse, AuthUserAddRequest,
        AuthUserChangePasswordRequest, AuthUserDeleteRequest, AuthUserGrantRoleRequest,
        AuthenticateRequest, AuthenticateResponse, HashKvRequest, HashKvResponse,
        LeaseGrantRequest, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, MoveLeaderRequest,
        PutRequest, StatusResponse,
    },
};
use tonic::{Code, Status};

const PUT: &str = "/etcdserverpb.KV/Put";

fn encoded(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

/// Requests to the members of a cluster.
struct Users<'a>(&'a Cluster);

impl Users<'_> {
    async fn ask(
        &self,
        place: usize,
        token: Option<&str>,
        path: &'static str,
        message: &impl Message,
    ) -> Result<Bytes, Status> {
        let api = self.0.api(place);
        api.raw_as(token, path, encoded(message)).await
    }

    async fn login(&self, place: usize, name: &str, password: &str) -> Result<String> {
        let request = AuthenticateRequest {
            name: name.to_owned().into(),
            password: password.to_owned().into(),
        };
        let path = "/etcdserverpb.Auth/Authenticate";
        let answer = self.ask(place, None, path, &request).await?;
        Ok(AuthenticateResponse::decode(answer)?.token)
    }

    async fn put(&self, place: usize, token: Option<&str>, key: &str) -> Result<Bytes, Status> {
        let request = PutRequest {
            key: key.to_owned().into(),
            value: "v".into(),
            ..PutRequest::default()
        };
        self.ask(place, token, PUT, &request).await
    }
}

fn user(name: &str) -> AuthUserAddRequest {
    AuthUserAddRequest {
        name: name.to_owned().into(),
        password: name.to_owned().into(),
        ..AuthUserAddRequest::default()
    }
}

fn grant(user: &str, role: &str) -> AuthUserGrantRoleRequest {
    AuthUserGrantRoleRequest {
        user: user.to_owned().into(),
        role: role.to_owned().into(),
    }
}

/// root, and authentication on.
async fn enable(users: &Users<'_>, place: usize) -> Result<()> {
    let none = AuthRoleAddRequest::default;
    users
        .ask(place, None, "/etcdserverpb.Auth/UserAdd", &user("root"))
        .await?;
    let root = grant("root", "root");
    users
        .ask(place, None, "/etcdserverpb.Auth/UserGrantRole", &root)
        .await?;
    users
        .ask(place, None, "/etcdserverpb.Auth/AuthEnable", &none())
        .await?;
    Ok(())
}

/// Adds a user and a role of its own through a member, and uses them through all.
async fn change_through(users: &Users<'_>, place: usize, root: &str) -> Result<()> {
    let name = format!("user-{place}");
    let role = AuthRoleAddRequest {
        name: name.clone().into(),
    };
    let allow = AuthRoleGrantPermissionRequest {
        name: name.clone().into(),
        perm: Some(Permission {
            perm_type: 2,
            key: name.clone().into(),
            range_end: api::prefix_end(name.as_bytes()),
        }),
    };
    let token = Some(root);
    users
        .ask(place, token, "/etcdserverpb.Auth/UserAdd", &user(&name))
        .await?;
    users
        .ask(place, token, "/etcdserverpb.Auth/RoleAdd", &role)
        .await?;
    let path = "/etcdserverpb.Auth/RoleGrantPermission";
    users.ask(place, token, path, &allow).await?;
    let path = "/etcdserverpb.Auth/UserGrantRole";
    users.ask(place, token, path, &grant(&name, &name)).await?;

    let own = users.login(place, &name, &name).await?;
    for other in users.0.places() {
        // The member may not have applied the login yet, or the role.
        let accepted = until("a user of another member", WITHIN, async || {
            Ok(users.put(other, Some(&own), &name).await.map(drop)?)
        });
        accepted
            .await
            .with_context(|| format!("{name} at {other}"))?;
        let denied = users.put(other, Some(&own), "elsewhere").await;
        let code = denied.err().map(|status| status.code());
        ensure!(
            code == Some(Code::PermissionDenied),
            "{name} at {other}: {code:?}"
        );
        let nobody = users.put(other, None, &name).await;
        let text = nobody.err().map(|status| status.message().to_owned());
        ensure!(
            text.as_deref() == Some("etcdserver: user name is empty"),
            "no one at {other}: {text:?}"
        );
    }
    Ok(())
}

/// Has a member lead.
async fn lead(users: &Users<'_>, root: &str, place: usize) -> Result<()> {
    let target_id = users.0.members()[place].id;
    let none = AuthRoleAddRequest::default();
    until("the member leads", WITHIN, async || {
        let path = "/etcdserverpb.Maintenance/Status";
        let answer = users.ask(place, Some(root), path, &none).await?;
        let leader = StatusResponse::decode(answer)?.leader;
        if leader == target_id {
            return Ok(());
        }
        let mut members = users.0.members().iter();
        let from = members
            .position(|member| member.id == leader)
            .context("no leader")?;
        let request = MoveLeaderRequest { target_id };
        let path = "/etcdserverpb.Maintenance/MoveLeader";
        users.ask(from, Some(root), path, &request).await?;
        bail!("it was asked to")
    })
    .await
}

/// All members have the same revision of users, and the same keys.
async fn agree(users: &Users<'_>, root: &str) -> Result<()> {
    let none = AuthRoleAddRequest::default();
    until("all are equal", WITHIN, async || {
        let mut seen = Vec::new();
        for place in users.0.places() {
            let answer = users
                .ask(place, Some(root), "/etcdserverpb.Auth/AuthStatus", &none)
                .await?;
            let status = AuthStatusResponse::decode(answer)?;
            let revision = status.header.context("no header")?.revision;
            let request = HashKvRequest { revision };
            let path = "/etcdserverpb.Maintenance/HashKV";
            let answer = users.ask(place, Some(root), path, &request).await?;
            let hash = HashKvResponse::decode(answer)?.hash;
            seen.push((status.enabled, status.auth_revision, revision, hash));
        }
        ensure!(seen.iter().all(|one| one == &seen[0]), "{seen:?}");
        Ok(())
    })
    .await
}

/// Bucket, key and value of all that a directory has about users.
fn records(dir: &Path) -> Result<Vec<String>> {
    let options = bolt::Options {
        read_only: true,
        ..bolt::Options::default()
    };
    let db = bolt::Db::open(&dir.join("member/snap/db"), options)?;
    let tx = db.begin_read();
    let mut all = Vec::new();
    for name in [auth::BUCKET, auth::USERS, auth::ROLES] {
        let bucket = tx.bucket(name.as_bytes())?.context("no bucket")?;
        let mut cursor = bucket.cursor();
        let mut next = cursor.first()?;
        while let Some((key, value)) = next {
            all.push(format!(
                "{name} {} {}",
                key.escape_ascii(),
                value.escape_ascii()
            ));
            next = cursor.next()?;
        }
    }
    Ok(all)
}

/// Stops all members. What their directories have about users, which is the same in each.
async fn same_records(cluster: &mut Cluster) -> Result<Vec<String>> {
    let dirs: Vec<_> = cluster.members().iter().map(|m| m.dir.clone()).collect();
    for place in cluster.places() {
        cluster.stop(place).await?;
    }
    let mut all = dirs
        .iter()
        .map(|dir| records(dir))
        .collect::<Result<Vec<_>>>()?;
    ensure!(all.iter().all(|one| one == &all[0]), "{all:#?}");
    Ok(all.swap_remove(0))
}

fn mixed(programs: impl Fn(&Program, &Program) -> [Program; 3]) {
    let Some((pintle, etcd)) = peer::pair() else {
        return;
    };
    peers::run(600, async {
        let plan = Plan::of(&programs(&pintle, &etcd)).flag("--bcrypt-cost=4");
        let mut cluster = plan.start().await?;
        enable(&Users(&cluster), 1).await?;
        for leader in cluster.places() {
            let root = Users(&cluster).login(leader, "root", "root").await?;
            lead(&Users(&cluster), &root, leader).await?;
            change_through(&Users(&cluster), leader, &root).await?;
            agree(&Users(&cluster), &root).await?;
        }
        expire_a_lease(&Users(&cluster)).await?;
        forget(&Users(&cluster)).await?;
        let root = Users(&cluster).login(0, "root", "root").await?;
        agree(&Users(&cluster), &root).await?;
        let all = same_records(&mut cluster).await?;
        ensure!(all.len() == 8, "{all:?}");
        Ok(())
    });
}

/// A lease with a key of root's ends by itself: the leader revokes it as root.
async fn expire_a_lease(users: &Users<'_>) -> Result<()> {
    let root = users.login(0, "root", "root").await?;
    let lease = LeaseGrantRequest { ttl: 1, id: 77 };
    users
        .ask(0, Some(&root), "/etcdserverpb.Lease/LeaseGrant", &lease)
        .await?;
    let put = PutRequest {
        key: "leased".into(),
        lease: 77,
        ..PutRequest::default()
    };
    users.ask(0, Some(&root), PUT, &put).await?;
    let look = LeaseTimeToLiveRequest {
        id: 77,
        keys: false,
    };
    let path = "/etcdserverpb.Lease/LeaseTimeToLive";
    until("the lease is over", WITHIN, async || {
        let answer = users.ask(0, Some(&root), path, &look).await?;
        let ttl = LeaseTimeToLiveResponse::decode(answer)?.ttl;
        ensure!(ttl == -1, "{ttl} s are left");
        Ok(())
    })
    .await
}

/// A changed password and a deleted user end their tokens at all members.
async fn forget(users: &Users<'_>) -> Result<()> {
    let root = users.login(0, "root", "root").await?;
    let changed = users.login(1, "user-1", "user-1").await?;
    let deleted = users.login(2, "user-2", "user-2").await?;
    let change = AuthUserChangePasswordRequest {
        name: "user-1".into(),
        password: "new".into(),
        ..AuthUserChangePasswordRequest::default()
    };
    let path = "/etcdserverpb.Auth/UserChangePassword";
    users.ask(0, Some(&root), path, &change).await?;
    let delete = AuthUserDeleteRequest {
        name: "user-2".into(),
    };
    users
        .ask(1, Some(&root), "/etcdserverpb.Auth/UserDelete", &delete)
        .await?;
    for place in users.0.places() {
        for (token, key) in [(&changed, "user-1"), (&deleted, "user-2")] {
            until("the token is forgotten", WITHIN, async || {
                let refused = users.put(place, Some(token), key).await.err();
                let code = refused.map(|status| status.code());
                ensure!(
                    code == Some(Code::Unauthenticated),
                    "{key} at {place}: {code:?}"
                );
                Ok(())
            })
            .await?;
        }
        let old = users.login(place, "user-1", "user-1").await;
        ensure!(old.is_err(), "the old password is good at {place}");
    }
    users.login(2, "user-1", "new").await?;
    Ok(())
}

#[test]
fn one_pintle_among_two_etcds() {
    mixed(|pintle, etcd| [etcd.clone(), pintle.clone(), etcd.clone()]);
}

#[test]
fn one_etcd_among_two_pintles() {
    mixed(|pintle, etcd| [pintle.clone(), etcd.clone(), pintle.clone()]);
}
