//! Authentication next to real etcd. Requests of every service by users, root, no one and
//! forgers, in lock step to both servers, users and roles changed all the while: every answer is
//! equal, and so are the records afterwards, under either server. `PINTLE_SEED=<n>` replays,
//! `PINTLE_STEPS=<n>` sets the length of a run.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use peers::{
    api,
    peer::{self, Program},
    server::{Launch, Server},
    workload::Dice,
};
use prost::Message;
use proto::{
    authpb::{Permission, UserAddOptions},
    etcdserverpb::{watch_request::RequestUnion, *},
    v3electionpb::{CampaignRequest, LeaderKey, LeaderRequest, ProclaimRequest, ResignRequest},
    v3lockpb::{LockRequest, UnlockRequest},
};
use tonic::Status;

const USERS: [&str; 4] = ["root", "u", "v", "w"];
const ROLES: [&str; 4] = ["root", "r", "s", "none"];
const KEYS: [&str; 6] = ["a", "a/1", "b", "b/2", "c", "zz"];
const ENDS: [&str; 7] = ["", "", "\0", "b", "b0", "c", "a"];
const LEASES: [i64; 4] = [0, 0, 7, 8];

/// Who makes a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    NoOne,
    Forger,
    User(&'static str),
}

/// How an answer is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Compare {
    /// Byte for byte, without the term.
    Whole,
    /// Whether it is one: sizes, tokens and remaining times differ.
    Kind,
}

/// A request.
#[derive(Debug)]
struct Step {
    who: Who,
    path: &'static str,
    message: Bytes,
    compare: Compare,
    streams: bool,
}

/// A server and what its users have.
struct Side {
    server: Server,
    api: api::Api,
    tokens: BTreeMap<&'static str, String>,
}

impl Side {
    async fn start(program: &Program, dir: &Path) -> Result<Side> {
        let mut launch = Launch::new(program, dir).flag("--bcrypt-cost=4");
        for flag in peer::STEADY_USERS {
            launch = launch.flag(flag);
        }
        let server = launch.start().await?;
        Ok(Side {
            api: server.connect(),
            server,
            tokens: BTreeMap::new(),
        })
    }

    async fn login(&mut self, user: &'static str) -> Result<(), Status> {
        let request = AuthenticateRequest {
            name: user.to_owned().into(),
            password: user.to_owned().into(),
        };
        self.tokens.remove(user);
        let path = "/etcdserverpb.Auth/Authenticate";
        let answer = self.api.raw(path, encoded(&request)).await?;
        let answer =
            AuthenticateResponse::decode(answer).map_err(|e| Status::internal(e.to_string()))?;
        self.tokens.insert(user, answer.token);
        Ok(())
    }

    async fn ask(&self, step: &Step) -> Result<Bytes, Status> {
        let token = match step.who {
            Who::NoOne => None,
            Who::Forger => Some("abcdefghijklmnop.3"),
            Who::User(user) => self.tokens.get(user).map(String::as_str),
        };
        let (api, message) = (&self.api, step.message.clone());
        if step.streams {
            api.first_as(token, step.path, message).await
        } else {
            api.raw_as(token, step.path, message).await
        }
    }
}

