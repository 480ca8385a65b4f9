//! What someone may have meant by a word that is no name: the names near it, as cobra offers them.

/// A name this close to what was typed is offered, as cobra does.
const DISTANCE_MAX: usize = 2;

/// The paragraph that offers those of `names` that are near `word`; empty where none is. `dashes`
/// stand before each.
pub fn suggestion<'a>(word: &str, dashes: &str, names: impl Iterator<Item = &'a str>) -> String {
    let lower = word.to_lowercase();
    let near: String = names
        .filter(|name| name.starts_with(&lower) || distance(&lower, name) <= DISTANCE_MAX)
        .map(|name| format!("\t{dashes}{name}\n"))
        .collect();
    match near.as_str() {
        "" => String::new(),
        near => format!("\n\nDid you mean this?\n{near}"),
    }
}

/// Edits that turn one word into the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let change = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
