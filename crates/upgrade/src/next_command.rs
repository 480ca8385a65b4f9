//! Commands that are printed for a person to paste: whole, quoted for a shell, and without
//! passwords.

use cli::flags::{Flag, Kind, Parsed};

use crate::{command, environment};

/// `pintle upgrade NAME` with every flag of this command line that it has too. A password is
/// left out; what is missing then is said after the command.
pub(crate) fn command(name: &str, parsed: &Parsed) -> String {
    let program = std::env::args_os().next().unwrap_or_default();
    let mut words = vec![
        quote(&program.to_string_lossy()),
        "upgrade".into(),
        name.into(),
    ];
    let commands = command::COMMANDS.iter();
    let flags = commands.filter(|c| c.name == name).flat_map(|c| c.flags);
    words.extend(flags.filter_map(|flag| word(flag, parsed)));
    let line = words.join(" ");
    let user = parsed.text("user");
    let is_set = |flag| environment::value(flag).is_some();
    let has_password = (user.contains(':') && !is_set("user"))
        || (parsed.given("password") && !is_set("password"));
    match (user.split(':').next(), has_password) {
        (Some(user), true) if !user.is_empty() => {
            format!("{line} (and the password of {user}, by --password)")
        }
        _ => line,
    }
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
        (Kind::Bool, _) => quote(&format!("--{}={}", flag.name, parsed.bool(flag.name))),
        (_, "user") => {
            let user = value.split(':').next().unwrap_or(value);
            quote(&format!("--user={user}"))
        }
        _ => quote(&format!("--{}={value}", flag.name)),
    })
}

/// A word as a shell reads it.
fn quote(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@+".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
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
