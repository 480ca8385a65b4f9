//! The JSON of answers with names that may be any bytes. As in Go, there is none for those that are
//! no text.

use bytes::Bytes;
use serde::{
    Serialize, Serializer,
    ser::{Error as _, SerializeStruct as _},
};

use crate::etcdserverpb::{
    AuthRoleListResponse, AuthUserGetResponse, AuthUserListResponse, ResponseHeader,
};

/// An answer of a header and a list of names; either is left out when there is none.
fn names<S: Serializer>(
    serializer: S,
    message: &'static str,
    header: Option<&ResponseHeader>,
    (field, names): (&'static str, &[Bytes]),
) -> Result<S::Ok, S::Error> {
    let len = usize::from(header.is_some()) + usize::from(!names.is_empty());
    let mut object = serializer.serialize_struct(message, len)?;
    if let Some(header) = header {
        object.serialize_field("header", header)?;
    }
    if !names.is_empty() {
        let texts: Result<Vec<&str>, _> = names.iter().map(|n| std::str::from_utf8(n)).collect();
        let texts = texts.map_err(|_| {
            let name = format_args!("proto: field etcdserverpb.{message}.{field}");
            S::Error::custom(format_args!("{name} contains invalid UTF-8"))
        })?;
        object.serialize_field(field, &texts)?;
    }
    object.end()
}

macro_rules! answers {
    ($($message:ident $field:ident,)*) => {
        $(impl Serialize for $message {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let list = (stringify!($field), &self.$field[..]);
                names(serializer, stringify!($message), self.header.as_ref(), list)
            }
        })*
    };
}

answers! {
    AuthUserGetResponse roles,
    AuthUserListResponse users,
    AuthRoleListResponse roles,
}
