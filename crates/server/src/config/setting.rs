//! What the table of settings says of each: what the command line, the environment and the file may
//! say, what `--help` shows, and what becomes of a value here.

use cli::flags::{self, Flag, Kind, Values};

/// A headed group of settings, in the order of `--help`.
pub(super) struct Group {
    pub(super) title: &'static str,
    pub(super) settings: &'static [Setting],
}

/// One setting.
#[derive(Debug)]
pub(super) struct Setting {
    /// Its name, kind, values, default and help.
    pub(super) flag: Flag,
    /// Its name in etcd 3.6 and 3.7, if that is another.
    newer: Option<&'static str>,
    /// A name that etcd 3.4 alone has for it.
    older: Option<&'static str>,
    /// The lines of etcd (3.x) that have its name; none for Pintle's own.
    lines: Option<(u8, u8)>,
    key: Key,
    /// Its environment variable, where that is not made of its name.
    variable: Option<&'static str>,
    /// Whether only the file can have it.
    pub(super) file_only: bool,
    /// Whether its value has no place in a log.
    pub(super) secret: bool,
    /// What becomes of a value other than the default.
    pub(super) here: Here,
}

/// Where the file has a setting.
#[derive(Clone, Copy, Debug)]
enum Key {
    /// Under its names.
    Names,
    /// Under these keys, from the outermost.
    At(&'static [&'static str]),
    /// Under its names or these keys.
    Both(&'static [&'static str]),
    /// Nowhere.
    No,
}

/// What becomes of a value other than the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Here {
    /// What etcd does.
    Built,
    /// Its subject does not exist here, and nothing that was stored or promised depends on it: one
    /// warning with this text.
    Warned(&'static str),
    /// It has no effect in etcd either while the setting that turns its subject on is off, which
    /// warns or refuses by itself.
    Idle,
    /// An operator relies on it, and it is not built: the server does not start.
    Refused,
}

impl Setting {
    pub(super) const fn new(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        help: &'static str,
    ) -> Self {
        Self {
            flag: Flag::new(name, kind, default, help),
            newer: None,
            older: None,
            lines: Some((4, 7)),
            key: Key::Names,
            variable: None,
            file_only: false,
            secret: false,
            here: Here::Built,
        }
    }

    /// The first line that has it.
    pub(super) const fn since(mut self, first: u8) -> Self {
        if let Some((_, last)) = self.lines {
            self.lines = Some((first, last));
        }
        self
    }

    /// The last line that has its name.
    pub(super) const fn until(mut self, last: u8) -> Self {
        if let Some((first, _)) = self.lines {
            self.lines = Some((first, last));
        }
        self
    }

    /// No line of etcd has it.
    pub(super) const fn own(mut self) -> Self {
        self.lines = None;
        self
    }

    pub(super) const fn variable(mut self, name: &'static str) -> Self {
        self.variable = Some(name);
        self
    }

    pub(super) const fn newer(mut self, name: &'static str) -> Self {
        self.newer = Some(name);
        self
    }

    pub(super) const fn older(mut self, name: &'static str) -> Self {
        self.older = Some(name);
        self
    }

    pub(super) const fn one_of(mut self, words: &'static [&'static str]) -> Self {
        self.flag = self.flag.values(Values::OneOf(words));
        self
    }

    pub(super) const fn checked(mut self, check: fn(&str) -> Result<(), String>) -> Self {
        self.flag = self.flag.values(Values::Checked(check));
        self
    }

    pub(super) const fn at(mut self, path: &'static [&'static str]) -> Self {
        self.key = Key::At(path);
        self
    }

    /// The file may have it under its name, too.
    pub(super) const fn key_too(mut self) -> Self {
        if let Key::At(path) = self.key {
            self.key = Key::Both(path);
        }
        self
    }

    pub(super) const fn no_key(mut self) -> Self {
        self.key = Key::No;
        self
    }

    pub(super) const fn file_only(mut self) -> Self {
        self.file_only = true;
        self
    }

    pub(super) const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    pub(super) const fn warned(mut self, effect: &'static str) -> Self {
        self.here = Here::Warned(effect);
        self
    }

    pub(super) const fn idle(mut self) -> Self {
        self.here = Here::Idle;
        self
    }

    pub(super) const fn refused(mut self) -> Self {
        self.here = Here::Refused;
        self
    }

    /// Its names, and the lines of etcd that have each.
    pub(super) fn names(&self) -> impl Iterator<Item = (&'static str, Option<(u8, u8)>)> {
        let newer = self.newer.map(|name| (name, Some((6, 7))));
        let older = self.older.map(|name| (name, Some((4, 4))));
        [(self.flag.name, self.lines)]
            .into_iter()
            .chain(newer)
            .chain(older)
    }

    /// The environment variable of one of its names.
    pub(super) fn variable_of(&self, name: &str) -> String {
        let own = self.variable.map(str::to_owned);
        own.unwrap_or_else(|| flags::variable("ETCD", name))
    }

    /// Whether an empty value in the file is as good as none, as in etcd.
    pub(super) fn empty_is_missing(&self) -> bool {
        !matches!(self.flag.values, Values::Any)
    }

    /// The keys of the file that it is under, and the name that each stands for.
    pub(super) fn paths(&self) -> Vec<(Vec<&'static str>, &'static str)> {
        let path = match self.key {
            Key::At(path) | Key::Both(path) => Some((path.to_vec(), self.flag.name)),
            Key::Names | Key::No => None,
        };
        // The file has its own key for one flag, but the names of 3.6 are keys as they are.
        let own = matches!(self.key, Key::Names | Key::Both(_));
        let at_root = matches!(self.key, Key::At([_]));
        let names = self
            .names()
            .filter(|(name, _)| own || at_root && self.newer == Some(*name))
            .map(|(name, _)| (vec![name], name));
        path.into_iter().chain(names).collect()
    }
}