fn encoded(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

/// An answer without what two correct servers may differ in: the term in its header.
fn settled(path: &str, answer: Bytes) -> Result<Bytes> {
    if path.ends_with("/MoveLeader") || path.ends_with("/Defragment") {
        return Ok(answer);
    }
    // All answers have their header first, and under the same number.
    let Ok(first) = AuthEnableResponse::decode(answer.clone()) else {
        bail!("{path}: no header in {answer:?}");
    };
    let header = first.header.unwrap_or_default();
    let rest = {
        let whole = AuthEnableResponse {
            header: Some(header),
        };
        let len = whole.encoded_len();
        ensure!(
            answer.starts_with(&whole.encode_to_vec()),
            "{path}: the header is not first"
        );
        answer.slice(len..)
    };
    let header = ResponseHeader {
        raft_term: 0,
        ..header
    };
    Ok([header.encode_to_vec().into(), rest].concat().into())
}

/// Requests at random.
struct Generator {
    dice: Dice,
    member: u64,
    queues: u64,
}

impl Generator {
    fn key(&mut self) -> Bytes {
        self.dice.pick(&KEYS).into()
    }

    fn end(&mut self) -> Bytes {
        self.dice.pick(&ENDS).into()
    }

    /// The name of a lock or an election that no one has had: the first has its turn at once.
    fn queue(&mut self) -> Bytes {
        self.queues += 1;
        format!("{}/{}", self.dice.pick(&KEYS), self.queues).into()
    }

    fn range(&mut self) -> RangeRequest {
        RangeRequest {
            key: self.key(),
            range_end: self.end(),
            serializable: self.dice.one_in(3),
            revision: if self.dice.one_in(8) { 100_000 } else { 0 },
            ..RangeRequest::default()
        }
    }

    fn put(&mut self) -> PutRequest {
        PutRequest {
            key: self.key(),
            value: "v".into(),
            lease: self.dice.pick(&LEASES),
            prev_kv: self.dice.one_in(3),
            ..PutRequest::default()
        }
    }

    fn delete(&mut self) -> DeleteRangeRequest {
        DeleteRangeRequest {
            key: self.key(),
            range_end: self.end(),
            prev_kv: self.dice.one_in(3),
        }
    }

    fn txn(&mut self, deep: u32) -> TxnRequest {
        let branch = |generator: &mut Generator| {
            let count = generator.dice.below(3);
            (0..count)
                .map(|_| match generator.dice.below(5) {
                    0..2 => api::op_range(generator.range()),
                    2 => api::op_put(generator.put()),
                    3 => api::op_delete(generator.delete()),
                    _ if deep > 0 => api::op_txn(generator.txn(deep - 1)),
                    _ => api::op_range(generator.range()),
                })
                .collect::<Vec<_>>()
        };
        let (success, failure) = (branch(self), branch(self));
        let compare = (0..self.dice.below(2))
            .map(|_| proto::etcdserverpb::Compare {
                key: self.key(),
                range_end: self.end(),
                ..Default::default()
            })
            .collect();
        TxnRequest {
            compare,
            success,
            failure,
        }
    }

    fn watch(&mut self) -> WatchRequest {
        let create = WatchCreateRequest {
            key: self.key(),
            // The answer for a range to the last key is that of 3.5.33.
            range_end: self.dice.pick(&["", "b", "b0", "zzz"]).into(),
            start_revision: if self.dice.one_in(10) { -1 } else { 0 },
            watch_id: 5,
            ..WatchCreateRequest::default()
        };
        WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(create)),
        }
    }

    fn who(&mut self) -> Who {
        match self.dice.below(20) {
            0 => Who::NoOne,
            1 => Who::Forger,
            2..8 => Who::User("root"),
            _ => Who::User(self.dice.pick(&USERS)),
        }
    }

    fn step(&mut self) -> Step {
        let who = self.who();
        let (path, message, compare) = match self.dice.below(10) {
            0..5 => self.keys(),
            5..7 => self.users(),
            7..9 => self.leases(),
            _ => self.others(),
        };
        let streams = ["/Watch", "/LeaseKeepAlive", "/Snapshot", "/Observe"]
            .iter()
            .any(|end| path.ends_with(end));
        Step {
            who,
            path,
            message,
            compare,
            streams,
        }
    }

    fn keys(&mut self) -> (&'static str, Bytes, Compare) {
        let whole = |path, message: Bytes| (path, message, Compare::Whole);
        match self.dice.below(12) {
            0..3 => whole("/etcdserverpb.KV/Range", encoded(&self.range())),
            3..6 => whole("/etcdserverpb.KV/Put", encoded(&self.put())),
            6..8 => whole("/etcdserverpb.KV/DeleteRange", encoded(&self.delete())),
            8..11 => whole("/etcdserverpb.KV/Txn", encoded(&self.txn(2))),
            _ => whole("/etcdserverpb.Watch/Watch", encoded(&self.watch())),
        }
    }

    fn users(&mut self) -> (&'static str, Bytes, Compare) {
        let (user, role) = (self.dice.pick(&USERS), self.dice.pick(&ROLES));
        let name = || Bytes::from(user);
        let role = || Bytes::from(role);
        let (path, message) = match self.dice.below(32) {
            0..2 => {
                let add = AuthUserAddRequest {
                    name: name(),
                    password: name(),
                    options: self.dice.one_in(4).then_some(UserAddOptions {
                        // Without its password root could never switch anything off.
                        no_password: user != "root" && self.dice.one_in(2),
                    }),
                    hashed_password: String::new(),
                };
                ("/etcdserverpb.Auth/UserAdd", encoded(&add))
            }
            2 => (
                "/etcdserverpb.Auth/UserDelete",
                encoded(&AuthUserDeleteRequest { name: name() }),
            ),
            3..5 => {
                let change = AuthUserChangePasswordRequest {
                    name: name(),
                    password: name(),
                    hashed_password: String::new(),
                };
                ("/etcdserverpb.Auth/UserChangePassword", encoded(&change))
            }
            5..9 => {
                let grant = AuthUserGrantRoleRequest {
                    user: name(),
                    role: role(),
                };
                ("/etcdserverpb.Auth/UserGrantRole", encoded(&grant))
            }
            9 => {
                let revoke = AuthUserRevokeRoleRequest {
                    name: name(),
                    role: role(),
                };
                ("/etcdserverpb.Auth/UserRevokeRole", encoded(&revoke))
            }
            10..12 => (
                "/etcdserverpb.Auth/UserGet",
                encoded(&AuthUserGetRequest { name: name() }),
            ),
            12 => (
                "/etcdserverpb.Auth/UserList",
                encoded(&AuthUserListRequest {}),
            ),
            13..15 => (
                "/etcdserverpb.Auth/RoleAdd",
                encoded(&AuthRoleAddRequest { name: role() }),
            ),
            15 => (
                "/etcdserverpb.Auth/RoleDelete",
                encoded(&AuthRoleDeleteRequest { role: role() }),
            ),
            16..18 => (
                "/etcdserverpb.Auth/RoleGet",
                encoded(&AuthRoleGetRequest { role: role() }),
            ),
            18 => (
                "/etcdserverpb.Auth/RoleList",
                encoded(&AuthRoleListRequest {}),
            ),
            19..26 => {
                let grant = AuthRoleGrantPermissionRequest {
                    name: role(),
                    perm: (!self.dice.one_in(12)).then(|| Permission {
                        perm_type: self.dice.below(3) as i32,
                        key: self.key(),
                        range_end: self.end(),
                    }),
                };
                ("/etcdserverpb.Auth/RoleGrantPermission", encoded(&grant))
            }
            26 => {
                let revoke = AuthRoleRevokePermissionRequest {
                    role: role(),
                    key: self.key(),
                    range_end: self.end(),
                };
                ("/etcdserverpb.Auth/RoleRevokePermission", encoded(&revoke))
            }
            27 => (
                "/etcdserverpb.Auth/AuthStatus",
                encoded(&AuthStatusRequest {}),
            ),
            28 => (
                "/etcdserverpb.Auth/AuthEnable",
                encoded(&AuthEnableRequest {}),
            ),
            29 if self.dice.one_in(4) => (
                "/etcdserverpb.Auth/AuthDisable",
                encoded(&AuthDisableRequest {}),
            ),
            _ => {
                let password = if self.dice.one_in(2) {
                    name()
                } else {
                    "wrong".into()
                };
                let login = AuthenticateRequest {
                    name: name(),
                    password,
                };
                return (
                    "/etcdserverpb.Auth/Authenticate",
                    encoded(&login),
                    Compare::Kind,
                );
            }
        };
        (path, message, Compare::Whole)
    }

    fn leases(&mut self) -> (&'static str, Bytes, Compare) {
        let id = self.dice.pick(&[7, 8, 9]);
        match self.dice.below(8) {
            0..3 => {
                let grant = LeaseGrantRequest { ttl: 5000, id };
                (
                    "/etcdserverpb.Lease/LeaseGrant",
                    encoded(&grant),
                    Compare::Whole,
                )
            }
            3 => (
                "/etcdserverpb.Lease/LeaseRevoke",
                encoded(&LeaseRevokeRequest { id }),
                Compare::Whole,
            ),
            4 => (
                "/etcdserverpb.Lease/LeaseKeepAlive",
                encoded(&LeaseKeepAliveRequest { id }),
                Compare::Whole,
            ),
            5..7 => {
                let look = LeaseTimeToLiveRequest {
                    id,
                    keys: self.dice.one_in(2),
                };
                (
                    "/etcdserverpb.Lease/LeaseTimeToLive",
                    encoded(&look),
                    Compare::Kind,
                )
            }
            _ => (
                "/etcdserverpb.Lease/LeaseLeases",
                encoded(&LeaseLeasesRequest {}),
                Compare::Kind,
            ),
        }
    }

    fn others(&mut self) -> (&'static str, Bytes, Compare) {
        let name = self.key();
        let leader = || {
            Some(LeaderKey {
                name: name.clone(),
                key: name.clone(),
                rev: 1,
                lease: 7,
            })
        };
        match self.dice.below(18) {
            0 => (
                "/etcdserverpb.Cluster/MemberList",
                Bytes::new(),
                Compare::Kind,
            ),
            1 => (
                "/etcdserverpb.Maintenance/Status",
                Bytes::new(),
                Compare::Kind,
            ),
            2 => (
                "/etcdserverpb.Maintenance/Hash",
                Bytes::new(),
                Compare::Kind,
            ),
            3 => (
                "/etcdserverpb.Maintenance/HashKV",
                Bytes::new(),
                Compare::Whole,
            ),
            4 => (
                "/etcdserverpb.Maintenance/Snapshot",
                Bytes::new(),
                Compare::Kind,
            ),
            5 => (
                "/etcdserverpb.Maintenance/Defragment",
                Bytes::new(),
                Compare::Whole,
            ),
            6 => {
                let target = MoveLeaderRequest { target_id: 1 };
                (
                    "/etcdserverpb.Maintenance/MoveLeader",
                    encoded(&target),
                    Compare::Whole,
                )
            }
            7 => {
                let check = DowngradeRequest {
                    action: 0,
                    version: "3.1".into(),
                };
                (
                    "/etcdserverpb.Maintenance/Downgrade",
                    encoded(&check),
                    Compare::Whole,
                )
            }
            8..10 => {
                let alarm = AlarmRequest {
                    // While one is raised etcd applies entries of anyone, and Pintle proposes none.
                    action: self.dice.pick(&[0, 2]),
                    member_id: self.member,
                    alarm: self.dice.below(2) as i32,
                };
                (
                    "/etcdserverpb.Maintenance/Alarm",
                    encoded(&alarm),
                    Compare::Whole,
                )
            }
            10 => (
                "/etcdserverpb.KV/Compact",
                encoded(&CompactionRequest {
                    revision: 100_000,
                    physical: false,
                }),
                Compare::Whole,
            ),
            11 => {
                let add = MemberUpdateRequest {
                    id: 1,
                    peer_ur_ls: vec!["http://127.0.0.1:1".into()],
                };
                (
                    "/etcdserverpb.Cluster/MemberUpdate",
                    encoded(&add),
                    Compare::Whole,
                )
            }
            12 => (
                "/etcdserverpb.Cluster/MemberPromote",
                encoded(&MemberPromoteRequest { id: 1 }),
                Compare::Whole,
            ),
            // A lock that is free, by whoever has a lease.
            13 => (
                "/v3lockpb.Lock/Lock",
                encoded(&LockRequest {
                    name: self.queue(),
                    lease: 7,
                }),
                Compare::Whole,
            ),
            14 => (
                "/v3lockpb.Lock/Unlock",
                encoded(&UnlockRequest { key: name }),
                Compare::Whole,
            ),
            15 => (
                "/v3electionpb.Election/Leader",
                encoded(&LeaderRequest { name }),
                Compare::Whole,
            ),
            16 => {
                let value = "x".into();
                (
                    "/v3electionpb.Election/Proclaim",
                    encoded(&ProclaimRequest {
                        leader: leader(),
                        value,
                    }),
                    Compare::Whole,
                )
            }
            _ if self.dice.one_in(2) => (
                "/v3electionpb.Election/Resign",
                encoded(&ResignRequest { leader: leader() }),
                Compare::Whole,
            ),
            _ => {
                let campaign = CampaignRequest {
                    name: self.queue(),
                    lease: 7,
                    value: "x".into(),
                };
                (
                    "/v3electionpb.Election/Campaign",
                    encoded(&campaign),
                    Compare::Whole,
                )
            }
        }
    }
}

