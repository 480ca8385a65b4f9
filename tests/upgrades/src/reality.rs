//! What a start on a directory ended in. A log is read as the releases write
//! it: JSON lines of zap, plain text of the Go runtime and of flag parsing. It
//! must never guess: a process that neither serves nor ends is `Stuck`.

use std::{collections::BTreeSet, fmt};

use serde_json::Value;

/// What really happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reality {
    /// It serves and took a write.
    Boots {
        /// Members whose record the start corrected, by its own log lines.
        healed: Vec<u64>,
        /// Listed members that are not in the cluster.
        zombies: Vec<u64>,
        /// Voters that the list shows as learners.
        learners_shown: Vec<u64>,
    },
    /// It ended by its own decision.
    Refuses {
        /// The message it ended with.
        text: String,
    },
    /// It crashed.
    Panics {
        /// The first line of the panic.
        text: String,
    },
    /// It runs and does not serve.
    Stuck {
        /// Its last warning or error.
        text: String,
    },
}

impl fmt::Display for Reality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = |ids: &[u64]| {
            let ids: Vec<String> = ids.iter().map(|id| format!("{id:x}")).collect();
            ids.join(" ")
        };
        match self {
            Reality::Boots {
                healed,
                zombies,
                learners_shown,
            } => {
                write!(f, "boots")?;
                for (what, who) in [
                    ("healed", healed),
                    ("zombies", zombies),
                    ("voters shown as learners", learners_shown),
                ] {
                    if !who.is_empty() {
                        write!(f, ", {what}: {}", ids(who))?;
                    }
                }
                Ok(())
            }
            Reality::Refuses { text } => write!(f, "refuses: {text}"),
            Reality::Panics { text } => write!(f, "panics: {text}"),
            Reality::Stuck { text } => write!(f, "does not serve: {text}"),
        }
    }
}

