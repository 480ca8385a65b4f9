//! What the programs call themselves, and how each ends for a line that it does not understand.
//! Under etcd's own names everything is as with etcd's programs, which other tests compare.

use std::{
    os::unix::process::CommandExt as _,
    process::{Command, Output},
};

/// Runs the binary, called by `name`.
fn run(name: &str, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pintle"))
        .arg0(name)
        .args(line.split_whitespace())
        .env_clear()
        .output()
        .expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_line_that_is_not_understood_ends_with_1_and_names_the_page_that_helps() {
    for (line, said) in [
        (
            "sever",
            "Error: unknown command \"sever\" for \"pintle\"\n\nDid you mean this?\n\tserver\n\nRun 'pintle --help' for usage.\n",
        ),
        (
            "ctl gett",
            "Error: unknown command \"gett\" for \"pintle ctl\"\n\nDid you mean this?\n\tget\n\nRun 'pintle ctl --help' for usage.\n",
        ),
        (
            "ctl member addd x",
            "Error: unknown command \"addd\" for \"pintle ctl member\"\n\nDid you mean this?\n\tadd\n\nRun 'pintle ctl member --help' for usage.\n",
        ),
        (
            "ctl get --endpoint x",
            "Error: unknown flag: --endpoint\n\nDid you mean this?\n\t--endpoints\n\nRun 'pintle ctl get --help' for usage.\n",
        ),
        (
            "ctl get --zzzzzz",
            "Error: unknown flag: --zzzzzz\nRun 'pintle ctl get --help' for usage.\n",
        ),
        (
            "utl chek",
            "Error: unknown command \"chek\" for \"pintle utl\"\n\nDid you mean this?\n\tcheck\n\nRun 'pintle utl --help' for usage.\n",
        ),
        (
            "utl snapshot stats f",
            "Error: unknown command \"stats\" for \"pintle utl snapshot\"\n\nDid you mean this?\n\tstatus\n\nRun 'pintle utl snapshot --help' for usage.\n",
        ),
        (
            "utl defrag",
            "Error: required flag(s) \"data-dir\" not set\nRun 'pintle utl defrag --help' for usage.\n",
        ),
        (
            "upgrade chek",
            "Error: unknown command \"chek\" for \"pintle upgrade\"\n\nDid you mean this?\n\tcheck\n\nRun 'pintle upgrade --help' for usage.\n",
        ),
        (
            "upgrade check",
            "Error: required flag(s) \"target\" not set\nRun 'pintle upgrade check --help' for usage.\n",
        ),
        (
            "upgrade check --endpoint x",
            "Error: unknown flag: --endpoint\n\nDid you mean this?\n\t--endpoints\n\nRun 'pintle upgrade check --help' for usage.\n",
        ),
        (
            "upgrade image verfy",
            "Error: unknown command \"verfy\" for \"pintle upgrade image\"\n\nDid you mean this?\n\tverify\n\nRun 'pintle upgrade image --help' for usage.\n",
        ),
        (
            "bench nonsense",
            "Error: unknown command \"nonsense\" for \"pintle bench\"\nRun 'pintle bench --help' for usage.\n",
        ),
    ] {
        let out = run("pintle", line);
        // `suggestion` ends with a line of its own.
        assert_eq!(text(&out.stderr), said, "{line}");
        assert_eq!(
            (out.status.code(), text(&out.stdout)),
            (Some(1), String::new()),
            "{line}"
        );
    }
}

#[test]
fn no_arguments_are_a_question_for_the_page_everywhere() {
    for line in [
        "",
        "ctl",
        "utl",
        "upgrade",
        "upgrade image",
        "bench",
        "ctl member",
    ] {
        let out = run("pintle", line);
        assert_eq!(out.status.code(), Some(0), "{line}");
        assert_eq!(text(&out.stderr), "", "{line}");
        assert!(!text(&out.stdout).contains("etcdctl get"), "{line}");
        assert!(text(&out.stdout).to_lowercase().contains("usage"), "{line}");
    }
}

#[test]
fn every_program_says_its_version() {
    for line in ["", "server", "ctl", "utl", "upgrade", "bench"] {
        let out = run("pintle", &format!("{line} --version"));
        assert_eq!(out.status.code(), Some(0), "{line}: {}", text(&out.stderr));
        assert!(
            text(&out.stdout).contains(env!("CARGO_PKG_VERSION")),
            "{line}"
        );
    }
}

#[test]
fn a_program_calls_itself_what_it_was_called() {
    let page = |name, line| text(&run(name, line).stdout);
    assert!(page("pintle", "ctl get --help").contains("    pintle ctl get "));
    assert!(page("etcdctl", "get --help").contains("    etcdctl get "));
    assert!(page("pintle", "utl defrag --help").contains("  pintle utl defrag [flags]"));
    assert!(page("etcdutl", "defrag --help").contains("  etcdutl defrag [flags]"));
    // Under etcd's name a word that names no command of a group shows the group, as cobra does.
    let out = run("etcdctl", "member addd x");
    assert_eq!(out.status.code(), Some(0));
}

#[test]
fn a_server_names_the_flag_that_was_meant_and_the_values_it_takes() {
    let out = run("pintle", "server --data-dirr x");
    let said = text(&out.stderr);
    assert!(
        said.contains(
            "flag provided but not defined: -data-dirr\n\nDid you mean this?\n\t--data-dir\n"
        ),
        "{said}"
    );
    let said = text(&run("pintle", "server --line 9").stderr);
    assert!(said.contains("it is one of auto, 3.5, 3.6, 3.7"), "{said}");
}

/// Manual pages and completions, as packages get them.
fn manual() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let out = run("pintle", &format!("manual {}", dir.path().display()));
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    dir
}

