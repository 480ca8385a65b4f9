//! A rehearsal has the sickness of the cluster in it: from the directories of its
//! members, and from a backup, into which the records are planted that it holds.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use peers::peer;
use upgrades::{
    operated::{block_on, subject},
    rows, workshop,
};

/// The database of a directory as a snapshot: with its SHA-256 at the end.
fn backup(dir: &Path, to: &Path) -> Result<()> {
    let database = dir.join("member/snap/db");
    let answer = Command::new("sha256sum").arg(&database).output()?;
    let text = String::from_utf8(answer.stdout)?;
    let hex = text.split(' ').next().unwrap_or_default();
    let digest = (0..hex.len() / 2).map(|n| u8::from_str_radix(&hex[n * 2..n * 2 + 2], 16));
    let mut bytes = fs::read(&database)?;
    bytes.extend(digest.collect::<Result<Vec<u8>, _>>()?);
    Ok(fs::write(to, bytes)?)
}

#[test]
fn what_is_sick_in_the_cluster_is_sick_in_its_rehearsal() {
    let Some(pintle) = subject() else { return };
    let mut binaries = Vec::new();
    for release in ["3.5.16", "3.5.30", "3.6.14"] {
        let Some(program) = peer::etcd(release) else {
            return;
        };
        binaries.push(format!("{release}={}", program.path.display()));
    }
    let binaries = binaries.join(",");
    block_on(async move {
        // Two of three joined as learners: 3.6 would refuse to start.
        let row = rows::find("U1").context("no row U1")?;
        let (kept, cases) = workshop::make(row).await?;
        let dirs: Vec<String> = cases
            .iter()
            .map(|c| c.dirs[0].display().to_string())
            .collect();
        let before = peers::dirs::contents(Path::new(&dirs[0]))?;
        let saved = kept.path().join("saved.db");
        backup(Path::new(&dirs[0]), &saved)?;
        let rehearse = |words: &[&str]| -> Result<(Option<i32>, String)> {
            let answer = Command::new(&pintle.path)
                .args(["upgrade", "rehearse", "--from=3.5.16", "--target=3.6.14"])
                .args(["--binary", &binaries, "--patience=60s"])
                .args(words)
                .output()?;
            let said = [answer.stdout, answer.stderr].concat();
            Ok((
                answer.status.code(),
                String::from_utf8_lossy(&said).into_owned(),
            ))
        };
        let all = dirs.join(",");
        let saved = saved.display().to_string();
        for (words, how) in [
            (["--data-dir", &all], "rebuilt from their directories"),
            (
                ["--backup", &saved],
                "planted from its database: 2 voters recorded as learners",
            ),
        ] {
            let (code, said) = rehearse(&words)?;
            ensure!(code == Some(0) && said.contains(how), "{code:?}: {said}");
            // Healthy members have no record for the restart between the hops to correct.
            ensure!(said.contains("are current everywhere"), "{said}");
        }
        let (code, said) = rehearse(&["--data-dir", &dirs[0]])?;
        ensure!(
            code == Some(1) && said.contains("are missing"),
            "{code:?}: {said}"
        );
        ensure!(
            peers::dirs::contents(Path::new(&dirs[0]))? == before,
            "it was changed"
        );
        peer::say("RAN: rehearse: a sick cluster by its directories, and by its backup");
        Ok(())
    });
}
