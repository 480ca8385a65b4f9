//! The variables of etcdctl: whoever has set them for `pintle ctl` has said how members are
//! reached. Read as `pintle ctl` reads them: one that is set next to its flag is a mistake.

use cli::flags::{Parsed, variable};

use crate::command::Command;

/// The flags whose variables count. `--write-out` is not among them: it has other values here.
const SHARED: [&str; 9] = [
    "endpoints",
    "cacert",
    "cert",
    "key",
    "insecure-skip-tls-verify",
    "user",
    "password",
    "dial-timeout",
    "command-timeout",
];

/// The value of a flag's variable; an empty one counts as unset.
pub(crate) fn value(flag: &str) -> Option<String> {
    let name = variable("ETCDCTL", flag);
    let set = || std::env::var(name).ok().filter(|value| !value.is_empty());
    SHARED.contains(&flag).then(set).flatten()
}

/// Supplies the flags of `command` that are not given from `value`.
///
/// # Errors
/// A flag is given and its variable is set, or a value is none of its flag.
pub(crate) fn supply(
    command: &Command,
    parsed: &mut Parsed,
    value: impl Fn(&str) -> Option<String>,
) -> Result<(), String> {
    // Files that are named are what is to be looked at.
    let is_offline = command
        .flags
        .iter()
        .any(|flag| ["data-dir", "snapshot"].contains(&flag.name) && parsed.given(flag.name));
    for flag in command.flags {
        let Some(text) = value(flag.name) else {
            continue;
        };
        if flag.name == "endpoints" && is_offline {
            continue;
        }
        let name = variable("ETCDCTL", flag.name);
        if parsed.given(flag.name) {
            return Err(format!(
                "conflicting environment variable {name} is shadowed by the flag --{}; unset the one or leave out the other",
                flag.name
            ));
        }
        parsed
            .supply(flag, text)
            .map_err(|reason| format!("{name}: {reason}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use cli::flags;

    use super::*;
    use crate::command::COMMANDS;

    /// What `line` has with these variables.
    fn read(line: &str, set: &[(&str, &str)]) -> Result<Parsed, String> {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        let command = COMMANDS.iter().find(|c| c.name == name).expect("a command");
        let words: Vec<Vec<u8>> = rest.split_whitespace().map(|w| w.into()).collect();
        let mut parsed = flags::parse(&words, command.flags.iter()).expect("flags");
        supply(command, &mut parsed, |flag| {
            let found = set
                .iter()
                .find(|(name, _)| *name == variable("ETCDCTL", flag));
            found.map(|(_, value)| (*value).to_owned())
        })?;
        Ok(parsed)
    }

    #[test]
    fn every_command_that_asks_members_reads_the_variables_of_etcdctl() {
        let set = [
            ("ETCDCTL_ENDPOINTS", "http://a:1,http://b:1"),
            ("ETCDCTL_USER", "root:pw"),
            ("ETCDCTL_CACERT", "ca.crt"),
            ("ETCDCTL_DIAL_TIMEOUT", "9s"),
        ];
        for command in COMMANDS {
            let has = |name: &str| command.flags.iter().any(|flag| flag.name == name);
            let parsed = read(command.name, &set).expect(command.name);
            for (flag, value) in [
                ("user", "root:pw"),
                ("cacert", "ca.crt"),
                ("dial-timeout", "9s"),
            ] {
                assert_eq!(
                    has(flag),
                    command.name != "rehearse",
                    "{} {flag}",
                    command.name
                );
                assert!(!has(flag) || parsed.text(flag) == value, "{}", command.name);
            }
            if has("endpoints") {
                assert_eq!(parsed.list("endpoints").len(), 2, "{}", command.name);
            }
        }
    }

    #[test]
    fn a_flag_and_its_variable_are_a_conflict_as_in_etcdctl_and_files_need_no_endpoints() {
        let set = [("ETCDCTL_ENDPOINTS", "http://a:1")];
        let conflict = read("check --endpoints http://b:1", &set).expect_err("both");
        assert!(
            conflict.starts_with(
                "conflicting environment variable ETCDCTL_ENDPOINTS is shadowed by the flag --endpoints"
            ),
            "{conflict}"
        );
        let offline = read("repair --data-dir d", &set).expect("files");
        assert!(offline.list("endpoints").iter().all(|e| e.is_empty()));
    }
}
