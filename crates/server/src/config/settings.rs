//! Settings as given, before they are checked against each other. What is worth a
//! log line is noted until logging is up.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use cli::flags::Value;

use super::{
    setting::Here,
    table::{Found, Id},
    urls::listed,
};

/// Settings by flag.
#[derive(Debug, Default, PartialEq)]
pub struct Settings {
    given: BTreeMap<Id, Given>,
    /// The configuration file, if one was read.
    pub file: Option<PathBuf>,
    /// Lines to log once logging is up.
    pub notes: Vec<Note>,
}

/// A value, and which of the flag's names it was given under.
#[derive(Debug, PartialEq)]
struct Given {
    value: Value,
    name: &'static str,
}

/// Something about the settings that an operator wants to find in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A variable was used; a secret's value is masked.
    Variable {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// An `ETCD_*` variable that is no flag's: name, `=` and value.
    UnknownVariable(String),
    /// A variable that etcd's own programs own.
    SpecialVariable {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// A key of the file that is no flag's.
    UnknownKey(String),
    /// The file that was read.
    File(PathBuf),
    /// A flag that etcd dropped long ago.
    Dropped(&'static str),
    /// That a flag or variable which was given is about to go, whatever its value.
    Deprecated(String),
    /// A setting that is accepted although its subject is not built.
    Unbuilt {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// What that means.
        effect: &'static str,
    },
}

impl Note {
    /// Writes the line.
    pub fn log(&self) {
        match self {
            Note::Variable { name, value } => tracing::info!(
                "variable-name" = name.as_str(),
                "variable-value" = value.as_str(),
                "recognized and used environment variable"
            ),
            Note::UnknownVariable(both) => tracing::warn!(
                "environment-variable" = both.as_str(),
                "unrecognized environment variable"
            ),
            Note::SpecialVariable { name, value } => tracing::warn!(
                key = name.as_str(),
                value = value.as_str(),
                "cannot set special environment variable"
            ),
            Note::UnknownKey(key) => tracing::warn!(
                key = key.as_str(),
                "unknown key in the configuration file is ignored"
            ),
            Note::File(path) => tracing::info!(
                path = %path.display(),
                "loaded server configuration, other configuration command line flags and environment variables will be ignored if provided"
            ),
            Note::Dropped(name) => {
                tracing::warn!("flag-name" = name, "flag is no longer supported - ignoring")
            }
            Note::Deprecated(text) => tracing::warn!("{text}"),
            Note::Unbuilt {
                name,
                value,
                effect,
            } => tracing::warn!(
                setting = name,
                value = value.as_str(),
                effect = effect,
                "setting is accepted, but not built into this version of Pintle"
            ),
        }
    }
}

impl Settings {
    /// The value of a setting: given, or its default.
    pub(super) fn value(&self, id: Id) -> Value {
        match self.given.get(&id) {
            Some(given) => given.value.clone(),
            None => id.setting().flag.default_value(),
        }
    }

    /// The value as it was typed, or the default.
    pub(super) fn text(&self, id: Id) -> &str {
        match self.given.get(&id) {
            Some(given) => given.value.text(),
            None => id.setting().flag.default,
        }
    }

    pub(super) fn bool(&self, id: Id) -> bool {
        self.value(id).bool()
    }

    pub(super) fn int(&self, id: Id) -> i64 {
        self.value(id).int()
    }

    pub(super) fn uint(&self, id: Id) -> u64 {
        self.value(id).uint()
    }

    pub(super) fn duration(&self, id: Id) -> Duration {
        self.value(id).duration()
    }

    /// What is between the commas of a value.
    pub(super) fn list(&self, id: Id) -> Vec<String> {
        listed(self.text(id)).map(str::to_owned).collect()
    }

    /// The name under which it was given, or its name in the table.
    pub(super) fn name(&self, id: Id) -> &'static str {
        self.given.get(&id).map_or(id.name(), |given| given.name)
    }

    /// True if it was given somewhere.
    pub(super) fn is_set(&self, id: Id) -> bool {
        self.given.contains_key(&id)
    }

    /// Takes a value in, or says what is wrong with it. The last one of a name
    /// counts; two names of one flag are one too many.
    pub(super) fn set(&mut self, found: &Found, value: Value) -> Result<(), String> {
        let setting = found.id.setting();
        let own = setting.flag.name;
        if let Some(before) = self.given.get(&found.id)
            && before.name != found.name
        {
            let newer = if before.name == own {
                found.name
            } else {
                before.name
            };
            return Err(format!(
                "cannot set --{own} and --{newer} at the same time, please use --{newer} only"
            ));
        }
        if value != setting.flag.default_value() {
            match setting.here {
                Here::Refused => return Err(NOT_BUILT.to_owned()),
                Here::Built | Here::Idle => {}
                Here::Warned(effect) => self.notes.push(Note::Unbuilt {
                    name: found.name,
                    value: value.text().to_owned(),
                    effect,
                }),
            }
        }
        let name = found.name;
        self.given.insert(found.id, Given { value, name });
        Ok(())
    }

    /// True if a setting was given under this one of its names.
    pub(super) fn has_name(&self, name: &str) -> bool {
        self.given.values().any(|given| given.name == name)
    }

    /// Adds what `other` has; its notes come first.
    pub(super) fn extend(&mut self, mut other: Settings) {
        self.given.append(&mut other.given);
        other.notes.append(&mut self.notes);
        self.notes = other.notes;
    }
}

/// Why a value of an unbuilt flag is refused.
const NOT_BUILT: &str = "etcd has this, but it is not built into this version of Pintle; start without it, or stay with etcd";
