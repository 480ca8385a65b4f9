//! Commands that are printed for a person to paste: whole, quoted for a shell, and without
//! passwords.

use cli::flags::{Flag, HELP, Kind, Parsed};

use crate::{command, environment};

/// A command that is to be run next.
#[derive(Clone, Debug)]
pub(crate) struct Next {
    words: Vec<String>,
    /// What the line lacks, since it is not printed.
    lacks: Option<String>,
}

impl Next {
    /// `pintle upgrade NAME` with every flag of this command line that it has too. A password
    /// is left out.
    pub(crate) fn of(name: &str, parsed: &Parsed) -> Next {
        let program = std::env::args_os().next().unwrap_or_default();
        let mut words = vec![
            program.to_string_lossy().into_owned(),
            "upgrade".into(),
            name.into(),
        ];
        let commands = command::COMMANDS.iter();
        let flags = commands.filter(|c| c.name == name).flat_map(|c| c.flags);
        words.extend(flags.filter_map(|flag| word(flag, parsed)));
        let lacks =
            without_password(parsed).filter(|_| words.iter().any(|w| w.starts_with("--user=")));
        Next { words, lacks }
    }

    /// `pintle upgrade explain` of these.
    pub(crate) fn explain<'a>(ids: impl IntoIterator<Item = &'a str>) -> Next {
        let mut next = Next::of("explain", &Parsed::default());
        for id in ids {
            if next.words.iter().all(|word| word != id) {
                next.words.push(id.to_owned());
            }
        }
        next
    }

    /// The same with this value of a flag.
    #[must_use]
    pub(crate) fn with(mut self, flag: &str, value: &str) -> Next {
        let start = format!("--{flag}=");
        self.words.retain(|word| !word.starts_with(&start));
        self.words.push(format!("{start}{value}"));
        self
    }

    /// The same without a flag.
    #[must_use]
    pub(crate) fn without(mut self, flag: &str) -> Next {
        let start = format!("--{flag}=");
        self.words.retain(|word| !word.starts_with(&start));
        self
    }

    /// Its page: only the operator knows the rest of its flags.
    #[must_use]
    pub(crate) fn help(mut self) -> Next {
        self.words.push(format!("--{HELP}"));
        self
    }

    /// The command as a shell takes it.
    pub(crate) fn line(&self) -> String {
        cli::shell::line(self.words.iter().map(String::as_str))
    }

    /// The last lines of a command for people.
    pub(crate) fn text(&self) -> String {
        let lacks = self.lacks.iter().map(|lacks| format!("({lacks})\n"));
        format!("{}next: {}\n", lacks.collect::<String>(), self.line())
    }
}

/// `pintle upgrade NAME` as [`Next::of`] has it, within a text: what is missing is said after it.
pub(crate) fn command(name: &str, parsed: &Parsed) -> String {
    let next = Next::of(name, parsed);
    match &next.lacks {
        Some(_) => {
            let user = parsed.text("user").split(':').next().unwrap_or_default();
            format!(
                "{} (and the password of {user}, by --password)",
                next.line()
            )
        }
        None => next.line(),
    }
}

/// What to say of a password that is not printed.
fn without_password(parsed: &Parsed) -> Option<String> {
    let is_set = |flag| environment::value(flag).is_some();
    let has_password = parsed.given("user") && parsed.text("user").contains(':') && !is_set("user")
        || (parsed.given("password") && !is_set("password"));
    has_password.then(|| {
        "the password is left out of the next command: set ETCDCTL_PASSWORD, or add --password"
            .into()
    })
}

/// A flag as it was given, but for a password.
fn word(flag: &Flag, parsed: &Parsed) -> Option<String> {
    // A variable is there for the next command as well, and both would be refused.
    if !parsed.given(flag.name)
        || flag.name == "password"
        || environment::value(flag.name).is_some()
    {
        return None;
    }
    let value = parsed.text(flag.name);
    Some(match (flag.kind, flag.name) {
        (Kind::Bool, _) => format!("--{}={}", flag.name, parsed.bool(flag.name)),
        (_, "user") => {
            let user = value.split(':').next().unwrap_or(value);
            format!("--user={user}")
        }
        _ => format!("--{}={value}", flag.name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(name: &str, words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let line = command::read(&words).expect("a command line");
        let line = command(name, &line.parsed);
        line.split_once(" upgrade ")
            .expect("a program")
            .1
            .to_owned()
    }

    #[test]
    fn a_printed_command_has_the_flags_that_it_takes_and_no_password() {
        let run = [
            "run",
            "--target=3.6.14",
            "--members=it's $HOME.yaml",
            "--cacert=ca.crt",
            "--patience=8s",
            "--user=root:sec:ret",
            "--only-this-node",
            "--scratch=/tmp/x",
        ];
        assert_eq!(
            printed("rollback", &run),
            "rollback '--members=it'\\''s $HOME.yaml' --patience=8s --only-this-node=true \
             --cacert=ca.crt --user=root (and the password of root, by --password)"
        );
        assert!(printed("run", &run).starts_with("run --target=3.6.14 "));
        let given = [
            "rollback",
            "--members=m",
            "--user=root",
            "--password=secret",
        ];
        assert!(!printed("rollback", &given).contains("secret"));
    }
}
