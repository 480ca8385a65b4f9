//! `versions.toml`: the versions that must agree, and the places in the tree that
//! name them. Kubernetes keeps such a file for its own tree; a release that is named
//! in one place and not in another is how images and manifests drift apart. It must
//! never take a line that it does not understand for one that agrees.

use std::{collections::BTreeMap, fs, path::Path};

/// The separator between the values of a list unless a place says otherwise.
const BETWEEN: &str = " ";

/// The file, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    values: BTreeMap<String, Vec<String>>,
    places: Vec<Place>,
}

/// A place that names a version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Place {
    version: String,
    file: String,
    /// Part of a line, `{}` in place of the version, `{, }` in place of its numbers
    /// separated by commas. Behind a `^` it is the beginning of a line.
    line: String,
    between: Option<String>,
}

impl Versions {
    /// Reads the subset of TOML that the file is written in: the table `[versions]`, the
    /// tables `[[place]]`, strings without escapes, and lists of them on one line.
    ///
    /// # Errors
    /// The first line that is something else.
    pub fn parse(text: &str) -> Result<Versions, String> {
        let mut found = Versions::default();
        let mut in_places = None;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            let bad = |why: &str| format!("versions.toml:{}: {why}: {line}", number + 1);
            match line {
                "" => continue,
                line if line.starts_with('#') => continue,
                "[versions]" => in_places = Some(false),
                "[[place]]" => {
                    in_places = Some(true);
                    found.places.push(Place::default());
                }
                line => {
                    let (key, value) = line.split_once('=').ok_or_else(|| bad("no key = value"))?;
                    let (key, value) = (key.trim(), value.trim());
                    let values = strings(value).ok_or_else(|| bad("no string and no list"))?;
                    let only = || match &values[..] {
                        [only] if !value.starts_with('[') => Ok(only.clone()),
                        _ => Err(bad("one string is wanted")),
                    };
                    let twice = || bad("it is set twice");
                    match (in_places, found.places.last_mut()) {
                        (Some(true), Some(place)) => {
                            let field = match key {
                                "version" => &mut place.version,
                                "file" => &mut place.file,
                                "line" => &mut place.line,
                                "between" => place.between.insert(String::new()),
                                _ => return Err(bad("a place has version, file, line, between")),
                            };
                            if !field.is_empty() {
                                return Err(twice());
                            }
                            *field = only()?;
                        }
                        (Some(false), _) => {
                            if found.values.insert(key.to_owned(), values).is_some() {
                                return Err(twice());
                            }
                        }
                        _ => return Err(bad("it stands in no table")),
                    }
                }
            }
        }
        for place in &found.places {
            if !found.values.contains_key(&place.version) {
                return Err(format!(
                    "versions.toml: {} names the version {:?}, which is not among them",
                    place.file, place.version
                ));
            }
            let marks = ["{}", "{, }"].map(|mark| place.line.matches(mark).count());
            if marks.iter().sum::<usize>() != 1 || place.file.is_empty() {
                return Err(format!(
                    "versions.toml: a place of {:?} needs a file, and a line with one {{}} or {{, }}",
                    place.version
                ));
            }
        }
        Ok(found)
    }

    /// A version by its name; none for a list.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        match self.list(name) {
            [only] => Some(only),
            _ => None,
        }
    }

    /// A list by its name, in its order; a version is a list of one.
    #[must_use]
    pub fn list(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// Files that places name.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.places.iter().map(|place| place.file.as_str())
    }

    /// What disagrees in the tree, a line for each; empty if nothing does.
    #[must_use]
    pub fn disagreements(&self, tree: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for place in &self.places {
            match fs::read_to_string(tree.join(&place.file)) {
                Ok(text) => self.hold(place, &text, &mut found),
                Err(error) => found.push(format!("{}: {error}", place.file)),
            }
        }
        found
    }

    fn hold(&self, place: &Place, text: &str, found: &mut Vec<String>) {
        let values = self.list(&place.version);
        let between = place.between.as_deref().unwrap_or(BETWEEN);
        let (begins, line) = match place.line.strip_prefix('^') {
            Some(line) => (true, line),
            None => (false, place.line.as_str()),
        };
        let (before, after, value) = match line.split_once("{, }") {
            Some((before, after)) => (before, after, values.join(between).replace('.', ", ")),
            None => {
                let (before, after) = line.split_once("{}").unwrap_or_default();
                (before, after, values.join(between))
            }
        };
        let mut agree = 0;
        for (number, line) in text.lines().enumerate() {
            for (at, _) in line
                .match_indices(before)
                .filter(|(at, _)| *at == 0 || !begins)
            {
                let rest = &line[at + before.len()..];
                match rest.strip_prefix(&value) {
                    Some(rest) if rest.starts_with(after) && !goes_on(rest) => agree += 1,
                    // A version, but another one.
                    _ if !before.trim().is_empty()
                        && rest.starts_with(|c: char| c.is_ascii_digit()) =>
                    {
                        found.push(format!(
                            "{}:{}: {:?} disagrees with {} = {value:?} in versions.toml",
                            place.file,
                            number + 1,
                            line.trim(),
                            place.version
                        ));
                    }
                    _ => {}
                }
            }
        }
        if agree == 0 {
            found.push(format!(
                "{}: no line has {:?}; versions.toml says that it has {}",
                place.file,
                format!("{before}{value}{after}"),
                place.version
            ));
        }
    }
}

