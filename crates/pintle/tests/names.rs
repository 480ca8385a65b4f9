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
