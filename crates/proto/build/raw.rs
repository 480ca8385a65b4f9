//! Fields that are declared as text and hold any bytes. etcd checks none of them: the name of a
//! user goes into the log, the database and the answers as it came. A `String` could not hold it,
//! and what reads like another name must not become one.

use protox::prost_reflect::prost_types::{FileDescriptorSet, field_descriptor_proto::Type};

/// Messages, and those of their fields that hold any bytes.
pub(crate) const RAW: [(&str, &[&str]); 20] = [
    (".authpb.User", &["roles"]),
    (".etcdserverpb.RequestHeader", &["username"]),
    (".etcdserverpb.InternalAuthenticateRequest", &["name"]),
    (".etcdserverpb.AuthenticateRequest", &["name", "password"]),
    (".etcdserverpb.AuthUserAddRequest", &["name", "password"]),
    (".etcdserverpb.AuthUserGetRequest", &["name"]),
    (".etcdserverpb.AuthUserGetResponse", &["roles"]),
    (".etcdserverpb.AuthUserListResponse", &["users"]),
    (".etcdserverpb.AuthUserDeleteRequest", &["name"]),
    (
        ".etcdserverpb.AuthUserChangePasswordRequest",
        &["name", "password"],
    ),
    (".etcdserverpb.AuthUserGrantRoleRequest", &["user", "role"]),
    (".etcdserverpb.AuthUserRevokeRoleRequest", &["name", "role"]),
    (".etcdserverpb.AuthRoleAddRequest", &["name"]),
    (".etcdserverpb.AuthRoleGetRequest", &["role"]),
    (".etcdserverpb.AuthRoleListResponse", &["roles"]),
    (".etcdserverpb.AuthRoleDeleteRequest", &["role"]),
    (".etcdserverpb.AuthRoleGrantPermissionRequest", &["name"]),
    (".etcdserverpb.AuthRoleRevokePermissionRequest", &["role"]),
    (".etcdserverpb.Request", &["Method"]),
    (".etcdserverpb.InternalRaftRequest", &[]),
];

/// The descriptors with these fields as bytes, which are the same on the wire.
///
/// # Panics
/// A field of the list is not there, or is no text.
pub(crate) fn as_bytes(files: &FileDescriptorSet) -> FileDescriptorSet {
    let mut files = files.clone();
    for (name, fields) in RAW {
        let (package, name) = name[1..].split_once('.').expect("a package");
        let message = files
            .file
            .iter_mut()
            .filter(|file| file.package() == package)
            .flat_map(|file| &mut file.message_type)
            .find(|message| message.name() == name)
            .unwrap_or_else(|| panic!("no message {name}"));
        for field in fields {
            let found = message.field.iter_mut().find(|one| one.name() == *field);
            let found = found.unwrap_or_else(|| panic!("{name} has no field {field}"));
            assert_eq!(found.r#type(), Type::String, "{name}.{field}");
            found.set_type(Type::Bytes);
        }
    }
    files
}
