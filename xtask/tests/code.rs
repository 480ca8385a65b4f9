//! Rules of the code that no compiler knows.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use xtask::{errors, functions, source, workspace};

/// Crates that need `unsafe`, and what for. All others forbid it.
const UNSAFE: &[(&str, &str)] = &[
    (
        "crates/bolt",
        "the database file is mapped, and readers get slices of the map",
    ),
    (
        "crates/disk",
        "maps of files, and locks of open file descriptions",
    ),
    (
        "crates/mvcc",
        "an answer holds the values it was assembled from, and slices of them",
    ),
    (
        "crates/server",
        "a process that a signal ends resets its handler and raises it again",
    ),
    (
        "crates/tls",
        "getnameinfo: the standard library has no reverse look-up",
    ),
    (
        "tests/peers",
        "a member that is started dies with the test: a call between fork and exec",
    ),
    (
        "tests/sim",
        "a simulated file below a database has to be mapped",
    ),
];

/// The longest function that needs no reason.
const LINES_MAX: usize = 100;
/// Longer functions, and why they are one. One that got shorter leaves the list.
const LONG: &[(&str, &str, &str)] = &[
    (
        "crates/bench/src/compare/rows.rs",
        "table",
        "one row after the other, as data",
    ),
    (
        "crates/bolt/examples/speed.rs",
        "main",
        "a measurement, told in order",
    ),
    (
        "crates/image/src/verify/choose.rs",
        "by_index",
        "one pass with its refusals",
    ),
    (
        "crates/server/src/config/resolve.rs",
        "resolve",
        "one line for each setting",
    ),
    (
        "tests/linear/src/nemesis.rs",
        "fault",
        "one arm for each fault",
    ),
    (
        "tests/upgrades/src/workshop.rs",
        "perform",
        "one arm for each kind of damage",
    ),
];

/// Files that name hyper outside the room for it, and why.
const HYPER: &[(&str, &str)] = &[];

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let files = workspace::files(folder, is_rust).expect("files");
    let is_test = |path: &PathBuf| path.components().any(|part| part.as_os_str() == "tests");
    let own = |path: &PathBuf| !is_test(&path.strip_prefix(folder).expect("below").to_owned());
    files.into_iter().filter(own).collect()
}

