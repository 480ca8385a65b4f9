//! From argument vector, environment and YAML file to one map of settings.
//! Precedence is etcd's: a configuration file replaces everything else; without
//! one a flag and its variable must not both be set.

use cli::{
    flags::{
        Flag, Kind,
        go::{self, UsageError},
    },
    near::suggestion,
};
use line::Choice;

use super::{
    definitions::DROPPED,
    deprecated,
    error::ParseError,
    file,
    settings::{Note, Settings},
    table::{self, Found, flag},
};

const MASK: &str = "***";

/// A command line as it may be logged.
pub fn without_secrets(args: &[String]) -> Vec<String> {
    let mut out: Vec<String> = Vec::with_capacity(args.len());
    let mut masked = false;
    for arg in args {
        if std::mem::take(&mut masked) {
            out.push(MASK.to_owned());
            continue;
        }
        let body = arg.trim_start_matches('-');
        let name = body.split('=').next().unwrap_or_default();
        let found = table::lookup(name).filter(|_| arg.starts_with('-'));
        let secret = found.is_some_and(|found| found.id.setting().secret);
        match arg.split_once('=') {
            Some((flag, _)) if secret => out.push(format!("{flag}={MASK}")),
            _ => {
                masked = secret;
                out.push(arg.clone());
            }
        }
    }
    out
}

/// What to do.
#[derive(Debug, PartialEq)]
pub enum Parsed {
    /// Print the help text.
    Help,
    /// Print the version of the line that is asked for.
    Version(Choice),
    /// Serve with these settings.
    Serve(Settings),
}

/// Reads a command line (without the program's name) and an environment.
///
/// # Errors
/// In etcd's words, with its exit code.
pub fn parse(args: &[String], env: &[(String, String)]) -> Result<Parsed, ParseError> {
    let line = match read_line(args)? {
        Line::Help => return Ok(Parsed::Help),
        Line::Version(line) => return Ok(Parsed::Version(choice(&line, env))),
        Line::Settings(line) => line,
    };
    let from_env = env.iter().find(|(key, _)| key == "ETCD_CONFIG_FILE");
    let config_file = line
        .config_file
        .or_else(|| from_env.map(|(_, path)| path.clone()));
    if let Some(path) = config_file.filter(|path| !path.is_empty()) {
        let mut settings = file::read(path.into())?;
        settings.notes.extend(line.settings.notes);
        return Ok(Parsed::Serve(settings));
    }
    let mut settings = line.settings;
    let variables = read_env(&settings, env)?;
    settings.extend(variables);
    let deprecated = deprecated::notes(&settings);
    settings.notes.extend(deprecated);
    Ok(Parsed::Serve(settings))
}

/// A command line that was read.
enum Line {
    Help,
    Version(Settings),
    Settings(Flags),
}

#[derive(Default)]
struct Flags {
    settings: Settings,
    config_file: Option<String>,
}

static CONFIG_FILE: Flag = Flag::new("config-file", Kind::Text, "", "");
static VERSION: Flag = Flag::switch("version", "");
/// What a dropped flag is read as: anything goes.
static ANYTHING: Flag = Flag::new("", Kind::Text, "", "");

/// What a name on the command line stands for.
enum Entry {
    Setting(Found),
    ConfigFile,
    Version,
    Dropped(&'static str),
}

impl Entry {
    fn find(name: &str) -> Option<Entry> {
        if name == CONFIG_FILE.name {
            return Some(Entry::ConfigFile);
        }
        if name == VERSION.name {
            return Some(Entry::Version);
        }
        let dropped = DROPPED.iter().find(|dropped| **dropped == name);
        match dropped {
            Some(name) => Some(Entry::Dropped(name)),
            None => table::lookup(name).map(Entry::Setting),
        }
    }
}

impl go::Entry for Entry {
    fn flag(&self) -> &Flag {
        match self {
            Entry::Setting(found) => &found.id.setting().flag,
            Entry::ConfigFile => &CONFIG_FILE,
            Entry::Version => &VERSION,
            Entry::Dropped(_) => &ANYTHING,
        }
    }

