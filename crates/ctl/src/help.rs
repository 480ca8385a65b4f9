//! Help pages, from the tables of flags and commands. They go to stdout and
//! are for people; nothing parses them.

use std::fmt::Write;

use cli::{
    command::Body,
    flags::{Flag, Kind},
};

use crate::spec::{COMMANDS, Command, GLOBAL};

/// The page of the program itself.
pub(crate) fn program(called: &str) -> String {
    let mut page = format!(
        "NAME:\n    {called} - the command line client of etcd, from Pintle\n\n\
         USAGE:\n    {called} [flags] <command> ...\n\nCOMMANDS:\n",
    );
    list_commands(&mut page, "", COMMANDS);
    let _ = writeln!(
        page,
        "\nEach command has a page of its own: {called} <command> --help"
    );
    list_flags(&mut page, "FLAGS", GLOBAL.iter());
    page.push_str(
        "\nEvery flag above can come from the environment: --endpoints as ETCDCTL_ENDPOINTS.\n",
    );
    page
}

/// The page of the last command of `path`.
pub(crate) fn command(called: &str, path: &[&Command]) -> String {
    let Some(command) = path.last() else {
        return program(called);
    };
    let names: Vec<_> = path.iter().map(|command| command.name).collect();
    let names = names.join(" ");
    let mut page = String::new();
    let _ = write!(
        page,
        "NAME:\n    {names} - {}\n\nUSAGE:\n    {called} {names} {}\n",
        command.short, command.args
    );
    if !command.long.is_empty() {
        page.push_str("\nDESCRIPTION:\n");
        for line in command.long.lines() {
            let _ = writeln!(page, "    {line}");
        }
    }
    match &command.body {
        Body::Group(children) => {
            page.push_str("\nCOMMANDS:\n");
            list_commands(&mut page, "", children);
        }
        Body::Run(_) => {}
    }
    let own: Vec<&Flag> = path.iter().flat_map(|command| command.flags).collect();
    if !own.is_empty() {
        list_flags(&mut page, "FLAGS", own.into_iter());
    }
    list_flags(&mut page, "GLOBAL FLAGS", GLOBAL.iter());
    page
}

fn list_commands(page: &mut String, parent: &str, commands: &[Command]) {
    for command in commands {
        let name = format!("{parent}{}", command.name);
        match command.body {
            Body::Group(children) => list_commands(page, &format!("{name} "), children),
            Body::Run(_) => {
                let _ = writeln!(page, "    {name:<24}{}", command.short);
            }
        }
    }
}

fn list_flags<'a>(page: &mut String, title: &str, flags: impl Iterator<Item = &'a Flag>) {
    let _ = writeln!(page, "\n{title}:");
    let mut flags: Vec<_> = flags.collect();
    flags.sort_by_key(|flag| flag.name);
    for flag in flags {
        let short = flag
            .short
            .map_or("    ".into(), |short| format!("-{short}, "));
        let value = match flag.kind {
            Kind::Bool if flag.default == "false" => String::new(),
            _ => format!("={}", flag.default),
        };
        let name = format!("--{}{value}", flag.name);
        let _ = writeln!(page, "    {short}{name:<32} {}", flag.help);
    }
}