/// What a row pins: the same without ids, which differ from run to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// It serves; how many members were healed, come back, shown as learners.
    Boots {
        /// Number of records corrected.
        healed: usize,
        /// Number of members too many in the list.
        zombies: usize,
        /// Number of voters shown as learners.
        learners: usize,
    },
    /// It ends with a message that holds this text.
    Refuses(&'static str),
    /// It panics with a message that holds this text.
    Panics(&'static str),
    /// It runs and does not serve.
    Stuck,
    /// It serves and shows voters as learners; how many, chance decides.
    SomeLearners,
    /// It does not serve; whether it ends or hangs, chance decides.
    Down,
}

/// It serves and there was nothing to do.
pub const OK: Ends = Ends::Boots {
    healed: 0,
    zombies: 0,
    learners: 0,
};

/// It serves after correcting `n` records.
pub const fn healed(n: usize) -> Ends {
    Ends::Boots {
        healed: n,
        zombies: 0,
        learners: 0,
    }
}

/// It serves and lists `n` members too many.
pub const fn zombies(n: usize) -> Ends {
    Ends::Boots {
        healed: 0,
        zombies: n,
        learners: 0,
    }
}

/// It serves and shows `n` voters as learners.
pub const fn learners(n: usize) -> Ends {
    Ends::Boots {
        healed: 0,
        zombies: 0,
        learners: n,
    }
}

impl Ends {
    /// Whether this is what happened.
    pub fn is(&self, reality: &Reality) -> bool {
        match (self, reality) {
            (
                Ends::Boots {
                    healed: h,
                    zombies: z,
                    learners: l,
                },
                Reality::Boots {
                    healed,
                    zombies,
                    learners_shown,
                },
            ) => (*h, *z, *l) == (healed.len(), zombies.len(), learners_shown.len()),
            (Ends::Refuses(part), Reality::Refuses { text })
            | (Ends::Panics(part), Reality::Panics { text }) => text.contains(part),
            (Ends::Stuck, Reality::Stuck { .. }) => true,
            (Ends::SomeLearners, Reality::Boots { learners_shown, .. }) => {
                !learners_shown.is_empty()
            }
            (Ends::Down, real) => !matches!(real, Reality::Boots { .. }),
            _ => false,
        }
    }
}

/// Log lines by which a release says that it corrected the record of a member.
const HEALING: [&str; 3] = [
    "Syncing member in v3store",
    "Removing zombie member from v3store",
    "Forcibly apply member promotion request",
];

/// The members whose record a start corrected, by its log.
pub fn healed_ids(log: &str) -> Vec<u64> {
    let mut ids = BTreeSet::new();
    for line in log.lines() {
        let Ok(Value::Object(line)) = serde_json::from_str(line) else {
            continue;
        };
        let said = line.get("msg").and_then(Value::as_str).unwrap_or("");
        if !HEALING.iter().any(|h| said.contains(h)) {
            continue;
        }
        ids.extend(member_of(&line));
    }
    ids.into_iter().collect()
}

/// The member a line names: a bare id, or Go's print of the member, which
/// begins with `{ID:85321215d76f72bd `.
fn member_of(line: &serde_json::Map<String, Value>) -> Option<u64> {
    let texts = line.iter().filter(|(name, _)| {
        // The member whose log this is has its own field in some lines.
        name.contains("member") && !name.starts_with("local")
    });
    texts.filter_map(|(_, v)| v.as_str()).find_map(|text| {
        let text = text.trim_start_matches("{ID:");
        let digits = text.split(' ').next().unwrap_or(text);
        u64::from_str_radix(digits, 16).ok()
    })
}

/// How a process that ended by itself ended.
pub fn of_end(log: &str) -> Reality {
    let panic = log
        .lines()
        .find(|l| l.starts_with("panic: ") || l.contains("panicked at"));
    if let Some(line) = panic {
        return Reality::Panics {
            text: shorten(line.trim_start_matches("panic: ")),
        };
    }
    Reality::Refuses {
        text: last_words(log),
    }
}

/// The last line that says something bad, in the words of its message and error.
pub fn last_words(log: &str) -> String {
    let mut plain = None;
    let mut found = None;
    for line in log.lines().filter(|l| !l.trim().is_empty()) {
        let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(line) else {
            // Flag parsing: its message comes before the help text.
            if plain.is_none() && !line.starts_with("goroutine ") {
                plain = Some(line.trim().to_owned());
            }
            continue;
        };
        let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or("");
        let weight = match text("level") {
            "fatal" | "panic" | "dpanic" => 2,
            // etcd's last words when its own loop ends, as on removal.
            _ if text("msg") == "server error" => 3,
            "error" | "warn" => 1,
            _ => continue,
        };
        if found.as_ref().is_none_or(|(w, _)| *w <= weight) {
            let mut said = text("msg").to_owned();
            if !text("error").is_empty() {
                said = format!("{said}: {}", text("error"));
            }
            found = Some((weight, said));
        }
    }
    let said = match (found, plain) {
        (Some((2.., said)), _) => said,
        (_, Some(plain)) => plain,
        (Some((_, said)), None) => said,
        (None, None) => String::new(),
    };
    shorten(&said)
}

fn shorten(text: &str) -> String {
    const CHARS_MAX: usize = 240;
    text.chars().take(CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fatal_line_is_a_refusal_with_its_error() {
        let log = concat!(
            r#"{"level":"warn","msg":"before"}"#,
            "\n",
            r#"{"level":"fatal","msg":"discovery failed","error":"membership: too many learner members in cluster"}"#,
            "\n",
            r#"{"level":"info","msg":"after"}"#,
            "\n",
        );
        let reality = of_end(log);
        assert!(
            Ends::Refuses("too many learner members").is(&reality),
            "{reality}"
        );
        assert!(!Ends::Panics("too many").is(&reality));
    }

    #[test]
    fn a_panic_outranks_the_line_logged_before_it() {
        let log = concat!(
            r#"{"level":"panic","msg":"detected disallowed v2 WAL"}"#,
            "\npanic: detected disallowed v2 WAL for stage\n\ngoroutine 1 [running]:\n",
        );
        assert_eq!(
            of_end(log),
            Reality::Panics {
                text: "detected disallowed v2 WAL for stage".to_owned()
            }
        );
    }

    #[test]
    fn an_unknown_flag_is_named_and_not_the_help_after_it() {
        let log = "flag provided but not defined: -x\nUsage:\n  etcd [flags]\n";
        assert!(Ends::Refuses("not defined: -x").is(&of_end(log)));
    }

    #[test]
    fn ids_are_read_from_healing_lines_only() {
        let log = concat!(
            r#"{"level":"info","msg":"Syncing member in v3store","member":"{ID:ff RaftAttributes:{PeerURLs:[] IsLearner:false}}"}"#,
            "\n",
            r#"{"level":"info","msg":"Removing zombie member from v3store","local-member-id":"2","member-id":"fe"}"#,
            "\n",
            r#"{"level":"info","msg":"added member","member-id":"1"}"#,
            "\n",
        );
        assert_eq!(healed_ids(log), [254, 255]);
    }
}
