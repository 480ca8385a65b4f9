//! Usage pages from the tables of commands and flags, laid out as cobra lays them out. It must
//! never mention a command or flag that is not in the table.

use std::fmt::Write as _;

use crate::{
    command::{Body, Command},
    flags::{Flag, Kind},
};

/// cobra's column of command names is at least this wide.
const NAMES_WIDTH: usize = 11;

/// What a program is: the word that starts it, and its tables.
#[derive(Debug)]
pub struct Program<A: 'static> {
    /// As it is typed; may be two words.
    pub name: &'static str,
    /// What it can do.
    pub commands: &'static [Command<A>],
    /// The flags of all its commands.
    pub global: &'static [Flag],
}

impl<A> Program<A> {
    /// How the last command of `path` is used; the program itself for an empty path.
    pub fn usage(&self, path: &[&Command<A>]) -> String {
        let own = path.last();
        let mut names = String::from(self.name);
        for command in path {
            let _ = write!(names, " {}", command.name);
        }
        let group = match own.map(|command| &command.body) {
            None => Some(self.commands),
            Some(Body::Group(commands)) => Some(*commands),
            Some(Body::Run(_)) => None,
        };
        let mut page = String::from("Usage:\n");
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
            list_commands(&mut page, commands, own.is_none());
        }
        self.list_flags(&mut page, own.copied());
        if group.is_some() {
            let _ = writeln!(
                page,
                "\nUse \"{names} [command] --help\" for more information about a command."
            );
        }
        page
    }

    fn list_flags(&self, page: &mut String, own: Option<&Command<A>>) {
        let called = own.map_or(self.name, |command| command.name);
        let mut rows: Vec<(String, String)> = own
            .map_or(&[][..], |command| command.flags)
            .iter()
            .map(row)
            .collect();
        rows.push(("  -h, --help".into(), format!("help for {called}")));
        if own.is_none() {
            rows.extend(self.global.iter().map(row));
        }
        rows.sort_by(|a, b| a.0[6..].cmp(&b.0[6..]));
        page.push_str("\nFlags:\n");
        write_rows(page, &rows);
        if own.is_some() && !self.global.is_empty() {
            page.push_str("\nGlobal Flags:\n");
            write_rows(page, &self.global.iter().map(row).collect::<Vec<_>>());
        }
    }
}

/// The commands of a group; of a program, with `help` among them and sorted.
fn list_commands<A>(page: &mut String, commands: &[Command<A>], of_program: bool) {
    let mut rows: Vec<(&str, &str)> = commands.iter().map(|c| (c.name, c.short)).collect();
    if of_program {
        rows.push(("help", "Help about any command"));
        rows.sort_unstable();
    }
    let longest = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let width = longest.max(NAMES_WIDTH);
    page.push_str("\nAvailable Commands:\n");
    for (name, short) in rows {
        let _ = writeln!(page, "  {name:width$} {short}");
    }
}

/// A flag with its type, and its help with its default.
fn row(flag: &Flag) -> (String, String) {
    let kind = match flag.kind {
        Kind::Text => " string",
        Kind::Bool => "",
        Kind::Uint => " uint",
        Kind::Int => " int",
        Kind::Float => " float",
        Kind::List => " strings",
        Kind::Array => " stringArray",
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

fn write_rows(page: &mut String, rows: &[(String, String)]) {
    let width = rows.iter().map(|(left, _)| left.len()).max().unwrap_or(0);
    for (left, help) in rows {
        let _ = writeln!(page, "{left:width$}   {help}");
    }
}
