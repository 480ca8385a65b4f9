//! What became of each check, and what was found.

use serde::Serialize;

use crate::predict::Prediction;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The upgrade may go on; someone should know.
    Warn,
    /// The upgrade must not begin.
    Block,
}

/// Something that a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which check.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// At which member, empty for the cluster.
    pub member: String,
    /// What was seen.
    pub seen: String,
    /// Why it matters.
    pub why: String,
    /// The shortest safe way out.
    pub fix: String,
}

/// What became of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "reason", rename_all = "lowercase")]
pub enum State {
    /// It was made and found nothing.
    Passed,
    /// What it looks for does not matter to a start of this target: nothing was read for it.
    Unneeded,
    /// It found something; see the findings.
    Found,
    /// Its source is not there, in words.
    Unchecked(String),
}

/// One check.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// `P1` to `P25`.
    pub id: &'static str,
    /// What it looks for.
    pub title: &'static str,
    /// What became of it.
    #[serde(flatten)]
    pub state: State,
}

/// What a start of the target does to one member.
#[derive(Clone, Debug, Serialize)]
pub struct Boot {
    /// Which member.
    pub member: String,
    /// The entries of `explain` about it.
    pub explain: Vec<&'static str>,
    /// What happens.
    #[serde(flatten)]
    pub prediction: Prediction,
}

/// A check that decides and was not made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// Which.
    pub check: &'static str,
    /// What it looks for.
    pub title: &'static str,
    /// What it lacks, and so how it is made.
    pub lacks: String,
}
