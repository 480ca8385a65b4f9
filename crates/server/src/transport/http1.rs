//! What Go's server does with requests of HTTP/1 before and after anyone looks at them, and hyper
//! does not: it refuses some, and what is left of a body does not become the next request.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header,
};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::{Body, plain::plain};

/// What a client expects that sends a body when it is told to go on.
const CONTINUE: &str = "100-continue";

/// The refusal of a request, after which the connection ends; `None` for one that Go takes.
pub(super) fn refusal<B>(request: &Request<B>) -> Option<Response<Body>> {
    let version = request.version();
    if version > Version::HTTP_11 {
        return None;
    }
    let headers = request.headers();
    let mut response = match fault(version, request.method(), headers) {
        Some((status, text)) => plain(status, text),
        None if expects_else(headers) => {
            let mut response = Response::new(Body::Done);
            *response.status_mut() = StatusCode::EXPECTATION_FAILED;
            response
        }
        None => return None,
    };
    close(version, &mut response);
    Some(response)
}

/// Says that the connection ends with this answer to a request of this version.
fn close<B>(version: Version, response: &mut Response<B>) {
    // To a client of HTTP/1.0 hyper would add that the connection stays.
    *response.version_mut() = version;
    let value = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, value);
}

fn fault(
    version: Version,
    method: &Method,
    headers: &HeaderMap,
) -> Option<(StatusCode, &'static str)> {
    let is_new = version == Version::HTTP_11;
    let mut hosts = headers.get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Some((StatusCode::BAD_REQUEST, "400 Bad Request"));
    }
    if is_new && !has_known_encoding(headers) {
        let text = "Unsupported transfer encoding";
        return Some((StatusCode::NOT_IMPLEMENTED, text));
    }
    let text = match host {
        None if !is_new || method == Method::CONNECT => return None,
        None => "400 Bad Request: missing required Host header",
        Some(host) if host.as_bytes().iter().all(is_of_host) => return None,
        Some(_) => "400 Bad Request: malformed Host header",
    };
    Some((StatusCode::BAD_REQUEST, text))
}

/// Whether a client expects what no server of HTTP/1 does.
fn expects_else(headers: &HeaderMap) -> bool {
    let value = headers.get(header::EXPECT);
    value.is_some_and(|value| !value.is_empty()) && !names(headers, header::EXPECT, CONTINUE)
}

/// Go decodes chunks, and nothing else.
fn has_known_encoding(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    encodings.next().is_none_or(is_chunked) && encodings.next().is_none()
}

fn is_of_host(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!$%&'()*+,-.:;=[]_~".contains(byte)
}

/// Does with what an answer left of a body as Go does: reads it before the answer goes out, so that
/// the connection can stay, or says that the connection ends. A client that means to end it, or
/// that holds the body back until it is asked for it, is not waited for. True if the connection ends
/// with bytes of the body unread.
pub(super) async fn settle<B>(
    request: &Request<()>,
    body: Option<Incoming>,
    response: &mut Response<B>,
) -> bool {
    let version = request.version();
    let Some(mut body) = body.filter(|body| !body.is_end_stream()) else {
        return false;
    };
    // In HTTP/2 what is not read concerns its stream alone.
    if version > Version::HTTP_11 {
        return false;
    }
    let headers = request.headers();
    let (stays, waits) = match version {
        Version::HTTP_11 => (
            !names(headers, header::CONNECTION, "close"),
            names(headers, header::EXPECT, CONTINUE),
        ),
        _ => (names(headers, header::CONNECTION, "keep-alive"), false),
    };
    // Of one that the client ends, hyper says so.
    if stays && (waits || !read_rest(&mut body).await) {
        close(version, response);
        return true;
    }
    !stays
}

/// Whether a header has this among its words.
fn names(headers: &HeaderMap, header: HeaderName, word: &str) -> bool {
    let is_word = |part: &[u8]| part.trim_ascii().eq_ignore_ascii_case(word.as_bytes());
    let values = headers.get_all(header).iter();
    values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(is_word)
}

/// What Go reads of a body that no one took. It ends the connection rather than read more.
const REST_MAX: u64 = 256 << 10;

/// Reads what is left of a body. False if it is too much, and not read.
async fn read_rest(body: &mut Incoming) -> bool {
    let mut left = REST_MAX;
    while body.size_hint().lower() < left {
        match body.frame().await {
            None => return true,
            Some(Err(_)) => return false,
            Some(Ok(frame)) => {
                let len = frame.data_ref().map_or(0, |data| data.len() as u64);
                left = left.saturating_sub(len);
            }
        }
    }
    false
}
