//! From a JSON text to the bytes of the message, by the rules of Go's `protojson` as etcd's gateway
//! uses it, with its leniencies and its messages: numbers may be quoted or have an exponent, names
//! may be in camel case, unknown ones are left out, and `null` is a field that is not there.

use std::borrow::Cow;

use bytes::Bytes;
use prost::encoding::{WireType, encode_key, encode_varint};
use proto::schema::{Field, Kind as Type, Message};

use super::{
    base64,
    number::{integer, leading_number},
    scanner::SyntaxError,
    text::Flaw,
    value::{Children, Document, Kind, Position, Value},
};

/// Why a text is not the message.
#[derive(Debug, thiserror::Error)]
pub(in crate::transport) enum Error {
    /// It is no JSON.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// Where the second half of a pair should be, it ends.
    #[error("proto: unexpected EOF")]
    Eof,
    /// A string is none.
    #[error("proto: syntax error ({at}): invalid UTF-8 in string")]
    Utf8 {
        /// Where it is.
        at: Position,
    },
    /// A string has half of a surrogate pair.
    #[error("proto: syntax error ({at}): invalid escape code {code} in string")]
    Escape {
        /// Where it is.
        at: Position,
        /// What is there for the other half.
        code: String,
    },
    /// A message or a list is something else.
    #[error("proto: syntax error ({at}): unexpected token {token}")]
    Token {
        /// Where it is.
        at: Position,
        /// What is there.
        token: String,
    },
    /// A value cannot be what its field is.
    #[error("proto: ({at}): invalid value for {kind} field {field}: {token}")]
    Value {
        /// Where it is.
        at: Position,
        /// The type of the field.
        kind: &'static str,
        /// Its name in camel case.
        field: &'static str,
        /// What is there.
        token: String,
    },
    /// A field is there twice.
    #[error("proto: ({at}): duplicate field {name}")]
    Duplicate {
        /// Where the second is.
        at: Position,
        /// Its name.
        name: String,
    },
    /// Two fields of which there is one are there.
    #[error("proto: ({at}): error parsing {name}, oneof {oneof} is already set")]
    Oneof {
        /// Where the second is.
        at: Position,
        /// Its name.
        name: String,
        /// What it would set again.
        oneof: &'static str,
    },
}

/// A message that is being written.
struct Open<'a> {
    /// Its field in the message around it.
    number: u32,
    message: &'static Message,
    out: Vec<u8>,
    /// Names and values that are still to come.
    members: Children<'a>,
    /// Fields that have been there.
    seen: Vec<u32>,
    oneofs: Vec<&'static str>,
    /// The list that is being written.
    list: Option<(&'static Field, Children<'a>)>,
}

/// The serialized message in a JSON text; an empty one for a text without any value.
pub(in crate::transport) fn transcode(
    text: &[u8],
    message: &'static Message,
) -> Result<Bytes, Error> {
    let Some(document) = Document::parse(text)? else {
        return Ok(Bytes::new());
    };
    // Messages may be nested as deeply as the text, so the stack is one of our own.
    let mut open = vec![Open::new(0, message, document.root())?];
    loop {
        let Some(top) = open.last_mut() else {
            return Ok(Bytes::new());
        };
        if let Some((number, message, value)) = top.advance()? {
            open.push(Open::new(number, message, value)?);
            continue;
        }
        let Some(done) = open.pop() else {
            return Ok(Bytes::new());
        };
        let Some(around) = open.last_mut() else {
            return Ok(done.out.into());
        };
        put_bytes(done.number, &done.out, &mut around.out);
    }
}

fn unexpected(value: Value<'_>) -> Error {
    match text(value) {
        Err(error) => error,
        Ok(_) => Error::Token {
            at: value.position(),
            token: value.token(),
        },
    }
}

