//! Which fields each request has. Field numbers and kinds are those of the proto
//! files; what a kind means is etcd's.

use super::{Malformed, Read, fields::Fields};
use crate::{
    authpb::{Permission, UserAddOptions},
    etcdserverpb::{compare::TargetUnion, watch_request::RequestUnion, *},
    membershippb::{
        Attributes, ClusterMemberAttrSetRequest, ClusterVersionSetRequest, DowngradeInfoSetRequest,
    },
    raftpb::ConfChange,
    v3electionpb::{CampaignRequest, LeaderKey, LeaderRequest, ProclaimRequest, ResignRequest},
    v3lockpb::{LockRequest, UnlockRequest},
};

macro_rules! read {
    ($from:ident, $tag:ident, $to:expr, bytes) => {
        $from.bytes($tag).map(|bytes| $to = bytes)
    };
    ($from:ident, $tag:ident, $to:expr, end) => {
        $from.range_end($tag).map(|end| $to = end)
    };
    ($from:ident, $tag:ident, $to:expr, maybe_bytes) => {
        $from.bytes($tag).map(|bytes| $to = Some(bytes))
    };
    ($from:ident, $tag:ident, $to:expr, raw_text) => {
        $from.raw_text($tag).map(|text| $to = text)
    };
    ($from:ident, $tag:ident, $to:expr, text) => {
        $from.text($tag).map(|text| $to = text)
    };
    ($from:ident, $tag:ident, $to:expr, texts) => {
        $from.text($tag).map(|text| $to.push(text))
    };
    ($from:ident, $tag:ident, $to:expr, int) => {
        $from.varint($tag).map(|number| $to = number as _)
    };
    ($from:ident, $tag:ident, $to:expr, bool) => {
        $from.varint($tag).map(|number| $to = number != 0)
    };
    ($from:ident, $tag:ident, $to:expr, maybe_bool) => {
        $from.varint($tag).map(|number| $to = Some(number != 0))
    };
    ($from:ident, $tag:ident, $to:expr, numbers) => {
        $from.numbers($tag, &mut $to)
    };
    ($from:ident, $tag:ident, $to:expr, message) => {
        $from
            .message($tag)
            .and_then(|content| $to.get_or_insert_default().fill(content))
    };
    ($from:ident, $tag:ident, $to:expr, messages) => {
        $from.message($tag).and_then(|content| {
            let mut message = Default::default();
            let read = Read::fill(&mut message, content);
            $to.push(message);
            read
        })
    };
}

macro_rules! messages {
    ($($message:ident { $($number:literal $field:ident $kind:ident),* $(,)? })*) => {
        $(impl Read for $message {
            fn fill(&mut self, mut from: Fields<'_>) -> Result<(), Malformed> {
                while let Some(tag) = from.next()? {
                    let read = match tag.number {
                        $($number => read!(from, tag, self.$field, $kind),)*
                        _ => from.skip(tag),
                    };
                    from.or_skip(tag, read)?;
                }
                Ok(())
            }
        })*
    };
}

