//! What is printed to be pasted is read by a shell and by this program.

use std::process::Command as Process;

use cli::flags::Parsed;

use super::next;
use crate::{
    checks::{self, Given, Missing},
    command, exit,
    facts::{Facts, Live},
    next_command::Next,
    plan::{Plan, Wishes},
    run::Managed,
    target::Target,
};

fn parsed(words: &[&str]) -> Parsed {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let line = command::read(&words).expect("a command line");
    assert!(line.page.is_none(), "{words:?}");
    line.parsed
}

/// The words after `upgrade`, as a shell splits the printed line; the program reads them.
fn pasted(next: &Next) -> String {
    let line = next.line();
    let script = format!("printf '%s\\n' {line}");
    let shell = Process::new("sh").args(["-c", &script]).output();
    let said = String::from_utf8(shell.expect("a shell").stdout).expect("text");
    let words: Vec<String> = said.lines().skip(2).map(str::to_owned).collect();
    let read = command::read(&words).map_err(|why| why.to_string());
    let read = read.unwrap_or_else(|why| panic!("{line}: {why}"));
    assert!(
        read.action.is_some() || words.last().is_some_and(|w| w == "--help"),
        "{line}"
    );
    words.join(" ")
}

fn report(target: &str, members: Vec<Facts>) -> checks::Report {
    let target = Target::parse(target).expect("a target");
    checks::run(target, members, &Given::default())
}

fn running(version: &str, words: &[&str]) -> Facts {
    let live = Live {
        endpoint: "http://a:1".into(),
        leader: 1,
        term: 1,
        version: semver::Version::parse(version).ok(),
        command_line: Some(words.iter().map(|word| (*word).to_owned()).collect()),
        ..Live::default()
    };
    Facts {
        label: "a".into(),
        live: Some(live),
        ..Facts::default()
    }
}

#[test]
fn a_check_leads_to_what_resolves_its_findings() {
    let online = parsed(&[
        "check",
        "--target=3.6.14",
        "--endpoints=http://a:1,it's b",
        "--cluster",
    ]);
    let skips = report("3.7.1", vec![running("3.5.30", &[])]);
    assert_eq!(
        pasted(&next::after_check(&online, &skips)),
        "plan --target=3.6.14 --endpoints=http://a:1,it's b --cluster=true"
    );
    // Nothing is known of the member: it is said what is needed.
    let open = report("3.6.14", vec![running("3.5.35", &[])]);
    let said = pasted(&next::after_check(&online, &open));
    assert!(
        said.starts_with("explain P") && said.contains("P9 P10"),
        "{said}"
    );
}

#[test]
fn a_directory_that_is_here_is_named_for_the_log_that_was_not_read() {
    let here = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(here.path().join("member")).expect("a folder");
    let flag = format!("--data-dir={}", here.path().display());
    let online = parsed(&["check", "--target=3.6.14", "--endpoints=http://a:1"]);
    let open = report("3.6.14", vec![running("3.5.35", &[&flag])]);
    assert_eq!(
        pasted(&next::after_check(&online, &open)),
        format!("check --target=3.6.14 --endpoints=http://a:1 {flag}")
    );
}

#[test]
fn a_plan_leads_to_its_first_step() {
    let online = parsed(&[
        "plan",
        "--target=3.6.14",
        "--endpoints=http://a:1,http://b:1",
        "--user=root:s",
    ]);
    let members = [running("3.5.35", &[])];
    let target = Target::parse("3.6.14").expect("a target");
    let mut plan = Plan::make(&members, &target, &Wishes::default()).expect("a plan");
    let next = next::after_plan(&online, &members, &plan, &[]);
    assert_eq!(
        pasted(&next),
        "backup --user=root --endpoints=http://a:1 --out=backup"
    );
    assert!(
        next.text().starts_with("(the password is left out"),
        "{}",
        next.text()
    );
    let lacking = [Missing {
        check: "P10",
        title: "",
        lacks: String::new(),
    }];
    let next = next::after_plan(&online, &members, &plan, &lacking);
    assert_eq!(pasted(&next), "explain P10");
    plan.steps.clear();
    let next = next::after_plan(&online, &members, &plan, &[]);
    assert!(pasted(&next).starts_with("check --target=3.6.14 --endpoints"));
}