/// What makes both servers ready: root with its role, `u` with some permissions.
async fn prepare(sides: &mut [Side; 2]) -> Result<()> {
    let user = |name: &str| {
        encoded(&AuthUserAddRequest {
            name: name.to_owned().into(),
            password: name.to_owned().into(),
            ..AuthUserAddRequest::default()
        })
    };
    let grant = |user: &str, role: &str| {
        encoded(&AuthUserGrantRoleRequest {
            user: user.to_owned().into(),
            role: role.to_owned().into(),
        })
    };
    let allow = |kind, key: &str, end: &str| {
        encoded(&AuthRoleGrantPermissionRequest {
            name: "r".into(),
            perm: Some(Permission {
                perm_type: kind,
                key: key.to_owned().into(),
                range_end: end.to_owned().into(),
            }),
        })
    };
    let role = AuthRoleAddRequest { name: "r".into() };
    let steps = [
        ("/etcdserverpb.Auth/UserAdd", user("root")),
        ("/etcdserverpb.Auth/UserAdd", user("u")),
        ("/etcdserverpb.Auth/RoleAdd", encoded(&role)),
        ("/etcdserverpb.Auth/RoleGrantPermission", allow(2, "a", "b")),
        ("/etcdserverpb.Auth/RoleGrantPermission", allow(0, "b", "c")),
        ("/etcdserverpb.Auth/UserGrantRole", grant("root", "root")),
        ("/etcdserverpb.Auth/UserGrantRole", grant("u", "r")),
        ("/etcdserverpb.Auth/AuthEnable", Bytes::new()),
    ];
    for side in sides.iter_mut() {
        for (path, message) in &steps {
            side.server.api().raw(path, message.clone()).await?;
        }
        side.login("root").await?;
        side.login("u").await?;
    }
    Ok(())
}

