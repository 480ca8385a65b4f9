//! Comments, messages and pages.

use std::path::Path;

use xtask::{pages, source, words, workspace};

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

/// Pages that do not wrap, and why.
const WIDE: &[(&str, &str)] = &[("CHANGELOG.md", "one line for each change")];

#[test]
fn prose_in_pages_wraps() {
    let root = workspace::root();
    let mut wrong = Vec::new();
    for path in workspace::files(&root, is_page).expect("files") {
        let name = workspace::name(&root, &path);
        let wide = pages::wide_lines(&path).expect("text");
        if WIDE.iter().any(|(page, _)| *page == name) {
            if wide.is_empty() {
                wrong.push(format!("{name} wraps: take it off WIDE"));
            }
            continue;
        }
        for line in wide {
            wrong.push(format!(
                "{name}: line {line} is wider than {} columns",
                pages::COLUMNS
            ));
        }
    }
    fail(&wrong);
}

/// Folders that are not done yet. One that has none of the words leaves the list.
const WORDS_LEFT: &[&str] = &[
    "crates/auth/",
    "crates/member/",
    "crates/server/",
    "tests/sim/",
];

#[test]
fn the_words_are_those_of_the_field() {
    let root = workspace::root();
    let mut wrong = Vec::new();
    let mut left: Vec<&str> = WORDS_LEFT.to_vec();
    for path in workspace::files(&root, is_text).expect("files") {
        let name = workspace::name(&root, &path);
        let found = words::of_file(&path).expect("text");
        if is_list(&name) || found.is_empty() {
            continue;
        }
        match WORDS_LEFT.iter().find(|folder| name.starts_with(**folder)) {
            Some(folder) => left.retain(|left| left != folder),
            None => {
                wrong.extend(found.iter().map(|(line, word, instead)| {
                    format!("{name}:{line}: {word:?}; write: {instead}")
                }))
            }
        }
    }
    wrong.extend(
        left.iter()
            .map(|folder| format!("{folder} has none: take it off WORDS_LEFT")),
    );
    fail(&wrong);
}
