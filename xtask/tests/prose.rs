//! Comments, messages and pages.

use std::path::Path;

use xtask::{pages, source, workspace};

fn is_page(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "md")
}

fn is_text(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    is_page(path)
        || ["rs", "toml", "proto", "sh"]
            .iter()
            .any(|known| extension == *known)
}

fn fail(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// The word lists themselves.
fn is_list(name: &str) -> bool {
    ["xtask/src/words.rs", "xtask/src/pages.rs"].contains(&name)
}

#[test]
fn pages_that_are_referred_to_are_in_the_repository() {
    let root = workspace::root();
    let names = pages::names(&root).expect("pages");
    let mut wrong = Vec::new();
    for path in workspace::files(&root, is_text).expect("files") {
        let name = workspace::name(&root, &path);
        let text = source::read(&path).expect("text");
        if !is_list(&name) {
            let missing = pages::missing(&text, &names);
            wrong.extend(
                missing
                    .iter()
                    .map(|reference| format!("{name}: {reference}")),
            );
        }
    }
    fail(&wrong);
}
