//! Help and usage pages, laid out as cobra lays them out.

use std::fmt::Write as _;

use cli::{
    command::Body,
    flags::{Flag, HELP, Kind},
};

use crate::command::{Command, UINT32_MAX};

/// The program that the pages name, whatever it was called by: scripts know these lines.
const PROGRAM: &str = "etcd";
/// Narrower columns of commands are padded to this.
const NAMES_WIDTH: usize = 11;

/// What `--help` prints.
pub(crate) fn page(path: &[&Command]) -> String {
    let short = path.last().map_or("", |command| command.short);
    format!("{short}\n\n{}", usage(path))
}

/// How a command is used: its part of the page, and what follows a mistake.
pub(crate) fn usage(path: &[&Command]) -> String {
    let mut page = String::from("Usage:\n");
    let mut names = String::from(PROGRAM);
    for command in path {
        let _ = write!(names, " {}", command.name);
    }
    let Some(command) = path.last() else {
        return page;
    };
    let group = match command.body {
        Body::Group(commands) => commands,
        Body::Run(_) => &[],
    };
    let form = if group.is_empty() {
        "[flags]"
    } else {
        "[command]"
    };
    let _ = writeln!(page, "  {names} {form}");
    if !group.is_empty() {
        page.push_str("\nAvailable Commands:\n");
    }
    for command in group {
        let _ = writeln!(page, "  {:NAMES_WIDTH$} {}", command.name, command.short);
    }
    page.push_str("\nFlags:\n");
    let mut rows: Vec<(&str, String, String)> = command.flags.iter().map(row).collect();
    rows.push((
        HELP,
        "  -h, --help".into(),
        format!("help for {}", command.name),
    ));
    rows.sort_unstable();
    let width = rows
        .iter()
        .map(|(_, left, _)| left.len())
        .max()
        .unwrap_or(0);
    for (_, left, help) in rows {
        let _ = writeln!(page, "{left:width$}   {help}");
    }
    if !group.is_empty() {
        let _ = writeln!(
            page,
            "\nUse \"{names} [command] --help\" for more information about a command."
        );
    }
    page
}

fn row(flag: &Flag) -> (&'static str, String, String) {
    let kind = match flag.kind {
        Kind::Text => " string",
        Kind::Bool => "",
        Kind::Uint if flag.default == UINT32_MAX => " uint32",
        Kind::Uint => " uint",
        Kind::Int => " int",
        Kind::List => " strings",
        Kind::Duration => " duration",
        Kind::Float => " float",
        Kind::Array => " stringArray",
    };
    let default = match (flag.kind, flag.default) {
        (_, "" | "false" | "0" | "0s") => String::new(),
        (Kind::Text, default) => format!(" (default {default:?})"),
        (Kind::List, default) => format!(" (default [{default}])"),
        (_, default) => format!(" (default {default})"),
    };
    (
        flag.name,
        format!("      --{}{kind}", flag.name),
        format!("{}{default}", flag.help),
    )
}
