//! Requests as etcd prints them: the compact text of protobuf for Go, with sizes in the place of
//! values.

use std::fmt::Write as _;

use proto::{
    authpb::permission::Type as PermissionType,
    etcdserverpb::{
        AlarmRequest, AlarmType, Compare, DeleteRangeRequest, InternalRaftRequest, PutRequest,
        RangeRequest, RequestOp, TxnRequest,
        alarm_request::AlarmAction,
        compare::{CompareResult, CompareTarget, TargetUnion},
        internal_raft_request::Op,
        range_request::{SortOrder, SortTarget},
        request_op::Request,
    },
    wire::text as replaced,
};

/// A text that grows field by field; what has its default value is left out.
#[derive(Default)]
struct Text(String);

impl Text {
    fn bytes(&mut self, name: &str, bytes: &[u8]) -> &mut Self {
        if bytes.is_empty() {
            return self;
        }
        let _ = write!(self.0, "{name}:\"");
        for byte in bytes {
            match byte {
                b'\n' => self.0.push_str("\\n"),
                b'\r' => self.0.push_str("\\r"),
                b'\t' => self.0.push_str("\\t"),
                b'"' | b'\\' => {
                    self.0.push('\\');
                    self.0.push(char::from(*byte));
                }
                0x20..0x7f => self.0.push(char::from(*byte)),
                _ => {
                    let _ = write!(self.0, "\\{byte:03o}");
                }
            }
        }
        self.0.push_str("\" ");
        self
    }

    fn text(&mut self, name: &str, text: &str) -> &mut Self {
        self.bytes(name, text.as_bytes())
    }

    fn int(&mut self, name: &str, value: i64) -> &mut Self {
        if value != 0 {
            let _ = write!(self.0, "{name}:{value} ");
        }
        self
    }

    fn uint(&mut self, name: &str, value: u64) -> &mut Self {
        if value != 0 {
            let _ = write!(self.0, "{name}:{value} ");
        }
        self
    }

    fn flag(&mut self, name: &str, is_set: bool) -> &mut Self {
        if is_set {
            let _ = write!(self.0, "{name}:true ");
        }
        self
    }

    /// A value of an enumeration; one without a name is a number.
    fn word(&mut self, name: &str, value: i32, word: Option<&str>) -> &mut Self {
        if value != 0 {
            let _ = match word {
                Some(word) => write!(self.0, "{name}:{word} "),
                None => write!(self.0, "{name}:{value} "),
            };
        }
        self
    }

    /// A member of a choice, there even with its default value.
    fn chosen(&mut self, name: &str, value: i64) -> &mut Self {
        let _ = write!(self.0, "{name}:{value} ");
        self
    }

    /// A message.
    fn inside(&mut self, name: &str, fill: impl FnOnce(&mut Text)) -> &mut Self {
        let _ = write!(self.0, "{name}:<");
        fill(self);
        self.0.push_str("> ");
        self
    }

    fn range(&mut self, range: &RangeRequest) -> &mut Self {
        let order = SortOrder::try_from(range.sort_order).ok();
        let target = SortTarget::try_from(range.sort_target).ok();
        self.bytes("key", &range.key)
            .bytes("range_end", &range.range_end)
            .int("limit", range.limit)
            .int("revision", range.revision)
            .word(
                "sort_order",
                range.sort_order,
                order.map(|order| order.as_str_name()),
            )
            .word(
                "sort_target",
                range.sort_target,
                target.map(|target| target.as_str_name()),
            )
            .flag("serializable", range.serializable)
            .flag("keys_only", range.keys_only)
            .flag("count_only", range.count_only)
            .int("min_mod_revision", range.min_mod_revision)
            .int("max_mod_revision", range.max_mod_revision)
            .int("min_create_revision", range.min_create_revision)
            .int("max_create_revision", range.max_create_revision)
    }

    fn put(&mut self, put: &PutRequest) -> &mut Self {
        self.bytes("key", &put.key)
            .int("value_size", put.value.len() as i64)
            .int("lease", put.lease)
            .flag("prev_kv", put.prev_kv)
            .flag("ignore_value", put.ignore_value)
            .flag("ignore_lease", put.ignore_lease)
    }

    fn delete(&mut self, delete: &DeleteRangeRequest) -> &mut Self {
        self.bytes("key", &delete.key)
            .bytes("range_end", &delete.range_end)
            .flag("prev_kv", delete.prev_kv)
    }

