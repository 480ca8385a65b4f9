use bolt::Batch;
use bytes::Bytes;
use lease::{LeaseId, Lessor};
use proto::{
    authpb::{Permission, UserAddOptions, permission::Type},
    etcdserverpb::{
        AuthDisableRequest, AuthEnableRequest, AuthRoleAddRequest, AuthRoleDeleteRequest,
        AuthRoleGetRequest, AuthRoleGrantPermissionRequest, AuthRoleRevokePermissionRequest,
        AuthUserAddRequest, AuthUserChangePasswordRequest, AuthUserDeleteRequest,
        AuthUserGetRequest, AuthUserGrantRoleRequest, AuthUserRevokeRoleRequest, Compare,
        DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
        internal_raft_request::Op, request_op::Request,
    },
};

use super::*;
use crate::rules::{METHODS, Need, Release, Rules, need};

fn owned(name: impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(name.as_ref())
}

/// A store over a database file of its own.
struct Bench {
    store: Store,
    lessor: Lessor,
}

impl Bench {
    fn new(line: Release) -> Bench {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("db");
        let db = bolt::Db::open(&path, bolt::Options::default()).expect("a database");
        let mut batch = Batch::new();
        let options = Options {
            rules: Rules::of(line),
            bcrypt_cost: 4,
        };
        let store = Store::recover(&db.begin_read(), options, &mut batch);
        Bench {
            store: store.expect("a store"),
            lessor: Lessor::new(lease::Options::default()),
        }
    }

    fn apply(&mut self, op: Op) -> Result<Tokens, Error> {
        let before = self.store.revision();
        let mut batch = Batch::new();
        let result = self.store.change(&op, &mut batch);
        if result.is_err() {
            assert_eq!(
                self.store.revision(),
                before,
                "a refused entry has no effect"
            );
            assert!(batch.is_empty(), "a refused entry has no effect");
        }
        result
    }

    fn user(&mut self, name: impl AsRef<[u8]>) -> Result<Tokens, Error> {
        let options = UserAddOptions { no_password: true };
        self.apply(Op::AuthUserAdd(AuthUserAddRequest {
            name: owned(name),
            options: Some(options),
            ..AuthUserAddRequest::default()
        }))
    }

    fn role(&mut self, name: impl AsRef<[u8]>) -> Result<Tokens, Error> {
        self.apply(Op::AuthRoleAdd(AuthRoleAddRequest { name: owned(name) }))
    }

    fn grant(&mut self, user: impl AsRef<[u8]>, role: impl AsRef<[u8]>) -> Result<Tokens, Error> {
        self.apply(Op::AuthUserGrantRole(AuthUserGrantRoleRequest {
            user: owned(user),
            role: owned(role),
        }))
    }

    fn revoke(&mut self, name: &str, role: &str) -> Result<Tokens, Error> {
        self.apply(Op::AuthUserRevokeRole(AuthUserRevokeRoleRequest {
            name: owned(name),
            role: owned(role),
        }))
    }

    fn allow(&mut self, role: &str, kind: Type, key: &str, end: &str) -> Result<Tokens, Error> {
        self.apply(Op::AuthRoleGrantPermission(
            AuthRoleGrantPermissionRequest {
                name: owned(role),
                perm: Some(Permission {
                    perm_type: kind.into(),
                    key: key.to_owned().into(),
                    range_end: end.to_owned().into(),
                }),
            },
        ))
    }

    fn enable(&mut self) -> Result<Tokens, Error> {
        self.apply(Op::AuthEnable(AuthEnableRequest {}))
    }

    fn delete_user(&mut self, name: impl AsRef<[u8]>) -> Result<Tokens, Error> {
        self.apply(Op::AuthUserDelete(AuthUserDeleteRequest {
            name: owned(name),
        }))
    }

