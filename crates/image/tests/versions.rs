//! `versions.toml` and the tree agree.

use std::{
    fs,
    path::{Path, PathBuf},
};

use image::versions::Versions;

fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn versions() -> Versions {
    let text = fs::read_to_string(tree().join("versions.toml")).expect("versions.toml");
    Versions::parse(&text).expect("versions.toml is read")
}

fn get<'a>(versions: &'a Versions, name: &str) -> &'a str {
    versions.get(name).expect(name)
}

#[test]
fn every_place_names_the_version_that_it_should() {
    let told = versions().disagreements(&tree());
    assert!(told.is_empty(), "\n{}\n", told.join("\n"));
}

/// What follows from one another.
#[test]
fn the_versions_fit_together() {
    let versions = versions();
    let etcd = get(&versions, "etcd");
    let numbers: Vec<&str> = etcd.split('.').collect();
    let [major, minor, _] = numbers[..] else {
        panic!("{etcd} is no version");
    };
    assert_eq!(get(&versions, "api"), format!("{major}.{minor}"));
    assert_eq!(get(&versions, "cluster"), format!("{major}.{minor}.0"));
    let build = get(&versions, "image").strip_prefix(&format!("{etcd}-"));
    let build = build.and_then(|build| build.parse::<u32>().ok());
    assert!(
        build.is_some(),
        "the tag of the image is {etcd}- and a number"
    );
    assert_eq!(get(&versions, "pintle"), env!("CARGO_PKG_VERSION"));
    let peers = versions.list("peers");
    assert!(
        peers.iter().any(|peer| peer == etcd),
        "{etcd} is not tested beside Pintle"
    );
    for name in ["peers-3-5", "peers-after"] {
        let among = versions.list(name).iter().all(|peer| peers.contains(peer));
        assert!(among, "{name} has releases that are not among peers");
    }
}

/// A copy that no one listed would be forgotten at the next step.
#[test]
fn no_other_source_names_the_reported_version() {
    let (tree, versions) = (tree(), versions());
    let quoted = format!("{:?}", get(&versions, "etcd"));
    let listed: Vec<&str> = versions.files().collect();
    let mut unlisted = Vec::new();
    let mut todo: Vec<PathBuf> = fs::read_dir(tree.join("crates"))
        .expect("crates")
        .map(|entry| entry.expect("a crate").path().join("src"))
        .collect();
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            let name = path
                .file_name()
                .and_then(|n| n.to_str())
                .unwrap_or_default();
            if path.is_dir() && name != "tests" {
                todo.push(path);
            } else if name.ends_with(".rs") && name != "tests.rs" {
                let text = fs::read_to_string(&path).expect("a source");
                // What stands behind this is for tests.
                let text = text
                    .split("#[cfg(test)]\nmod tests {")
                    .next()
                    .unwrap_or_default();
                let place = path.strip_prefix(&tree).expect("below the tree");
                let place = place.to_str().expect("a plain name");
                if text.contains(&quoted) && !listed.contains(&place) {
                    unlisted.push(place.to_owned());
                }
            }
        }
    }
    assert!(
        unlisted.is_empty(),
        "name {quoted}, and versions.toml does not list them: {unlisted:?}"
    );
}
