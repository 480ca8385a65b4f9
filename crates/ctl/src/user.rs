//! `auth enable`, `disable`, `status` and the `user` commands. A password must
//! never be printed, and never be taken from an argument that did not say so.

use cli::flags::Parsed;
use proto::{authpb, etcdserverpb as api};

use crate::{
    failure::{Failure, Outcome},
    global::Global,
    output::{Object, Page, Show, Told, wire},
    role,
    terminal::{self, print_all},
};

const NO_ROOT_ROLE: &str = "etcdserver: root user does not have root role";
const ROOT: &str = "root";

fn no_arguments(parsed: &Parsed, message: &str) -> Outcome {
    match parsed.args.is_empty() {
        true => Ok(()),
        false => Err(Failure::bad_args(message)),
    }
}

/// `etcdctl auth enable`. A root user without the root role gets it first.
pub(crate) async fn auth_enable(parsed: &mut Parsed) -> Outcome {
    no_arguments(parsed, "auth enable command does not accept any arguments")?;
    let client = Global::resolve(parsed)?.client().await?;
    match client.auth_enable(api::AuthEnableRequest {}).await {
        Err(error) if error.is(NO_ROOT_ROLE) => {
            let request = api::AuthRoleAddRequest { name: ROOT.into() };
            client.role_add(request).await?;
            let request = api::AuthUserGrantRoleRequest {
                user: ROOT.into(),
                role: ROOT.into(),
            };
            client.user_grant_role(request).await?;
            client.auth_enable(api::AuthEnableRequest {}).await?;
        }
        enabled => drop(enabled?),
    }
    print_all(b"Authentication Enabled\n")
}

/// `etcdctl auth disable`.
pub(crate) async fn auth_disable(parsed: &mut Parsed) -> Outcome {
    no_arguments(parsed, "auth disable command does not accept any arguments")?;
    let client = Global::resolve(parsed)?.client().await?;
    client.auth_disable(api::AuthDisableRequest {}).await?;
    print_all(b"Authentication Disabled\n")
}

/// `etcdctl auth status`.
pub(crate) async fn auth_status(parsed: &mut Parsed) -> Outcome {
    no_arguments(parsed, "auth status command does not accept any arguments")?;
    let global = Global::resolve(parsed)?;
    global.output.refuse_table_and_fields()?;
    let request = api::AuthStatusRequest {};
    global
        .output
        .show(&global.client().await?.auth_status(request).await?)
}

impl Show for api::AuthStatusResponse {
    fn simple(&self, page: &mut Page) {
        page.line(format!("Authentication Status: {}", self.enabled));
        page.line(format!("AuthRevision: {}", self.auth_revision));
    }

    fn json(&self, page: &mut Page) {
        Object::write(&mut page.bytes, |object| {
            object.header(self.header.as_ref());
            object.bool("enabled", self.enabled);
            object.uint("authRevision", self.auth_revision);
        });
    }

    fn fields(&self, page: &mut Page) {
        page.header_fields(self.header.as_ref());
    }

    fn protobuf(&self) -> Vec<u8> {
        wire(self)
    }
}

/// `etcdctl user add`.
pub(crate) async fn add(parsed: &mut Parsed) -> Outcome {
    let [user] = parsed
        .words()
        .try_into()
        .map_err(|_| Failure::bad_args("user add command requires user name as its argument"))?;
    let given = parsed.text("new-user-password").to_owned();
    let no_password = parsed.bool("no-password");
    let (name, password) = match user.split_once(':') {
        _ if no_password => (user.clone(), String::new()),
        _ if !given.is_empty() => (user.clone(), given),
        Some(("", _)) => return Err(Failure::bad_args("empty user name is not allowed")),
        Some((name, password)) => (name.to_owned(), password.to_owned()),
        None => (user.clone(), new_password(parsed, &user)?),
    };
    let request = api::AuthUserAddRequest {
        name: name.clone().into(),
        password: password.into(),
        options: Some(authpb::UserAddOptions { no_password }),
        hashed_password: String::new(),
    };
    let global = Global::resolve(parsed)?;
    global.output.refuse_table()?;
    let response = global.client().await?.user_add(request).await?;
    global.output.show(&Told {
        line: format!("User {name} created"),
        header: response.header.as_ref(),
        response: &response,
    })
}

/// `etcdctl user delete`.
pub(crate) async fn delete(parsed: &mut Parsed) -> Outcome {
    let [name] = parsed
        .words()
        .try_into()
        .map_err(|_| Failure::bad_args("user delete command requires user name as its argument"))?;
    let global = Global::resolve(parsed)?;
    global.output.refuse_table()?;
    let line = format!("User {name} deleted");
    let request = api::AuthUserDeleteRequest { name: name.into() };
    let response = global.client().await?.user_delete(request).await?;
    global.output.show(&Told {
        line,
        header: response.header.as_ref(),
        response: &response,
    })
}

