//! gRPC calls as tests want them: one connection per [`Api`], plain messages
//! in, plain messages or the status out. It must never retry: what the server
//! answered is what the test sees.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use client::Raw;
use futures_util::{StreamExt as _, future::Either, stream};
use hyper_util::rt::TokioIo;
use proto::etcdserverpb::{
    auth_client::AuthClient, cluster_client::ClusterClient, kv_client::KvClient,
    lease_client::LeaseClient, maintenance_client::MaintenanceClient, watch_client::WatchClient, *,
};
use proto::{v3electionpb::election_client::ElectionClient, v3lockpb::lock_client::LockClient};
use tokio::{net::TcpStream, sync::oneshot};
use tonic::{
    Status,
    codegen::Service,
    transport::{Channel, Endpoint},
};

/// A connection to one server. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub struct Api {
    channel: Channel,
    port: u16,
    connected: Arc<Mutex<Option<Instant>>>,
}

/// Connects, and notes when.
#[derive(Clone)]
struct Dial {
    port: u16,
    connected: Arc<Mutex<Option<Instant>>>,
}

impl Service<http::Uri> for Dial {
    type Response = TokioIo<TcpStream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let Dial { port, connected } = self.clone();
        Box::pin(async move {
            let stream = TcpStream::connect(("127.0.0.1", port)).await?;
            stream.set_nodelay(true)?;
            *connected.lock().expect("no one panics under this lock") = Some(Instant::now());
            Ok(TokioIo::new(stream))
        })
    }
}

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident($request:ty) -> $response:ty = $client:ident.$method:ident;)*) => {
        $($(#[$doc])*
        pub async fn $name(&self, request: $request) -> Result<$response, Status> {
            self.$client().$method(request).await.map(tonic::Response::into_inner)
        })*
    };
}

