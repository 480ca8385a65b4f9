//! gRPC over HTTP/2: finds the method by its path, reads the message, and puts the answer or the
//! status back. It knows the wire, not the meaning: [`crate::api`] holds the methods.

use std::{rc::Rc, time::Instant};

use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;

use super::{
    MessageStream,
    body::{Body, put_status},
    channel::Channel,
    compression::{Compressed, Encoding, compress_frame},
    head::{self, Head},
    messages,
};
use crate::{
    api,
    rpc::{Answer, GRPC_OVERHEAD, Method},
    runtime::Runtime,
    status::{Code, Status},
};

/// Answers one gRPC request.
pub(super) async fn call(
    rt: &Rc<Runtime>,
    request: Request<Incoming>,
    channel: &Channel,
) -> Response<Body> {
    let arrived = Instant::now();
    let (parts, body) = request.into_parts();
    let content_type = head::content_type(&parts.headers);
    let head = match head::read(&parts, arrived, channel) {
        Ok(head) => head,
        Err(no_call) => return no_call.response(content_type),
    };
    let mut response = head::answer(content_type);
    // No method has a query, and gRPC knows of none.
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    if let Err(status) = dispatch(rt, path, &head, body, &mut response).await {
        // A call that never began answers with trailers alone.
        put_status(&status, response.headers_mut());
    }
    response
}

async fn dispatch(
    rt: &Rc<Runtime>,
    path: &str,
    head: &Head<'_>,
    body: Incoming,
    response: &mut Response<Body>,
) -> Result<(), Status> {
    let method = Method::of(path)
        .filter(|method| method.is_in(rt.core.line()))
        .ok_or_else(|| unknown(path))?;
    let encoding = head.encoding.clone()?;
    let limit = rt.core.config.max_request_bytes + GRPC_OVERHEAD;
    let answer = if method.streams_requests() {
        let messages = MessageStream::new(body, limit, encoding);
        api::stream(rt, method, &head.call, messages).await?
    } else {
        let message = messages::read_one(body, limit, encoding).await?;
        api::unary(rt, method, &head.call, message).await?
    };
    let is_compressed = encoding == Encoding::Gzip;
    *response.body_mut() = match answer {
        Answer::One(frame) if is_compressed => Body::Unary(compress_frame(frame)?),
        Answer::One(frame) => Body::Unary(frame),
        Answer::Pieces(source) | Answer::Stream(source) if is_compressed => {
            Body::Stream(Box::new(Compressed::new(source)))
        }
        Answer::Pieces(source) | Answer::Stream(source) => Body::Stream(source),
    };
    if is_compressed {
        let headers = response.headers_mut();
        headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
    }
    Ok(())
}

fn unknown(path: &str) -> Status {
    let name = path.strip_prefix('/').unwrap_or(path);
    let Some((service, method)) = name.rsplit_once('/') else {
        return Status::new(
            Code::Unimplemented,
            format!("malformed method name: \"{path}\""),
        );
    };
    if Method::has_service(service) {
        Status::new(
            Code::Unimplemented,
            format!("unknown method {method} for service {service}"),
        )
    } else {
        Status::new(Code::Unimplemented, format!("unknown service {service}"))
    }
}
