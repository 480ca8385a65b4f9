//! The head of a gRPC request: what it says about the call, and which heads are refused before
//! the call is looked at. Order, statuses and texts are those of grpc-go.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use super::{
    body::{Body, put_status},
    channel::Channel,
    compression::Encoding,
};
use crate::{
    api::{Call, Caller},
    status::{Code, Status},
};

const BASE: &str = "application/grpc";
static GRPC: HeaderValue = HeaderValue::from_static(BASE);
/// A deadline that is over before a call can begin.
const UNREACHABLE: Duration = Duration::from_micros(1);

/// What the head of a request says, apart from its path.
pub(super) struct Head<'a> {
    /// For the methods.
    pub(super) call: Call<'a>,
    /// How compressed messages of the request are to be read, and how those of the answer are
    /// written; the error for an encoding that is not known.
    pub(super) encoding: Result<Encoding, Status>,
}

/// A request that is not a call.
pub(super) struct NoCall {
    http: StatusCode,
    status: Status,
}

impl NoCall {
    fn new(http: StatusCode, code: Code, message: String) -> NoCall {
        NoCall {
            http,
            status: Status::new(code, message),
        }
    }

    /// The answer: a head alone.
    pub(super) fn response(&self, content_type: HeaderValue) -> Response<Body> {
        let mut response = answer(content_type);
        *response.status_mut() = self.http;
        put_status(&self.status, response.headers_mut());
        response
    }
}

/// An answer without a body so far.
pub(super) fn answer(content_type: HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::Done);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

/// True if the content type is gRPC's, whatever kind of message it names.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(BASE.as_bytes()))
}

/// The kind of message that a content type names; `None` if it is not gRPC's.
fn subtype(content_type: &[u8]) -> Option<&[u8]> {
    match content_type.strip_prefix(BASE.as_bytes())? {
        [] => Some(&[]),
        [b'+' | b';', subtype @ ..] => Some(subtype),
        _ => None,
    }
}

/// The header fields of a request that mean something here, found in one walk: a look-up in the
/// map costs more than the few fields that a call has. Of a field that is repeated the first counts,
/// as in grpc-go, and of the encoding the last.
#[derive(Default)]
pub(super) struct Fields<'a> {
    content_type: Option<&'a HeaderValue>,
    timeout: Option<&'a HeaderValue>,
    has_leader: Option<&'a HeaderValue>,
    client_api_version: Option<&'a HeaderValue>,
    traceparent: Option<&'a HeaderValue>,
    token: Option<&'a HeaderValue>,
    authorization: Option<&'a HeaderValue>,
    encoding: Option<&'a HeaderValue>,
    /// The first that says it is base64 and is not.
    broken_binary: Option<(&'a str, &'a HeaderValue)>,
    /// Only the gateway sends this one.
    is_from_gateway: bool,
}

impl<'a> Fields<'a> {
    /// Those of a request.
    pub(super) fn of(headers: &'a HeaderMap) -> Fields<'a> {
        let mut fields = Fields::default();
        for (name, value) in headers {
            let field = match name.as_str() {
                "content-type" => &mut fields.content_type,
                "grpc-timeout" => &mut fields.timeout,
                "hasleader" => &mut fields.has_leader,
                "client-api-version" => &mut fields.client_api_version,
                "traceparent" => &mut fields.traceparent,
                "token" => &mut fields.token,
                "authorization" => &mut fields.authorization,
                "grpc-encoding" => {
                    fields.encoding = Some(value);
                    continue;
                }
                "grpcgateway-accept" => {
                    fields.is_from_gateway = true;
                    continue;
                }
                name if name.ends_with("-bin") => {
                    // The first that is broken is enough.
                    if base64_fault(value.as_bytes()).is_some() {
                        fields.broken_binary.get_or_insert((name, value));
                    }
                    continue;
                }
                _ => continue,
            };
            field.get_or_insert(value);
        }
        fields
    }
}

/// The content type of the answer: it repeats the kind of message that the request names.
pub(super) fn content_type(fields: &Fields<'_>) -> HeaderValue {
    let asked = fields.content_type.map(HeaderValue::as_bytes);
    match asked.and_then(subtype) {
        Some(kind) if !kind.is_empty() => {
            let value = [BASE.as_bytes(), b"+", kind].concat();
            HeaderValue::from_bytes(&value).unwrap_or_else(|_| GRPC.clone())
        }
        _ => GRPC.clone(),
    }
}

/// Reads the head of a request.
pub(super) fn read<'a>(
    method: &Method,
    fields: &Fields<'a>,
    channel: &Channel,
) -> Result<Head<'a>, NoCall> {
    let text = |value: Option<&'a HeaderValue>| value.and_then(|value| value.to_str().ok());
    let kind = fields.content_type;
    if kind.and_then(|kind| subtype(kind.as_bytes())).is_none() {
        let kind = kind.map_or_else(String::new, |kind| quoted(kind.as_bytes()));
        return Err(NoCall::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Code::InvalidArgument,
            format!("invalid gRPC request content-type \"{kind}\""),
        ));
    }
    let timeout = match fields.timeout {
        None => None,
        Some(value) => Some(parse_timeout(value.as_bytes()).map_err(|why| {
            NoCall::new(
                StatusCode::BAD_REQUEST,
                Code::Internal,
                format!("malformed grpc-timeout: {why}"),
            )
        })?),
    };
    if let Some((name, value)) = fields.broken_binary {
        return Err(broken_binary(name, value));
    }
    if method != Method::POST {
        return Err(NoCall::new(
            StatusCode::METHOD_NOT_ALLOWED,
            Code::Internal,
            format!("Received a HEADERS frame with :method \"{method}\" which should be POST"),
        ));
    }
    if timeout.is_some_and(|timeout| timeout <= UNREACHABLE) {
        return Err(NoCall::new(
            StatusCode::OK,
            Code::DeadlineExceeded,
            "context deadline exceeded".to_owned(),
        ));
    }
    Ok(Head {
        call: Call {
            has_leader: fields
                .has_leader
                .is_some_and(|value| value.as_bytes() == b"true"),
            client_api_version: fields.client_api_version.map(HeaderValue::as_bytes),
            timeout,
            remote: channel.remote,
            traceparent: text(fields.traceparent),
            // A proxy's certificate is not that of its client.
            caller: Caller::new(
                text(fields.token).or_else(|| text(fields.authorization)),
                channel
                    .common_name()
                    .filter(|_| !fields.is_from_gateway)
                    .cloned(),
            ),
        },
        encoding: Encoding::of(fields.encoding),
    })
}