    fn delete_role(&mut self, role: impl AsRef<[u8]>) -> Result<Tokens, Error> {
        self.apply(Op::AuthRoleDelete(AuthRoleDeleteRequest {
            role: owned(role),
        }))
    }

    /// Authentication is on; `u` may read `r…`, write `w…`, and both `b…`.
    fn with_users(line: Release) -> Bench {
        let mut bench = Bench::new(line);
        for name in ["root", "u"] {
            bench.user(name).expect("a user");
            bench.role(name).expect("a role");
            bench.grant(name, name).expect("a grant");
        }
        bench.allow("u", Type::Read, "r", "s").expect("a grant");
        bench.allow("u", Type::Write, "w", "x").expect("a grant");
        bench
            .allow("u", Type::Readwrite, "b", "c")
            .expect("a grant");
        bench.enable().expect("enabled");
        bench
    }

    fn who(&self, user: &str) -> Identity {
        Identity {
            user: owned(user),
            revision: self.store.revision(),
        }
    }

    fn lease(&mut self, id: i64, keys: &[&str]) {
        let mut batch = Batch::new();
        self.lessor
            .grant(LeaseId(id), 60, 0, &mut batch)
            .expect("a lease");
        for key in keys {
            self.lessor
                .attach(LeaseId(id), key.as_bytes())
                .expect("a key");
        }
    }

    fn put(&self, request: &PutRequest) -> Result<(), Error> {
        self.store
            .check_put(&self.who("u"), Some(&self.lessor), request)
    }

    fn txn(&self, request: &TxnRequest) -> Result<(), Error> {
        self.store
            .check_txn(&self.who("u"), Some(&self.lessor), request)
    }
}

fn put(key: &str) -> PutRequest {
    PutRequest {
        key: key.to_owned().into(),
        ..PutRequest::default()
    }
}

fn op(request: Request) -> RequestOp {
    RequestOp {
        request: Some(request),
    }
}

fn txn_of(ops: Vec<RequestOp>) -> TxnRequest {
    TxnRequest {
        success: ops,
        ..TxnRequest::default()
    }
}

#[test]
fn authentication_needs_a_root_with_its_role() {
    let mut bench = Bench::new(Release::V3_5_30);
    assert_eq!(bench.store.revision(), 1);
    assert_eq!(bench.enable(), Err(Error::RootUserNotExist));
    bench.user("root").expect("a user");
    assert_eq!(bench.enable(), Err(Error::RootRoleNotExist));
    // The role root needs no record.
    bench.grant("root", "root").expect("a grant");
    let revision = bench.store.revision();
    assert_eq!(bench.enable(), Ok(Tokens::Accept));
    assert_eq!(bench.enable(), Ok(Tokens::Keep));
    assert_eq!(bench.store.revision(), revision);
    let disable = Op::AuthDisable(AuthDisableRequest {});
    assert_eq!(bench.apply(disable.clone()), Ok(Tokens::ForgetAll));
    assert_eq!(bench.apply(disable), Ok(Tokens::Keep));
    assert_eq!(bench.store.revision(), revision + 1);
}

#[test]
fn what_root_needs_stays_while_authentication_is_on() {
    let mut bench = Bench::with_users(Release::V3_5_30);
    assert_eq!(bench.delete_user("root"), Err(Error::InvalidAuthMgmt));
    assert_eq!(bench.delete_role("root"), Err(Error::InvalidAuthMgmt));
    assert_eq!(bench.revoke("root", "root"), Err(Error::InvalidAuthMgmt));
    let disable = Op::AuthDisable(AuthDisableRequest {});
    bench.apply(disable).expect("disabled");
    assert_eq!(bench.revoke("root", "root"), Ok(Tokens::Keep));
    assert_eq!(bench.delete_role("root"), Ok(Tokens::Keep));
    let forget = Tokens::Forget("root".into());
    assert_eq!(bench.delete_user("root"), Ok(forget));
}

