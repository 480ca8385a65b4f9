//! The floors of ARCHITECTURE.md, and the crates that do not keep to them.

use std::{collections::BTreeMap, path::Path};

use crate::{Error, source, workspace};

/// The floor of each crate, by the name of its folder, from the table under the
/// heading that begins with "Floors".
///
/// # Errors
/// The page cannot be read, or has no such table.
pub fn table(page: &Path) -> Result<BTreeMap<String, u32>, Error> {
    let text = source::read(page)?;
    let floors: BTreeMap<String, u32> = text
        .lines()
        .skip_while(|line| !line.starts_with("## Floors"))
        .skip(1)
        .take_while(|line| !line.starts_with("## "))
        .filter_map(|line| {
            let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
            let floor: u32 = cells.next()?.parse().ok()?;
            // A library's own name, where it differs, is in brackets.
            let names = cells.next()?;
            Some((
                floor,
                names.split_once('(').map_or(names, |(names, _)| names),
            ))
        })
        .flat_map(|(floor, names)| {
            let names = names.split('`').skip(1).step_by(2);
            names.map(move |name| (name.to_owned(), floor))
        })
        .collect();
    match floors.is_empty() {
        true => Err(Error::new(page, "has no table of floors")),
        false => Ok(floors),
    }
}

/// What breaks the table in the crates of `root`: a crate that is not in it, a
/// row without a crate, an import from the same floor or one above.
///
/// # Errors
/// A manifest or the table cannot be read.
pub fn violations(root: &Path) -> Result<Vec<String>, Error> {
    let floors = table(&root.join("ARCHITECTURE.md"))?;
    let packages = packages(root)?;
    let mut wrong = Vec::new();
    for name in floors.keys() {
        if !root.join("crates").join(name).exists() {
            wrong.push(format!(
                "ARCHITECTURE.md has a floor for {name}, which is no crate"
            ));
        }
    }
    for folder in workspace::crates(&root.join("crates"))? {
        let name = folder_name(&folder);
        let Some(&floor) = floors.get(&name) else {
            wrong.push(format!("{name} has no floor in ARCHITECTURE.md"));
            continue;
        };
        for import in imports(&folder.join("Cargo.toml"))? {
            let below = packages.get(&import).and_then(|name| floors.get(name));
            if below.is_some_and(|below| *below >= floor) {
                wrong.push(format!("{name} (floor {floor}) imports {import}"));
            }
        }
    }
    Ok(wrong)
}

/// From the names by which manifests depend on crates to their folders.
fn packages(root: &Path) -> Result<BTreeMap<String, String>, Error> {
    let manifest = workspace::manifest(&root.join("Cargo.toml"))?;
    let dependencies = manifest
        .get("workspace")
        .and_then(|workspace| workspace.get("dependencies"))
        .and_then(toml::Value::as_table);
    let local = dependencies
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| {
            let path = value.get("path")?.as_str()?;
            Some((name.clone(), folder_name(Path::new(path))))
        });
    Ok(local.collect())
}

/// The crates that a program or library needs; those of tests alone are left out.
fn imports(manifest: &Path) -> Result<Vec<String>, Error> {
    let manifest = workspace::manifest(manifest)?;
    let tables = ["dependencies", "build-dependencies"];
    let tables = tables
        .iter()
        .filter_map(|name| manifest.get(*name)?.as_table());
    Ok(tables.flat_map(|table| table.keys().cloned()).collect())
}

fn folder_name(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