/// Metadata whose name says that it is base64; what it holds is of no interest here.
fn broken_binary(name: &str, value: &HeaderValue) -> NoCall {
    let at = base64_fault(value.as_bytes()).unwrap_or_default();
    let value = quoted(value.as_bytes());
    NoCall::new(
        StatusCode::BAD_REQUEST,
        Code::Internal,
        format!(
            "malformed binary metadata \"{value}\" in header \"{name}\": illegal base64 data at input byte {at}"
        ),
    )
}

/// Where Go's decoder stops: at what is no digit, or at padding in the wrong place. Padding is for
/// texts of whole quartets alone.
fn base64_fault(text: &[u8]) -> Option<usize> {
    let is_padded = text.len().is_multiple_of(4);
    let is_digit = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let digits = text.iter().take_while(is_digit).count();
    let rest = &text[digits..];
    match (digits % 4, rest) {
        (1, []) if !is_padded => Some(digits - 1),
        (_, []) => None,
        (2, b"==") | (3, b"=") if is_padded => None,
        // Something follows it.
        (2, [b'=', b'=', ..]) if is_padded => Some(digits + 2),
        (3, [b'=', ..]) if is_padded => Some(digits + 1),
        _ => Some(digits),
    }
}

/// Bytes of a header as Go quotes a string.
pub(super) fn quoted(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
}

/// `grpc-timeout`: up to eight digits and a unit.
fn parse_timeout(value: &[u8]) -> Result<Duration, String> {
    let text = quoted(value);
    let Some((unit, digits)) = value.split_last().filter(|(_, digits)| !digits.is_empty()) else {
        return Err(format!(
            "transport: timeout string is too short: \"{text}\""
        ));
    };
    if digits.len() > 8 {
        return Err(format!("transport: timeout string is too long: \"{text}\""));
    }
    let of_units: fn(u64) -> Duration = match unit {
        b'H' => |n| Duration::from_secs(n * 3600),
        b'M' => |n| Duration::from_secs(n * 60),
        b'S' => Duration::from_secs,
        b'm' => Duration::from_millis,
        b'u' => Duration::from_micros,
        b'n' => Duration::from_nanos,
        _ => {
            return Err(format!(
                "transport: timeout unit is not recognized: \"{text}\""
            ));
        }
    };
    // Eight digits fit, so the only thing wrong with a number is that it is none.
    if !digits.iter().all(u8::is_ascii_digit) {
        let number = quoted(digits);
        return Err(format!(
            "strconv.ParseUint: parsing \"{number}\": invalid syntax"
        ));
    }
    let number = digits
        .iter()
        .fold(0, |n, digit| n * 10 + u64::from(digit - b'0'));
    Ok(of_units(number))
}

#[cfg(test)]
mod tests {
    use super::base64_fault;

    #[test]
    fn binary_metadata_ends_where_go_s_decoder_does() {
        for sound in ["", "ab", "abc", "abcd", "ab==", "abc="] {
            assert_eq!(base64_fault(sound.as_bytes()), None, "{sound}");
        }
        for (text, at) in [
            ("!!!", 0),
            ("a", 0),
            ("abcde", 4),
            ("ab=", 2),
            ("ab=c", 2),
            ("a===", 1),
            ("abcd====", 4),
            ("ab==abcd", 4),
            ("abc=abcd", 4),
            ("abcd!", 4),
            ("abc==", 3),
            ("abcdab==!abc", 8),
        ] {
            assert_eq!(base64_fault(text.as_bytes()), Some(at), "{text}");
        }
    }
}
