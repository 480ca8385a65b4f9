//! Tables of the messages that clients send, for what reads them from JSON.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use protox::prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

/// Services whose requests have tables.
const PACKAGES: [&str; 3] = ["etcdserverpb", "v3lockpb", "v3electionpb"];

struct Types<'a> {
    messages: BTreeMap<String, &'a DescriptorProto>,
    enums: BTreeMap<String, &'a EnumDescriptorProto>,
}

impl<'a> Types<'a> {
    fn of(files: &'a FileDescriptorSet) -> Types<'a> {
        let mut types = Types {
            messages: BTreeMap::new(),
            enums: BTreeMap::new(),
        };
        for file in &files.file {
            let prefix = format!(".{}", file.package());
            for message in &file.message_type {
                types.add(&prefix, message);
            }
            for one in &file.enum_type {
                types.enums.insert(format!("{prefix}.{}", one.name()), one);
            }
        }
        types
    }

    fn add(&mut self, prefix: &str, message: &'a DescriptorProto) {
        let name = format!("{prefix}.{}", message.name());
        for nested in &message.nested_type {
            self.add(&name, nested);
        }
        for one in &message.enum_type {
            self.enums.insert(format!("{name}.{}", one.name()), one);
        }
        self.messages.insert(name, message);
    }

    /// The requests, and all messages in them.
    fn requests(&self, files: &FileDescriptorSet) -> BTreeSet<String> {
        let mut wanted: Vec<String> = files
            .file
            .iter()
            .filter(|file| PACKAGES.contains(&file.package()))
            .flat_map(|file| &file.service)
            .flat_map(|service| &service.method)
            .map(|method| method.input_type().to_owned())
            .collect();
        let mut found = BTreeSet::new();
        while let Some(name) = wanted.pop() {
            let Some(message) = self.messages.get(&name) else {
                continue;
            };
            if found.insert(name) {
                let fields = message.field.iter();
                wanted.extend(
                    fields
                        .filter(|field| field.r#type() == Type::Message)
                        .map(|field| field.type_name().to_owned()),
                );
            }
        }
        found
    }
}

/// `.etcdserverpb.PutRequest` as the name of a static: `PutRequest`.
fn constant(name: &str) -> String {
    let name = name.trim_start_matches('.');
    let (_, name) = name.split_once('.').unwrap_or(("", name));
    name.replace('.', "_")
}

/// The name of a field in JSON, as protoc makes it.
fn camel_case(name: &str) -> String {
    let mut out = String::new();
    let mut is_upper = false;
    for c in name.chars() {
        if c == '_' {
            is_upper = true;
        } else if std::mem::take(&mut is_upper) {
            out.push(c.to_ascii_uppercase());
        } else {
            out.push(c);
        }
    }
    out
}

fn kind(field: &FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::Bool => "Kind::Bool".into(),
        Type::Int32 => "Kind::Int32".into(),
        Type::Int64 => "Kind::Int64".into(),
        Type::Uint32 => "Kind::Uint32".into(),
        Type::Uint64 => "Kind::Uint64".into(),
        Type::String => "Kind::String".into(),
        Type::Bytes => "Kind::Bytes".into(),
        Type::Enum => format!("Kind::Enum(&{})", constant(field.type_name())),
        Type::Message => format!("Kind::Message(&{})", constant(field.type_name())),
        other => panic!("{}: no request has a field of {other:?}", field.name()),
    }
}

/// The source of the tables.
pub(crate) fn tables(files: &FileDescriptorSet) -> String {
    let types = Types::of(files);
    let requests = types.requests(files);
    let mut out = String::new();
    let mut enums = BTreeSet::new();
    for name in &requests {
        let message = types.messages[name];
        let full = name.trim_start_matches('.');
        writeln!(
            out,
            "pub static {}: Message = Message {{ name: {full:?}, fields: &[",
            constant(name)
        )
        .expect("a string takes all");
        for field in &message.field {
            if field.r#type() == Type::Enum {
                enums.insert(field.type_name().to_owned());
            }
            writeln!(
                out,
                "    Field {{ name: {:?}, json_name: {:?}, number: {}, is_repeated: {}, oneof: {:?}, kind: {} }},",
                field.name(),
                camel_case(field.name()),
                field.number(),
                field.label() == Label::Repeated,
                field.oneof_index.map(|index| {
                    let oneof = &message.oneof_decl[index as usize];
                    format!("{full}.{}", oneof.name())
                }),
                kind(field)
            )
            .expect("a string takes all");
        }
        out.push_str("] };\n");
    }
    for name in enums {
        let full = name.trim_start_matches('.');
        let values: Vec<String> = types.enums[&name]
            .value
            .iter()
            .map(|value| format!("({:?}, {})", value.name(), value.number()))
            .collect();
        writeln!(
            out,
            "pub static {}: Enum = Enum {{ name: {full:?}, values: &[{}] }};",
            constant(&name),
            values.join(", ")
        )
        .expect("a string takes all");
    }
    out
}
