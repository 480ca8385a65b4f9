//! What a command line in pflag's grammar said.

use std::{collections::BTreeMap, time::Duration};

use super::{
    flag::{Flag, HELP, Kind},
    value::Value,
};
use crate::text::quote;

/// The values of a line's flags, and the rest of its words.
#[derive(Debug, Default)]
pub struct Parsed {
    given: BTreeMap<&'static str, Value>,
    defaults: BTreeMap<&'static str, Value>,
    /// What was no flag, in order.
    pub args: Vec<Vec<u8>>,
    /// How many of `args` stood before `--`, if there was one.
    pub args_before_dash: Option<usize>,
}

static HELP_FLAG: Flag = Flag::switch(HELP, "");

impl Parsed {
    /// Nothing given: every flag has its default.
    pub(super) fn of<'a>(flags: impl Iterator<Item = &'a Flag>) -> Self {
        let mut parsed = Self::default();
        for flag in flags.chain([&HELP_FLAG]) {
            parsed.defaults.insert(flag.name, flag.default_value());
        }
        parsed
    }

    pub(super) fn set(&mut self, flag: &Flag, text: &str) -> Result<(), String> {
        let value = flag.read(text).map_err(|reason| {
            let name = match flag.short {
                Some(short) => format!("-{short}, --{}", flag.name),
                None => format!("--{}", flag.name),
            };
            let text = quote(text.as_bytes());
            format!("invalid argument {text} for \"{name}\" flag: {reason}")
        })?;
        match self.given.get_mut(flag.name) {
            Some(list) if matches!(flag.kind, Kind::List | Kind::Array) => list.add(&value),
            _ => drop(self.given.insert(flag.name, value)),
        }
        Ok(())
    }

    pub(super) fn set_help(&mut self) {
        if let Ok(on) = HELP_FLAG.read("true") {
            self.given.insert(HELP, on);
        }
    }

    /// Takes a value from elsewhere (the environment) for a flag not given.
    ///
    /// # Errors
    /// pflag's words for a value that its kind does not allow.
    pub fn supply(&mut self, flag: &Flag, text: String) -> Result<(), String> {
        self.set(flag, &text)
    }

    /// What is wrong when flags that must be given are missing, in cobra's words.
    pub fn missing<'a>(&self, flags: impl Iterator<Item = &'a Flag>) -> Option<String> {
        let missing: Vec<String> = flags
            .filter(|flag| flag.required && !self.given(flag.name))
            .map(|flag| format!("{:?}", flag.name))
            .collect();
        let names = missing.join(", ");
        (!names.is_empty()).then(|| format!("required flag(s) {names} not set"))
    }

    /// Whether the command line had this flag.
    pub fn given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// The value, or the default.
    ///
    /// # Panics
    /// If the table that the line was parsed with has no such flag: a mistake of the program that
    /// must not pass for an empty value.
    pub fn value(&self, name: &str) -> &Value {
        match self.given.get(name).or_else(|| self.defaults.get(name)) {
            Some(value) => value,
            None => panic!("--{name} is no flag of this command"),
        }
    }

    /// The value as it was typed, or the default.
    pub fn text(&self, name: &str) -> &str {
        self.value(name).text()
    }

    /// The arguments as text.
    pub fn words(&self) -> Vec<String> {
        let text = |word: &Vec<u8>| String::from_utf8_lossy(word).into_owned();
        self.args.iter().map(text).collect()
    }

    /// The value of a [`Kind::Bool`].
    pub fn bool(&self, name: &str) -> bool {
        self.value(name).bool()
    }

    /// The value of a [`Kind::Int`].
    pub fn int(&self, name: &str) -> i64 {
        self.value(name).int()
    }

    /// The value of a [`Kind::Uint`].
    pub fn uint(&self, name: &str) -> u64 {
        self.value(name).uint()
    }

    /// The value of a [`Kind::Float`].
    pub fn float(&self, name: &str) -> f64 {
        self.value(name).float()
    }

    /// The value of a [`Kind::Duration`].
    pub fn duration(&self, name: &str) -> Duration {
        self.value(name).duration()
    }

    /// The values of a [`Kind::List`] or a [`Kind::Array`].
    pub fn list(&self, name: &str) -> Vec<&str> {
        self.value(name).list()
    }
}
