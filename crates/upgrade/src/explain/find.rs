//! How an entry is found: by its id, by a text of etcd, by its words.

use super::{boots::BOOTS, checks::CHECKS, entry::Entry};

/// Every entry, checks first.
pub fn all() -> impl Iterator<Item = &'static Entry> {
    CHECKS.iter().chain(BOOTS)
}

/// The entries that a word or text leads to: an id, a text that etcd prints (whole, in part, or
/// within a line of its log), or else words that an entry has all of.
pub fn find(asked: &str) -> Vec<&'static Entry> {
    let asked = asked.trim().to_lowercase();
    if asked.is_empty() {
        return Vec::new();
    }
    if let Some(entry) = all().find(|entry| entry.id.eq_ignore_ascii_case(&asked)) {
        return vec![entry];
    }
    let printed: Vec<&Entry> = all().filter(|entry| prints(entry, &asked)).collect();
    if !printed.is_empty() {
        return printed;
    }
    let words: Vec<&str> = asked.split_whitespace().collect();
    all()
        .filter(|entry| {
            let parts = entry.parts();
            let mut text = format!("{} {}", entry.title, entry.texts.join(" "));
            parts.iter().for_each(|(_, part)| text.push_str(part));
            let text = text.to_lowercase();
            words.iter().all(|word| text.contains(word))
        })
        .collect()
}

/// Whether etcd prints `asked`, in lower case, where this strikes.
fn prints(entry: &Entry, asked: &str) -> bool {
    entry.texts.iter().any(|text| {
        let text = text.to_lowercase();
        text.contains(asked) || has_parts(asked, &text)
    })
}

/// Whether a line has what is between the `…` of a text, in its order.
fn has_parts(line: &str, text: &str) -> bool {
    let mut rest = line;
    text.split('…').map(str::trim).all(|part| {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
        true
    })
}
