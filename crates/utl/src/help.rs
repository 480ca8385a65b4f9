//! Help and usage pages, laid out as cobra lays them out. Must never speak of
//! a command or flag that is not in the table.

use std::fmt::Write;

use cli::{
    command::Body,
    flags::{Flag, Kind},
};

use crate::command::{COMMANDS, Command, GLOBAL};

/// The page of a command; of the program for an empty path.
pub(crate) fn page(path: &[&Command]) -> String {
    let mut page = String::from("Usage:\n");
    let mut names = String::from("etcdutl");
    for command in path {
        let _ = write!(names, " {}", command.name);
    }
    let own = path.last();
    let group = match own.map(|command| &command.body) {
        None => Some(COMMANDS),
        Some(Body::Group(commands)) => Some(*commands),
        Some(Body::Run(_)) => None,
    };
    match (group, own) {
        (None, Some(command)) => {
            let space = if command.args.is_empty() { "" } else { " " };
            let _ = writeln!(page, "  {names}{space}{} [flags]", command.args);
        }
        _ => {
            let _ = writeln!(page, "  {names} [command]");
        }
    }
    if let Some(commands) = group {
        page.push_str("\nAvailable Commands:\n");
        let mut rows: Vec<(&str, &str)> = commands.iter().map(|c| (c.name, c.short)).collect();
        if own.is_none() {
            rows.push(("help", "Help about any command"));
            rows.sort_unstable();
        }
        let width = rows
            .iter()
            .map(|(name, _)| name.len())
            .max()
            .unwrap_or(0)
            .max(11);
        for (name, short) in rows {
            let _ = writeln!(page, "  {name:width$} {short}");
        }
    }
    page.push_str("\nFlags:\n");
    let called = own.map_or("etcdutl", |command| command.name);
    let mut rows: Vec<(String, String)> = own
        .map_or(&[][..], |command| command.flags)
        .iter()
        .map(row)
        .collect();
    rows.push(("  -h, --help".into(), format!("help for {called}")));
    if own.is_none() {
        rows.extend(GLOBAL.iter().map(row));
    }
    rows.sort_by(|a, b| a.0[6..].cmp(&b.0[6..]));
    flags(&mut page, &rows);
    if own.is_some() {
        page.push_str("\nGlobal Flags:\n");
        flags(&mut page, &GLOBAL.iter().map(row).collect::<Vec<_>>());
    }
    if group.is_some() {
        let _ = writeln!(
            page,
            "\nUse \"{names} [command] --help\" for more information about a command."
        );
    }
    page
}

fn row(flag: &Flag) -> (String, String) {
    let kind = match flag.kind {
        Kind::Text => " string",
        Kind::Bool => "",
        Kind::Uint => " uint",
        Kind::Int => " int",
        Kind::List => " strings",
        Kind::Duration => " duration",
    };
    let short = match flag.short {
        Some(letter) => format!("  -{letter}, "),
        None => "      ".into(),
    };
    let default = match (flag.kind, flag.default) {
        (_, "" | "false" | "0") => String::new(),
        (Kind::Text, default) => format!(" (default {default:?})"),
        (_, default) => format!(" (default {default})"),
    };
    (
        format!("{short}--{}{kind}", flag.name),
        format!("{}{default}", flag.help),
    )
}

fn flags(page: &mut String, rows: &[(String, String)]) {
    let width = rows.iter().map(|(left, _)| left.len()).max().unwrap_or(0);
    for (left, help) in rows {
        let _ = writeln!(page, "{left:width$}   {help}");
    }
}
