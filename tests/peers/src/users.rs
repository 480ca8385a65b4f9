//! Authentication as tests use it: users and roles in one line each, calls with a token, and the
//! same call of the same user to two servers. Answers are compared without what two correct
//! servers may differ in, and that is named here.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use prost::Message;
use proto::{
    authpb::{Permission, UserAddOptions},
    etcdserverpb::{
        AuthEnableResponse, AuthRoleAddRequest, AuthRoleGrantPermissionRequest, AuthUserAddRequest,
        AuthUserGrantRoleRequest, AuthenticateRequest, AuthenticateResponse, PutRequest,
        RangeRequest, ResponseHeader,
    },
};
pub use tonic::Code;
use tonic::Status;

use crate::{
    api::Api,
    peer::Program,
    server::{Launch, Server},
};

/// A method and its request.
#[derive(Clone, Debug)]
pub struct Call {
    /// `/package.Service/Method`.
    pub path: &'static str,
    /// The request, encoded.
    pub message: Bytes,
}

/// A call of a method.
pub fn call(path: &'static str, message: &impl Message) -> Call {
    Call {
        path,
        message: message.encode_to_vec().into(),
    }
}

/// A user whose password is its name.
pub fn add_user(name: &str) -> Call {
    let request = AuthUserAddRequest {
        name: name.to_owned().into(),
        password: name.to_owned().into(),
        ..AuthUserAddRequest::default()
    };
    call("/etcdserverpb.Auth/UserAdd", &request)
}

/// A user that can only come with a certificate.
pub fn add_user_without_password(name: &str) -> Call {
    let request = AuthUserAddRequest {
        name: name.to_owned().into(),
        options: Some(UserAddOptions { no_password: true }),
        ..AuthUserAddRequest::default()
    };
    call("/etcdserverpb.Auth/UserAdd", &request)
}

/// A role without permissions.
pub fn add_role(name: &str) -> Call {
    let request = AuthRoleAddRequest {
        name: name.to_owned().into(),
    };
    call("/etcdserverpb.Auth/RoleAdd", &request)
}

/// A role for a user.
pub fn grant(user: &str, role: &str) -> Call {
    let request = AuthUserGrantRoleRequest {
        user: user.to_owned().into(),
        role: role.to_owned().into(),
    };
    call("/etcdserverpb.Auth/UserGrantRole", &request)
}

/// A permission for a role: 0 to read, 1 to write, 2 for both.
pub fn allow(role: &str, kind: i32, key: &str, range_end: &str) -> Call {
    let request = AuthRoleGrantPermissionRequest {
        name: role.to_owned().into(),
        perm: Some(Permission {
            perm_type: kind,
            key: key.to_owned().into(),
            range_end: range_end.to_owned().into(),
        }),
    };
    call("/etcdserverpb.Auth/RoleGrantPermission", &request)
}

/// Root with its role, and authentication on.
pub fn enable() -> [Call; 3] {
    [
        add_user("root"),
        grant("root", "root"),
        call("/etcdserverpb.Auth/AuthEnable", &()),
    ]
}

/// A put.
pub fn put(key: &str) -> Call {
    let request = PutRequest {
        key: key.to_owned().into(),
        value: "v".into(),
        ..PutRequest::default()
    };
    call("/etcdserverpb.KV/Put", &request)
}

/// A read of a range, or of a key where the end is empty.
pub fn range(key: &str, end: &str) -> Call {
    let request = RangeRequest {
        key: key.to_owned().into(),
        range_end: end.to_owned().into(),
        ..RangeRequest::default()
    };
    call("/etcdserverpb.KV/Range", &request)
}

/// Makes a call for whoever has this token.
pub async fn ask(api: &Api, token: Option<&str>, call: &Call) -> Result<Bytes, Status> {
    let message = call.message.clone();
    let streams = ["/Watch", "/LeaseKeepAlive", "/Snapshot", "/Observe"];
    if streams.iter().any(|end| call.path.ends_with(end)) {
        api.first_as(token, call.path, message).await
    } else {
        api.raw_as(token, call.path, message).await
    }
}

/// A token.
pub async fn login(
    api: &Api,
    name: impl AsRef<[u8]>,
    password: impl AsRef<[u8]>,
) -> Result<String, Status> {
    let request = AuthenticateRequest {
        name: Bytes::copy_from_slice(name.as_ref()),
        password: Bytes::copy_from_slice(password.as_ref()),
    };
    let answer = ask(
        api,
        None,
        &call("/etcdserverpb.Auth/Authenticate", &request),
    )
    .await?;
    AuthenticateResponse::decode(answer)
        .map(|answer| answer.token)
        .map_err(|error| Status::internal(error.to_string()))
}

