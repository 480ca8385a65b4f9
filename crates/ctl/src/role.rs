//! The `role` commands. An empty key means the first key there is, so that a
//! permission on everything can be written.

use bytes::Bytes;
use cli::{flags::Parsed, text::quote};
use client::prefix_end;
use proto::{
    authpb::{Permission, permission::Type},
    etcdserverpb as api,
};

use crate::{
    failure::{Failure, Outcome},
    global::Global,
    output::{Object, Page, Show, Told, wire},
};

const BOTH: &str = "--from-key and --prefix flags are mutually exclusive";
/// As a range's end: to the last key. As its start: from the first.
const OPEN: &[u8] = b"\0";

fn one_name(parsed: &Parsed, command: &str) -> Outcome<String> {
    let message = format!("role {command} command requires role name as its argument");
    let [name] = parsed
        .words()
        .try_into()
        .map_err(|_| Failure::bad_args(message))?;
    Ok(name)
}

/// `etcdctl role add`.
pub(crate) async fn add(parsed: &mut Parsed) -> Outcome {
    let name = one_name(parsed, "add")?;
    let global = Global::resolve(parsed)?;
    global.output.refuse_table()?;
    let line = format!("Role {name} created");
    let request = api::AuthRoleAddRequest { name: name.into() };
    let response = global.client().await?.role_add(request).await?;
    global.output.show(&Told {
        line,
        header: response.header.as_ref(),
        response: &response,
    })
}

/// `etcdctl role delete`.
pub(crate) async fn delete(parsed: &mut Parsed) -> Outcome {
    let role = one_name(parsed, "delete")?;
    let global = Global::resolve(parsed)?;
    global.output.refuse_table()?;
    let line = format!("Role {role} deleted");
    let request = api::AuthRoleDeleteRequest { role: role.into() };
    let response = global.client().await?.role_delete(request).await?;
    global.output.show(&Told {
        line,
        header: response.header.as_ref(),
        response: &response,
    })
}

/// `etcdctl role get`.
pub(crate) async fn get(parsed: &mut Parsed) -> Outcome {
    let role = one_name(parsed, "get")?;
    let global = Global::resolve(parsed)?;
    global.output.refuse_table()?;
    let request = api::AuthRoleGetRequest {
        role: role.clone().into(),
    };
    let response = global.client().await?.role_get(request).await?;
    global.output.show(&Permissions {
        role: role.as_bytes(),
        response: &response,
    })
}

/// A role and what it may do.
pub(crate) struct Permissions<'a> {
    pub(crate) role: &'a [u8],
    pub(crate) response: &'a api::AuthRoleGetResponse,
}

/// The keys of a permission, as `role get` shows them.
fn keys(permission: &Permission, page: &mut Page) {
    let (key, end) = (&permission.key, &permission.range_end);
    page.text("\t");
    if end.is_empty() {
        page.bytes.extend_from_slice(key);
        return page.line("");
    }
    page.text("[");
    page.bytes.extend_from_slice(key);
    page.text(", ");
    if end == OPEN {
        page.text("<open ended>");
    } else {
        page.bytes.extend_from_slice(end);
        page.text(")");
    }
    if prefix_end(key) == end {
        page.text(" (prefix ");
        page.bytes.extend_from_slice(key);
        page.text(")");
    }
    page.line("");
}

impl Show for Permissions<'_> {
    fn simple(&self, page: &mut Page) {
        page.raw_line(&[b"Role ", self.role].concat());
        for (heading, one) in [("KV Read:", Type::Read), ("KV Write:", Type::Write)] {
            page.line(heading);
            for permission in &self.response.perm {
                let kind = permission.perm_type();
                if kind == one || kind == Type::Readwrite {
                    keys(permission, page);
                }
            }
        }
    }

    fn json(&self, page: &mut Page) {
        Object::write(&mut page.bytes, |object| {
            object.header(self.response.header.as_ref());
            object.children("perm", &self.response.perm, |object, permission| {
                object.int("permType", permission.perm_type.into());
                object.bytes("key", &permission.key);
                object.bytes("range_end", &permission.range_end);
            });
        });
    }

    fn fields(&self, page: &mut Page) {
        page.header_fields(self.response.header.as_ref());
        for permission in &self.response.perm {
            // Two spaces, as etcdctl has it.
            page.field(
                "PermType",
                format!(" {}", permission.perm_type().as_str_name()),
            );
            page.quoted("Key", &permission.key);
            page.quoted("RangeEnd", &permission.range_end);
        }
    }

    fn protobuf(&self) -> Vec<u8> {
        wire(self.response)
    }
}

