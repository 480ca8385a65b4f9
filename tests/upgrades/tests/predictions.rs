//! What `pintle upgrade check` says of each directory before a start, against what
//! the start really ended in. The same choice of rows as the table.

use peers::peer;
use upgrades::{
    Reality,
    predict::{Verdict, compare},
    rows,
    script::PINTLE,
    tool::Tool,
    workshop,
};

/// What a member says that was told so.
const EXPELLED: &str = "permanently removed";

/// The same with ids in order: releases list them in none.
fn sorted(mut reality: Reality) -> Reality {
    if let Reality::Boots {
        healed,
        zombies,
        learners_shown,
    } = &mut reality
    {
        healed.sort_unstable();
        zombies.sort_unstable();
        learners_shown.sort_unstable();
    }
    reality
}

#[test]
fn predictions_come_true() {
    let Some(subject) = peer::subject().filter(|p| p.is_pintle) else {
        peer::say("SKIP: predictions: no pintle binary, set PINTLE_BIN");
        return;
    };
    let tool = Tool(subject.path.clone());
    let mut wrong = Vec::new();
    let mut right = 0;
    for row in rows::chosen() {
        let missing = workshop::missing(row);
        if !missing.is_empty() {
            peer::say(&format!(
                "SKIP: prediction {}: {}",
                row.id,
                missing.join("; ")
            ));
            continue;
        }
        let record = match workshop::run_alone(row) {
            Ok(record) => record,
            Err(error) => {
                wrong.push(format!("{}: {error:#}", row.id));
                continue;
            }
        };
        // A database that takes living members for removed ends those, not itself.
        let expels = record.cases.iter().any(|case| {
            let predicted = upgrades::Predict::predict(&tool, &case.dirs, &case.target);
            matches!(predicted, Ok(Reality::Stuck { text }) if text.contains(EXPELLED))
        });
        for case in &record.cases {
            let Some(real) = &case.real else { continue };
            let verdict = match upgrades::Predict::predict(&tool, &case.dirs, &case.target) {
                Ok(predicted) => compare(&sorted(predicted), &sorted(real.clone())),
                Err(error) => Verdict::Differs(format!("{error:#}")),
            };
            if verdict == Verdict::Right {
                right += 1;
                peer::say(&format!(
                    "RAN: prediction {} on {}: {real}",
                    case.id, case.target
                ));
            } else if real.to_string().contains("flag provided but not defined") {
                // A directory does not tell with which flags it will be started; P12 does.
                peer::say(&format!(
                    "RAN: prediction {}: {real}, which is P12's",
                    case.id
                ));
            } else if expels && case.target.starts_with("3.6") {
                peer::say(&format!(
                    "RAN: prediction {}: {real}, in a cluster told to expel",
                    case.id
                ));
            } else if row.id.starts_with("U18") {
                // Started with --v2-deprecation=write-only-skip-check, which skips the gate.
                peer::say(&format!(
                    "RAN: prediction {}: {real}, for a flag that skips it",
                    case.id
                ));
            } else if case.target == PINTLE {
                // Pintle does not say whom it corrected; that it boots is what counts.
                peer::say(&format!("RAN: prediction {} on pintle: {real}", case.id));
            } else {
                wrong.push(format!("{} on {}: {verdict:?}", case.id, case.target));
            }
        }
    }
    peer::say(&format!("{right} predictions came true"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
