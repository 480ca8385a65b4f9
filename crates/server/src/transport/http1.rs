//! Requests of HTTP/1.1 that Go's server refuses before anyone looks at them, and hyper lets pass.

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};

use super::{Body, plain::plain};

/// The refusal of a request, after which the connection ends; `None` for one that Go takes.
pub(super) fn refusal<B>(request: &Request<B>) -> Option<Response<Body>> {
    if request.version() != Version::HTTP_11 {
        return None;
    }
    let (status, text) = fault(request.method(), request.headers())?;
    let mut response = plain(status, text);
    close(response.headers_mut());
    Some(response)
}

/// Says that the connection ends with this answer.
pub(super) fn close(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
}

fn fault(method: &Method, headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Some((StatusCode::BAD_REQUEST, "400 Bad Request"));
    }
    if !has_known_encoding(headers) {
        let text = "Unsupported transfer encoding";
        return Some((StatusCode::NOT_IMPLEMENTED, text));
    }
    let text = match host {
        None if method == Method::CONNECT => return None,
        None => "400 Bad Request: missing required Host header",
        Some(host) if host.as_bytes().iter().all(is_of_host) => return None,
        Some(_) => "400 Bad Request: malformed Host header",
    };
    Some((StatusCode::BAD_REQUEST, text))
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