    fn compare(&mut self, compare: &Compare) -> &mut Self {
        let result = CompareResult::try_from(compare.result).ok();
        let target = CompareTarget::try_from(compare.target).ok();
        self.word(
            "result",
            compare.result,
            result.map(|result| result.as_str_name()),
        )
        .word(
            "target",
            compare.target,
            target.map(|target| target.as_str_name()),
        )
        .bytes("key", &compare.key);
        match &compare.target_union {
            Some(TargetUnion::Version(version)) => self.chosen("version", *version),
            Some(TargetUnion::CreateRevision(at)) => self.chosen("create_revision", *at),
            Some(TargetUnion::ModRevision(at)) => self.chosen("mod_revision", *at),
            Some(TargetUnion::Value(value)) => self.int("value_size", value.len() as i64),
            Some(TargetUnion::Lease(lease)) => self.chosen("lease", *lease),
            None => self,
        };
        self.bytes("range_end", &compare.range_end)
    }

    /// A transaction, and those inside it, with a list of what is still to be written: a client may
    /// nest as deep as it likes.
    fn txn(&mut self, txn: &TxnRequest) {
        let mut open = vec![Piece::Txn(txn)];
        while let Some(piece) = open.pop() {
            match piece {
                Piece::Text(text) => self.0.push_str(text),
                Piece::Txn(txn) => {
                    self.0.push_str("compare:<");
                    for (at, compare) in txn.compare.iter().enumerate() {
                        self.0.push_str(if at > 0 { " " } else { "" });
                        self.compare(compare);
                    }
                    self.0.push_str("> success:<");
                    open.push(Piece::Text(">"));
                    open.push(Piece::Ops(&txn.failure, 0));
                    open.push(Piece::Text("> failure:<"));
                    open.push(Piece::Ops(&txn.success, 0));
                }
                Piece::Ops(ops, at) => {
                    let Some(op) = ops.get(at) else {
                        continue;
                    };
                    self.0.push_str(if at > 0 { " " } else { "" });
                    open.push(Piece::Ops(ops, at + 1));
                    match &op.request {
                        Some(Request::RequestTxn(txn)) => {
                            self.0.push_str("request_txn:<");
                            open.push(Piece::Text(">"));
                            open.push(Piece::Txn(txn));
                        }
                        Some(Request::RequestPut(put)) => {
                            self.0.push_str("request_put:<");
                            self.put(put);
                            self.0.push('>');
                        }
                        Some(Request::RequestRange(range)) => {
                            self.inside("request_range", |text| {
                                text.range(range);
                            });
                        }
                        Some(Request::RequestDeleteRange(delete)) => {
                            self.inside("request_delete_range", |text| {
                                text.delete(delete);
                            });
                        }
                        None => {}
                    }
                }
            }
        }
    }

    fn alarm(&mut self, alarm: &AlarmRequest) -> &mut Self {
        let action = AlarmAction::try_from(alarm.action).ok();
        let kind = AlarmType::try_from(alarm.alarm).ok();
        self.word(
            "action",
            alarm.action,
            action.map(|action| action.as_str_name()),
        )
        .uint("memberID", alarm.member_id)
        .word("alarm", alarm.alarm, kind.map(|kind| kind.as_str_name()))
    }

