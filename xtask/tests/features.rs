//! What a binary that is shipped must not be built with.

use xtask::{source, workspace};

/// Crates that may name the feature of the planted bugs: whose code they are in, and who plants.
const PLANTS: [&str; 2] = ["crates/member", "tests/sim"];
/// Crates that may switch failpoints on, and only by a feature of their own that is no default.
const FAILPOINTS: [&str; 1] = ["crates/pintle"];

/// The crates whose manifests say this, comments apart.
fn naming(wanted: &str) -> Vec<String> {
    let root = workspace::root();
    let mut named = Vec::new();
    for folder in workspace::crates(&root).expect("crates") {
        let manifest = source::read(&folder.join("Cargo.toml")).expect("a manifest");
        let mut lines = manifest.lines().filter(|line| !line.starts_with('#'));
        if lines.any(|line| line.contains(wanted)) {
            named.push(workspace::name(&root, &folder));
        }
    }
    named
}

#[test]
fn planted_bugs_are_for_the_simulator_only() {
    assert_eq!(naming("plants"), PLANTS);
}

#[test]
fn failpoints_are_for_one_binary_that_asks_for_them() {
    assert_eq!(naming("failpoint/"), FAILPOINTS);
    for crate_ in FAILPOINTS {
        let path = workspace::root().join(crate_).join("Cargo.toml");
        let manifest = source::read(&path).expect("a manifest");
        let defaults = manifest.lines().any(|line| line.starts_with("default"));
        assert!(!defaults, "{crate_} has default features");
        assert!(manifest.contains("failpoints = [\"failpoint/on\"]"));
    }
    // Neither the workspace's table nor a dependency switches them on.
    let root = source::read(&workspace::root().join("Cargo.toml")).expect("a manifest");
    let line = root.lines().find(|line| line.starts_with("failpoint ="));
    let line = line.expect("a dependency of the workspace");
    assert!(!line.contains("features"), "{line}");
    for manifest in naming("failpoint.workspace")
        .iter()
        .chain(&naming("failpoint = "))
    {
        let path = workspace::root().join(manifest).join("Cargo.toml");
        let text = source::read(&path).expect("a manifest");
        let mut lines = text.lines().filter(|line| line.starts_with("failpoint"));
        let own =
            |line: &str| line == "failpoint.workspace = true" || line.starts_with("failpoints = ");
        assert!(lines.all(own), "{manifest}");
    }
}

/// A name in the list without a place would be set and never reached.
#[test]
fn every_failpoint_has_a_place() {
    let root = workspace::root();
    let list = source::read(&root.join("crates/failpoint/src/point.rs")).expect("the list");
    let (_, list) = list.split_once("points! {\n").expect("the list");
    let names = list
        .lines()
        .filter_map(|line| line.trim().split_once(" = \""));
    let names: Vec<&str> = names.map(|(name, _)| name).collect();
    assert!(names.len() > 30, "{names:?}");
    let is_rust = |path: &std::path::Path| path.extension().is_some_and(|found| found == "rs");
    let mut code = String::new();
    for folder in workspace::crates(&root).expect("crates") {
        if workspace::name(&root, &folder) != "crates/failpoint" {
            for path in workspace::files(&folder, is_rust).expect("files") {
                code += &source::read(&path).expect("source");
            }
        }
    }
    let place = |name: &&&str| {
        let ends = [")", " if", ","].map(|end| format!("failpoint!({name}{end}"));
        ends.iter().any(|place| code.contains(place))
    };
    let missing: Vec<_> = names.iter().filter(|name| !place(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
