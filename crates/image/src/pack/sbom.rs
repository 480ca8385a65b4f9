//! What the program is made of, as SPDX 2.3: the crates that `cargo metadata`
//! reaches from it, with the checksums of `Cargo.lock`, and what the linker added.
//! It must never name a folder of the machine that it was built on.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::Digest;

use super::recipe::Recipe;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

/// The crate that is the program.
const ROOT: &str = "pintle";

/// The document.
pub(super) fn spdx(
    metadata: &[u8],
    lock: &str,
    recipe: &Recipe<'_>,
    created: &str,
    image: Digest,
) -> io::Result<Value> {
    let metadata: Metadata = serde_json::from_slice(metadata)?;
    let checksums = checksums(lock);
    let packages: BTreeMap<&str, &Package> = metadata
        .packages
        .iter()
        .map(|p| (p.id.as_str(), p))
        .collect();
    let nodes: BTreeMap<&str, &Node> = metadata
        .resolve
        .nodes
        .iter()
        .map(|n| (n.id.as_str(), n))
        .collect();
    let root = metadata
        .packages
        .iter()
        .find(|p| p.name == ROOT && p.source.is_none())
        .ok_or_else(|| io::Error::other("cargo metadata knows no crate pintle"))?;

    let mut relations =
        BTreeSet::from([("SPDXRef-DOCUMENT".to_owned(), "DESCRIBES", reference(root))]);
    let (mut todo, mut seen) = (vec![root.id.as_str()], BTreeSet::from([root.id.as_str()]));
    while let Some(id) = todo.pop() {
        let (Some(of), Some(node)) = (packages.get(id), nodes.get(id)) else {
            return Err(io::Error::other(
                "cargo metadata names a crate that it does not hold",
            ));
        };
        for dependency in &node.deps {
            let kinds = dependency.dep_kinds.iter().map(|kind| kind.kind.as_deref());
            let kinds: Vec<Option<&str>> = kinds.filter(|kind| *kind != Some("dev")).collect();
            let Some(on) = packages.get(dependency.pkg.as_str()) else {
                continue;
            };
            for kind in &kinds {
                relations.insert(match kind {
                    None => (reference(of), "DEPENDS_ON", reference(on)),
                    Some(_) => (reference(on), "BUILD_DEPENDENCY_OF", reference(of)),
                });
            }
            if !kinds.is_empty() && seen.insert(&on.id) {
                todo.push(&on.id);
            }
        }
    }

    let mut rows = BTreeMap::new();
    for id in seen {
        let package = packages[id];
        rows.insert(reference(package), row(package, &checksums));
    }
    for (name, version, license) in recipe.linked {
        let id = format!("SPDXRef-{}-{}", plain(name), plain(version));
        relations.insert((reference(root), "STATIC_LINK", id.clone()));
        rows.insert(
            id.clone(),
            json!({
                "SPDXID": id,
                "name": name,
                "versionInfo": version,
                "downloadLocation": "NOASSERTION",
                "filesAnalyzed": false,
                "licenseConcluded": "NOASSERTION",
                "licenseDeclared": license,
                "copyrightText": "NOASSERTION",
            }),
        );
    }
    let relations: Vec<Value> = relations
        .into_iter()
        .map(|(from, kind, to)| {
            json!({"spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to})
        })
        .collect();
    Ok(json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("{}:{}", recipe.repository, recipe.tag),
        // Has to be an address of its own: the image's digest is one.
        "documentNamespace": format!("urn:pintle:image:{image}"),
        "creationInfo": {
            "created": created,
            "creators": [format!("Tool: pintle-pack-{}", recipe.pintle)],
        },
        "packages": rows.into_values().collect::<Vec<_>>(),
        "relationships": relations,
    }))
}

fn reference(package: &Package) -> String {
    format!(
        "SPDXRef-{}-{}",
        plain(&package.name),
        plain(&package.version)
    )
}

/// What SPDX takes in its identifiers.
fn plain(text: &str) -> String {
    let fits = |c: char| {
        if c.is_ascii_alphanumeric() || c == '.' {
            c
        } else {
            '-'
        }
    };
    text.chars().map(fits).collect()
}

fn row(package: &Package, checksums: &BTreeMap<(String, String), String>) -> Value {
    let license = match &package.license {
        // How it was written before SPDX expressions.
        Some(license) => license.replace('/', " OR "),
        None => "NOASSERTION".to_owned(),
    };
    let mut row = json!({
        "SPDXID": reference(package),
        "name": package.name,
        "versionInfo": package.version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": license,
        "copyrightText": "NOASSERTION",
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": format!("pkg:cargo/{}@{}", package.name, package.version),
        }],
    });
    let key = (package.name.clone(), package.version.clone());
    if let Some(checksum) = checksums.get(&key) {
        row["checksums"] = json!([{"algorithm": "SHA256", "checksumValue": checksum}]);
    }
    row
}

/// The checksums in `Cargo.lock`, which cargo writes one key to a line.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let mut checksums = BTreeMap::new();
    for block in lock.split("[[package]]") {
        let value = |key: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix(key))?;
            Some(line.strip_prefix(" = \"")?.strip_suffix('"')?.to_owned())
        };
        if let (Some(name), Some(version), Some(checksum)) =
            (value("name"), value("version"), value("checksum"))
        {
            checksums.insert((name, version), checksum);
        }
    }
    checksums
}