messages! {
    RequestHeader { 1 id int, 2 username raw_text, 3 auth_revision int }
    Request {
        1 id int, 2 method raw_text, 3 path text, 4 val text, 5 dir bool, 6 prev_value text,
        7 prev_index int, 8 prev_exist maybe_bool, 9 expiration int, 10 wait bool, 11 since int,
        12 recursive bool, 13 sorted bool, 14 quorum bool, 15 time int, 16 stream bool,
        17 refresh maybe_bool,
    }
    ConfChange { 1 id int, 2 r#type int, 3 node_id int, 4 context maybe_bytes }

    RangeRequest {
        1 key bytes, 2 range_end end, 3 limit int, 4 revision int, 5 sort_order int,
        6 sort_target int, 7 serializable bool, 8 keys_only bool, 9 count_only bool,
        10 min_mod_revision int, 11 max_mod_revision int, 12 min_create_revision int,
        13 max_create_revision int,
    }
    PutRequest {
        1 key bytes, 2 value bytes, 3 lease int, 4 prev_kv bool, 5 ignore_value bool,
        6 ignore_lease bool,
    }
    DeleteRangeRequest { 1 key bytes, 2 range_end end, 3 prev_kv bool }
    CompactionRequest { 1 revision int, 2 physical bool }

    LeaseGrantRequest { 1 ttl int, 2 id int }
    LeaseRevokeRequest { 1 id int }
    LeaseCheckpoint { 1 id int, 2 remaining_ttl int }
    LeaseCheckpointRequest { 1 checkpoints messages }
    LeaseKeepAliveRequest { 1 id int }
    LeaseTimeToLiveRequest { 1 id int, 2 keys bool }
    LeaseLeasesRequest {}

    MemberAddRequest { 1 peer_ur_ls texts, 2 is_learner bool }
    MemberRemoveRequest { 1 id int }
    MemberUpdateRequest { 1 id int, 2 peer_ur_ls texts }
    MemberListRequest { 1 linearizable bool }
    MemberPromoteRequest { 1 id int }

    AlarmRequest { 1 action int, 2 member_id int, 3 alarm int }
    HashKvRequest { 1 revision int }
    MoveLeaderRequest { 1 target_id int }
    DowngradeRequest { 1 action int, 2 version text }
    DowngradeVersionTestRequest { 1 ver text }

    AuthEnableRequest {}
    AuthDisableRequest {}
    AuthStatusRequest {}
    AuthenticateRequest { 1 name raw_text, 2 password raw_text }
    InternalAuthenticateRequest { 1 name raw_text, 2 password text, 3 simple_token text }
    UserAddOptions { 1 no_password bool }
    AuthUserAddRequest {
        1 name raw_text, 2 password raw_text, 3 options message, 4 hashed_password text,
    }
    AuthUserGetRequest { 1 name raw_text }
    AuthUserDeleteRequest { 1 name raw_text }
    AuthUserChangePasswordRequest { 1 name raw_text, 2 password raw_text, 3 hashed_password text }
    AuthUserGrantRoleRequest { 1 user raw_text, 2 role raw_text }
    AuthUserRevokeRoleRequest { 1 name raw_text, 2 role raw_text }
    AuthUserListRequest {}
    AuthRoleAddRequest { 1 name raw_text }
    AuthRoleGetRequest { 1 role raw_text }
    AuthRoleListRequest {}
    AuthRoleDeleteRequest { 1 role raw_text }
    Permission { 1 perm_type int, 2 key bytes, 3 range_end bytes }
    AuthRoleGrantPermissionRequest { 1 name raw_text, 2 perm message }
    AuthRoleRevokePermissionRequest { 1 role raw_text, 2 key bytes, 3 range_end bytes }

    ClusterVersionSetRequest { 1 ver text }
    Attributes { 1 name text, 2 client_urls texts }
    ClusterMemberAttrSetRequest { 1 member_id int, 2 member_attributes message }
    DowngradeInfoSetRequest { 1 enabled bool, 2 ver text }

    WatchCreateRequest {
        1 key bytes, 2 range_end bytes, 3 start_revision int, 4 progress_notify bool,
        5 filters numbers, 6 prev_kv bool, 7 watch_id int, 8 fragment bool,
    }
    WatchCancelRequest { 1 watch_id int }
    WatchProgressRequest {}

    LockRequest { 1 name bytes, 2 lease int }
    UnlockRequest { 1 key bytes }
    CampaignRequest { 1 name bytes, 2 lease int, 3 value bytes }
    LeaderKey { 1 name bytes, 2 key bytes, 3 rev int, 4 lease int }
    LeaderRequest { 1 name bytes }
    ResignRequest { 1 leader message }
    ProclaimRequest { 1 leader message, 2 value bytes }
}

impl Read for Compare {
    fn fill(&mut self, mut from: Fields<'_>) -> Result<(), Malformed> {
        while let Some(tag) = from.next()? {
            let union = &mut self.target_union;
            let mut set = |one| *union = Some(one);
            let read = match tag.number {
                1 => read!(from, tag, self.result, int),
                2 => read!(from, tag, self.target, int),
                3 => read!(from, tag, self.key, bytes),
                64 => read!(from, tag, self.range_end, end),
                4 => from
                    .varint(tag)
                    .map(|n| set(TargetUnion::Version(n as i64))),
                5 => from
                    .varint(tag)
                    .map(|n| set(TargetUnion::CreateRevision(n as i64))),
                6 => from
                    .varint(tag)
                    .map(|n| set(TargetUnion::ModRevision(n as i64))),
                7 => from.bytes(tag).map(|bytes| set(TargetUnion::Value(bytes))),
                8 => from.varint(tag).map(|n| set(TargetUnion::Lease(n as i64))),
                _ => from.skip(tag),
            };
            from.or_skip(tag, read)?;
        }
        Ok(())
    }
}

/// Reads a message of a union: into `before`, or a new one.
pub(super) fn read_into<M: Read>(before: Option<M>, from: Fields<'_>) -> Result<M, Malformed> {
    let mut message = before.unwrap_or_default();
    message.fill(from)?;
    Ok(message)
}

impl Read for WatchRequest {
    fn fill(&mut self, mut from: Fields<'_>) -> Result<(), Malformed> {
        while let Some(tag) = from.next()? {
            let content = match tag.number {
                1..=3 => from.message(tag),
                _ => {
                    from.skip(tag)?;
                    continue;
                }
            };
            let content = match content {
                Ok(content) => content,
                Err(error) => {
                    from.or_skip(tag, Err(error))?;
                    continue;
                }
            };
            use RequestUnion::{CancelRequest, CreateRequest, ProgressRequest};
            let before = match from.unions_grow() {
                true => self.request_union.take(),
                false => None,
            };
            let union = match (tag.number, before) {
                (1, Some(CreateRequest(one))) => CreateRequest(read_into(Some(one), content)?),
                (1, _) => CreateRequest(read_into(None, content)?),
                (2, Some(CancelRequest(one))) => CancelRequest(read_into(Some(one), content)?),
                (2, _) => CancelRequest(read_into(None, content)?),
                (_, Some(ProgressRequest(one))) => ProgressRequest(read_into(Some(one), content)?),
                _ => ProgressRequest(read_into(None, content)?),
            };
            self.request_union = Some(union);
        }
        Ok(())
    }
}
