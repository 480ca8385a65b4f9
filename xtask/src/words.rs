//! Words that an engineer of this field would not write, in comments, messages
//! and pages. A check of words finds the worst only; it replaces no reader.

use std::path::Path;

use crate::{Error, source};

/// The word, and what to write instead. A word stands alone: letters before or
/// behind make it another one.
const WORDS: &[(&str, &str)] = &[
    ("nobody", "no one, or name the actor"),
    ("somebody", "someone, or name the actor"),
    ("everybody", "everyone, or name the actors"),
    ("foretell", "predict"),
    ("foretells", "predicts"),
    ("foretold", "predicted"),
    ("gives back", "returns"),
    ("given back", "returned"),
    ("held against", "compared with"),
    ("hold against", "compare with"),
    ("holds against", "compares with"),
    ("is looked for", "we look for, we poll for"),
    ("are looked for", "we look for, we poll for"),
    ("is waited for", "we wait for"),
    ("are waited for", "we wait for"),
    ("stands in the way", "blocks"),
    ("stand in the way", "block"),
    ("goes on with", "continues with"),
    ("go on with", "continue with"),
    ("mends", "repairs"),
    ("mended", "repaired"),
    ("bears", "has"),
];

/// The lines of a file with such words: number, word, what to write instead.
///
/// # Errors
/// The file cannot be read.
pub fn of_file(path: &Path) -> Result<Vec<(usize, &'static str, &'static str)>, Error> {
    let text = source::read(path)?;
    let is_code = path.extension().is_some_and(|extension| extension == "rs");
    let mut found = Vec::new();
    let mut in_text = false;
    for (number, line) in text.lines().enumerate() {
        let prose = match is_code {
            true => prose(line, &mut in_text),
            false => line.to_owned(),
        };
        let prose = prose.to_lowercase();
        let hits = WORDS.iter().filter(|(word, _)| has_word(&prose, word));
        found.extend(hits.map(|(word, instead)| (number + 1, *word, *instead)));
    }
    Ok(found)
}

/// Comments and literals of a line of code. `in_text` says whether a literal is
/// open at its beginning, and then at its end.
fn prose(line: &str, in_text: &mut bool) -> String {
    let mut found = String::new();
    let mut escaped = false;
    let letters: Vec<char> = line.chars().collect();
    for (at, &letter) in letters.iter().enumerate() {
        let is_comment = !*in_text && letter == '/' && letters.get(at + 1) == Some(&'/');
        if is_comment {
            found.extend(&letters[at..]);
            return found;
        }
        let is_char = at > 0 && letters[at - 1] == '\'' && letters.get(at + 1) == Some(&'\'');
        if letter == '"' && !escaped && !is_char {
            *in_text = !*in_text;
            found.push(' ');
        } else if *in_text {
            found.push(letter);
        }
        escaped = letter == '\\' && !escaped;
    }
    found
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        // `nobody` in backticks or before a colon is the user of that name.
        let is_name = before == Some('`') || after == Some(':');
        !is_part(before) && !is_part(after) && !is_name
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_prose_alone() {
        let hits = |line: &str| {
            let text = prose(line, &mut false);
            WORDS
                .iter()
                .filter(|(word, _)| has_word(&text, word))
                .count()
        };
        assert_eq!(hits("let nobody = 1;"), 0);
        assert_eq!(hits("// nobody reads this"), 1);
        assert_eq!(hits("say(\"nobody\");"), 1);
        assert_eq!(hits("say('\"', nobody);"), 0);
        assert_eq!(hits("/// forbears"), 0);
        assert_eq!(hits("let x = \"a\\\"nobody\";"), 1);
    }
}
