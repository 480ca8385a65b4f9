//! Header lists that Go's server takes or refuses, and h2 ends the connection for, or the stream.
//! What breaks a block is replaced in it, so that h2 judges as Go does: a list that Go calls
//! malformed gets a field that ends its stream alone, and a text that Go never looks at becomes one
//! that h2 can read. What a replaced field costs in the table of headers stays the same, and an
//! entry that ends a stream ends every later one that names it: both ends keep the same table, and
//! none is kept here.

use hpack::{Field, Name, Text};

use super::frames::{Frame, HEAD, PAYLOAD_MAX, block_of};

/// A field that makes h2 end the stream, and nothing else, with PROTOCOL_ERROR.
const REFUSED_NAME: &[u8] = b"te";
/// What texts are replaced with.
const STAND_IN: u8 = b'x';
/// What a byte of a path is replaced with: no method has it in its name.
const NO_METHOD: u8 = b'!';

/// A field with a path as it was sent, where another took its place.
pub(in crate::transport) const PATH_AS_SENT: &str = "pintle-path-as-sent";

/// A frame with a block of headers that h2 judges as Go does; `None` if this one is that already,
/// or cannot be read at all.
pub(super) fn sound(frame: &[u8]) -> Option<Vec<u8>> {
    let (head, payload) = frame.split_at_checked(HEAD)?;
    let flags = Frame::parse(frame.first_chunk()?).flags;
    let place = block_of(flags, payload)?;
    let (begin, end) = (place.start, place.end);
    let block = sound_block(&payload[place])?;
    let len = begin + block.len() + payload.len() - end;
    if len > PAYLOAD_MAX {
        return None;
    }
    let [_, a, b, c] = (len as u32).to_be_bytes();
    let parts = [
        &[a, b, c],
        &head[3..],
        &payload[..begin],
        &block,
        &payload[end..],
    ];
    Some(parts.concat())
}

/// What is wrong with a field.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    /// Go ends the stream.
    Malformed,
    /// Go takes it; this is a value that h2 takes too.
    Unread(Vec<u8>),
}

/// A block that h2 judges as Go does; `None` if this one is that already, or cannot be read at all.
pub(super) fn sound_block(block: &[u8]) -> Option<Vec<u8>> {
    let mut out: Option<Vec<u8>> = None;
    let (mut rest, mut is_refused, mut path_as_sent) = (block, false, None);
    let (mut name_text, mut value_text) = (Vec::new(), Vec::new());
    while !rest.is_empty() {
        let at = block.len() - rest.len();
        let field = Field::take(&mut rest).ok()?;
        let written = &block[at..block.len() - rest.len()];
        let fault = match field {
            Field::Literal { name, value, .. } => {
                let name = match name {
                    Name::Text(text) => Some(plain(text, &mut name_text)?),
                    Name::Indexed(index) => hpack::static_name(index).map(str::as_bytes),
                };
                fault(name, plain(value, &mut value_text)?)
            }
            Field::Indexed(_) | Field::TableSize(_) => None,
        };
        match (fault, &mut out) {
            (None, None) => {}
            (None, Some(out)) => out.extend_from_slice(written),
            (Some(fault), _) => {
                is_refused |= fault == Fault::Malformed;
                if is_path(&field, &name_text) && fault != Fault::Malformed {
                    path_as_sent = Some(value_text.clone());
                }
                let out = out.get_or_insert_with(|| block[..at].to_vec());
                replace(field, fault, &name_text, &value_text, out);
            }
        }
    }
    let mut out = out?;
    if let Some(path) = path_as_sent {
        // Leaves no trace in the table.
        hpack::put_integer(0, 4, 0, &mut out);
        hpack::put_text(PATH_AS_SENT.as_bytes(), &mut out);
        hpack::put_text(&path, &mut out);
    }
    if is_refused {
        put_refused(false, 1, &mut out);
    }
    Some(out)
}

fn is_path(field: &Field<'_>, name: &[u8]) -> bool {
    match field {
        Field::Literal {
            name: Name::Indexed(index),
            ..
        } => hpack::static_name(*index) == Some(":path"),
        Field::Literal { .. } => name == b":path",
        Field::Indexed(_) | Field::TableSize(_) => false,
    }
}

/// The text itself, in `buffer` too.
fn plain<'a>(text: Text<'_>, buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    buffer.clear();
    text.append_to(buffer).ok()?;
    Some(buffer)
}

