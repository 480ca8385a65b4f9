//! The folder of programs that a suite is given: etcd, etcdctl, etcdutl and the last release.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use peers::peer;

use crate::Suite;

/// What Pintle is in a run; the rest is real.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing: what the suite says of etcd itself.
    None,
    /// etcd.
    Server,
    /// etcdctl and etcdutl.
    Tools,
    /// All three.
    All,
}

impl Role {
    /// Reads the word for it.
    pub fn parse(word: &str) -> Option<Role> {
        Some(match word {
            "none" => Role::None,
            "server" => Role::Server,
            "tools" => Role::Tools,
            "all" => Role::All,
            _ => return None,
        })
    }
}

/// A folder of programs.
pub struct Programs {
    /// Where they are.
    pub dir: PathBuf,
}

impl Programs {
    /// Fills `dir` for a suite.
    ///
    /// # Errors
    /// A real program is not installed; the text says which.
    pub fn fill(dir: &Path, suite: &Suite, role: Role, pintle: &Path) -> Result<Programs> {
        fs::create_dir_all(dir)?;
        match role {
            Role::Server | Role::All => member(&dir.join("etcd"), suite.line(), pintle)?,
            Role::None | Role::Tools => symlink(real(&suite.version, "etcd")?, dir.join("etcd"))?,
        }
        for tool in ["etcdctl", "etcdutl"] {
            match role {
                Role::Tools | Role::All => symlink(pintle, dir.join(tool))?,
                Role::None | Role::Server => symlink(real(&suite.version, tool)?, dir.join(tool))?,
            }
        }
        // Tests that upgrade and downgrade skip themselves without it.
        if let Some(before) = before(suite.line()) {
            symlink(before, dir.join("etcd-last-release"))?;
        }
        Ok(Programs {
            dir: dir.to_owned(),
        })
    }
}

/// A program of a real release.
fn real(version: &str, name: &str) -> Result<PathBuf> {
    let etcd = peer::etcd(version)
        .with_context(|| format!("etcd {version} is not installed: .ci/peers.sh {version}"))?;
    Ok(etcd.path.with_file_name(name))
}

/// The etcd of the line before, the newest that is installed.
fn before(line: &str) -> Option<PathBuf> {
    let releases: &[&str] = match line {
        "3.5" => &["3.4.23"],
        "3.6" => &["3.5.33", "3.5.30"],
        _ => &["3.6.16", "3.6.14"],
    };
    let mut found = releases.iter().filter_map(|version| peer::etcd(version));
    found.next().map(|etcd| etcd.path)
}

/// Pintle under etcd's name, on the line of the suite: a new cluster has a line because someone
/// says so, and the tests start etcd without saying anything.
fn member(path: &Path, line: &str, pintle: &Path) -> Result<()> {
    let script = format!(
        "#!/bin/bash\nexport PINTLE_LINE={line}\nexec -a etcd '{}' \"$@\"\n",
        pintle.display()
    );
    fs::write(path, script)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}