fn show(answer: &Result<Bytes, Status>) -> String {
    match answer {
        Ok(bytes) => format!("{} bytes {}", bytes.len(), bytes.escape_ascii()),
        Err(status) => format!("{:?}: {}", status.code(), status.message()),
    }
}

async fn compare_step(sides: &[Side; 2], step: &Step) -> Result<bool> {
    let [ours, theirs] = [sides[0].ask(step).await, sides[1].ask(step).await];
    let is_equal = match (&ours, &theirs) {
        (Ok(_), Ok(_)) if step.compare == Compare::Kind => true,
        (Ok(ours), Ok(theirs)) => {
            settled(step.path, ours.clone())? == settled(step.path, theirs.clone())?
        }
        (Err(ours), Err(theirs)) => {
            ours.code() == theirs.code() && ours.message() == theirs.message()
        }
        _ => false,
    };
    ensure!(
        is_equal,
        "{step:?}\nPintle: {}\netcd:   {}",
        show(&ours),
        show(&theirs)
    );
    Ok(ours.is_ok())
}

/// Both servers, stopped and started again, the second time each by the other program: what a
/// client sees of users, roles and keys is equal all the time.
async fn swapped(programs: [&Program; 2], dirs: [&Path; 2]) -> Result<()> {
    let mut seen: Vec<Vec<String>> = Vec::new();
    for programs in [programs, [programs[1], programs[0]]] {
        for (program, dir) in programs.iter().zip(dirs) {
            let mut side = Side::start(program, dir).await?;
            let _ = side.login("root").await;
            let mut answers = Vec::new();
            let mut requests = vec![
                ("/etcdserverpb.Auth/AuthStatus", Bytes::new()),
                ("/etcdserverpb.Auth/UserList", Bytes::new()),
                ("/etcdserverpb.Auth/RoleList", Bytes::new()),
                ("/etcdserverpb.KV/Range", encoded(&api::all())),
            ];
            for user in USERS {
                let get = AuthUserGetRequest {
                    name: user.to_owned().into(),
                };
                requests.push(("/etcdserverpb.Auth/UserGet", encoded(&get)));
            }
            for role in ROLES {
                let get = AuthRoleGetRequest {
                    role: role.to_owned().into(),
                };
                requests.push(("/etcdserverpb.Auth/RoleGet", encoded(&get)));
            }
            for (path, message) in requests {
                let token = side.tokens.get("root").map(String::as_str);
                let answer = match side.server.api().raw_as(token, path, message).await {
                    Ok(answer) => Ok(settled(path, answer)?),
                    Err(status) => Err(status),
                };
                answers.push(format!("{path}: {}", show(&answer)));
            }
            seen.push(answers);
            side.server.terminate().await?;
        }
    }
    for (n, answers) in seen.iter().enumerate() {
        ensure!(
            answers == &seen[0],
            "start {n}: {answers:#?}\nfirst: {:#?}",
            seen[0]
        );
    }
    Ok(())
}

