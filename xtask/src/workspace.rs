//! The crates and the files of the repository.

use std::path::{Path, PathBuf};

use crate::{Error, source};

/// Folders without files of ours.
const SKIPPED: [&str; 2] = ["target", ".git"];

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The folders below `root` with a Cargo.toml of a package, in order of their
/// path.
///
/// # Errors
/// A folder that cannot be read.
pub fn crates(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let manifests = files(root, |path| path.ends_with("Cargo.toml"))?;
    let folders = manifests.iter().filter_map(|path| path.parent());
    Ok(folders
        .filter(|path| *path != root)
        .map(Path::to_owned)
        .collect())
}

/// Reads a Cargo.toml.
///
/// # Errors
/// The file cannot be read or is not TOML.
pub fn manifest(path: &Path) -> Result<toml::Table, Error> {
    let text = source::read(path)?;
    text.parse()
        .map_err(|error: toml::de::Error| Error::new(path, error.to_string()))
}

/// The path of a folder or file, from the root.
#[must_use]
pub fn name(root: &Path, path: &Path) -> String {
    path.strip_prefix(root)
        .unwrap_or(path)
        .display()
        .to_string()
}

/// The files below `folder` that `wanted` accepts, in order of their path.
///
/// # Errors
/// A folder that cannot be read.
pub fn files(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        let failed = |error: std::io::Error| Error::new(&folder, error.to_string());
        for entry in folder.read_dir().map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            let name = entry.file_name();
            if entry.file_type().map_err(failed)?.is_dir() {
                if !SKIPPED.iter().any(|skipped| name == *skipped) {
                    open.push(path);
                }
            } else if wanted(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