const NAMES: [&str; 4] = ["pintle", "etcd", "etcdctl", "etcdutl"];

/// Runs a checker on a file; `false` where it is not installed.
fn checked(program: &str, flags: &[&str], file: &std::path::Path) -> bool {
    let answer = Command::new(program).args(flags).arg(file).output();
    let Ok(answer) = answer else {
        println!("SKIPPED: {program} is not installed");
        return false;
    };
    let said = text(&answer.stderr);
    assert!(
        answer.status.success() && said.is_empty(),
        "{program} {}: {said}",
        file.display()
    );
    true
}

#[test]
fn every_manual_page_and_completion_is_read_without_a_word() {
    let dir = manual();
    for name in NAMES {
        let page = dir.path().join("man1").join(format!("{name}.1"));
        checked("man", &["--warnings", "-Tutf8", "-l"], &page);
        checked("mandoc", &["-Tlint", "-Werror"], &page);
        assert!(checked(
            "bash",
            &["-n"],
            &dir.path().join("bash").join(name)
        ));
        checked(
            "zsh",
            &["-n"],
            &dir.path().join("zsh").join(format!("_{name}")),
        );
        let script = dir.path().join("fish").join(format!("{name}.fish"));
        checked("fish", &["--no-execute"], &script);
    }
}

/// What bash offers for the last of `words`.
fn offered(dir: &std::path::Path, words: &str) -> Vec<String> {
    let program = words.split(' ').next().unwrap_or_default();
    let script = format!(
        "source {}; COMP_WORDS=({}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
         $(complete -p {program} | sed 's/.*-F \\([^ ]*\\) .*/\\1/') 2>/dev/null; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        dir.join("bash").join(program).display(),
        words.replace("''", "\"\"")
    );
    let answer = Command::new("bash").args(["-c", &script]).output();
    let said = text(&answer.expect("bash").stdout);
    said.lines().map(str::to_owned).collect()
}

#[test]
fn bash_offers_the_commands_and_flags_that_the_programs_take() {
    let dir = manual();
    let offers = |words: &str, word: &str| {
        let all = offered(dir.path(), words);
        assert!(
            all.iter().any(|offer| offer == word),
            "{words}: {word} of {all:?}"
        );
    };
    offers("pintle u", "upgrade");
    offers("pintle upgrade ex", "explain");
    offers("pintle upgrade check --tar", "--target=");
    offers("pintle ctl lease ''", "grant");
    offers("etcd --data", "--data-dir=");
    offers("etcdctl member a", "add");
    offers("etcdctl get --pre", "--prefix");
    offers("etcdutl snapshot re", "restore");
    // What is offered is taken: no program calls a flag unknown.
    for (program, line) in [
        ("etcdctl", "get"),
        ("etcdutl", "snapshot restore"),
        ("pintle", "upgrade run"),
    ] {
        for flag in offered(dir.path(), &format!("{program} {line} --")) {
            let flag = flag.trim_end_matches('=');
            let out = run(program, &format!("{line} {flag}=1 --help"));
            let said = text(&out.stderr);
            assert!(
                !said.contains("unknown flag"),
                "{program} {line} {flag}: {said}"
            );
        }
    }
}

#[test]
fn the_page_of_flags_is_what_the_tables_give() {
    let dir = manual();
    let made = std::fs::read_to_string(dir.path().join("reference/flags.md")).expect("the page");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/flags.md");
    if std::env::var_os("PINTLE_WRITE_PAGES").is_some() {
        std::fs::write(path, &made).expect("the page is written");
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    let differs = there.lines().zip(made.lines()).find(|(a, b)| a != b);
    assert!(
        there == made,
        "docs/reference/flags.md is not what the tables give, at {differs:?}; \
         PINTLE_WRITE_PAGES=1 writes it anew"
    );
}