#[test]
fn every_other_command_ends_with_a_command_too() {
    let run = [
        "run",
        "--target=3.6.14",
        "--members=my members.yaml",
        "--cacert=ca.crt",
        "--scratch=/tmp/x",
    ];
    let members = ["https://a:1", "https://b:1"].map(|endpoint| Managed::at("", endpoint));
    let after = |words: &[&str], runs, code| {
        pasted(&next::after_steps(
            words[0],
            &parsed(words),
            &members,
            runs,
            code,
        ))
    };
    assert_eq!(
        after(&run, Some("3.6.14"), exit::OK),
        "check --cacert=ca.crt --scratch=/tmp/x --target=3.6.14 --endpoints=https://a:1,https://b:1"
    );
    let again = after(&run, Some("3.6.14"), exit::STOPPED);
    assert!(
        again.starts_with("run --target=3.6.14 --members=my members.yaml"),
        "{again}"
    );
    let dry = [&run[..], &["--dry-run"]].concat();
    assert!(!after(&dry, Some("3.6.14"), exit::OK).contains("dry-run"));
    assert!(after(&dry, Some("3.6.14"), exit::STOPPED).contains("--dry-run=true"));
    let back = ["rollback", "--members=m", "--to=3.5.30"];
    assert!(after(&back, Some("3.5.30"), exit::OK).contains("--target=3.5.30"));
    assert_eq!(after(&back, None, exit::OK), "check --help");
    // Where no rollback is the way, the same again is the last thing that is said.
    assert_eq!(
        pasted(&next::after_refusal(&parsed(&back), &members, "3.5.30")),
        "check --target=3.5.30 --endpoints=https://a:1,https://b:1"
    );

    let backup = parsed(&["backup", "--endpoints=http://a:1", "--out=d"]);
    let next = next::after_backup(&backup, std::path::Path::new("d/a b.db"));
    assert_eq!(pasted(&next), "rehearse --backup=d/a b.db --help");
    let rehearse = [
        "rehearse",
        "--target=3.6.14",
        "--from=3.5.30",
        "--data-dir=d",
        "--binary=3.6.14=/bin/etcd",
    ];
    let rehearse = parsed(&rehearse);
    assert_eq!(
        pasted(&next::after_rehearse(&rehearse, exit::OK)),
        "run --target=3.6.14 --help"
    );
    assert!(
        pasted(&next::after_rehearse(&rehearse, exit::STOPPED))
            .contains("--binary=3.6.14=/bin/etcd")
    );
    let repair = parsed(&["repair", "--data-dir=d", "--drop-v2"]);
    assert_eq!(
        pasted(&next::after_repair(&repair, true)),
        "repair --data-dir=d --drop-v2=true --yes=true"
    );
    assert_eq!(
        pasted(&next::after_repair(&repair, false)),
        "check --data-dir=d --help"
    );
    assert_eq!(
        pasted(&next::after_explain(&parsed(&["explain"]))),
        "explain P1"
    );
    assert_eq!(
        pasted(&next::after_explain(&parsed(&["explain", "P4"]))),
        "check --help"
    );
}

#[test]
fn a_number_that_readers_of_json_would_round_is_a_string() {
    let value = serde_json::json!({"a": [u64::MAX, 1_u64 << 53], "b": i64::MIN, "c": 0.5});
    assert_eq!(
        crate::output::json_line(value),
        "{\"a\":[\"18446744073709551615\",9007199254740992],\"b\":\"-9223372036854775808\",\"c\":0.5}\n"
    );
}

#[test]
fn every_command_reads_the_form_of_its_output_and_knows_no_other() {
    for command in command::COMMANDS {
        let read = |form: &str| {
            let words = [command.name, "-w", form].map(str::to_owned);
            let known = command.flags.iter().chain(command::GLOBAL);
            let words = words.map(String::into_bytes);
            let parsed = cli::flags::parse(&words[1..], known).expect("a line");
            crate::output::as_json(&parsed).map_err(|why| why.to_string())
        };
        assert_eq!(read("json"), Ok(true), "{}", command.name);
        assert_eq!(read("table"), Ok(false), "{}", command.name);
        assert!(read("yaml").is_err_and(|why| why.contains("table and json")));
    }
}
