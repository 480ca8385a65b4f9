//! The unary calls, one method each, and what may be repeated.

use proto::etcdserverpb as api;

use crate::{Client, Error, client::Policy};

macro_rules! calls {
    ($($(#[$doc:meta])* $policy:ident $module:ident::$stub:ident.$rpc:ident as $name:ident($request:ident) -> $response:ident;)*) => {
        impl Client {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// [`Error`]: the server's refusal, the transport's, or the deadline.
                pub async fn $name(&self, request: api::$request) -> Result<api::$response, Error> {
                    self.unary(Policy::$policy, request, |channel, request| async move {
                        api::$module::$stub::new(channel)
                            .max_decoding_message_size(usize::MAX)
                            .$rpc(request)
                            .await
                    })
                    .await
                }
            )*
        }
    };
}

calls! {
    /// Reads keys.
    Read kv_client::KvClient.range as range(RangeRequest) -> RangeResponse;
    /// Writes one key.
    Write kv_client::KvClient.put as put(PutRequest) -> PutResponse;
    /// Deletes keys.
    Write kv_client::KvClient.delete_range as delete_range(DeleteRangeRequest) -> DeleteRangeResponse;
    /// Runs a transaction; treated as a write whatever it holds.
    Write kv_client::KvClient.txn as txn(TxnRequest) -> TxnResponse;
    /// Drops history up to a revision.
    Write kv_client::KvClient.compact as compact(CompactionRequest) -> CompactionResponse;

    /// Creates a lease.
    Write lease_client::LeaseClient.lease_grant as lease_grant(LeaseGrantRequest) -> LeaseGrantResponse;
    /// Ends a lease and deletes its keys.
    Write lease_client::LeaseClient.lease_revoke as lease_revoke(LeaseRevokeRequest) -> LeaseRevokeResponse;
    /// Reads the remaining time of a lease.
    Read lease_client::LeaseClient.lease_time_to_live as lease_time_to_live(LeaseTimeToLiveRequest) -> LeaseTimeToLiveResponse;
    /// Lists leases.
    Read lease_client::LeaseClient.lease_leases as lease_leases(LeaseLeasesRequest) -> LeaseLeasesResponse;

    /// Adds a member.
    Write cluster_client::ClusterClient.member_add as member_add(MemberAddRequest) -> MemberAddResponse;
    /// Removes a member.
    Write cluster_client::ClusterClient.member_remove as member_remove(MemberRemoveRequest) -> MemberRemoveResponse;
    /// Changes a member's peer URLs.
    Write cluster_client::ClusterClient.member_update as member_update(MemberUpdateRequest) -> MemberUpdateResponse;
    /// Lists the members.
    Read cluster_client::ClusterClient.member_list as member_list(MemberListRequest) -> MemberListResponse;
    /// Makes a learner a voter.
    Write cluster_client::ClusterClient.member_promote as member_promote(MemberPromoteRequest) -> MemberPromoteResponse;

    /// Lists, raises or clears alarms; clearing twice does no harm.
    Read maintenance_client::MaintenanceClient.alarm as alarm(AlarmRequest) -> AlarmResponse;
    /// The state of the member that answers.
    Read maintenance_client::MaintenanceClient.status as status(StatusRequest) -> StatusResponse;
    /// Rewrites the backend file of the member that answers.
    Write maintenance_client::MaintenanceClient.defragment as defragment(DefragmentRequest) -> DefragmentResponse;
    /// Hash of the whole backend of the member that answers.
    Read maintenance_client::MaintenanceClient.hash as hash(HashRequest) -> HashResponse;
    /// Hash of the key space up to a revision.
    Read maintenance_client::MaintenanceClient.hash_kv as hash_kv(HashKvRequest) -> HashKvResponse;
    /// Hands leadership to another member.
    Write maintenance_client::MaintenanceClient.move_leader as move_leader(MoveLeaderRequest) -> MoveLeaderResponse;
    /// Checks, starts or cancels a downgrade.
    Write maintenance_client::MaintenanceClient.downgrade as downgrade(DowngradeRequest) -> DowngradeResponse;

    /// Turns auth on.
    Write auth_client::AuthClient.auth_enable as auth_enable(AuthEnableRequest) -> AuthEnableResponse;
    /// Turns auth off.
    Write auth_client::AuthClient.auth_disable as auth_disable(AuthDisableRequest) -> AuthDisableResponse;
    /// Whether auth is on.
    Read auth_client::AuthClient.auth_status as auth_status(AuthStatusRequest) -> AuthStatusResponse;
    /// Trades name and password for a token.
    Read auth_client::AuthClient.authenticate as authenticate(AuthenticateRequest) -> AuthenticateResponse;
    /// Adds a user.
    Write auth_client::AuthClient.user_add as user_add(AuthUserAddRequest) -> AuthUserAddResponse;
    /// Reads a user's roles.
    Read auth_client::AuthClient.user_get as user_get(AuthUserGetRequest) -> AuthUserGetResponse;
    /// Lists users.
    Read auth_client::AuthClient.user_list as user_list(AuthUserListRequest) -> AuthUserListResponse;
    /// Deletes a user.
    Write auth_client::AuthClient.user_delete as user_delete(AuthUserDeleteRequest) -> AuthUserDeleteResponse;
    /// Sets a user's password.
    Write auth_client::AuthClient.user_change_password as user_change_password(AuthUserChangePasswordRequest) -> AuthUserChangePasswordResponse;
    /// Grants a role to a user.
    Write auth_client::AuthClient.user_grant_role as user_grant_role(AuthUserGrantRoleRequest) -> AuthUserGrantRoleResponse;
    /// Takes a role from a user.
    Write auth_client::AuthClient.user_revoke_role as user_revoke_role(AuthUserRevokeRoleRequest) -> AuthUserRevokeRoleResponse;
    /// Adds a role.
    Write auth_client::AuthClient.role_add as role_add(AuthRoleAddRequest) -> AuthRoleAddResponse;
    /// Reads a role's permissions.
    Read auth_client::AuthClient.role_get as role_get(AuthRoleGetRequest) -> AuthRoleGetResponse;
    /// Lists roles.
    Read auth_client::AuthClient.role_list as role_list(AuthRoleListRequest) -> AuthRoleListResponse;
    /// Deletes a role.
    Write auth_client::AuthClient.role_delete as role_delete(AuthRoleDeleteRequest) -> AuthRoleDeleteResponse;
    /// Grants a key range to a role.
    Write auth_client::AuthClient.role_grant_permission as role_grant_permission(AuthRoleGrantPermissionRequest) -> AuthRoleGrantPermissionResponse;
    /// Takes a key range from a role.
    Write auth_client::AuthClient.role_revoke_permission as role_revoke_permission(AuthRoleRevokePermissionRequest) -> AuthRoleRevokePermissionResponse;
}