impl Api {
    /// A connection to `127.0.0.1:<port>`, made at the first call.
    pub fn new(port: u16) -> Api {
        let channel = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))
            .expect("a URL of digits")
            .connect_timeout(Duration::from_secs(2))
            .timeout(Duration::from_secs(30));
        let connected = Arc::default();
        let dial = Dial {
            port,
            connected: Arc::clone(&connected),
        };
        Api {
            channel: channel.connect_with_connector_lazy(dial),
            port,
            connected,
        }
    }

    /// When the connection in use was made.
    pub fn connected(&self) -> Option<Instant> {
        *self
            .connected
            .lock()
            .expect("no one panics under this lock")
    }

    /// The port this connection goes to, for HTTP beside it.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The key-value service, for requests with metadata.
    pub fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    /// The lease service, for streams.
    pub fn lease(&self) -> LeaseClient<Channel> {
        LeaseClient::new(self.channel.clone())
    }

    /// The service for users and roles.
    pub fn auth(&self) -> AuthClient<Channel> {
        AuthClient::new(self.channel.clone())
    }

    /// The service for members.
    pub fn cluster(&self) -> ClusterClient<Channel> {
        ClusterClient::new(self.channel.clone())
    }

    /// The maintenance service.
    pub fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    /// The service for named locks.
    pub fn lock(&self) -> LockClient<Channel> {
        LockClient::new(self.channel.clone())
    }

    /// The service for elections.
    pub fn election(&self) -> ElectionClient<Channel> {
        ElectionClient::new(self.channel.clone())
    }

    /// The watch service, for streams.
    pub fn watch(&self) -> WatchClient<Channel> {
        WatchClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    unary! {
        /// KV.Range
        range(RangeRequest) -> RangeResponse = kv.range;
        /// KV.Put
        put(PutRequest) -> PutResponse = kv.put;
        /// KV.DeleteRange
        delete_range(DeleteRangeRequest) -> DeleteRangeResponse = kv.delete_range;
        /// KV.Txn
        txn(TxnRequest) -> TxnResponse = kv.txn;
        /// KV.Compact
        compact(CompactionRequest) -> CompactionResponse = kv.compact;
        /// Lease.LeaseGrant
        lease_grant(LeaseGrantRequest) -> LeaseGrantResponse = lease.lease_grant;
        /// Lease.LeaseRevoke
        lease_revoke(LeaseRevokeRequest) -> LeaseRevokeResponse = lease.lease_revoke;
        /// Lease.LeaseTimeToLive
        lease_time_to_live(LeaseTimeToLiveRequest) -> LeaseTimeToLiveResponse = lease.lease_time_to_live;
        /// Lease.LeaseLeases
        lease_leases(LeaseLeasesRequest) -> LeaseLeasesResponse = lease.lease_leases;
        /// Cluster.MemberList
        member_list(MemberListRequest) -> MemberListResponse = cluster.member_list;
        /// Cluster.MemberAdd
        member_add(MemberAddRequest) -> MemberAddResponse = cluster.member_add;
        /// Cluster.MemberRemove
        member_remove(MemberRemoveRequest) -> MemberRemoveResponse = cluster.member_remove;
        /// Cluster.MemberUpdate
        member_update(MemberUpdateRequest) -> MemberUpdateResponse = cluster.member_update;
        /// Cluster.MemberPromote
        member_promote(MemberPromoteRequest) -> MemberPromoteResponse = cluster.member_promote;
        /// Maintenance.Alarm
        alarm(AlarmRequest) -> AlarmResponse = maintenance.alarm;
        /// Maintenance.Status
        status(StatusRequest) -> StatusResponse = maintenance.status;
        /// Maintenance.Defragment
        defragment(DefragmentRequest) -> DefragmentResponse = maintenance.defragment;
        /// Maintenance.Hash
        hash(HashRequest) -> HashResponse = maintenance.hash;
        /// Maintenance.HashKV
        hash_kv(HashKvRequest) -> HashKvResponse = maintenance.hash_kv;
        /// Maintenance.MoveLeader
        move_leader(MoveLeaderRequest) -> MoveLeaderResponse = maintenance.move_leader;
        /// Maintenance.Downgrade
        downgrade(DowngradeRequest) -> DowngradeResponse = maintenance.downgrade;
    }

    /// One keep-alive on a stream of its own.
    pub async fn keep_alive(&self, id: i64) -> Result<LeaseKeepAliveResponse, Status> {
        let requests = stream::iter([LeaseKeepAliveRequest { id }]);
        let mut answers = self.lease().lease_keep_alive(requests).await?.into_inner();
        answers
            .message()
            .await?
            .ok_or_else(|| Status::unknown("keep-alive stream ended without an answer"))
    }

    /// KV.Range of a client that says this of the version of its API.
    pub async fn range_of_version(
        &self,
        version: &[u8],
        range: RangeRequest,
    ) -> Result<RangeResponse, Status> {
        let mut request = tonic::Request::new(range);
        let version = version
            .try_into()
            .map_err(|_| Status::unknown("no header can have this value"))?;
        request.metadata_mut().insert("client-api-version", version);
        Ok(self.kv().range(request).await?.into_inner())
    }

    /// KV.RangeStream: all that comes, and how it ends.
    pub async fn range_stream(
        &self,
        request: RangeRequest,
    ) -> (Vec<RangeStreamResponse>, Result<(), Status>) {
        let mut pieces = Vec::new();
        let end = async {
            let mut answers = self.kv().range_stream(request).await?.into_inner();
            while let Some(piece) = answers.message().await? {
                pieces.push(piece);
            }
            Ok(())
        };
        let end = end.await;
        (pieces, end)
    }

    /// Maintenance.Snapshot: the whole file with its 32 bytes of SHA-256 at the
    /// end, and the sizes of the blobs it came in.
    pub async fn snapshot(&self) -> Result<(Vec<u8>, Vec<usize>), Status> {
        let mut answers = self
            .maintenance()
            .snapshot(SnapshotRequest {})
            .await?
            .into_inner();
        let (mut file, mut sizes) = (Vec::new(), Vec::new());
        while let Some(part) = answers.message().await? {
            sizes.push(part.blob.len());
            file.extend_from_slice(&part.blob);
        }
        Ok((file, sizes))
    }

    /// Any unary method with bytes that no message has to be.
    pub async fn raw(&self, path: &'static str, message: Bytes) -> Result<Bytes, Status> {
        self.raw_as(None, path, message).await
    }

    /// The same for whoever has this token.
    pub async fn raw_as(
        &self,
        token: Option<&str>,
        path: &'static str,
        message: Bytes,
    ) -> Result<Bytes, Status> {
        let mut client = self.grpc().await?;
        let path = http::uri::PathAndQuery::from_static(path);
        let request = with_token(token, message);
        let answer = client.unary(request, path, Raw).await?;
        Ok(answer.into_inner())
    }

    /// The first answer of a method that streams, to one message of whoever has this token.
    pub async fn first_as(
        &self,
        token: Option<&str>,
        path: &'static str,
        message: Bytes,
    ) -> Result<Bytes, Status> {
        let mut client = self.grpc().await?;
        let path = http::uri::PathAndQuery::from_static(path);
        // A watch ends with its requests, and these with this call: otherwise it would send events
        // on. Other methods begin at the end of their requests.
        let (_until, end) = oneshot::channel::<Infallible>();
        let rest = match path.path() {
            "/etcdserverpb.Watch/Watch" => {
                Either::Left(stream::once(end).filter_map(async |_| None))
            }
            _ => Either::Right(stream::empty()),
        };
        let open = stream::iter([message]).chain(rest);
        let request = with_token(token, open);
        let mut answers = client.streaming(request, path, Raw).await?.into_inner();
        let first = answers.message().await?;
        first.ok_or_else(|| Status::unknown("the stream ended without an answer"))
    }

    async fn grpc(&self) -> Result<tonic::client::Grpc<Channel>, Status> {
        let mut client =
            tonic::client::Grpc::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        client
            .ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(client)
    }

    /// Every key of the store at `revision` (0 = now).
    pub async fn everything(&self, revision: i64) -> Result<RangeResponse, Status> {
        self.range(RangeRequest { revision, ..all() }).await
    }
}

