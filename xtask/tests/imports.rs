//! No import cycle between the files of any crate.

use xtask::{imports, workspace};

/// Crates that still have cycles. One that has none any more leaves the list,
/// and none may join it.
const CYCLES_LEFT: &[&str] = &["crates/server"];

#[test]
fn no_file_of_a_crate_imports_itself_through_others() {
    let root = workspace::root();
    let mut wrong = String::new();
    for folder in workspace::crates(&root).expect("crates") {
        let name = workspace::name(&root, &folder);
        let mut found = Vec::new();
        for file in ["src/lib.rs", "src/main.rs"].map(|file| folder.join(file)) {
            if file.exists() {
                found.extend(imports::cycles(&file).expect("sources"));
            }
        }
        match (CYCLES_LEFT.contains(&name.as_str()), found.is_empty()) {
            (true, true) => wrong += &format!("{name} has no cycles: take it off CYCLES_LEFT\n"),
            (false, false) => wrong.extend(found.iter().map(|cycle| format!("{name}: {cycle}\n"))),
            (true, false) | (false, true) => {}
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
