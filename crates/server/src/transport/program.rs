//! gRPC for another program than a member: a proxy serves the same methods on the same wire.

use http::{Request, Response};
use hyper::body::Incoming;

use super::{
    body::Body,
    channel::Channel,
    grpc::{self, Messages},
    head,
};
use crate::{
    api::Call,
    rpc::{Answer, Method},
    status::Status,
};

/// Whether a request is a call by gRPC.
pub fn is_call(request: &Request<Incoming>) -> bool {
    request.version() == http::Version::HTTP_2 && head::is_grpc(request.headers())
}

/// Answers a call by `serve`, if it asks for a method that `has` knows. Its messages are not larger
/// than `limit`, and nothing is known of the connection.
pub async fn answer_call(
    request: Request<Incoming>,
    limit: usize,
    has: impl Fn(Method) -> bool,
    serve: impl AsyncFnOnce(Method, &Call<'_>, Messages) -> Result<Answer, Status>,
) -> Response<Body> {
    grpc::answer(request, &Channel::plain(None), limit, has, serve).await
}
