//! `explain`: what a check or a prediction means, and the fix.

use cli::flags::Parsed;

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
    let text = match (json, parsed.args.is_empty()) {
        (true, _) => format!("{}\n", serde_json::json!({ "entries": entries })),
        (false, true) => explain::list(),
        (false, false) => {
            let pages: Vec<String> = entries.iter().map(|e| explain::one(e, width())).collect();
            pages.join("\n")
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
