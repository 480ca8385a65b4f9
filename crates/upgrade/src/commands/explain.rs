//! `explain`: what a check or a prediction means, and the fix.

use cli::flags::Parsed;

use super::next::after_explain;
use crate::{
    exit,
    explain::{self, Entry},
    failure::{Failure, Outcome},
    output::{as_json, print, width},
};

pub(super) fn explain(parsed: &Parsed) -> Outcome<i32> {
    let json = as_json(parsed)?;
    let entries = match &parsed.words()[..] {
        [] => explain::all().collect(),
        words => asked_for(words)?,
    };
    let next = after_explain(parsed);
    let text = match (json, parsed.args.is_empty()) {
        (true, _) => {
            let value = serde_json::json!({ "entries": entries, "next": next.line() });
            format!("{value}\n")
        }
        (false, true) => explain::list() + "\n" + &next.text(),
        (false, false) => {
            let pages: Vec<String> = entries.iter().map(|e| explain::one(e, width())).collect();
            pages.join("\n") + "\n" + &next.text()
        }
    };
    print(&text)?;
    Ok(exit::OK)
}

/// The entries of ids, each by itself; or of a text, in however many words it was given.
fn asked_for(words: &[String]) -> Outcome<Vec<&'static Entry>> {
    let each: Vec<_> = words.iter().map(|word| explain::find(word)).collect();
    let are_ids = each.iter().zip(words).all(|(found, word)| {
        let of_id = |entry: &&Entry| entry.id.eq_ignore_ascii_case(word);
        found.iter().any(of_id)
    });
    let found = match are_ids {
        true => each.concat(),
        false => explain::find(&words.join(" ")),
    };
    match found.is_empty() {
        false => Ok(found),
        true => Err(Failure::new(format!(
            "no check or prediction is about {:?}; `pintle upgrade explain` lists them all",
            words.join(" ")
        ))),
    }
}