    fn op(&mut self, op: &Op) {
        match op {
            Op::DeleteRange(delete) => self.inside("delete_range", |text| {
                text.delete(delete);
            }),
            Op::Compaction(compaction) => self.inside("compaction", |text| {
                text.int("revision", compaction.revision)
                    .flag("physical", compaction.physical);
            }),
            Op::Alarm(alarm) => self.inside("alarm", |text| {
                text.alarm(alarm);
            }),
            Op::LeaseCheckpoint(checkpoint) => self.inside("lease_checkpoint", |text| {
                for lease in &checkpoint.checkpoints {
                    text.inside("checkpoints", |text| {
                        text.int("ID", lease.id)
                            .int("remaining_TTL", lease.remaining_ttl);
                    });
                }
            }),
            Op::AuthEnable(_) => self.inside("auth_enable", |_| {}),
            Op::AuthDisable(_) => self.inside("auth_disable", |_| {}),
            Op::AuthStatus(_) => self.inside("auth_status", |_| {}),
            Op::AuthUserList(_) => self.inside("auth_user_list", |_| {}),
            Op::AuthRoleList(_) => self.inside("auth_role_list", |_| {}),
            Op::AuthUserDelete(user) => self.inside("auth_user_delete", |text| {
                text.bytes("name", &user.name);
            }),
            Op::AuthUserGet(user) => self.inside("auth_user_get", |text| {
                text.bytes("name", &user.name);
            }),
            Op::AuthUserGrantRole(grant) => self.inside("auth_user_grant_role", |text| {
                text.bytes("user", &grant.user).bytes("role", &grant.role);
            }),
            Op::AuthUserRevokeRole(revoke) => self.inside("auth_user_revoke_role", |text| {
                text.bytes("name", &revoke.name).bytes("role", &revoke.role);
            }),
            Op::AuthRoleAdd(role) => self.inside("auth_role_add", |text| {
                text.bytes("name", &role.name);
            }),
            Op::AuthRoleDelete(role) => self.inside("auth_role_delete", |text| {
                text.bytes("role", &role.role);
            }),
            Op::AuthRoleGet(role) => self.inside("auth_role_get", |text| {
                text.bytes("role", &role.role);
            }),
            Op::AuthRoleGrantPermission(grant) => {
                self.inside("auth_role_grant_permission", |text| {
                    text.bytes("name", &grant.name);
                    if let Some(perm) = &grant.perm {
                        let kind = PermissionType::try_from(perm.perm_type).ok();
                        text.inside("perm", |text| {
                            text.word(
                                "permType",
                                perm.perm_type,
                                kind.map(|kind| kind.as_str_name()),
                            )
                            .bytes("key", &perm.key)
                            .bytes("range_end", &perm.range_end);
                        });
                    }
                })
            }
            Op::AuthRoleRevokePermission(revoke) => {
                self.inside("auth_role_revoke_permission", |text| {
                    text.bytes("role", &revoke.role)
                        .bytes("key", &revoke.key)
                        .bytes("range_end", &revoke.range_end);
                })
            }
            Op::ClusterVersionSet(set) => self.inside("cluster_version_set", |text| {
                text.text("ver", &set.ver);
            }),
            Op::DowngradeInfoSet(set) => self.inside("downgrade_info_set", |text| {
                text.flag("enabled", set.enabled).text("ver", &set.ver);
            }),
            // The rest is written by [`request`], or is nothing that takes time.
            _ => self,
        };
    }
}

/// What is still to be written of a transaction.
enum Piece<'a> {
    Text(&'static str),
    Txn(&'a TxnRequest),
    /// Operations, from this one on.
    Ops(&'a [RequestOp], usize),
}

/// A range.
pub(super) fn range(range: &RangeRequest) -> String {
    let mut text = Text::default();
    text.range(range);
    text.0
}

/// A put.
pub(super) fn put(put: &PutRequest) -> String {
    let mut text = Text::default();
    text.put(put);
    text.0
}

/// A deletion.
pub(super) fn delete(delete: &DeleteRangeRequest) -> String {
    let mut text = Text::default();
    text.delete(delete);
    text.0
}

/// A transaction.
pub(super) fn txn(txn: &TxnRequest) -> String {
    let mut text = Text::default();
    text.txn(txn);
    text.0
}

/// A request of API version 2, which members still write about themselves.
pub(super) fn v2(request: &proto::etcdserverpb::Request) -> String {
    let mut text = Text::default();
    text.uint("ID", request.id)
        .bytes("Method", &request.method)
        .text("Path", &request.path)
        .text("Val", &request.val);
    text.0
}

/// What is in an entry.
pub(super) fn request(request: &InternalRaftRequest) -> String {
    let mut text = Text::default();
    text.uint("ID", request.id);
    text.0.push_str("header:<");
    if let Some(header) = &request.header {
        text.uint("ID", header.id)
            .bytes("username", &header.username)
            .uint("auth_revision", header.auth_revision);
    }
    text.0.push('>');
    let _ = match &request.op {
        Some(Op::LeaseGrant(grant)) => {
            let (ttl, id) = (grant.ttl, grant.id);
            write!(text.0, " lease_grant:<ttl:{ttl}-second id:{id:016x}>")
        }
        Some(Op::LeaseRevoke(revoke)) => write!(text.0, " lease_revoke:<id:{:016x}>", revoke.id),
        Some(Op::Authenticate(login)) => {
            // The token is one for a simple token to begin with, and no secret by itself.
            let (name, token) = (replaced(&login.name), &login.simple_token);
            write!(text.0, " authenticate:<name:{name} simple_token:{token}>")
        }
        Some(Op::AuthUserAdd(add)) => {
            let name = replaced(&add.name);
            write!(text.0, " auth_user_add:<name:{name}>")
        }
        Some(Op::AuthUserChangePassword(change)) => {
            let name = replaced(&change.name);
            write!(text.0, " auth_user_change_password:<name:{name}>")
        }
        Some(Op::Put(put)) => {
            text.0.push_str(" put:<");
            text.put(put);
            text.0.write_char('>')
        }
        Some(Op::Txn(txn)) => {
            text.0.push_str(" txn:<");
            text.txn(txn);
            text.0.write_char('>')
        }
        Some(other) => {
            text.0.push(' ');
            text.op(other);
            Ok(())
        }
        None => Ok(()),
    };
    text.0
}
