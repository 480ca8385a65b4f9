//! A program as a manual page, as completion scripts and as a page of the documentation, all from
//! the tables of commands and flags. It must never mention a word that the program would refuse.

use std::fmt::Write as _;

use crate::{
    command::Command,
    completion::{self, Place},
    flags::{Flag, Kind},
};

/// A command of the program, or the program itself.
#[derive(Clone, Debug)]
struct Section {
    /// The names that lead to it, as `lease grant`; empty for the program.
    path: String,
    args: &'static str,
    short: &'static str,
    long: &'static str,
    own: Vec<&'static Flag>,
    inherited: Vec<&'static Flag>,
    children: Vec<(&'static str, &'static str)>,
}

/// A program, from its tables.
#[derive(Clone, Debug)]
pub struct Manual {
    name: &'static str,
    about: &'static str,
    sections: Vec<Section>,
}

impl Manual {
    /// A program with commands.
    pub fn of<A>(
        name: &'static str,
        about: &'static str,
        commands: &'static [Command<A>],
        global: &'static [Flag],
    ) -> Manual {
        let mut manual = Manual::plain(name, about, global.iter());
        manual.sections[0].args = "COMMAND";
        manual.sections[0].children = commands.iter().map(|c| (c.name, c.short)).collect();
        let inherited: Vec<&Flag> = global.iter().collect();
        manual.add("", &inherited, commands);
        manual
    }

    /// A program without commands.
    pub fn plain(
        name: &'static str,
        about: &'static str,
        flags: impl Iterator<Item = &'static Flag>,
    ) -> Manual {
        let program = Section {
            path: String::new(),
            args: "",
            short: about,
            long: "",
            own: flags.collect(),
            inherited: Vec::new(),
            children: Vec::new(),
        };
        Manual {
            name,
            about,
            sections: vec![program],
        }
    }

    fn add<A>(
        &mut self,
        above: &str,
        inherited: &[&'static Flag],
        commands: &'static [Command<A>],
    ) {
        for command in commands {
            let path = format!("{above} {}", command.name).trim_start().to_owned();
            let children = command.children();
            self.sections.push(Section {
                path: path.clone(),
                args: command.args,
                short: command.short,
                long: command.long,
                own: command.flags.iter().collect(),
                inherited: inherited.to_vec(),
                children: children.iter().map(|c| (c.name, c.short)).collect(),
            });
            let below: Vec<&Flag> = command
                .flags
                .iter()
                .chain(inherited.iter().copied())
                .collect();
            self.add(&path, &below, children);
        }
    }

    /// The same with another program as its command `name`.
    #[must_use]
    pub fn with(mut self, name: &'static str, other: Manual) -> Manual {
        self.sections[0].args = "PROGRAM";
        self.sections[0].children.push((name, other.about));
        self.sections
            .extend(other.sections.into_iter().map(|section| Section {
                path: format!("{name} {}", section.path).trim_end().to_owned(),
                ..section
            }));
        self
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The completion script for a shell of [`completion::SHELLS`].
    pub fn script(&self, shell: &str) -> Option<String> {
        let places: Vec<Place> = self.sections.iter().map(place).collect();
        completion::of_places(shell, self.name, &places)
    }

    /// The page for man(1), of this version of the program.
    pub fn page(&self, version: &str) -> String {
        let mut out = format!(
            ".TH {} 1 \"\" \"Pintle {version}\" \"User Commands\"\n.ad l\n.SH NAME\n{} \\- {}\n",
            self.name.to_uppercase(),
            self.name,
            roff(self.about)
        );
        let _ = write!(out, ".SH SYNOPSIS\n.B {}\n", self.name);
        let program = &self.sections[0];
        let _ = writeln!(out, "{} [\\fIflags\\fR]", program.args);
        if !program.own.is_empty() {
            out.push_str(".SH OPTIONS\n");
            program.own.iter().for_each(|flag| option(&mut out, flag));
        }
        if self.sections.len() > 1 {
            out.push_str(".SH COMMANDS\n");
        }
        for section in &self.sections[1..] {
            let _ = writeln!(out, ".SS \"{} {}\"", self.name, roff(&section.path));
            let _ = writeln!(out, "{}.", roff(section.short.trim_end_matches('.')));
            if !section.args.is_empty() {
                let usage = format!("{} {} {}", self.name, section.path, section.args);
                let _ = write!(out, ".PP\nUsage: {}\n", roff(&usage));
            }
            if !section.long.is_empty() {
                let _ = write!(out, ".PP\n.nf\n{}\n.fi\n", roff(section.long));
            }
            section.own.iter().for_each(|flag| option(&mut out, flag));
        }
        out
    }

    /// Its flags as a page of the documentation.
    pub fn flags_page(&self) -> String {
        let mut out = String::from(FLAGS_HEAD);
        for section in self
            .sections
            .iter()
            .filter(|section| !section.own.is_empty())
        {
            let title = format!("{} {}", self.name, section.path);
            let _ = write!(
                out,
                "\n## `{}`\n\n| flag | default | what it does |\n|---|---|---|\n",
                title.trim_end()
            );
            for flag in &section.own {
                let default = match flag.default {
                    "" => String::new(),
                    default => format!("`{default}`"),
                };
                let help = flag.help.replace('|', "\\|").replace('<', "&lt;");
                let _ = writeln!(out, "| `--{}` | {default} | {help} |", flag.name);
            }
        }
        out
    }
}

const FLAGS_HEAD: &str = "\
# Flags of every program

Made of the tables that the programs read their command lines by (`pintle manual DIR`). Flags of
`pintle server` and of `etcd`, its other name, are also variables (`ETCD_DATA_DIR` of `--data-dir`)
and keys of the configuration file; those of `pintle ctl` and `etcdctl` are variables too
(`ETCDCTL_ENDPOINTS`). A command has its own flags and those of the program above it.
";

fn place(section: &Section) -> Place {
    let flags = section.own.iter().chain(&section.inherited).copied();
    Place {
        path: section.path.clone(),
        commands: section.children.clone(),
        flags: completion::flag_words(flags),
    }
}

/// One flag of a manual page.
fn option(out: &mut String, flag: &Flag) {
    let short = flag.short.map_or(String::new(), |c| format!("-{c}, "));
    let value = match flag.kind {
        Kind::Bool => "",
        _ => "=VALUE",
    };
    let word = roff(&format!("{short}--{}{value}", flag.name));
    let default = match (flag.kind, flag.default) {
        (Kind::Bool, "false") | (_, "") => String::new(),
        (_, default) => format!(" (default {default})"),
    };
    let _ = write!(
        out,
        ".TP\n\\fB{word}\\fR\n{}\n",
        roff(&format!("{}{default}", flag.help))
    );
}

/// Text as the macros of man(7) take it.
fn roff(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = line
            .replace('\\', "\\e")
            .replace('-', "\\-")
            .replace('"', "\\(dq");
        match line.starts_with(['.', '\'']) {
            true => format!("\\&{line}"),
            false => line,
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}
