//! `pintle upgrade check` as the one that predicts.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{predict::Predict, reality::Reality, script::named};

/// The tool, by the path of its binary.
pub struct Tool(pub PathBuf);

impl Tool {
    /// The report on one directory, with its exit code.
    pub fn check(&self, dir: &std::path::Path, target: &str) -> Result<(i32, Value)> {
        let answer = Command::new(&self.0)
            .args([
                "upgrade",
                "check",
                "-w",
                "json",
                "--no-pages",
                "--target",
                target,
            ])
            .arg("--data-dir")
            .arg(dir)
            .output()?;
        let code = answer.status.code().context("ended by a signal")?;
        if code == 1 {
            bail!(
                "{}: {}",
                dir.display(),
                String::from_utf8_lossy(&answer.stderr)
            );
        }
        let report: Value = serde_json::from_slice(&answer.stdout)?;
        let next = report["next"].as_str().unwrap_or_default();
        ensure!(next.contains(" upgrade "), "no next command: {report}");
        Ok((code, report))
    }

    /// Carries a repair out; what it said.
    pub fn repair(&self, dir: &std::path::Path, flags: &[&str]) -> Result<String> {
        let answer = Command::new(&self.0)
            .args(["upgrade", "repair", "--yes"])
            .args(flags)
            .arg("--data-dir")
            .arg(dir)
            .output()?;
        if !answer.status.success() {
            bail!(
                "repair of {}: {}",
                dir.display(),
                String::from_utf8_lossy(&answer.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&answer.stdout).into_owned())
    }
}

impl Predict for Tool {
    fn predict(&self, dirs: &[PathBuf], target: &str) -> Result<Reality> {
        let target = named(target);
        let dir = dirs.first().context("no directory")?;
        let (_, report) = self.check(dir, target)?;
        let boot = &report["boots"][0];
        let text = boot["text"].as_str().unwrap_or_default().to_owned();
        let ids = |name: &str| -> Vec<u64> {
            let list = boot[name].as_array().map(Vec::as_slice).unwrap_or_default();
            list.iter()
                .filter_map(|id| u64::from_str_radix(id.as_str()?, 16).ok())
                .collect()
        };
        Ok(match boot["outcome"].as_str() {
            Some("starts") => Reality::Boots {
                healed: ids("healed"),
                zombies: ids("zombies"),
                learners_shown: ids("learners"),
            },
            Some("refuses") => Reality::Refuses { text },
            Some("stalls") => Reality::Stuck { text },
            Some("panics") => Reality::Panics { text },
            _ => bail!("{}: no prediction in {report}", dir.display()),
        })
    }
}