#[test]
fn users_and_roles_are_refused_as_etcd_refuses_them() {
    let mut bench = Bench::new(Release::V3_5_30);
    assert_eq!(bench.user(""), Err(Error::UserEmpty));
    assert_eq!(bench.role(""), Err(Error::RoleEmpty));
    bench.user("u").expect("a user");
    bench.role("r").expect("a role");
    assert_eq!(bench.user("u"), Err(Error::UserAlreadyExist));
    assert_eq!(bench.role("r"), Err(Error::RoleAlreadyExist));
    assert_eq!(bench.grant("x", "y"), Err(Error::UserNotFound));
    assert_eq!(bench.grant("u", "y"), Err(Error::RoleNotFound));
    assert_eq!(bench.revoke("x", "r"), Err(Error::UserNotFound));
    assert_eq!(bench.revoke("u", "r"), Err(Error::RoleNotGranted));
    bench.grant("u", "r").expect("a grant");
    let revision = bench.store.revision();
    assert_eq!(bench.grant("u", "r"), Ok(Tokens::Keep));
    assert_eq!(bench.store.revision(), revision, "granted twice is once");
    assert_eq!(bench.delete_user("x"), Err(Error::UserNotFound));
    assert_eq!(bench.delete_role("x"), Err(Error::RoleNotFound));
    bench.delete_role("r").expect("deleted");
    assert!(!bench.store.has_role(b"u", b"r"));
    let long = "x".repeat(32769);
    assert_eq!(bench.user(&long), Err(Error::NameTooLong));
    assert_eq!(bench.role(&long), Err(Error::NameTooLong));
    bench.user(&long[1..]).expect("a user");
}

#[test]
fn permissions_are_granted_on_ranges_that_are_ones() {
    let mut bench = Bench::new(Release::V3_5_30);
    let missing = Op::AuthRoleGrantPermission(AuthRoleGrantPermissionRequest::default());
    assert_eq!(bench.apply(missing), Err(Error::PermissionNotGiven));
    for (key, end) in [("", ""), ("", "a"), ("b", "a"), ("a", "a")] {
        let refused = bench.allow("r", Type::Read, key, end);
        assert_eq!(refused, Err(Error::InvalidAuthMgmt), "[{key}, {end})");
    }
    assert_eq!(
        bench.allow("r", Type::Read, "a", "\0"),
        Err(Error::RoleNotFound)
    );
    bench.role("r").expect("a role");
    bench.allow("r", Type::Read, "a", "\0").expect("a grant");
    bench.allow("r", Type::Write, "a", "\0").expect("a grant");
    let get = AuthRoleGetRequest { role: "r".into() };
    let listed = bench.store.role_get(&get);
    assert_eq!(listed.expect("a role").len(), 1, "the type was changed");
    let mut revoke = AuthRoleRevokePermissionRequest {
        role: "r".into(),
        key: "a".into(),
        range_end: "b".into(),
    };
    let refused = bench.apply(Op::AuthRoleRevokePermission(revoke.clone()));
    assert_eq!(refused, Err(Error::PermissionNotGranted));
    revoke.range_end = "\0".into();
    bench
        .apply(Op::AuthRoleRevokePermission(revoke))
        .expect("revoked");
}

