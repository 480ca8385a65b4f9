//! What comments and pages refer to, and how wide pages are.

use std::{collections::BTreeSet, path::Path};

use crate::{Error, source, workspace};

/// Prose wraps here.
pub const COLUMNS: usize = 100;
/// Pages that lie elsewhere and are cited by chapter; the rules that the code
/// depends on are in `docs/design/`.
const ELSEWHERE: [&str; 4] = ["surface", "formats", "lessons", "faults"];

/// References in this text to pages that the repository does not have. `pages`
/// are the names of those that it has.
#[must_use]
pub fn missing(text: &str, pages: &BTreeSet<String>) -> Vec<String> {
    let mut missing = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let words: Vec<&str> = line
            .split(|c: char| !(c.is_ascii_alphanumeric() || "/._-".contains(c)))
            .map(|word| word.trim_end_matches('.'))
            .collect();
        for (at, word) in words.iter().enumerate() {
            let is_page = word.ends_with(".md") && word.len() > ".md".len();
            let name = word.rsplit('/').next().unwrap_or(word);
            let chapter = words.get(at + 1).is_some_and(|next| is_chapter(next));
            if is_page && !pages.contains(name) || ELSEWHERE.contains(word) && chapter {
                missing.push(format!("line {}: {word}", number + 1));
            }
        }
    }
    missing
}

/// A number such as 6.4.
fn is_chapter(word: &str) -> bool {
    let mut parts = word.split('.');
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    word.contains('.') && parts.all(number)
}

/// The names of all pages of the repository.
///
/// # Errors
/// A folder that cannot be read.
pub fn names(root: &Path) -> Result<BTreeSet<String>, Error> {
    let pages = workspace::files(root, |path| path.extension().is_some_and(|e| e == "md"))?;
    let name = |path: &Path| Some(path.file_name()?.to_string_lossy().into_owned());
    Ok(pages.iter().filter_map(|path| name(path)).collect())
}

/// The numbers of the lines of prose in a page that are too wide. Tables, code
/// and lines of one long word cannot wrap.
///
/// # Errors
/// The page cannot be read.
pub fn wide_lines(page: &Path) -> Result<Vec<usize>, Error> {
    let text = source::read(page)?;
    let mut in_code = false;
    let mut wide = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("```") {
            in_code = !in_code;
            continue;
        }
        let is_prose = !in_code && !trimmed.starts_with('|') && !trimmed.starts_with('#');
        let can_wrap = trimmed.trim_start_matches(['-', '*', ' ']).contains(' ');
        if is_prose && can_wrap && line.chars().count() > COLUMNS {
            wide.push(number + 1);
        }
    }
    Ok(wide)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_chapters_of_pages_that_are_not_here() {
        let pages = BTreeSet::from(["README.md".to_owned()]);
        let missing = |text| missing(text, &pages).len();
        assert_eq!(missing("see README.md, docs/README.md."), 0);
        assert_eq!(missing("see OTHER.md"), 1);
        assert_eq!(missing("as it says (surface 6.4)"), 1);
        assert_eq!(missing("the surface of 4 files"), 0);
        assert_eq!(missing("the name *.md"), 0);
    }
}