fn random(seed: u64) {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    let seed = peers::seed(seed);
    let steps = peers::env_number("PINTLE_STEPS").unwrap_or(2000);
    peers::run(600 + steps / 10, async {
        let temp = tempfile::tempdir()?;
        let (ours, theirs) = (temp.path().join("ours"), temp.path().join("theirs"));
        let mut sides = [
            Side::start(&subject, &ours).await?,
            Side::start(&reference, &theirs).await?,
        ];
        let status = sides[0].server.api().status(StatusRequest {}).await?;
        let member = status.header.context("no header")?.member_id;
        prepare(&mut sides).await?;
        let mut generator = Generator {
            dice: Dice::new(seed),
            member,
            queues: 0,
        };
        let mut accepted = 0;
        for n in 0..steps {
            let step = generator.step();
            let compared = compare_step(&sides, &step).await;
            accepted += u64::from(compared.with_context(|| format!("seed {seed}, step {n}"))?);
            if n % 10 == 0 {
                // Tokens end with passwords and users; whoever can logs in again.
                for user in USERS {
                    let [a, b] = &mut sides;
                    let both = (a.login(user).await.is_ok(), b.login(user).await.is_ok());
                    ensure!(
                        both.0 == both.1,
                        "seed {seed}, step {n}: login of {user}: {both:?}"
                    );
                }
            }
        }
        for side in sides {
            side.server.terminate().await?;
        }
        swapped([&subject, &reference], [&ours, &theirs]).await?;
        ensure!(
            accepted * 5 > steps,
            "only {accepted} of {steps} were accepted"
        );
        peer::say(&format!(
            "RAN: auth, seed {seed}, {steps} steps, {accepted} accepted"
        ));
        Ok(())
    });
}

#[test]
fn random_requests_of_users_seed_1() {
    random(1);
}

#[test]
fn random_requests_of_users_seed_2() {
    random(2);
}
