//! No import cycle between the files of any crate.

use xtask::{imports, workspace};

#[test]
fn no_file_of_a_crate_imports_itself_through_others() {
    let root = workspace::root();
    let mut wrong = String::new();
    for folder in workspace::crates(&root).expect("crates") {
        let name = workspace::name(&root, &folder);
        for file in ["src/lib.rs", "src/main.rs"].map(|file| folder.join(file)) {
            if file.exists() {
                let cycles = imports::cycles(&file).expect("sources");
                wrong.extend(cycles.iter().map(|cycle| format!("{name}: {cycle}\n")));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