/// `etcdctl user get`. With `--detail` the user is printed as plain text and each
/// role in the chosen format, as etcdctl does.
pub(crate) async fn get(parsed: &mut Parsed) -> Outcome {
    let [name] = parsed
        .words()
        .try_into()
        .map_err(|_| Failure::bad_args("user get command requires user name as its argument"))?;
    let detail = parsed.bool("detail");
    let global = Global::resolve(parsed)?;
    match detail {
        true => global.output.refuse_table()?,
        false => global.output.refuse_table_and_fields()?,
    }
    let client = global.client().await?;
    let request = api::AuthUserGetRequest {
        name: name.clone().into(),
    };
    let response = client.user_get(request).await?;
    if !detail {
        return global.output.show(&Roles {
            user: &name,
            response: &response,
        });
    }
    print_all(format!("User: {name}\n").as_bytes())?;
    for role in response.roles {
        print_all(b"\n")?;
        let request = api::AuthRoleGetRequest { role: role.clone() };
        let response = client.role_get(request).await?;
        global.output.show(&role::Permissions {
            role: &role,
            response: &response,
        })?;
    }
    Ok(())
}

struct Roles<'a> {
    user: &'a str,
    response: &'a api::AuthUserGetResponse,
}

impl Show for Roles<'_> {
    fn simple(&self, page: &mut Page) {
        page.line(format!("User: {}", self.user));
        let roles = self.response.roles.iter();
        let roles: Vec<u8> = roles.flat_map(|role| [b" ", &role[..]].concat()).collect();
        page.raw_line(&[b"Roles:", &roles[..]].concat());
    }

    fn json(&self, page: &mut Page) {
        Object::write(&mut page.bytes, |object| {
            object.header(self.response.header.as_ref());
            object.names("roles", &self.response.roles);
        });
    }

    fn fields(&self, page: &mut Page) {
        page.header_fields(self.response.header.as_ref());
    }

    fn protobuf(&self) -> Vec<u8> {
        wire(self.response)
    }
}

/// `etcdctl user list`.
pub(crate) async fn list(parsed: &mut Parsed) -> Outcome {
    no_arguments(parsed, "user list command requires no arguments")?;
    let global = Global::resolve(parsed)?;
    global.output.refuse_table_and_fields()?;
    let request = api::AuthUserListRequest {};
    global
        .output
        .show(&global.client().await?.user_list(request).await?)
}

impl Show for api::AuthUserListResponse {
    fn simple(&self, page: &mut Page) {
        for user in &self.users {
            page.raw_line(user);
        }
    }

    fn json(&self, page: &mut Page) {
        Object::write(&mut page.bytes, |object| {
            object.header(self.header.as_ref());
            object.names("users", &self.users);
        });
    }

    fn fields(&self, page: &mut Page) {
        page.header_fields(self.header.as_ref());
    }

    fn protobuf(&self) -> Vec<u8> {
        wire(self)
    }
}

/// `etcdctl user passwd`.
pub(crate) async fn passwd(parsed: &mut Parsed) -> Outcome {
    let [name] = parsed
        .words()
        .try_into()
        .map_err(|_| Failure::bad_args("user passwd command requires user name as its argument"))?;
    let password = new_password(parsed, &name)?;
    let global = Global::resolve(parsed)?;
    global.output.refuse_table()?;
    let request = api::AuthUserChangePasswordRequest {
        name: name.into(),
        password: password.into(),
        hashed_password: String::new(),
    };
    let response = global.client().await?.user_change_password(request).await?;
    global.output.show(&Told {
        line: "Password updated".into(),
        header: response.header.as_ref(),
        response: &response,
    })
}

/// `etcdctl user grant-role`.
pub(crate) async fn grant_role(parsed: &mut Parsed) -> Outcome {
    let [user, role] = parsed.words().try_into().map_err(|_| {
        Failure::bad_args("user grant command requires user name and role name as its argument")
    })?;
    let global = Global::resolve(parsed)?;
    global.output.refuse_table()?;
    let line = format!("Role {role} is granted to user {user}");
    let request = api::AuthUserGrantRoleRequest {
        user: user.into(),
        role: role.into(),
    };
    let response = global.client().await?.user_grant_role(request).await?;
    global.output.show(&Told {
        line,
        header: response.header.as_ref(),
        response: &response,
    })
}

/// `etcdctl user revoke-role`.
pub(crate) async fn revoke_role(parsed: &mut Parsed) -> Outcome {
    let [name, role] = parsed.words().try_into().map_err(|_| {
        Failure::bad_args("user revoke-role requires user name and role name as its argument")
    })?;
    let global = Global::resolve(parsed)?;
    global.output.refuse_table()?;
    let line = format!("Role {role} is revoked from user {name}");
    let request = api::AuthUserRevokeRoleRequest {
        name: name.into(),
        role: role.into(),
    };
    let response = global.client().await?.user_revoke_role(request).await?;
    global.output.show(&Told {
        line,
        header: response.header.as_ref(),
        response: &response,
    })
}

/// A password for `user`: asked for twice, or with `--interactive=false` the
/// first word of stdin.
fn new_password(parsed: &Parsed, user: &str) -> Outcome<String> {
    if !parsed.bool("interactive") {
        return terminal::first_word();
    }
    let ask = |prompt: String| {
        terminal::ask_password(&prompt).map_err(|failure| {
            let reason = failure.message.unwrap_or_default();
            Failure::bad_args(format!("failed to ask password: {reason}"))
        })
    };
    let password = ask(format!("Password of {user}: "))?;
    if password.is_empty() {
        return Err(Failure::bad_args("empty password"));
    }
    let again = ask(format!("Type password of {user} again for confirmation: "))?;
    if password != again {
        return Err(Failure::bad_args("given passwords are different"));
    }
    Ok(password)
}