/// The content of a string; `None` for a value of another kind.
fn text(value: Value<'_>) -> Result<Option<Cow<'_, str>>, Error> {
    if value.kind() != Kind::String {
        return Ok(None);
    }
    let at = || value.position();
    value.content().map(Some).map_err(|flaw| match flaw {
        Flaw::Eof => Error::Eof,
        Flaw::Utf8 => Error::Utf8 { at: at() },
        Flaw::Escape(code) => Error::Escape { at: at(), code },
    })
}

impl<'a> Open<'a> {
    fn new(number: u32, message: &'static Message, value: Value<'a>) -> Result<Open<'a>, Error> {
        if value.kind() != Kind::Object {
            return Err(unexpected(value));
        }
        Ok(Open {
            number,
            message,
            out: Vec::new(),
            members: value.children(),
            seen: Vec::new(),
            oneofs: Vec::new(),
            list: None,
        })
    }

    /// Writes what is next; gives back a message in it that has to be written first.
    fn advance(&mut self) -> Result<Option<(u32, &'static Message, Value<'a>)>, Error> {
        loop {
            let element = match &mut self.list {
                Some((field, values)) => values.next().map(|value| (*field, value)),
                None => None,
            };
            let (field, value) = match element {
                Some(element) => element,
                None => {
                    self.list = None;
                    let (Some(name), Some(value)) = (self.members.next(), self.members.next())
                    else {
                        return Ok(None);
                    };
                    match self.member(name, value)? {
                        Some(field) => (field, value),
                        None => continue,
                    }
                }
            };
            if let Type::Message(message) = field.kind {
                return Ok(Some((field.number, message, value)));
            }
            put(field, value, &mut self.out)?;
        }
    }

    /// The field of a member, if its value is to be written now.
    fn member(
        &mut self,
        name: Value<'a>,
        value: Value<'a>,
    ) -> Result<Option<&'static Field>, Error> {
        let fields = self.message.fields;
        let key = text(name)?.unwrap_or_default();
        let by_json_name = fields.iter().find(|field| field.json_name == key);
        let Some(field) = by_json_name.or_else(|| fields.iter().find(|field| field.name == key))
        else {
            value
                .strings()
                .try_for_each(|string| text(string).map(drop))?;
            return Ok(None);
        };
        if self.seen.contains(&field.number) {
            return Err(Error::Duplicate {
                at: name.position(),
                name: name.token(),
            });
        }
        self.seen.push(field.number);
        if value.kind() == Kind::Null {
            return Ok(None);
        }
        if field.is_repeated {
            if value.kind() != Kind::Array {
                return Err(unexpected(value));
            }
            self.list = Some((field, value.children()));
            return Ok(None);
        }
        if let Some(oneof) = field.oneof {
            if self.oneofs.contains(&oneof) {
                return Err(Error::Oneof {
                    at: name.position(),
                    name: name.token(),
                    oneof,
                });
            }
            self.oneofs.push(oneof);
        }
        Ok(Some(field))
    }
}

fn put_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn put_varint(number: u32, value: u64, out: &mut Vec<u8>) {
    encode_key(number, WireType::Varint, out);
    encode_varint(value, out);
}

/// Writes a value that is no message.
fn put(field: &Field, value: Value<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
    let number = field.number;
    let text = text(value)?;
    let (kind, written) = match field.kind {
        // The caller has a place of its own for it.
        Type::Message(_) => return Ok(()),
        Type::Bool => {
            let bool = (value.kind() == Kind::Bool).then(|| value.text() == b"true");
            (
                "bool",
                bool.map(|bool| put_varint(number, bool.into(), out)),
            )
        }
        Type::String => {
            let put = text.map(|text| put_bytes(number, text.as_bytes(), out));
            ("string", put)
        }
        Type::Bytes => {
            // In base64, of either alphabet, with padding where the length asks for it.
            let bytes = text.and_then(|text| base64::decode(text.as_bytes()));
            ("bytes", bytes.map(|bytes| put_bytes(number, &bytes, out)))
        }
        Type::Enum(of) => match (text, value.kind()) {
            (Some(name), _) => {
                // A name that is not known is a field that is not there.
                if let Some((_, known)) = of.values.iter().find(|(known, _)| *known == name) {
                    put_varint(number, i64::from(*known) as u64, out);
                }
                ("enum", Some(()))
            }
            (None, Kind::Number) => {
                let known = integer(value.text(), i32::MIN.into(), i32::MAX.into());
                ("enum", known.map(|n| put_varint(number, n as u64, out)))
            }
            (None, _) => ("enum", None),
        },
        Type::Int32 => {
            let n = unquoted(value, text, i32::MIN.into(), i32::MAX.into());
            ("int32", n.map(|n| put_varint(number, n as u64, out)))
        }
        Type::Int64 => {
            let n = unquoted(value, text, i64::MIN.into(), i64::MAX.into());
            ("int64", n.map(|n| put_varint(number, n as u64, out)))
        }
        Type::Uint32 => {
            let n = unquoted(value, text, 0, u32::MAX.into());
            ("uint32", n.map(|n| put_varint(number, n as u64, out)))
        }
        Type::Uint64 => {
            let n = unquoted(value, text, 0, u64::MAX.into());
            ("uint64", n.map(|n| put_varint(number, n as u64, out)))
        }
    };
    written.ok_or_else(|| Error::Value {
        at: value.position(),
        kind,
        field: field.json_name,
        token: value.token(),
    })
}

/// An integer within bounds, which may have quotes.
fn unquoted(value: Value<'_>, text: Option<Cow<'_, str>>, min: i128, max: i128) -> Option<i128> {
    match (text, value.kind()) {
        (Some(text), _) if text.trim() == text => {
            // What comes after the number is not looked at, if it cannot be a part of it.
            integer(leading_number(text.as_bytes())?, min, max)
        }
        (None, Kind::Number) => integer(value.text(), min, max),
        _ => None,
    }
}
