//! One start on one directory.

use std::{collections::BTreeMap, path::PathBuf};

use crate::{bucket::Sick, reality::Reality};

/// A directory as it was before a start, and what the start ended in.
#[derive(Debug)]
pub struct Case {
    /// Row, step and member: `U1/4/m0`.
    pub id: String,
    /// The directory of the member, then those of others that are at rest.
    pub dirs: Vec<PathBuf>,
    /// The release that wrote it last.
    pub source: String,
    /// The release that was started on it, or is to be.
    pub target: String,
    /// Who is in the cluster in truth, and whether it is a learner.
    pub truth: BTreeMap<u64, bool>,
    /// What is wrong in its database.
    pub sick: Sick,
    /// What happened; `None` where nothing was started.
    pub real: Option<Reality>,
}
