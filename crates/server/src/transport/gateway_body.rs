//! The body of a call of the gateway: how much of it is read, and when.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use proto::schema;

use super::{
    json::{Finder, transcode},
    messages::too_large,
};
use crate::status::{Code, Status};

/// A JSON text may be longer than the message in it: digits of base64, white space, names.
pub(super) const TEXT_FACTOR: usize = 4;

/// Reads the JSON text of a request, and makes the message of it. As on etcd, what comes after the
/// text is not waited for, nor what comes after a place where it is none.
pub(super) async fn read(
    body: Option<&mut Incoming>,
    limit: usize,
    request: &'static schema::Message,
) -> Result<Bytes, Status> {
    let invalid = |why: String| Status::new(Code::InvalidArgument, why);
    let (mut text, mut finder) = (BytesMut::new(), Finder::new());
    let Some(body) = body else {
        return Err(invalid("EOF".to_owned()));
    };
    while let Ok(None) = finder.find(&text)
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(|error| invalid(error.to_string()))?;
        if let Ok(data) = frame.into_data() {
            text.extend_from_slice(&data);
        }
        if text.len() > TEXT_FACTOR * limit {
            return Err(too_large(text.len(), limit));
        }
    }
    let message = transcode(&text, request).map_err(|error| invalid(error.to_string()))?;
    if message.len() > limit {
        return Err(too_large(message.len(), limit));
    }
    Ok(message)
}
