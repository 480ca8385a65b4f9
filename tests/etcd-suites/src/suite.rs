//! A package of one release of etcd's module of tests. It is built once, outside the tree.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

/// Which suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suite {
    /// The release, such as `3.6.16`.
    pub version: String,
    /// `e2e`, or `common` with the tag `e2e`.
    pub package: String,
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.version, self.package)
    }
}

/// A suite that is built.
#[derive(Clone, Debug)]
pub struct Built {
    /// The program of the tests.
    pub program: PathBuf,
    /// The files of the module, which tests read beside their own folder.
    pub tree: PathBuf,
    /// The folder in it that tests start in.
    pub package: String,
}

impl Suite {
    /// Reads `<version>/<package>`.
    pub fn parse(words: &str) -> Option<Suite> {
        let (version, package) = words.split_once('/')?;
        ["e2e", "common"].contains(&package).then(|| Suite {
            version: version.to_owned(),
            package: package.to_owned(),
        })
    }

    /// `3.6` of `3.6.16`.
    pub fn line(&self) -> &str {
        let end = self.version.rfind('.').unwrap_or(self.version.len());
        &self.version[..end]
    }

    /// Builds it, unless that was done before.
    ///
    /// # Errors
    /// There is no Go here, or no module; the text is what Go says.
    pub fn build(&self) -> Result<Built> {
        let at = cache().join(&self.version);
        fs::create_dir_all(&at)?;
        let built = Built {
            program: at.join(format!("{}.test", self.package)),
            tree: at.join("tree"),
            package: self.package.clone(),
        };
        if built.program.exists() && built.tree.exists() {
            return Ok(built);
        }
        let module = "go.etcd.io/etcd/tests/v3";
        fs::write(at.join("go.mod"), "module suites.invalid/run\n\ngo 1.24\n")?;
        go(&at, &["get", &format!("{module}@v{}", self.version)])?;
        let dir = go(&at, &["list", "-m", "-f", "{{.Dir}}", module])?;
        copy(Path::new(dir.trim()), &built.tree)?;
        let partial = format!("{}.partial", self.package);
        let package = format!("{module}/{}", self.package);
        go(
            &at,
            &[
                "test", "-p", "2", "-tags", "e2e", "-c", "-o", &partial, &package,
            ],
        )?;
        fs::rename(at.join(partial), &built.program)?;
        Ok(built)
    }
}

impl Built {
    /// The names of its tests.
    ///
    /// # Errors
    /// The program cannot be run.
    pub fn tests(&self) -> Result<Vec<String>> {
        let output = Command::new(&self.program)
            .args(["-test.list", ".*"])
            .current_dir(self.tree.join(&self.package))
            .output()
            .context("cannot list the tests")?;
        ensure!(
            output.status.success(),
            "cannot list the tests: {}",
            output.status
        );
        let text = String::from_utf8_lossy(&output.stdout);
        let names = text.lines().filter(|line| line.starts_with("Test"));
        Ok(names.map(str::to_owned).collect())
    }
}

/// Where what is built stays.
fn cache() -> PathBuf {
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default());
    env::var_os("PINTLE_SUITES_CACHE").map_or_else(
        || {
            env::var_os("XDG_CACHE_HOME")
                .map_or_else(|| home().join(".cache"), PathBuf::from)
                .join("pintle-etcd-suites")
        },
        PathBuf::from,
    )
}

/// Runs the Go that is here, no other, without asking source control for a stamp.
fn go(at: &Path, words: &[&str]) -> Result<String> {
    let output = Command::new("go")
        .args(words)
        .current_dir(at)
        .envs([
            ("GOTOOLCHAIN", "local"),
            ("GOFLAGS", "-mod=mod -buildvcs=false"),
        ])
        .output()
        .context("no Go on this machine")?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text.lines().last().unwrap_or_default();
        bail!("go {}: {last}", words.join(" "));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Copies a folder; Go's module cache cannot be written to, and tests write next to themselves.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::write(&target, fs::read(entry.path())?)?;
        }
    }
    Ok(())
}