/// `etcdctl role list`.
pub(crate) async fn list(parsed: &mut Parsed) -> Outcome {
    if !parsed.args.is_empty() {
        return Err(Failure::bad_args("role list command requires no arguments"));
    }
    let global = Global::resolve(parsed)?;
    global.output.refuse_table()?;
    let request = api::AuthRoleListRequest {};
    global
        .output
        .show(&global.client().await?.role_list(request).await?)
}

impl Show for api::AuthRoleListResponse {
    fn simple(&self, page: &mut Page) {
        for role in &self.roles {
            page.raw_line(role);
        }
    }

    fn json(&self, page: &mut Page) {
        Object::write(&mut page.bytes, |object| {
            object.header(self.header.as_ref());
            object.names("roles", &self.roles);
        });
    }

    fn fields(&self, page: &mut Page) {
        page.header_fields(self.header.as_ref());
        let roles = self.roles.iter().map(|role| format!(" {}", quote(role)));
        page.line(format!("\"Roles\" :{}", roles.collect::<String>()));
    }

    fn protobuf(&self) -> Vec<u8> {
        wire(self)
    }
}

/// `etcdctl role grant-permission`.
pub(crate) async fn grant_permission(parsed: &mut Parsed) -> Outcome {
    let words = parsed.words();
    let [name, kind, _, ..] = words.as_slice() else {
        return Err(too_few_to_grant());
    };
    let perm_type = match kind.to_uppercase().as_str() {
        "READ" => Type::Read,
        "WRITE" => Type::Write,
        "READWRITE" => Type::Readwrite,
        _ => {
            return Err(Failure::bad_args(format!(
                "invalid permission type: {kind}"
            )));
        }
    };
    let (key, range_end) = key_range(parsed, 2)?.ok_or_else(too_few_to_grant)?;
    let global = Global::resolve(parsed)?;
    global.output.refuse_table()?;
    let request = api::AuthRoleGrantPermissionRequest {
        name: name.clone().into(),
        perm: Some(Permission {
            perm_type: perm_type.into(),
            key,
            range_end,
        }),
    };
    let response = global
        .client()
        .await?
        .role_grant_permission(request)
        .await?;
    global.output.show(&Told {
        line: format!("Role {name} updated"),
        header: response.header.as_ref(),
        response: &response,
    })
}

fn too_few_to_grant() -> Failure {
    Failure::bad_args(
        "role grant command requires role name, permission type, and key [endkey] as its argument",
    )
}

/// `etcdctl role revoke-permission`.
pub(crate) async fn revoke_permission(parsed: &mut Parsed) -> Outcome {
    let range = key_range(parsed, 1)?;
    let words = parsed.words();
    let (Some((key, range_end)), [role, named, ..]) = (range, words.as_slice()) else {
        return Err(Failure::bad_args(
            "role revoke-permission command requires role name and key [endkey] as its argument",
        ));
    };
    let line = match &range_end[..] {
        b"" => format!("Permission of key {named} is revoked from role {role}"),
        OPEN => format!("Permission of range [{named}, <open ended> is revoked from role {role}"),
        end => format!(
            "Permission of range [{named}, {}) is revoked from role {role}",
            String::from_utf8_lossy(end)
        ),
    };
    let role = role.clone().into();
    let global = Global::resolve(parsed)?;
    global.output.refuse_table()?;
    let request = api::AuthRoleRevokePermissionRequest {
        role,
        key,
        range_end,
    };
    let response = global
        .client()
        .await?
        .role_revoke_permission(request)
        .await?;
    global.output.show(&Told {
        line,
        header: response.header.as_ref(),
        response: &response,
    })
}

/// Key and end of range from the arguments after the first `skip` and the
/// flags; `None` without a key.
fn key_range(parsed: &Parsed, skip: usize) -> Outcome<Option<(Bytes, Bytes)>> {
    let (prefix, from_key) = (parsed.bool("prefix"), parsed.bool("from-key"));
    let open = || Bytes::from_static(OPEN);
    let Some([key, ends @ ..]) = parsed.args.get(skip..) else {
        return Ok(None);
    };
    let single = ends.is_empty() || key.is_empty();
    let end = match (ends.first(), prefix, from_key) {
        (_, true, true) if single => return Err(Failure::bad_args(BOTH)),
        _ if key.is_empty() && (prefix || from_key) => open(),
        _ if key.is_empty() => Bytes::new(),
        (None, true, _) => prefix_end(key),
        (None, _, true) => open(),
        (None, false, false) => Bytes::new(),
        (Some(_), true, _) => {
            return Err(Failure::bad_args(
                "unexpected endkey argument with --prefix flag",
            ));
        }
        (Some(_), _, true) => {
            return Err(Failure::bad_args(
                "unexpected endkey argument with --from-key flag",
            ));
        }
        (Some(end), false, false) => end.clone().into(),
    };
    let key = if key.is_empty() {
        open()
    } else {
        key.clone().into()
    };
    Ok(Some((key, end)))
}