/// Whether a version continues after its supposed end: 3.5.3 is not 3.5.30.
fn goes_on(rest: &str) -> bool {
    let mut letters = rest.chars();
    match letters.next() {
        Some(c) if c.is_ascii_digit() => true,
        Some('.') => letters.next().is_some_and(|c| c.is_ascii_digit()),
        _ => false,
    }
}

/// A string, or a list of strings.
fn strings(value: &str) -> Option<Vec<String>> {
    let inner = value.strip_prefix('[').and_then(|v| v.strip_suffix(']'));
    let mut rest = inner.unwrap_or(value).trim();
    let mut strings = Vec::new();
    while !rest.is_empty() {
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let (string, behind) = rest[1..].split_once(quote)?;
        if quote == '"' && string.contains('\\') {
            return None;
        }
        strings.push(string.to_owned());
        let behind = behind.trim_start();
        rest = match (behind.strip_prefix(','), inner) {
            (Some(next), Some(_)) => next.trim_start(),
            _ if behind.is_empty() => behind,
            _ => return None,
        };
    }
    let fits = inner.is_some() || strings.len() == 1;
    fits.then_some(strings)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
[versions]
etcd = "3.5.30" 
peers = ["3.4.23", "3.5.30"]

[[place]]
version = "etcd"
file = "a"
line = 'const V: &str = "{}";'
"#;

    fn told(line: &str, version: &str, text: &str) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), text).unwrap();
        let file =
            format!("{FILE}\n[[place]]\nversion = \"{version}\"\nfile = \"a\"\nline = '{line}'\n");
        let mut versions = Versions::parse(&file).unwrap();
        versions.places.remove(0);
        versions.disagreements(dir.path())
    }

    #[test]
    fn places_are_held_against_their_version() {
        assert!(told("etcd {}", "etcd", "this is etcd 3.5.30.").is_empty());
        assert!(told("new({, })", "etcd", "new(3, 5, 30)").is_empty());
        assert!(told("^v {}", "etcd", "v 3.5.30\nnot v 3.5.31").is_empty());
        assert!(told("in {};", "peers", "for x in 3.4.23 3.5.30; do").is_empty());
        for (line, version, text) in [
            ("etcd {}", "etcd", "this is etcd 3.5.31."),
            ("etcd {}", "etcd", "this is etcd 3.5.301."),
            ("etcd {}", "etcd", "etcd 3.5.30\nand etcd 3.5.29"),
            ("etcd {}", "etcd", "nothing of it"),
            ("^v {}", "etcd", "not v 3.5.30"),
            ("new({, })", "etcd", "new(3, 5, 31)"),
            ("in {};", "peers", "for x in 3.4.23 3.5.31; do"),
            ("in {};", "peers", "for x in 3.4.23; do"),
        ] {
            assert_eq!(told(line, version, text).len().min(1), 1, "{line} {text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert!(Versions::parse(FILE).is_ok());
        for line in [
            "x = 3",
            "x = \"a\\n\"",
            "x = \"a\" \"b\"",
            "x = [\"a\" \"b\"]",
            "[other]",
            "etcd = \"2\"",
            "nothing",
        ] {
            let text = format!("[versions]\netcd = \"1\"\n{line}\n");
            assert!(Versions::parse(&text).is_err(), "{line}");
        }
        assert!(Versions::parse("x = \"1\"").is_err(), "no table");
        assert!(Versions::parse(&FILE.replace("version = \"etcd\"", "version = \"x\"")).is_err());
        assert!(Versions::parse(&FILE.replace("{}", "")).is_err());
    }
}