/// What Go or h2 have against a field; a name that is `None` was checked when it was first sent.
fn fault(name: Option<&[u8]>, value: &[u8]) -> Option<Fault> {
    if !value.iter().all(is_of_value) {
        return Some(Fault::Malformed);
    }
    let name = name?;
    let unread = match name {
        b":authority" => authority(value),
        b":path" => path(value),
        b":method" => method(value),
        b":scheme" => scheme(value),
        [b':', ..] => return Some(Fault::Malformed),
        _ if !name.is_empty() && name.iter().all(is_of_name) => return None,
        _ => return Some(Fault::Malformed),
    };
    unread.map(Fault::Unread)
}

/// Whether Go takes it in a value: it looks for control characters alone.
fn is_of_value(byte: &u8) -> bool {
    *byte >= b' ' && *byte != 0x7f || *byte == b'\t'
}

/// Whether it may be in a name that is no pseudo-header's.
fn is_of_name(byte: &u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// Clients of etcd 3.5.0 name a list of endpoints here, those of a unix socket its path.
fn authority(value: &[u8]) -> Option<Vec<u8>> {
    let is_one = !value.is_empty() && http::uri::Authority::try_from(value).is_ok();
    (!is_one).then(|| vec![STAND_IN; value.len().max(1)])
}

fn scheme(value: &[u8]) -> Option<Vec<u8>> {
    let is_one = value.is_empty() || http::uri::Scheme::try_from(value).is_ok();
    // One that is too long stays it.
    let is_stand_in = value.iter().all(|byte| *byte == STAND_IN);
    (!is_one && !is_stand_in).then(|| vec![STAND_IN; value.len()])
}

fn method(value: &[u8]) -> Option<Vec<u8>> {
    let is_one = http::Method::from_bytes(value).is_ok();
    (!is_one).then(|| vec![STAND_IN; value.len().max(1)])
}

/// A path that is none is a method that no one has, on both servers.
fn path(value: &[u8]) -> Option<Vec<u8>> {
    let is_whole = |value| {
        http::uri::PathAndQuery::try_from(value).is_ok_and(|path| path.as_str().as_bytes() == value)
    };
    match value {
        [b'/', rest @ ..] if rest.iter().all(is_of_path) => None,
        b"*" => None,
        [b'/', ..] if is_whole(value) => None,
        [b'/', rest @ ..] => Some([b"/", &no_method(rest)[..]].concat()),
        // What it begins with must not become the name of a service.
        [_, _, rest @ ..] => Some([&[b'/', NO_METHOD], &no_method(rest)[..]].concat()),
        _ => Some(b"/".to_vec()),
    }
}

fn no_method(text: &[u8]) -> Vec<u8> {
    let letter = |byte: &u8| if is_of_path(byte) { *byte } else { NO_METHOD };
    text.iter().map(letter).collect()
}

/// Whether it is in the paths of methods, and h2 reads it without a second thought.
fn is_of_path(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/._-".contains(byte)
}

/// Writes what a field with a fault becomes.
fn replace(field: Field<'_>, fault: Fault, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let Field::Literal {
        kept,
        name: written,
        ..
    } = field
    else {
        return;
    };
    let (flag, bits) = if kept { (0x40, 6) } else { (0, 4) };
    let cost = match written {
        Name::Text(_) => Some(name.len() + value.len()),
        Name::Indexed(index) => hpack::static_name(index).map(|name| name.len() + value.len()),
    };
    match (fault, written, cost) {
        (Fault::Unread(value), Name::Text(_), _) => {
            out.push(flag);
            hpack::put_text(name, out);
            hpack::put_text(&value, out);
        }
        (Fault::Unread(value), Name::Indexed(index), _) => {
            hpack::put_integer(flag, bits, index, out);
            hpack::put_text(&value, out);
        }
        // Leaves no trace.
        (Fault::Malformed, ..) if !kept => {}
        (Fault::Malformed, _, Some(cost)) if cost > REFUSED_NAME.len() => {
            put_refused(true, cost - REFUSED_NAME.len(), out);
        }
        (Fault::Malformed, Name::Indexed(index), _) => {
            hpack::put_integer(flag, bits, index, out);
            hpack::put_text(&vec![STAND_IN; value.len()], out);
        }
        // One or two octets: no room for the name that ends a stream.
        (Fault::Malformed, Name::Text(_), cost) => {
            out.push(flag);
            hpack::put_text(&vec![STAND_IN; cost.unwrap_or(1).max(1)], out);
            hpack::put_text(b"", out);
        }
    }
}

/// A field for which h2 ends the stream.
fn put_refused(kept: bool, value: usize, out: &mut Vec<u8>) {
    out.push(if kept { 0x40 } else { 0 });
    hpack::put_text(REFUSED_NAME, out);
    hpack::put_text(&vec![STAND_IN; value], out);
}

#[cfg(test)]
mod tests;
