//! Every flag that a release of etcd lists, read by that release and by Pintle: what one takes the
//! other takes, and what one refuses the other refuses in the same words.

use std::{
    collections::BTreeMap,
    process::{Command, Output},
};

use anyhow::{Context as _, Result, ensure};
use peers::{
    api,
    peer::{self, Program},
    server::Launch,
};

/// `--help` after a flag shows whether the flag was read, without a server that starts.
fn read(program: &Program, flag: &str) -> Result<Output> {
    let mut command = Command::new(&program.path);
    command.args(&program.words).args([flag, "--help"]);
    command.output().with_context(|| format!("{program}"))
}

/// The flags of a `--help` page, with the defaults that it shows.
fn listed(program: &Program) -> Result<BTreeMap<String, String>> {
    let page = read(program, "--name=m")?.stdout;
    let page = String::from_utf8_lossy(&page);
    let mut flags = BTreeMap::new();
    for line in page.lines() {
        let Some(flag) = line.strip_prefix("  --") else {
            continue;
        };
        let (name, default) = flag.split_once(' ').unwrap_or((flag, ""));
        let default = default.trim().trim_matches('\'');
        flags.insert(name.to_owned(), default.to_owned());
    }
    ensure!(flags.len() > 70, "{program} lists {} flags", flags.len());
    Ok(flags)
}

fn exit_code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn accepts(program: &Program, flag: &str) -> bool {
    exit_code(&read(program, flag).expect(flag)) == Some(0)
}

/// What stderr says of a flag that is refused; etcd's usage page follows it.
fn refusal(output: &Output) -> String {
    if output.status.success() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("pintle server: ").to_owned()
}

#[test]
fn what_a_release_lists_pintle_takes_at_its_default() {
    let Some(subject) = peer::subject() else {
        return;
    };
    for version in ["3.4.23", peer::REFERENCE, "3.6.14", "3.7.1"] {
        let Some(etcd) = peer::etcd(version) else {
            continue;
        };
        let flags = listed(&etcd).expect("flags");
        let mut taken = 0;
        for (name, default) in &flags {
            let flag = format!("--{name}={default}");
            // Some of what a page lists is gone, or is shown in other words than it is typed.
            if accepts(&etcd, &flag) {
                assert!(accepts(&subject, &flag), "{flag} of {etcd} on {subject}");
                taken += 1;
            }
        }
        println!("{etcd}: {taken} of {} flags", flags.len());
    }
}

#[test]
fn a_value_that_is_none_is_refused_in_the_words_of_etcd() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    let flags = listed(&reference).expect("flags");
    let mut compared = 0;
    for name in flags.keys() {
        for value in [
            "odd",
            "",
            "-1",
            "1h2x",
            "99999999999999999999",
            "http://127.0.0.1",
            "yes",
        ] {
            let flag = format!("--{name}={value}");
            let theirs = read(&reference, &flag).expect("etcd");
            let ours = read(&subject, &flag).expect("pintle");
            assert_eq!(
                (exit_code(&theirs), refusal(&theirs)),
                (exit_code(&ours), refusal(&ours)),
                "{flag}"
            );
            compared += 1;
        }
    }
    println!("{compared} values of {} flags are equal", flags.len());
}

/// Flags that say who the member is and where it listens: a launch has its own.
const OWN: &[&str] = &[
    "name",
    "data-dir",
    "listen-peer-urls",
    "listen-client-urls",
    "initial-advertise-peer-urls",
    "advertise-client-urls",
    "initial-cluster",
    "initial-cluster-state",
    "initial-cluster-token",
];

/// Every flag that a release lists, at the default that it shows, as far as it can be typed.
fn spelled_out(etcd: &Program) -> Result<Vec<String>> {
    let flags = listed(etcd)?;
    let newer = |name: &str| {
        let bare = name.strip_prefix("experimental-");
        bare.is_some_and(|bare| flags.contains_key(bare))
    };
    let chosen = flags.iter().filter(|(name, _)| {
        // Two names of one flag are one too many. 3.4 does not start without a cipher suite, and
        // its own kind of log has no line that a launch could wait for; 3.6 and 3.7 take an empty
        // list of endpoints for one.
        let left_out = [OWN, &["cipher-suites", "logger", "discovery-endpoints"]].concat();
        !left_out.contains(&name.as_str()) && !newer(name)
    });
    Ok(chosen
        .map(|(name, default)| format!("--{name}={default}"))
        .filter(|flag| accepts(etcd, flag))
        .collect())
}

#[test]
fn a_member_starts_with_every_flag_of_a_release_spelled_out() {
    let Some(subject) = peer::subject() else {
        return;
    };
    peers::run(300, async {
        for version in ["3.4.23", peer::REFERENCE, "3.6.14", "3.7.1"] {
            let Some(etcd) = peer::etcd(version) else {
                continue;
            };
            let flags = spelled_out(&etcd)?;
            for program in [&etcd, &subject] {
                let dir = tempfile::tempdir()?;
                let launch = Launch::new(program, &dir.path().join("data"));
                let launch = flags.iter().fold(launch, |launch, flag| launch.flag(flag));
                let started = launch.start().await;
                let server = started.with_context(|| format!("flags of {etcd} on {program}"))?;
                server.api().put(api::put("k", "v")).await?;
                server.terminate().await?;
            }
            println!("{} flags of {etcd}", flags.len());
        }
        Ok(())
    });
}