fn fail(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// The server's logic knows no HTTP library: one room translates.
#[test]
fn hyper_is_named_in_the_transport_of_the_server_only() {
    let root = workspace::root();
    let folder = root.join("crates/server/src");
    let mut wrong = Vec::new();
    for path in sources(&folder) {
        let name = workspace::name(&root, &path);
        let text = source::read(&path).expect("source");
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let names = code.filter(|line| line.contains("hyper")).count() > 0;
        let listed = HYPER.iter().any(|(listed, _)| *listed == name);
        match (
            names && !name.starts_with("crates/server/src/transport/"),
            listed,
        ) {
            (true, false) => wrong.push(format!("{name} names hyper")),
            (false, true) => wrong.push(format!("{name} names no hyper: take it off HYPER")),
            _ => {}
        }
    }
    fail(&wrong);
}

#[test]
fn crates_forbid_unsafe_code_or_say_why_they_need_it() {
    let root = workspace::root();
    let mut wrong = Vec::new();
    for folder in workspace::crates(&root).expect("crates") {
        let name = workspace::name(&root, &folder);
        let listed = UNSAFE.iter().any(|(listed, _)| *listed == name);
        for file in ["src/lib.rs", "src/main.rs"].map(|file| folder.join(file)) {
            let Ok(text) = source::read(&file) else {
                continue;
            };
            match (text.contains("#![forbid(unsafe_code)]"), listed) {
                (false, false) => wrong.push(format!("{name} does not forbid unsafe code")),
                (true, true) => wrong.push(format!("{name} forbids it: take it off UNSAFE")),
                _ => {}
            }
        }
    }
    fail(&wrong);
}

#[test]
fn functions_are_short_or_say_why_not() {
    let root = workspace::root();
    let mut long = BTreeMap::new();
    for folder in ["crates", "tests", "xtask"] {
        for path in sources(&root.join(folder)) {
            let name = workspace::name(&root, &path);
            for function in functions::of_file(&path).expect("source") {
                if function.lines > LINES_MAX {
                    long.insert((name.clone(), function.name), function.lines);
                }
            }
        }
    }
    let mut wrong = Vec::new();
    for (file, function, _) in LONG {
        if long
            .remove(&((*file).to_owned(), (*function).to_owned()))
            .is_none()
        {
            wrong.push(format!("{file}: {function} is short: take it off LONG"));
        }
    }
    let more = long
        .iter()
        .map(|((file, name), lines)| format!("{file}: {name} has {lines} lines"));
    wrong.extend(more);
    fail(&wrong);
}

/// Files with functions that other modules call and that fail with a bare text, how many they are,
/// and why. No caller tells one failure from another there; where one does, the error is an enum.
const TEXT_ERRORS: &[(&str, usize, &str)] = &[
    ("crates/bench/src/closed.rs", 2, COUNTED),
    ("crates/bench/src/command.rs", 1, TYPED),
    ("crates/bench/src/options.rs", 1, TYPED),
    ("crates/bench/src/workload/k8s/objects.rs", 1, COUNTED),
    ("crates/bench/src/workload/k8s/reads.rs", 3, COUNTED),
    ("crates/bolt/src/meta.rs", 2, FILE),
    ("crates/cli/src/command.rs", 1, TYPED),
    ("crates/cli/src/flags/parsed.rs", 2, TYPED),
    ("crates/cli/src/flags/pflag.rs", 1, TYPED),
    ("crates/cli/src/text.rs", 2, TYPED),
    (
        "crates/client/src/dial.rs",
        1,
        "why an endpoint is passed over",
    ),
    (
        "crates/ctl/src/check/memory.rs",
        1,
        "printed next to the check",
    ),
    ("crates/image/src/versions.rs", 1, FILE),
    ("crates/member/src/alarms.rs", 1, FILE),
    ("crates/proxy/src/discovery.rs", 1, TYPED),
    ("crates/proxy/src/goes.rs", 2, TYPED),
    ("crates/proxy/src/grpc/settings.rs", 4, TYPED),
    ("crates/server/src/config/settings.rs", 1, TYPED),
    ("crates/server/src/config/traces.rs", 1, TYPED),
    ("crates/server/src/config/urls.rs", 2, TYPED),
    ("crates/server/src/start/discovery/srv.rs", 1, TYPED),
    ("crates/tls/src/protocol.rs", 2, TYPED),
    ("crates/tls/src/remote.rs", 1, "etcd's words, for the log"),
    (
        "crates/upgrade/src/run/model/world.rs",
        2,
        "what a cluster of the model refuses",
    ),
    ("crates/utl/src/lib.rs", 1, FILE),
    ("crates/utl/src/migrate/plan.rs", 1, TYPED),
    ("crates/utl/src/migrate/version.rs", 2, TYPED),
];
/// In etcd's words, for the person who typed it.
const TYPED: &str = "the text that a person typed is refused";
/// Errors of the same text are counted together.
const COUNTED: &str = "the report of the load generator counts texts";
/// The caller adds the file and gives up.
const FILE: &str = "a file is not what its format says";

#[test]
fn errors_that_cross_modules_have_types() {
    let root = workspace::root();
    let mut wrong = Vec::new();
    for path in sources(&root.join("crates")) {
        let name = workspace::name(&root, &path);
        let found = errors::of_file(&path).expect("source");
        let listed = TEXT_ERRORS.iter().find(|(listed, _, _)| *listed == name);
        let allowed = listed.map_or(0, |(_, allowed, _)| *allowed);
        if found.len() > allowed {
            wrong.push(format!(
                "{name}: {allowed} may fail with a text, {found:?} do"
            ));
        }
    }
    fail(&wrong);
}
