//! The output formats. A response that can be shown says so by [`Show`]; what
//! each format looks like is etcdctl's contract with scripts, byte for byte
//! (docs/design/commands.md).

use cli::text;
use prost::Message;
use proto::etcdserverpb::ResponseHeader;

use crate::{
    failure::{EXIT_FEATURE, Failure, Outcome},
    terminal::print_all,
};

mod fields;
mod json;
mod simple;

pub(crate) use json::Object;

/// `--write-out`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Simple,
    Json,
    Fields,
    Table,
    Protobuf,
}

impl Format {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "simple" => Self::Simple,
            "json" => Self::Json,
            "fields" => Self::Fields,
            "table" => Self::Table,
            "protobuf" => Self::Protobuf,
            _ => return None,
        })
    }
}

/// Something with a form in each line-based format.
pub(crate) trait Show {
    /// For people and line-based scripts.
    fn simple(&self, page: &mut Page);
    /// One JSON value.
    fn json(&self, page: &mut Page);
    /// `"Name" : value` lines.
    fn fields(&self, page: &mut Page);
    /// The response as it came over the wire.
    fn protobuf(&self) -> Vec<u8>;
}

/// What is being printed.
pub(crate) struct Page {
    pub(crate) bytes: Vec<u8>,
    hex: bool,
    value_only: bool,
}

impl Page {
    /// Text as it is.
    pub(crate) fn text(&mut self, text: impl AsRef<str>) {
        self.bytes.extend_from_slice(text.as_ref().as_bytes());
    }

    /// A line of text.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) {
        self.text(text);
        self.bytes.push(b'\n');
    }

    /// A line of any bytes.
    pub(crate) fn raw_line(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.bytes.push(b'\n');
    }

    /// A key or value on a line of its own, in hexadecimal if asked for.
    pub(crate) fn data(&mut self, data: &[u8]) {
        if self.hex {
            self.line(text::hex(data));
        } else {
            self.bytes.extend_from_slice(data);
            self.bytes.push(b'\n');
        }
    }

    /// `"Name" : value`.
    pub(crate) fn field(&mut self, name: &str, value: impl std::fmt::Display) {
        self.line(format!("\"{name}\" : {value}"));
    }

    /// `"Name" : "value"`, quoted as Go does.
    pub(crate) fn quoted(&mut self, name: &str, value: &[u8]) {
        self.field(name, text::quote(value));
    }
}

/// Where and how output goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    format: Format,
    hex: bool,
    value_only: bool,
}

impl Output {
    pub(crate) fn new(format: Format, hex: bool) -> Self {
        Self {
            format,
            hex,
            value_only: false,
        }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// `--print-value-only`.
    pub(crate) fn value_only(mut self) -> Self {
        self.value_only = true;
        self
    }

    /// Refuses the table format, before anything is sent. etcdctl refuses it
    /// after the command has taken effect; the words and the code are its own.
    pub(crate) fn refuse_table(&self) -> Outcome {
        self.refuse(Format::Table, "table")
    }

    /// Refuses the formats that etcdctl has for lists alone.
    pub(crate) fn refuse_table_and_fields(&self) -> Outcome {
        self.refuse_table()?;
        self.refuse(Format::Fields, "fields")
    }

    /// Refuses the protobuf format.
    pub(crate) fn refuse_protobuf(&self) -> Outcome {
        self.refuse(Format::Protobuf, "protobuf")
    }

    fn refuse(&self, format: Format, name: &str) -> Outcome {
        if self.format == format {
            return Err(Failure::new(
                EXIT_FEATURE,
                format!("{name} not supported as output format"),
            ));
        }
        Ok(())
    }

    pub(crate) fn page(&self) -> Page {
        Page {
            bytes: Vec::new(),
            hex: self.hex,
            value_only: self.value_only,
        }
    }

    /// Prints in the chosen format, which must not be the table.
    pub(crate) fn show(&self, what: &impl Show) -> Outcome {
        let mut page = self.page();
        match self.format {
            Format::Simple => what.simple(&mut page),
            Format::Json => {
                what.json(&mut page);
                page.line("");
            }
            Format::Fields => what.fields(&mut page),
            Format::Protobuf => page.bytes = what.protobuf(),
            Format::Table => self.refuse_table()?,
        }
        print_all(&page.bytes)
    }
}

/// A response that is printed in one line, or whose header says it all.
pub(crate) struct Told<'a, M> {
    /// The line of the simple format.
    pub(crate) line: String,
    /// The header of `response`.
    pub(crate) header: Option<&'a ResponseHeader>,
    pub(crate) response: &'a M,
}

impl<M: Message> Show for Told<'_, M> {
    fn simple(&self, page: &mut Page) {
        page.line(&self.line);
    }

    fn json(&self, page: &mut Page) {
        Object::write(&mut page.bytes, |object| object.header(self.header));
    }

    fn fields(&self, page: &mut Page) {
        page.header_fields(self.header);
    }

    fn protobuf(&self) -> Vec<u8> {
        wire(self.response)
    }
}

/// The wire form of a message.
pub(crate) fn wire(message: &impl Message) -> Vec<u8> {
    message.encode_to_vec()
}