#[test]
fn a_password_is_stored_as_the_entry_has_it() {
    let mut bench = Bench::new(Release::V3_5_30);
    let add = |name: &str, password: &str, hashed_password: &str| {
        Op::AuthUserAdd(AuthUserAddRequest {
            name: owned(name),
            password: owned(password),
            hashed_password: hashed_password.into(),
            options: None,
        })
    };
    let hashed = password::hash_for_log(b"secret", 4).expect("a hash");
    bench.apply(add("root", "", &hashed)).expect("a user");
    bench.apply(add("old", "of 3.4", "")).expect("a user");
    let broken = bench.apply(add("broken", "", "no base64!"));
    assert_eq!(broken, Err(Error::NoPasswordUser));
    bench.user("none").expect("a user");
    bench.grant("root", "root").expect("a grant");
    assert_eq!(
        bench.store.credentials(b"root").err(),
        Some(Error::AuthNotEnabled)
    );
    bench.enable().expect("enabled");
    let check = |bench: &Bench, name: &str, word: &str| {
        let stored = bench.store.credentials(name.as_bytes());
        password::check(word.as_bytes(), &stored.expect("it is on"))
    };
    assert_eq!(check(&bench, "root", "secret"), Ok(()));
    assert_eq!(check(&bench, "root", "Secret"), Err(Error::AuthFailed));
    assert_eq!(check(&bench, "old", "of 3.4"), Ok(()));
    assert_eq!(check(&bench, "none", ""), Err(Error::NoPasswordUser));
    assert_eq!(check(&bench, "nobody", ""), Err(Error::AuthFailed));
    let change = Op::AuthUserChangePassword(AuthUserChangePasswordRequest {
        name: "old".into(),
        password: Bytes::new(),
        hashed_password: password::hash_for_log(b"new", 4).expect("a hash"),
    });
    assert_eq!(bench.apply(change), Ok(Tokens::Forget("old".into())));
    assert_eq!(check(&bench, "old", "new"), Ok(()));
    assert_eq!(bench.store.authenticate(b"old"), Ok(()));
    assert_eq!(bench.store.authenticate(b"none"), Err(Error::AuthFailed));
    let long = [b'x'; 73];
    assert_eq!(password::hash(&long, 4), Err(password::HashError::TooLong));
    assert!(password::hash(&long[1..], 4).is_ok_and(|text| text.starts_with("$2a$04$")));
}

/// Whoever asks for a user that is not there waits for one comparison, as for one that is.
#[test]
fn a_wrong_password_costs_what_an_unknown_user_costs() {
    let mut bench = Bench::new(Release::V3_5_30);
    let add = |name: &'static str, cost, no_password| {
        Op::AuthUserAdd(AuthUserAddRequest {
            name: name.into(),
            hashed_password: password::hash_for_log(name.as_bytes(), cost).expect("a hash"),
            options: Some(UserAddOptions { no_password }),
            ..AuthUserAddRequest::default()
        })
    };
    bench.apply(add("root", 5, false)).expect("a user");
    bench.apply(add("none", 4, true)).expect("a user");
    bench.grant("root", "root").expect("a grant");
    bench.enable().expect("enabled");
    let cost = |bench: &Bench, name: &str| {
        let stored = bench.store.credentials(name.as_bytes());
        stored.expect("it is on").cost()
    };
    for name in ["root", "none", "unknown", ""] {
        assert_eq!(cost(&bench, name), Some(5), "{name}");
    }
    // The cost was raised since: a user that is not there is as slow as any.
    bench.apply(add("new", 6, false)).expect("a user");
    for (name, expected) in [("root", 5), ("new", 6), ("none", 6), ("unknown", 6)] {
        assert_eq!(cost(&bench, name), Some(expected), "{name}");
    }
    let unknown = bench.store.credentials(b"unknown").expect("it is on");
    assert_eq!(password::check(b"", &unknown), Err(Error::AuthFailed));
}

/// In its own thread, as a server's are.
#[test]
#[cfg(debug_assertions)]
fn a_thread_that_serves_hashes_no_password() {
    let serving = |work: fn()| {
        let thread = std::thread::spawn(move || {
            password::never_on_this_thread();
            work();
        });
        thread.join().is_err()
    };
    assert!(serving(|| drop(password::hash(b"p", 4))));
    assert!(!serving(|| ()));
    assert!(password::hash(b"p", 4).is_ok(), "another thread may");
}

