//! Output formats. A result is a few named values; each format shows all of
//! them. Must never print part of a result.

use std::fmt::Write;

use cli::table::Table;
use serde_json::Value;

use crate::{
    command::Line,
    failure::{Failure, Outcome},
};

/// `-w`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Simple,
    Json,
    Fields,
    Table,
}

impl Format {
    /// Reads `-w`, with etcdutl's errors.
    pub(crate) fn of(line: &Line) -> Outcome<Self> {
        match line.parsed.text("write-out") {
            "simple" => Ok(Self::Simple),
            "json" => Ok(Self::Json),
            "fields" => Ok(Self::Fields),
            "table" => Ok(Self::Table),
            "protobuf" => Err(Failure::format("protobuf not supported as output format")),
            _ => Err(Failure::format("unsupported output format")),
        }
    }
}

/// One value under its names.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    /// Key in JSON.
    pub(crate) json: &'static str,
    /// Name in the format `fields`.
    pub(crate) field: &'static str,
    /// Heading of its column.
    pub(crate) column: &'static str,
    /// As JSON and `fields` show it.
    pub(crate) raw: Value,
    /// As lines and tables show it.
    pub(crate) shown: String,
}

/// A result of one row.
pub(crate) fn row(values: &[Named], format: Format) -> String {
    match format {
        Format::Simple => {
            let cells: Vec<&str> = values.iter().map(|v| v.shown.as_str()).collect();
            format!("{}\n", cells.join(", "))
        }
        Format::Json => {
            let pairs: Vec<String> = values
                .iter()
                .map(|v| format!("{:?}:{}", v.json, v.raw))
                .collect();
            format!("{{{}}}\n", pairs.join(","))
        }
        Format::Fields => values.iter().fold(String::new(), |mut text, v| {
            // etcdutl quotes names, not values.
            let _ = match &v.raw {
                Value::String(raw) => writeln!(text, "{:?} : {raw}", v.field),
                raw => writeln!(text, "{:?} : {raw}", v.field),
            };
            text
        }),
        Format::Table => {
            let columns: Vec<&str> = values.iter().map(|v| v.column).collect();
            let cells = values.iter().map(|v| v.shown.clone()).collect();
            let mut table = Table::new(&columns);
            table.row(cells);
            table.draw()
        }
    }
}
