//! The context of a configuration change: a member and what is to happen to it, as JSON that
//! Go wrote and Go's rules read. Every etcd takes a key in letters of any case, the last of
//! those given twice, and null for what it leaves as it is.

use std::fmt;

use serde::{
    Deserialize,
    de::{DeserializeOwned, MapAccess, Visitor},
};
use serde_json::Value;

use crate::{Member, MemberId};

/// A member and what is to happen to it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) member: Member,
    /// A learner gets its vote.
    pub(crate) promote: bool,
}

impl Context {
    /// Reads the context of a change.
    ///
    /// # Errors
    /// It is no such JSON, which ends every etcd.
    pub(crate) fn read(json: &[u8]) -> serde_json::Result<Context> {
        let mut context = Context::default();
        let member = &mut context.member;
        for (key, value) in serde_json::from_slice::<Fields>(json)?.0 {
            match folded(&key).as_str() {
                "id" => set(&mut member.id, value)?,
                "peerurls" => set_list(&mut member.peer_urls, value)?,
                "islearner" => set(&mut member.is_learner, value)?,
                "name" => set(&mut member.name, value)?,
                "clienturls" => set_list(&mut member.client_urls, value)?,
                "ispromote" => set(&mut context.promote, value)?,
                _ => {}
            }
        }
        Ok(context)
    }

    /// Whom the context speaks of.
    pub(crate) fn id(&self) -> MemberId {
        self.member.id
    }
}

/// As Go compares keys: two letters beyond ASCII are the same as one of it.
fn folded(key: &str) -> String {
    key.replace('\u{17f}', "s")
        .replace('\u{212a}', "k")
        .to_ascii_lowercase()
}

fn set<T: DeserializeOwned>(field: &mut T, value: Value) -> serde_json::Result<()> {
    if !value.is_null() {
        *field = serde_json::from_value(value)?;
    }
    Ok(())
}

/// Unlike anything else, a list that is null is emptied; a text in it that is null is empty.
fn set_list(field: &mut Vec<String>, value: Value) -> serde_json::Result<()> {
    let list: Option<Vec<Option<String>>> = serde_json::from_value(value)?;
    let texts = list.into_iter().flatten();
    *field = texts.map(Option::unwrap_or_default).collect();
    Ok(())
}

/// The fields of an object in the order in which they are given.
struct Fields(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Fields, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Fields, M::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        from.deserialize_map(Object)
    }
}
