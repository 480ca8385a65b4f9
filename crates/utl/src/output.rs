//! Output formats. A result is a few named values; each format shows all of
//! them. Must never print part of a result.

use std::fmt::Write;

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
        match line.text("write-out") {
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
            let _ = writeln!(text, "{:?} : {}", v.field, v.raw);
            text
        }),
        Format::Table => {
            let columns: Vec<&str> = values.iter().map(|v| v.column).collect();
            let cells = values.iter().map(|v| v.shown.clone()).collect();
            table(&columns, &[cells], Side::Right)
        }
    }
}

/// Where the cells of the last column stand; those before stand right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// A box, as etcdutl 3.5.30 draws it: headings centred and in capitals.
pub(crate) fn table(columns: &[&str], rows: &[Vec<String>], last: Side) -> String {
    let len = |text: &str| text.chars().count();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(i, name)| {
            rows.iter()
                .map(|row| len(&row[i]))
                .chain([len(name)])
                .max()
                .unwrap_or(0)
        })
        .collect();
    let rule = |left: &str, middle: &str, right: &str| {
        let bars: Vec<String> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
        format!("{left}{}{right}\n", bars.join(middle))
    };
    let mut text = rule("┌", "┬", "┐");
    for (name, &width) in columns.iter().zip(&widths) {
        let _ = write!(text, "│ {:^width$} ", name.to_uppercase());
    }
    text.push_str("│\n");
    text.push_str(&rule("├", "┼", "┤"));
    for row in rows {
        for (i, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let _ = if i + 1 == row.len() && last == Side::Left {
                write!(text, "│ {cell:width$} ")
            } else {
                write!(text, "│ {cell:>width$} ")
            };
        }
        text.push_str("│\n");
    }
    text.push_str(&rule("└", "┴", "┘"));
    text
}

/// A size in decimal units: `20 kB`, `2.1 GB`.
pub(crate) fn size(bytes: u64) -> String {
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let exponent = (bytes.ilog10() / 3).min(6);
    let unit = ["B", "kB", "MB", "GB", "TB", "PB", "EB"][exponent as usize];
    let value = (bytes as f64 / 1000f64.powi(exponent as i32) * 10.0 + 0.5).floor() / 10.0;
    if value < 10.0 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}
