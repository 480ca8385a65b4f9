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

/// Reads the JSON text of a request, and makes the message of it. What comes after a place where it
/// is no JSON is not waited for. What comes after a text is, and does not count: a call is made once
/// its body is there, as by etcd of every line (Debian's 3.5.30, which has another library, makes it
/// before), so one that was cut off is not made.
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
    let mut length = 0;
    let mut next = async || {
        let frame = body.frame().await.transpose();
        let frame = frame.map_err(|error| invalid(error.to_string()))?;
        let data = frame.map(|frame| frame.into_data().unwrap_or_default());
        length += data.as_ref().map_or(0, Bytes::len);
        match length > TEXT_FACTOR * limit {
            true => Err(too_large(length, limit)),
            false => Ok(data),
        }
    };
    while let Ok(None) = finder.find(&text)
        && let Some(data) = next().await?
    {
        text.extend_from_slice(&data);
    }
    let message = transcode(&text, request).map_err(|error| invalid(error.to_string()))?;
    if message.len() > limit {
        return Err(too_large(message.len(), limit));
    }
    while next().await?.is_some() {}
    Ok(message)
}
