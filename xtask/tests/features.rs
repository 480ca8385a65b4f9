//! What a binary that is shipped must not be built with.

use xtask::{source, workspace};

/// Crates that may name the feature of the planted bugs: whose code they are in, and who plants.
const PLANTS: [&str; 2] = ["crates/member", "tests/sim"];

#[test]
fn planted_bugs_are_for_the_simulator_only() {
    let root = workspace::root();
    let mut named = Vec::new();
    for folder in workspace::crates(&root).expect("crates") {
        let manifest = source::read(&folder.join("Cargo.toml")).expect("a manifest");
        if manifest.contains("plants") {
            named.push(workspace::name(&root, &folder));
        }
    }
    assert_eq!(named, PLANTS);
}
