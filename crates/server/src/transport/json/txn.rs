//! The answer to a transaction as JSON. It is nested as deep as the request was: what is open
//! is kept in a list, and each level is read where it is in the serialized answer.

use bytes::Bytes;
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};
use proto::etcdserverpb::{DeleteRangeResponse, PutResponse, RangeResponse, ResponseHeader};
use serde::Serialize;

/// Fields of TxnResponse.
const HEADER: u32 = 1;
const SUCCEEDED: u32 = 2;
const RESPONSES: u32 = 3;
/// Members of the one union in ResponseOp.
const RANGE: u32 = 1;
const PUT: u32 = 2;
const DELETE_RANGE: u32 = 3;
const TXN: u32 = 4;

/// A transaction of which some operations are yet to be written.
#[derive(Default)]
struct Level {
    responses: std::vec::IntoIter<Bytes>,
    /// What closes it: its list, itself, and the operation that it is.
    end: &'static str,
    is_begun: bool,
}

/// Writes a serialized TxnResponse as JSON.
///
/// # Errors
/// It is none.
pub(in crate::transport) fn txn_to_json(answer: Bytes) -> Result<String, DecodeError> {
    let mut out = String::new();
    let mut open = vec![begin(answer, "", &mut out)?];
    while let Some(level) = open.last_mut() {
        let Some(response) = level.responses.next() else {
            out.push_str(level.end);
            open.pop();
            continue;
        };
        if level.is_begun {
            out.push(',');
        }
        level.is_begun = true;
        let Some((kind, content)) = union(response)? else {
            out.push_str("{}");
            continue;
        };
        match kind {
            RANGE => leaf::<RangeResponse>("response_range", content, &mut out)?,
            PUT => leaf::<PutResponse>("response_put", content, &mut out)?,
            DELETE_RANGE => {
                leaf::<DeleteRangeResponse>("response_delete_range", content, &mut out)?;
            }
            _ => {
                out.push_str("{\"response_txn\":");
                open.push(begin(content, "}", &mut out)?);
            }
        }
    }
    Ok(out)
}

/// Writes all of a transaction's answer but its operations.
fn begin(answer: Bytes, outer: &'static str, out: &mut String) -> Result<Level, DecodeError> {
    let mut header = None;
    let mut succeeded = false;
    let mut responses = Vec::new();
    for_each_field(answer, |field, value| {
        match (field, value) {
            (HEADER, Value::Bytes(content)) => header = Some(ResponseHeader::decode(content)?),
            (SUCCEEDED, Value::Number(number)) => succeeded = number != 0,
            (RESPONSES, Value::Bytes(content)) => responses.push(content),
            _ => {}
        }
        Ok(())
    })?;
    out.push('{');
    let mut fields = 0;
    let mut name = |name: &str, out: &mut String| {
        if fields > 0 {
            out.push(',');
        }
        fields += 1;
        out.push_str(name);
    };
    if let Some(header) = &header {
        name("\"header\":", out);
        write(header, out);
    }
    if succeeded {
        name("\"succeeded\":true", out);
    }
    let is_list = !responses.is_empty();
    if is_list {
        name("\"responses\":[", out);
    }
    Ok(Level {
        responses: responses.into_iter(),
        end: match (is_list, outer) {
            (true, "") => "]}",
            (false, "") => "}",
            (true, _) => "]}}",
            (false, _) => "}}",
        },
        is_begun: false,
    })
}

/// Which operation an answer is of, with its content; the last one counts.
fn union(response: Bytes) -> Result<Option<(u32, Bytes)>, DecodeError> {
    let mut found = None;
    for_each_field(response, |field, value| {
        if let (RANGE..=TXN, Value::Bytes(content)) = (field, value) {
            found = Some((field, content));
        }
        Ok(())
    })?;
    Ok(found)
}

fn leaf<M: Message + Default + Serialize>(
    name: &str,
    content: Bytes,
    out: &mut String,
) -> Result<(), DecodeError> {
    let message = M::decode(content)?;
    out.push_str("{\"");
    out.push_str(name);
    out.push_str("\":");
    write(&message, out);
    out.push('}');
    Ok(())
}

fn write(message: &impl Serialize, out: &mut String) {
    // Messages always serialize: their keys are text.
    out.push_str(&serde_json::to_string(message).unwrap_or_default());
}

enum Value {
    Number(u64),
    Bytes(Bytes),
}

fn for_each_field(
    mut message: Bytes,
    mut visit: impl FnMut(u32, Value) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    while !message.is_empty() {
        let (field, kind) = decode_key(&mut message)?;
        match kind {
            WireType::Varint => visit(field, Value::Number(decode_varint(&mut message)?))?,
            WireType::LengthDelimited => {
                // Checks the length, and shares the content.
                let mut content = Bytes::new();
                prost::encoding::bytes::merge(
                    kind,
                    &mut content,
                    &mut message,
                    DecodeContext::default(),
                )?;
                visit(field, Value::Bytes(content))?;
            }
            _ => skip_field(kind, field, &mut message, DecodeContext::default())?,
        }
    }
    Ok(())
}
