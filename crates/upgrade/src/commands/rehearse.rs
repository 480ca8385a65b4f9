//! `rehearse`: walks the plan on a copy of the cluster.

use std::path::PathBuf;

use cli::flags::Parsed;

use super::{ending::stopped, next::after_rehearse};
use crate::{
    access::scratch_folder,
    backup,
    failure::{Failure, Outcome},
    output::{finish, say},
    run::{self, Rehearsal},
    runtime::block_on,
    target::{self, Target},
};

pub(super) fn rehearse(parsed: &Parsed) -> Outcome<i32> {
    let target = Target::parse(parsed.text("target")).map_err(Failure::new)?;
    let from = Target::parse(parsed.text("from")).map_err(Failure::new)?;
    let backup_path = PathBuf::from(parsed.text("backup"));
    let dirs: Vec<PathBuf> = parsed.list("data-dir").iter().map(PathBuf::from).collect();
    if from.is_pintle && dirs.is_empty() {
        return Err(Failure::new(
            "--from pintle: a backup does not say at which line Pintle was; give --data-dir of every member",
        ));
    }
    match (dirs.is_empty(), backup_path.as_os_str().is_empty()) {
        (true, true) => {
            return Err(Failure::new(
                "nothing to rebuild the cluster from: give --data-dir of every member, or --backup",
            ));
        }
        (true, false) => {
            let found = backup::verify(&backup_path).map_err(Failure::new)?;
            say(&format!("{}: {found}", backup_path.display()));
        }
        (false, true) => {}
        (false, false) => {
            return Err(Failure::new(
                "--data-dir rebuilds the cluster as it is and --backup from a backup; give one of them",
            ));
        }
    }
    let mut binaries = std::collections::BTreeMap::new();
    for pair in parsed.list("binary") {
        let Some((version, path)) = pair.split_once('=') else {
            return Err(Failure::new(format!("--binary {pair}: not VERSION=PATH")));
        };
        let path = PathBuf::from(path);
        if !path.is_file() {
            return Err(Failure::new(format!("{}: no such file", path.display())));
        }
        let name = match version {
            "pintle" => version.to_owned(),
            _ => target::release(version).map_err(Failure::new)?.to_string(),
        };
        binaries.insert(name, path);
    }
    let scratch = backup::scratch(&scratch_folder(parsed))?;
    let members = usize::try_from(parsed.uint("members-count"))
        .unwrap_or(3)
        .clamp(1, 7);
    let of = Rehearsal {
        backup: &backup_path,
        dirs: &dirs,
        members,
        scratch: scratch.path(),
        binaries,
        from,
        target,
        patience: parsed.duration("patience"),
    };
    let code = block_on(async {
        match run::rehearse(&of, &say).await {
            Ok(summary) => {
                say(&summary);
                Ok(0)
            }
            Err(stop) => stopped(
                Err(stop),
                "",
                "this is what would happen to the live cluster; it was not touched",
            ),
        }
    })?;
    Ok(finish(code, &after_rehearse(parsed, code)))
}
