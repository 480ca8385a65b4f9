//! `backup`: takes a backup and shows that it can be restored.

use std::path::PathBuf;

use cli::flags::Parsed;

use crate::{
    access::access,
    backup,
    failure::{Failure, Outcome},
    output::print,
    runtime::block_on,
};

pub(super) fn backup(parsed: &Parsed) -> Outcome<i32> {
    let endpoints = parsed.list("endpoints");
    let Some(endpoint) = endpoints.first() else {
        return Err(Failure::new("--endpoints names no member"));
    };
    let access = access(parsed, None)?;
    let dir = PathBuf::from(parsed.text("out"));
    let text = block_on(backup::take(&access, endpoint, &dir))?;
    print(&text)?;
    Ok(0)
}
