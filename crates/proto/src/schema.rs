//! What the requests of clients consist of, for what reads them from JSON: tables made from the
//! same descriptors as the messages.

/// A message.
#[derive(Debug)]
pub struct Message {
    /// With its package.
    pub name: &'static str,
    /// In order of declaration.
    pub fields: &'static [Field],
}

/// A field of a message.
#[derive(Debug)]
pub struct Field {
    /// As declared.
    pub name: &'static str,
    /// In lower camel case.
    pub json_name: &'static str,
    /// On the wire.
    pub number: u32,
    /// Whether it is a list.
    pub is_repeated: bool,
    /// The oneof that it belongs to, with its package and message.
    pub oneof: Option<&'static str>,
    /// What is in it.
    pub kind: Kind,
}

/// The type of a field, or of the elements of a list.
#[derive(Debug)]
pub enum Kind {
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    String,
    Bytes,
    Enum(&'static Enum),
    Message(&'static Message),
}

/// An enumeration.
#[derive(Debug)]
pub struct Enum {
    /// With its package.
    pub name: &'static str,
    /// Names and numbers.
    pub values: &'static [(&'static str, i32)],
}

mod tables {
    #![allow(non_upper_case_globals)]
    use super::{Enum, Field, Kind, Message};

    include!(concat!(env!("OUT_DIR"), "/schema.rs"));
}

pub use tables::*;
