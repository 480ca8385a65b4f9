//! `backup`: takes a backup and shows that it can be restored.

use std::path::PathBuf;

use cli::flags::Parsed;

use super::next::after_backup;
use crate::{
    access::access,
    backup,
    failure::{Failure, Outcome},
    output::{as_json, json_line, print},
    runtime::block_on,
};

pub(super) fn backup(parsed: &Parsed) -> Outcome<i32> {
    let endpoints = parsed.list("endpoints");
    let Some(endpoint) = endpoints.first() else {
        return Err(Failure::new("--endpoints names no member"));
    };
    let access = access(parsed, None)?;
    let dir = PathBuf::from(parsed.text("out"));
    let taken = block_on(backup::take(&access, endpoint, &dir))?;
    let next = after_backup(parsed, &taken.database);
    print(&match as_json(parsed)? {
        true => json_line(serde_json::json!({
            "database": taken.database.display().to_string(),
            "manifestFile": taken.manifest_path.display().to_string(),
            "manifest": taken.manifest,
            "next": next.line(),
        })),
        false => format!("{}\n{}", taken.text, next.text()),
    })?;
    Ok(0)
}
