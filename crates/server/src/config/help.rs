//! `--help`, written from the table of flags.

use std::fmt::Write as _;

use cli::{flags::Kind, manual::Manual};

use super::{definitions::GROUPS, table::env_name};

/// The program, for its manual page and completions.
pub fn manual() -> Manual {
    let settings = GROUPS.iter().flat_map(|group| group.settings);
    let flags = settings.filter(|setting| !setting.file_only);
    let about = "a member of a cluster: serves the API of etcd from its files";
    Manual::plain("etcd", about, flags.map(|setting| &setting.flag))
}

/// The help text of `pintle server`, `width` columns wide at most.
pub fn usage(program: &str, width: usize) -> String {
    let width = width.clamp(60, 120);
    let mut out = format!(
        "Usage:\n\n  {program} [flags]\n    Start a server.\n\n  {program} --version\n    Show the version.\n\n  \
         {program} -h | --help\n    Show this help.\n\n  {program} --config-file PATH\n    Read all settings from a YAML file; \
         flags and variables are then ignored.\n\nEvery flag is also an environment variable, for example {}.\n",
        env_name("data-dir")
    );
    for group in GROUPS {
        let _ = write!(out, "\n{}:\n\n", group.title);
        for setting in group.settings.iter().filter(|setting| !setting.file_only) {
            let flag = &setting.flag;
            let shown = match (flag.kind, flag.default) {
                (Kind::Text, default) => {
                    format!("--{} '{default}'", flag.name)
                }
                (_, default) => format!("--{} {default}", flag.name),
            };
            let _ = writeln!(out, "  {shown}");
            let mut line = String::new();
            for word in flag.help.split_whitespace() {
                if !line.is_empty() && line.len() + word.len() + 5 > width {
                    let _ = writeln!(out, "    {line}");
                    line.clear();
                }
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(word);
            }
            let _ = writeln!(out, "    {line}");
        }
    }
    out
}