    fn stands_alone(&self) -> bool {
        matches!(self, Entry::Dropped(_)) || self.flag().kind == Kind::Bool
    }
}

/// Go's words for a flag that does not exist, and the flags that may have been meant.
fn undefined(name: String) -> ParseError {
    let near = suggestion(&name, "--", table::ids().map(table::Id::name));
    ParseError::usage(format!("{}{near}", UsageError::Undefined(name)))
}

fn read_line(args: &[String]) -> Result<Line, ParseError> {
    let words = match go::parse(args, Entry::find) {
        Ok(words) => words,
        Err(UsageError::Help) => return Ok(Line::Help),
        Err(UsageError::Undefined(name)) => return Err(undefined(name)),
        Err(error) => return Err(ParseError::usage(error.to_string())),
    };
    let mut line = Flags::default();
    let mut version = false;
    for go::Given { entry, value } in words.flags {
        match entry {
            Entry::ConfigFile => line.config_file = Some(value.text().to_owned()),
            Entry::Version => version = value.bool(),
            Entry::Dropped(name) => line.settings.notes.push(Note::Dropped(name)),
            Entry::Setting(found) => {
                let text = value.text().to_owned();
                line.settings.set(&found, value).map_err(|why| {
                    ParseError::usage(format!(
                        "invalid value {text:?} for flag -{}: {why}",
                        found.name
                    ))
                })?;
            }
        }
    }
    if let Some(word) = words.stray {
        return Err(ParseError::config(format!("'{word}' is not a valid flag")));
    }
    if version {
        return Ok(Line::Version(line.settings));
    }
    Ok(Line::Settings(line))
}

/// The line whose version is printed. As in etcd, no variable can fail this: tools ask every
/// binary for its version, whatever they are about to start it with.
fn choice(line: &Settings, env: &[(String, String)]) -> Choice {
    let flag = flag!("line");
    let asked = env
        .iter()
        .filter(|_| !line.is_set(flag))
        .find(|(key, _)| table::of_variable(key).is_some_and(|found| found.id == flag))
        .map_or(line.text(flag), |(_, text)| text);
    Choice::parse(asked).unwrap_or_default()
}

/// Reads the variables; `line` is what the flags say.
fn read_env(line: &Settings, env: &[(String, String)]) -> Result<Settings, ParseError> {
    let mut settings = Settings::default();
    let is_ours = |key: &str| key.starts_with("ETCD_") || table::of_variable(key).is_some();
    for (key, text) in env.iter().filter(|(key, _)| is_ours(key)) {
        match key.as_str() {
            "ETCD_VERSION" => {
                if !text.is_empty() {
                    let (name, value) = (key.clone(), text.clone());
                    settings.notes.push(Note::SpecialVariable { name, value });
                }
                continue;
            }
            "ETCD_CONFIG_FILE" | "ETCD_UNSUPPORTED_ARCH" | "ETCD_VERIFY" => continue,
            _ => {}
        }
        let Some(found) = table::of_variable(key) else {
            let both = format!("{key}={text}");
            settings.notes.push(Note::UnknownVariable(both));
            continue;
        };
        if line.is_set(found.id) {
            return Err(ParseError::conflict(key.clone()));
        }
        // Helm charts and unit files name every variable; an empty one is none.
        if text.is_empty() {
            continue;
        }
        let setting = found.id.setting();
        setting
            .flag
            .read(text)
            .map_err(|reason| go::short(&reason).to_owned())
            .and_then(|value| settings.set(&found, value))
            .map_err(|why| {
                ParseError::config(format!("invalid value {text:?} for {key}: {why}"))
            })?;
        settings.notes.push(Note::Variable {
            name: key.clone(),
            value: if setting.secret { MASK } else { text }.to_owned(),
        });
    }
    Ok(settings)
}
