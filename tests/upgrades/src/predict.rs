//! The seam for a program that predicts what a start will end in: it sees the
//! directory as it was before the start and the target, and its word is held
//! against what happened.

use std::path::PathBuf;

use anyhow::Result;

use crate::{case::Case, reality::Reality};

/// Predicts.
pub trait Predict {
    /// What the start of release `target` on `dirs[0]` will end in. The other
    /// directories are those of the other members, as far as they are at rest.
    fn predict(&self, dirs: &[PathBuf], target: &str) -> Result<Reality>;
}

/// How a prediction compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same end, the same members.
    Right,
    /// It said that it boots, and it does not: the mistake that hurts.
    Missed(String),
    /// It said that it does not boot, and it does.
    FalseAlarm(String),
    /// The kind is right, members or text are not.
    Differs(String),
}

/// Holds a prediction against what happened. Of texts, one must contain the other.
pub fn compare(predicted: &Reality, real: &Reality) -> Verdict {
    let both = format!("predicted: {predicted}; real: {real}");
    let boots = |r: &Reality| matches!(r, Reality::Boots { .. });
    match (predicted, real) {
        _ if predicted == real => Verdict::Right,
        (Reality::Refuses { text: a }, Reality::Refuses { text: b })
        | (Reality::Panics { text: a }, Reality::Panics { text: b })
            if b.contains(a.as_str()) || a.contains(b.as_str()) =>
        {
            Verdict::Right
        }
        (Reality::Stuck { .. }, Reality::Stuck { .. }) => Verdict::Right,
        _ if boots(predicted) && !boots(real) => Verdict::Missed(both),
        _ if !boots(predicted) && boots(real) => Verdict::FalseAlarm(both),
        _ => Verdict::Differs(both),
    }
}

/// Asks about every directory of a record and compares.
pub fn judge(by: &dyn Predict, cases: &[Case]) -> Result<Vec<(String, Verdict)>> {
    let mut verdicts = Vec::new();
    for case in cases {
        let Some(real) = &case.real else { continue };
        let predicted = by.predict(&case.dirs, &case.target)?;
        verdicts.push((case.id.clone(), compare(&predicted, real)));
    }
    Ok(verdicts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panics(text: &str) -> Reality {
        Reality::Panics {
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_missed_failure_is_told_from_a_false_alarm() {
        let boots = Reality::Boots {
            healed: vec![],
            zombies: vec![],
            learners_shown: vec![],
        };
        assert!(matches!(compare(&boots, &panics("x")), Verdict::Missed(_)));
        assert!(matches!(
            compare(&panics("x"), &boots),
            Verdict::FalseAlarm(_)
        ));
        assert_eq!(
            compare(&panics("v2 WAL"), &panics("a v2 WAL b")),
            Verdict::Right
        );
        assert!(matches!(
            compare(&panics("a"), &panics("b")),
            Verdict::Differs(_)
        ));
    }
}