/// What a refusal says.
pub fn refusal(answer: &Result<Bytes, Status>) -> Option<(Code, &str)> {
    let status = answer.as_ref().err()?;
    Some((status.code(), status.message()))
}

/// An answer without what two correct servers may differ in: the term in its header.
pub fn settled(path: &str, answer: Bytes) -> Result<Bytes> {
    if path.ends_with("/MoveLeader") || path.ends_with("/Defragment") {
        return Ok(answer);
    }
    // All answers have their header first, and under the same number.
    let Ok(first) = AuthEnableResponse::decode(answer.clone()) else {
        bail!("{path}: no header in {answer:?}");
    };
    let header = first.header.unwrap_or_default();
    let whole = AuthEnableResponse {
        header: Some(header),
    };
    ensure!(
        answer.starts_with(&whole.encode_to_vec()),
        "{path}: the header is not first"
    );
    let rest = answer.slice(whole.encoded_len()..);
    let header = ResponseHeader {
        raft_term: 0,
        ..header
    };
    Ok([header.encode_to_vec().into(), rest].concat().into())
}

/// An answer, for messages.
pub fn show(answer: &Result<Bytes, Status>) -> String {
    match answer {
        Ok(bytes) => format!("{} bytes {}", bytes.len(), bytes.escape_ascii()),
        Err(status) => format!("{:?}: {}", status.code(), status.message()),
    }
}

/// A server and the tokens of its users.
pub struct Side {
    /// The process.
    pub server: Server,
    /// By user.
    pub tokens: BTreeMap<String, String>,
}

/// Two servers that are asked the same.
pub struct Pair {
    /// The subject, and the reference.
    pub sides: [Side; 2],
}

impl Pair {
    /// Starts both on directories of their own in `dir`.
    pub async fn start(programs: [&Program; 2], dir: &Path, flags: &[&str]) -> Result<Pair> {
        let [ours, theirs] = programs;
        Ok(Pair {
            sides: [
                Side::start(ours, &dir.join("ours"), flags).await?,
                Side::start(theirs, &dir.join("theirs"), flags).await?,
            ],
        })
    }

    /// Makes calls of a user (no one without a name), which both must accept.
    pub async fn accept(&self, user: &str, calls: &[Call]) -> Result<()> {
        for call in calls {
            let refused = self.equal(user, call).await?;
            ensure!(refused.is_none(), "{user}: {}: {refused:?}", call.path);
        }
        Ok(())
    }

    /// Makes a call of a user, which both must refuse like this.
    pub async fn refuse(&self, user: &str, call: &Call, code: Code, text: &str) -> Result<()> {
        let refused = self.equal(user, call).await?;
        ensure!(
            refused == Some((code, text.to_owned())),
            "{user}: {call:?}: {refused:?} and not {code:?}: {text}"
        );
        Ok(())
    }

    /// Makes a call of a user to both; the answers must be equal. Returns the refusal.
    pub async fn equal(&self, user: &str, call: &Call) -> Result<Option<(Code, String)>> {
        let [ours, theirs] = [
            self.sides[0].ask(user, call).await,
            self.sides[1].ask(user, call).await,
        ];
        let is_equal = match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) => {
                settled(call.path, ours.clone())? == settled(call.path, theirs.clone())?
            }
            _ => refusal(&ours) == refusal(&theirs),
        };
        ensure!(
            is_equal,
            "{user}: {call:?}\nPintle: {}\netcd:   {}",
            show(&ours),
            show(&theirs)
        );
        Ok(refusal(&ours).map(|(code, text)| (code, text.to_owned())))
    }

    /// Logs a user in at both, with its name as the password.
    pub async fn login(&mut self, user: &str) -> Result<()> {
        for side in &mut self.sides {
            let token = login(side.server.api(), user, user).await;
            let token = token.with_context(|| format!("{user} logs in"))?;
            side.tokens.insert(user.to_owned(), token);
        }
        Ok(())
    }

    /// Stops both.
    pub async fn stop(self) -> Result<()> {
        for side in self.sides {
            side.server.terminate().await?;
        }
        Ok(())
    }
}

impl Side {
    async fn start(program: &Program, dir: &Path, flags: &[&str]) -> Result<Side> {
        let mut launch = Launch::new(program, dir).flag("--bcrypt-cost=4");
        for flag in crate::peer::STEADY_USERS.iter().chain(flags) {
            launch = launch.flag(flag);
        }
        Ok(Side {
            server: launch.start().await?,
            tokens: BTreeMap::new(),
        })
    }

    /// Makes a call of a user, of no one without a name.
    pub async fn ask(&self, user: &str, call: &Call) -> Result<Bytes, Status> {
        let token = self.tokens.get(user).map(String::as_str);
        ask(self.server.api(), token, call).await
    }
}