#[test]
fn users_see_themselves_and_their_roles() {
    let bench = Bench::with_users(Release::V3_5_30);
    let user = |who: &str, name: &str| {
        let request = AuthUserGetRequest { name: owned(name) };
        let op = Op::AuthUserGet(request.clone());
        bench.store.check_op(&bench.who(who), None, &op)?;
        bench.store.user_get(&request)
    };
    let role = |who: &str, role: &str| {
        let request = AuthRoleGetRequest { role: owned(role) };
        let op = Op::AuthRoleGet(request.clone());
        bench.store.check_op(&bench.who(who), None, &op)?;
        bench.store.role_get(&request).map(|list| list.len())
    };
    assert_eq!(user("u", "u"), Ok(vec!["u".into()]));
    assert_eq!(user("u", "root"), Err(Error::PermissionDenied));
    assert_eq!(user("root", "x"), Err(Error::UserNotFound));
    assert_eq!(user("x", "u"), Err(Error::UserNotFound));
    assert_eq!(user("", "u"), Err(Error::UserEmpty));
    assert_eq!(role("u", "u"), Ok(3));
    assert_eq!(role("u", "root"), Err(Error::PermissionDenied));
    assert_eq!(role("root", "x"), Err(Error::RoleNotFound));
}

#[test]
fn a_request_without_a_user_or_of_an_old_one_is_refused() {
    let mut bench = Bench::with_users(Release::V3_5_30);
    let read = |bench: &Bench, user: &str, revision| {
        let who = Identity {
            user: owned(user),
            revision,
        };
        bench.store.check_keys(&who, b"r", b"")
    };
    let revision = bench.store.revision();
    assert_eq!(read(&bench, "", 0), Err(Error::UserEmpty));
    assert_eq!(read(&bench, "u", revision - 1), Err(Error::AuthOldRevision));
    assert_eq!(
        read(&bench, "root", revision - 1),
        Err(Error::AuthOldRevision)
    );
    assert_eq!(
        read(&bench, "nobody", revision),
        Err(Error::PermissionDenied)
    );
    assert_eq!(read(&bench, "u", revision + 5), Ok(()));
    let old_root = Identity {
        user: "root".into(),
        revision: 1,
    };
    assert_eq!(bench.store.check_admin(&old_root), Ok(()));
    let disable = Op::AuthDisable(AuthDisableRequest {});
    bench.apply(disable).expect("disabled");
    assert_eq!(read(&bench, "", 0), Ok(()));
    assert_eq!(bench.store.check_admin(&Identity::default()), Ok(()));
}

#[test]
fn a_put_needs_its_key_its_previous_value_and_its_lease() {
    let mut bench = Bench::with_users(Release::V3_5_30);
    bench.lease(1, &["w1", "w2"]);
    bench.lease(2, &["w1x", "r1"]);
    let with = |key: &str, prev_kv, lease| PutRequest {
        prev_kv,
        lease,
        ..put(key)
    };
    let denied = Err(Error::PermissionDenied);
    for (request, expected) in [
        (put("w"), Ok(())),
        (put("r"), denied),
        (with("w", true, 0), denied),
        (with("b", true, 0), Ok(())),
        (with("w", false, 1), Ok(())),
        (with("w", false, 2), denied),
        (with("w", false, 99), Ok(())),
    ] {
        assert_eq!(bench.put(&request), expected, "{request:?}");
    }
    let (u, root) = (bench.who("u"), bench.who("root"));
    let write = |who: &Identity, id| {
        bench
            .store
            .check_lease_write(who, Some(&bench.lessor), LeaseId(id))
    };
    let read = |who: &Identity, id| {
        bench
            .store
            .check_lease_read(who, Some(&bench.lessor), LeaseId(id))
    };
    assert_eq!((write(&u, 1), read(&u, 1)), (Ok(()), denied));
    assert_eq!((write(&root, 2), read(&root, 2)), (Ok(()), Ok(())));
    assert_eq!(write(&Identity::default(), 1), Err(Error::UserEmpty));
    assert_eq!(write(&Identity::default(), 99), Ok(()));
}