fn with_token<T>(token: Option<&str>, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    if let Some(token) = token.and_then(|token| token.parse().ok()) {
        request.metadata_mut().insert("token", token);
    }
    request
}

/// The range of every key.
pub fn all() -> RangeRequest {
    RangeRequest {
        key: Bytes::from_static(b"\0"),
        range_end: Bytes::from_static(b"\0"),
        ..Default::default()
    }
}

/// A put of one key.
pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> PutRequest {
    PutRequest {
        key: key.into(),
        value: value.into(),
        ..Default::default()
    }
}

/// A read of one key.
pub fn get(key: impl Into<Bytes>) -> RangeRequest {
    RangeRequest {
        key: key.into(),
        ..Default::default()
    }
}

/// A delete of one key.
pub fn delete(key: impl Into<Bytes>) -> DeleteRangeRequest {
    DeleteRangeRequest {
        key: key.into(),
        ..Default::default()
    }
}

/// `range` as an operation of a transaction.
pub fn op_range(request: RangeRequest) -> RequestOp {
    RequestOp {
        request: Some(request_op::Request::RequestRange(request)),
    }
}

/// `put` as an operation of a transaction.
pub fn op_put(request: PutRequest) -> RequestOp {
    RequestOp {
        request: Some(request_op::Request::RequestPut(request)),
    }
}

/// `delete` as an operation of a transaction.
pub fn op_delete(request: DeleteRangeRequest) -> RequestOp {
    RequestOp {
        request: Some(request_op::Request::RequestDeleteRange(request)),
    }
}

/// A transaction inside a transaction.
pub fn op_txn(request: TxnRequest) -> RequestOp {
    RequestOp {
        request: Some(request_op::Request::RequestTxn(request)),
    }
}

/// The end of the range of all keys that begin with `prefix`.
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.last_mut() {
        if *last < 0xff {
            *last += 1;
            return end.into();
        }
        end.pop();
    }
    Bytes::from_static(b"\0")
}
