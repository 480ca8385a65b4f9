//! gRPC over HTTP/2: finds the method by its path, reads the message, and puts the answer or the
//! status back. It knows the wire, not the meaning: [`crate::api`] holds the methods.

use std::{borrow::Cow, rc::Rc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use hyper::body::Incoming;

use super::{
    MessageStream,
    body::{Body, put_status},
    channel::Channel,
    compression::{Compressed, Encoding, compress_frame},
    head::{self, Fields, Head},
    intake, messages,
};
use crate::{
    api::{self, Call},
    rpc::{Answer, GRPC_OVERHEAD, Method},
    runtime::Runtime,
    status::{Code, Status},
};

/// What a call brings.
pub enum Messages {
    /// One message.
    One(Bytes),
    /// A stream of them.
    Stream(MessageStream),
}

/// Answers one gRPC request. No `async fn`: that would keep a second copy of the request.
pub(super) fn call<'a>(
    rt: &'a Rc<Runtime>,
    request: Request<Incoming>,
    channel: &'a Channel,
) -> impl Future<Output = Response<Body>> + 'a {
    let limit = rt.core.config.max_request_bytes + GRPC_OVERHEAD;
    let line = rt.core.line();
    let has = move |method: Method| method.is_in(line);
    let api = async move |method, call: &Call<'_>, messages| match messages {
        Messages::One(message) => api::unary(rt, method, call, message).await,
        Messages::Stream(messages) => Box::pin(api::stream(rt, method, call, messages)).await,
    };
    answer(request, channel, limit, has, api)
}

/// Answers one gRPC request by `serve`, if it asks for a method that `has` knows.
pub(super) async fn answer(
    request: Request<Incoming>,
    channel: &Channel,
    limit: usize,
    has: impl Fn(Method) -> bool,
    serve: impl AsyncFnOnce(Method, &Call<'_>, Messages) -> Result<Answer, Status>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let fields = Fields::of(&parts.headers);
    let content_type = head::content_type(&fields);
    let head = match head::read(&parts.method, &fields, channel) {
        Ok(head) => head,
        Err(no_call) => return no_call.response(content_type),
    };
    let mut response = head::answer(content_type);
    // No method has a query, and gRPC knows of none.
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let method = Method::of(path)
        .filter(|method| has(*method))
        .ok_or_else(|| unknown(as_sent(&parts.headers, path)));
    let dispatched = match method {
        Ok(method) => dispatch(method, &head, body, limit, serve, &mut response).await,
        Err(status) => Err(status),
    };
    if let Err(status) = dispatched {
        // A call that never began answers with trailers alone.
        put_status(&status, response.headers_mut());
    }
    response
}

async fn dispatch(
    method: Method,
    head: &Head<'_>,
    body: Incoming,
    limit: usize,
    serve: impl AsyncFnOnce(Method, &Call<'_>, Messages) -> Result<Answer, Status>,
    response: &mut Response<Body>,
) -> Result<(), Status> {
    let encoding = head.encoding.clone()?;
    let messages = if method.streams_requests() {
        Messages::Stream(MessageStream::new(body, limit, encoding))
    } else {
        Messages::One(messages::read_one(body, limit, encoding).await?)
    };
    let answer = serve(method, &head.call, messages).await?;
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

/// The path, or as it was sent if it was none that the HTTP library reads.
fn as_sent<'a>(headers: &'a HeaderMap, path: &'a str) -> Cow<'a, str> {
    let sent = headers.get(intake::PATH_AS_SENT);
    sent.map_or(path.into(), |sent| String::from_utf8_lossy(sent.as_bytes()))
}

fn unknown(path: Cow<'_, str>) -> Status {
    let name = path.strip_prefix('/');
    let Some((service, method)) = name.and_then(|name| name.rsplit_once('/')) else {
        return Status::new(
            Code::Unimplemented,
            format!(
                "malformed method name: \"{}\"",
                head::quoted(path.as_bytes())
            ),
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