#[test]
fn a_delete_needs_its_range_and_its_previous_values() {
    let bench = Bench::with_users(Release::V3_5_30);
    let delete = |key: &str, end: &str, prev_kv| {
        let request = DeleteRangeRequest {
            key: key.to_owned().into(),
            range_end: end.to_owned().into(),
            prev_kv,
        };
        bench.store.check_delete(&bench.who("u"), &request)
    };
    assert_eq!(delete("w", "x", false), Ok(()));
    assert_eq!(delete("w", "x", true), Err(Error::PermissionDenied));
    assert_eq!(delete("w", "x\0", false), Err(Error::PermissionDenied));
    assert_eq!(delete("w", "\0", false), Err(Error::PermissionDenied));
    assert_eq!(delete("b", "c", true), Ok(()));
}

#[test]
fn a_transaction_needs_both_branches_and_its_compares() {
    let bench = Bench::with_users(Release::V3_5_30);
    let read = |key: &str| {
        op(Request::RequestRange(RangeRequest {
            key: key.to_owned().into(),
            ..RangeRequest::default()
        }))
    };
    let write = |key: &str| op(Request::RequestPut(put(key)));
    let denied = Err(Error::PermissionDenied);
    let allowed = txn_of(vec![read("r"), write("w")]);
    assert_eq!(bench.txn(&allowed), Ok(()));
    assert_eq!(bench.txn(&txn_of(vec![write("r")])), denied);
    let in_failure = TxnRequest {
        failure: vec![read("w")],
        ..allowed.clone()
    };
    assert_eq!(bench.txn(&in_failure), denied);
    let compared = |key: &str, end: &str| TxnRequest {
        compare: vec![Compare {
            key: key.to_owned().into(),
            range_end: end.to_owned().into(),
            ..Compare::default()
        }],
        ..allowed.clone()
    };
    assert_eq!(bench.txn(&compared("r", "s")), Ok(()));
    assert_eq!(bench.txn(&compared("r", "t")), denied);
    assert_eq!(bench.txn(&compared("w", "")), denied);
    let empty = txn_of(vec![RequestOp { request: None }]);
    assert_eq!(bench.txn(&empty), Ok(()));
}

#[test]
fn what_is_nested_is_checked_since_3_5_30() {
    let nested = |inner: TxnRequest| txn_of(vec![op(Request::RequestTxn(inner))]);
    let deep = |ops: Vec<RequestOp>| nested(nested(txn_of(ops)));
    let hidden_write = deep(vec![op(Request::RequestPut(put("r")))]);
    let hidden_compare = nested(TxnRequest {
        compare: vec![Compare {
            key: "w".into(),
            ..Compare::default()
        }],
        ..TxnRequest::default()
    });
    let hidden_read = txn_of(vec![op(Request::RequestPut(PutRequest {
        prev_kv: true,
        ..put("w")
    }))]);
    let hidden_lease = txn_of(vec![op(Request::RequestPut(PutRequest {
        lease: 7,
        ..put("w")
    }))]);
    for (line, expected) in [
        (Release::V3_5_21, Ok(())),
        (Release::V3_5_30, Err(Error::PermissionDenied)),
    ] {
        let mut bench = Bench::with_users(line);
        bench.lease(7, &["r"]);
        for request in [&hidden_write, &hidden_compare, &hidden_read, &hidden_lease] {
            assert_eq!(bench.txn(request), expected, "{line:?}: {request:?}");
        }
        let harmless = deep(vec![op(Request::RequestPut(put("w")))]);
        assert_eq!(bench.txn(&harmless), Ok(()));
    }
}

#[test]
fn a_lease_that_is_named_is_found_at_any_depth() {
    let with_lease = PutRequest {
        lease: 7,
        ..put("w")
    };
    let nested = |put| {
        let inner = txn_of(vec![op(Request::RequestPut(put))]);
        Op::Txn(txn_of(vec![op(Request::RequestTxn(inner))]))
    };
    assert!(names_lease(&Op::Put(with_lease.clone())));
    assert!(names_lease(&nested(with_lease)));
    assert!(!names_lease(&Op::Put(put("w"))));
    assert!(!names_lease(&nested(put("w"))));
}

