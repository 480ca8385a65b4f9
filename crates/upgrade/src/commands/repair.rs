//! `repair`: rewrites stale membership records, of stopped members or of running ones.

use std::path::Path;

use cli::flags::Parsed;

use super::next::after_repair;
use crate::{
    access::{access, scratch_folder},
    backup, exit,
    failure::{Failure, Outcome},
    output::{as_json, print},
    repair,
    runtime::block_on,
    sources::listed,
};

pub(super) fn repair(parsed: &Parsed) -> Outcome<i32> {
    let dirs = parsed.list("data-dir");
    let json = as_json(parsed)?;
    match (dirs.is_empty(), parsed.list("endpoints").is_empty()) {
        (true, true) => {
            return Err(Failure::new(
                "no member is named: give --data-dir of a stopped member, or --endpoints of all running ones",
            ));
        }
        (false, false) => {
            return Err(Failure::new(
                "--data-dir repairs stopped members and --endpoints running ones; give one of them",
            ));
        }
        (true, false) => return repair_running(parsed, json),
        (false, true) => {}
    }
    let wal_dir = Some(Path::new(parsed.text("wal-dir"))).filter(|d| !d.as_os_str().is_empty());
    let mut code = exit::OK;
    for dir in dirs {
        let failed = |e: repair::Error| Failure::new(e);
        let repair =
            repair::plan(Path::new(dir), wal_dir, parsed.bool("drop-v2")).map_err(failed)?;
        let mut text = String::new();
        let is_unchanged = !repair.is_empty() && !parsed.bool("yes");
        for change in &repair.changes {
            text.push_str(&format!("{change}\n"));
        }
        if repair.is_empty() {
            text.push_str(&format!("{dir}: nothing to repair\n"));
        } else if !parsed.bool("yes") {
            text.push_str("nothing was changed; --yes carries this out\n");
            code = exit::UNCHANGED;
        } else {
            let kept = repair.carry_out().map_err(failed)?;
            text.push_str(&format!(
                "repaired; the files as they were: {}\n",
                kept.display()
            ));
        }
        if json {
            let lines: Vec<&str> = text.lines().collect();
            let next = after_repair(parsed, is_unchanged).line();
            let value = serde_json::json!({"dir": dir, "said": lines, "next": next});
            text = format!("{value}\n");
        }
        print(&text)?;
    }
    if !json {
        print(&format!(
            "\n{}",
            after_repair(parsed, code == exit::UNCHANGED).text()
        ))?;
    }
    Ok(code)
}

/// Repairs the databases of running members.
fn repair_running(parsed: &Parsed, json: bool) -> Outcome<i32> {
    let scratch = backup::scratch(&scratch_folder(parsed))?;
    let mut access = access(parsed, Some(scratch.path().to_owned()))?;
    access.pages = false;
    let endpoints = parsed.list("endpoints");
    block_on(async {
        let endpoints = match parsed.bool("cluster") {
            true => listed(&access, &endpoints).await?,
            false => endpoints.iter().map(|e| (*e).to_owned()).collect(),
        };
        let plan = repair::online::plan(&access, &endpoints).await?;
        let mut lines = plan.wrong.clone();
        let unchanged = !lines.is_empty() && !parsed.bool("yes");
        if lines.is_empty() {
            lines.push("nothing to repair".into());
        } else {
            lines.extend(plan.actions());
            lines.push(match parsed.bool("yes") {
                true => {
                    repair::online::carry_out(&access, &endpoints).await?;
                    "repaired: every database has the members that the cluster lists".into()
                }
                false => "nothing was changed; --yes carries this out".into(),
            });
        }
        let next = after_repair(parsed, unchanged);
        print(&match json {
            true => {
                let said =
                    serde_json::json!({"endpoints": endpoints, "said": lines, "next": next.line()});
                format!("{said}\n")
            }
            false => format!("{}\n\n{}", lines.join("\n"), next.text()),
        })?;
        Ok(if unchanged { exit::UNCHANGED } else { exit::OK })
    })
}
