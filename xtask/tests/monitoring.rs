//! The series that `monitoring/` names are series of the server.

use std::collections::BTreeSet;

use xtask::{source, workspace};

/// What a histogram adds to its name.
const PARTS: [&str; 3] = ["_bucket", "_count", "_sum"];
const FAMILIES: [&str; 4] = ["etcd_", "grpc_", "pintle_", "process_"];

/// The words in a text that look like names of series.
fn series(text: &str) -> BTreeSet<&str> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    text.split(|letter| !is_part(letter))
        .filter(|word| FAMILIES.iter().any(|family| word.starts_with(family)))
        .map(|word| {
            let part = PARTS.iter().find_map(|part| word.strip_suffix(part));
            part.unwrap_or(word)
        })
        .filter(|word| !word.ends_with('_'))
        .collect()
}

#[test]
fn alerts_and_panels_name_series_that_exist() {
    let root = workspace::root();
    let sources = workspace::files(&root.join("crates/server/src/metrics"), |path| {
        path.extension().is_some_and(|kind| kind == "rs")
    });
    let mut known = String::new();
    for path in sources.expect("the metrics of the server") {
        known += &source::read(&path).expect("a source");
    }
    let known = series(&known);
    // Labels of other series.
    let labels = BTreeSet::from(["grpc_method", "grpc_code", "grpc_type", "grpc_service"]);
    for page in ["rules.yaml", "dashboard.json"] {
        let text = source::read(&root.join("monitoring").join(page)).expect(page);
        let named = series(&text);
        assert!(named.len() > 8, "{page} was read: {named:?}");
        let unknown: Vec<_> = named
            .iter()
            .filter(|name| !known.contains(*name) && !labels.contains(*name))
            .collect();
        assert!(unknown.is_empty(), "{page} names {unknown:?}");
    }
}
