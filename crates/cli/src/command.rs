//! Commands as data, and which of them a line names: as cobra finds it, with
//! names that may be shortened to what fits one command alone. It must never
//! guess between two commands.

use crate::{
    flags::{Flag, HELP, Kind},
    near::suggestion,
};

/// One command or group of commands; `A` says what a command does.
#[derive(Debug)]
pub struct Command<A: 'static> {
    /// The word that names it.
    pub name: &'static str,
    /// The arguments, as the usage line shows them.
    pub args: &'static str,
    /// One line for the list of commands.
    pub short: &'static str,
    /// What a person wants to know beyond that; may be empty.
    pub long: &'static str,
    /// Its own flags; those of a group are flags of all its commands.
    pub flags: &'static [Flag],
    /// What it is.
    pub body: Body<A>,
}

/// What a command is.
#[derive(Debug)]
pub enum Body<A: 'static> {
    /// Commands under a name.
    Group(&'static [Command<A>]),
    /// Something to do.
    Run(A),
}

impl<A> Command<A> {
    /// A command that does something.
    pub const fn run(
        name: &'static str,
        args: &'static str,
        short: &'static str,
        flags: &'static [Flag],
        action: A,
    ) -> Self {
        Self {
            name,
            args,
            short,
            long: "",
            flags,
            body: Body::Run(action),
        }
    }

    /// A group of commands.
    pub const fn group(name: &'static str, short: &'static str, of: &'static [Self]) -> Self {
        Self {
            name,
            args: "<subcommand>",
            short,
            long: "",
            flags: &[],
            body: Body::Group(of),
        }
    }

    /// The commands of a group; none for others.
    pub fn children(&self) -> &'static [Command<A>] {
        match self.body {
            Body::Group(children) => children,
            Body::Run(_) => &[],
        }
    }

    /// The same command with more to say.
    #[must_use]
    pub const fn long(mut self, long: &'static str) -> Self {
        self.long = long;
        self
    }

    /// The same group with flags.
    #[must_use]
    pub const fn flags(mut self, flags: &'static [Flag]) -> Self {
        self.flags = flags;
        self
    }
}

/// What a line asks for.
#[derive(Debug)]
pub struct Found<A: 'static> {
    /// From the group down to the command; empty for the program itself.
    pub path: Vec<&'static Command<A>>,
    /// The words that are left: flags and arguments.
    pub words: Vec<Vec<u8>>,
    /// Whether the line began with `help`: show the page of the path.
    pub asks_help: bool,
    /// The word after `help` that names no command.
    pub no_topic: Option<String>,
    /// What is wrong with the word after a group that names none of its commands. cobra shows the
    /// group all the same, and ends without an error.
    pub stray: Option<String>,
}

/// Walks down from `commands` by the words of a line.
///
/// # Errors
/// cobra's message for a first word that names no command of `program`.
pub fn find<A>(
    program: &str,
    commands: &'static [Command<A>],
    global: &'static [Flag],
    mut words: Vec<Vec<u8>>,
) -> Result<Found<A>, String> {
    let mut path: Vec<&'static Command<A>> = Vec::new();
    let mut choices = commands;
    let mut asks_help = false;
    let mut no_topic = None;
    let mut stray = None;
    loop {
        let own = path.iter().flat_map(|command| command.flags);
        let flags: Vec<&Flag> = global.iter().chain(own).collect();
        let Some(at) = first_argument(&words, &flags) else {
            break;
        };
        let name = String::from_utf8_lossy(&words[at]).into_owned();
        if path.is_empty() && name == HELP && !asks_help {
            words.remove(at);
            asks_help = true;
            continue;
        }
        match choose(&name, choices) {
            Some(command) => {
                words.remove(at);
                path.push(command);
                choices = command.children();
                if choices.is_empty() {
                    break;
                }
            }
            None if asks_help && path.is_empty() => {
                no_topic = Some(name);
                break;
            }
            None if path.is_empty() => return Err(unknown(program, commands, &name)),
            None => {
                let names: String = path.iter().map(|c| format!(" {}", c.name)).collect();
                stray = Some(unknown(&format!("{program}{names}"), choices, &name));
                break;
            }
        }
    }
    Ok(Found {
        path,
        words,
        asks_help,
        no_topic,
        stray,
    })
}

/// A command by its name or by a beginning that fits it alone.
fn choose<A>(name: &str, choices: &'static [Command<A>]) -> Option<&'static Command<A>> {
    if let Some(exact) = choices.iter().find(|command| command.name == name) {
        return Some(exact);
    }
    let mut fitting = choices
        .iter()
        .filter(|command| command.name.starts_with(name));
    match (fitting.next(), fitting.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

/// The place of the first word that is neither a flag nor a flag's value.
fn first_argument(words: &[Vec<u8>], flags: &[&Flag]) -> Option<usize> {
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let text = String::from_utf8_lossy(word);
        if text == "--" {
            return None;
        }
        let takes_next = if let Some(long) = text.strip_prefix("--") {
            let flag = flags.iter().find(|flag| flag.name == long);
            !long.contains('=') && long != HELP && flag.is_none_or(|f| f.kind != Kind::Bool)
        } else if let Some(short) = text.strip_prefix('-') {
            let mut letters = short.chars();
            match (letters.next(), letters.next()) {
                // A lone dash names no command, as in cobra.
                (None, _) => false,
                (Some('h'), None) => false,
                (Some(letter), None) => flags
                    .iter()
                    .find(|flag| flag.short == Some(letter))
                    .is_none_or(|flag| flag.kind != Kind::Bool),
                _ => false,
            }
        } else {
            return Some(at);
        };
        at += if takes_next { 2 } else { 1 };
    }
    None
}

fn unknown<A>(program: &str, commands: &[Command<A>], name: &str) -> String {
    let near = suggestion(name, "", commands.iter().map(|command| command.name));
    format!("unknown command {name:?} for {program:?}{near}")
}
