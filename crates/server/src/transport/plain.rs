//! Answers in plain HTTP.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::Body;

/// A plain text answer.
pub fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::Plain(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// Go's answer where nothing is.
pub fn not_found() -> Response<Body> {
    unsniffed(StatusCode::NOT_FOUND, "404 page not found\n")
}

pub(super) fn not_allowed() -> Response<Body> {
    let mut response = unsniffed(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("GET"));
    response
}

/// Plain text that a browser must not take for anything else.
pub fn unsniffed(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = plain(status, text);
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

pub(super) fn json(text: String) -> Response<Body> {
    let mut response = Response::new(Body::Plain(text.into()));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}