#[test]
fn no_depth_of_nesting_ends_the_process() {
    let bench = Bench::with_users(Release::V3_5_30);
    let mut request = txn_of(vec![op(Request::RequestPut(put("r")))]);
    for _ in 0..200_000 {
        request = txn_of(vec![op(Request::RequestTxn(request))]);
    }
    let request = proto::wire::Nested::new(request);
    assert_eq!(bench.txn(&request), Err(Error::PermissionDenied));
}

#[test]
fn a_change_of_a_role_changes_its_users() {
    let mut bench = Bench::with_users(Release::V3_5_30);
    let read = |bench: &Bench, key: &[u8]| bench.store.check_keys(&bench.who("u"), key, b"");
    assert_eq!(read(&bench, b"z"), Err(Error::PermissionDenied));
    bench.allow("u", Type::Read, "z", "").expect("a grant");
    assert_eq!(read(&bench, b"z"), Ok(()));
    bench.revoke("u", "u").expect("revoked");
    assert_eq!(read(&bench, b"z"), Err(Error::PermissionDenied));
    bench.grant("u", "root").expect("a grant");
    assert_eq!(read(&bench, b"anything"), Ok(()));
}

#[test]
fn ranges_of_several_roles_add_up() {
    let mut bench = Bench::with_users(Release::V3_5_30);
    for (role, key, end) in [
        ("one", "k1", "k3"),
        ("two", "k3", "k5"),
        ("three", "k6", "\0"),
    ] {
        bench.role(role).expect("a role");
        bench.allow(role, Type::Read, key, end).expect("a grant");
        bench.grant("u", role).expect("a grant");
    }
    let read = |key: &str, end: &str| {
        let (key, end) = (key.as_bytes(), end.as_bytes());
        bench.store.check_keys(&bench.who("u"), key, end).is_ok()
    };
    assert!(read("k1", "k5") && read("k2", "k4") && read("k7", "\0") && read("zz", ""));
    assert!(!read("k1", "k6") && !read("k1", "\0") && !read("k5", ""));
}

#[test]
fn every_method_is_in_the_table_once() {
    let mut paths: Vec<&str> = METHODS.iter().map(|method| method.path).collect();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), METHODS.len());
    assert_eq!(need("/etcdserverpb.KV/Rename", Release::V3_5_30), None);
    let status = |line| need("/etcdserverpb.Maintenance/Status", line);
    assert_eq!(status(Release::V3_5_21), Some(Need::Nothing));
    assert_eq!(status(Release::V3_5_30), Some(Need::Root));
    assert_eq!(status(Release::V3_5_33), Some(Need::User));
}

/// etcd takes such names, and tells two of them apart that read alike.
#[test]
fn names_are_bytes() {
    let mut bench = Bench::new(Release::V3_5_30);
    for name in [&b"\xff"[..], b"\xfe", "\u{fffd}".as_bytes()] {
        bench.user(name).expect("another user");
        bench.role(name).expect("another role");
        assert_eq!(bench.user(name), Err(Error::UserAlreadyExist));
    }
    bench.grant(b"\xff", b"\xfe").expect("a grant");
    assert!(bench.store.has_role(b"\xff", b"\xfe"));
    assert!(!bench.store.has_role(b"\xff", b"\xff"));
    assert_eq!(
        bench.delete_user(b"\xfe"),
        Ok(Tokens::Forget(Bytes::from_static(b"\xfe")))
    );
    assert!(bench.store.users().eq(["\u{fffd}".as_bytes(), b"\xff"]));
    // etcd does not read on to the last of them.
    assert!(bench.store.roles().eq(["\u{fffd}".as_bytes(), b"\xfe"]));
}
