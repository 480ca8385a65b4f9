//! One test in a process, a folder and a network of its own: the suites use fixed ports and write
//! next to themselves.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result};

use crate::suite::Built;

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Passed,
    /// It does not.
    Failed,
    /// It did not look.
    Skipped,
}

/// A test that ran.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub verdict: Verdict,
    /// How long it took.
    pub seconds: f64,
    /// In its own words, why it did not pass.
    pub reason: String,
}

/// Seconds for one test.
const LIMIT: u32 = 280;

/// A network with a way out that leads nowhere: some tests ask which address they would be seen
/// under.
const SURROUNDINGS: &str = "ip link set lo up; ip addr add 10.77.0.1/24 dev lo; \
    ip route add default dev lo src 10.77.0.1; exec \"$@\"";

/// Whether networks of one's own can be had here.
///
/// # Errors
/// Why not.
pub fn check() -> Result<()> {
    let output = isolated("true").output().context("no unshare here")?;
    let text = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "unshare: {}", text.trim_end());
    Ok(())
}

fn isolated(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["-n", "-p", "-f", "--kill-child", "--mount-proc"])
        .args(["sh", "-c", SURROUNDINGS, "sh"])
        .arg(program)
        .stdin(Stdio::null());
    command
}

/// Runs tests, `jobs` at a time. Logs stay in `logs`, one for each test.
///
/// # Errors
/// A test cannot be started.
pub fn all(
    suite: &Built,
    programs: &Path,
    tests: &[String],
    logs: &Path,
    jobs: usize,
) -> Result<BTreeMap<String, Outcome>> {
    fs::create_dir_all(logs)?;
    let left = Mutex::new(tests.iter());
    let done = Mutex::new(BTreeMap::new());
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || -> Result<()> {
        while let Some(test) = next() {
            let outcome = one(suite, programs, test, logs)?;
            println!("{:?} {:.1} s {test}", outcome.verdict, outcome.seconds);
            done.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(test.clone(), outcome);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })?;
    Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Runs one test.
fn one(suite: &Built, programs: &Path, test: &str, logs: &Path) -> Result<Outcome> {
    let place = tempfile::tempdir()?;
    let tree = surroundings(suite, place.path())?;
    let temporary = place.path().join("tmp");
    fs::create_dir(&temporary)?;
    let path = logs.join(format!("{test}.log"));
    let log = fs::File::create(&path)?;
    let start = Instant::now();
    let status = isolated(&suite.program)
        .arg("-test.run")
        .arg(format!("^{test}$"))
        .args(["-test.v", "-test.timeout"])
        .arg(format!("{LIMIT}s"))
        .arg("-bin-dir")
        .arg(programs)
        .current_dir(&tree)
        .env("TMPDIR", &temporary)
        .stdout(log.try_clone()?)
        .stderr(log)
        .status()?;
    let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
    let skipped = text
        .lines()
        .any(|line| line.starts_with(&format!("--- SKIP: {test} ")));
    let verdict = match (status.success(), skipped) {
        (false, _) => Verdict::Failed,
        (true, true) => Verdict::Skipped,
        (true, false) => Verdict::Passed,
    };
    Ok(Outcome {
        verdict,
        seconds: start.elapsed().as_secs_f64(),
        reason: reason(verdict, &text),
    })
}

/// A folder of the test's own, with what the module has around it.
fn surroundings(suite: &Built, place: &Path) -> Result<std::path::PathBuf> {
    let own = place.join(&suite.package);
    fs::create_dir(&own)?;
    for entry in fs::read_dir(suite.tree.join(&suite.package))? {
        let entry = entry?;
        symlink(entry.path(), own.join(entry.file_name()))?;
    }
    for entry in fs::read_dir(&suite.tree)? {
        let entry = entry?;
        if entry.file_name() != suite.package.as_str() {
            symlink(entry.path(), place.join(entry.file_name()))?;
        }
    }
    Ok(own)
}

/// The line of a log that says most about why a test did not pass.
pub fn reason(verdict: Verdict, log: &str) -> String {
    let after = |marks: &[&str]| {
        let mut lines = log.lines();
        lines.find_map(|line| {
            let mark = marks.iter().find(|mark| line.contains(**mark))?;
            let text = line.split_once(*mark)?.1.trim();
            (!text.is_empty()).then(|| text.to_owned())
        })
    };
    let place = |line: &&str| line.contains("_test.go:") || line.contains(".go:");
    let words = match verdict {
        Verdict::Passed => None,
        Verdict::Skipped => log
            .lines()
            .rfind(place)
            .and_then(|line| line.trim().split_once(": "))
            .map(|(_, text)| text.to_owned()),
        Verdict::Failed => after(&["panic: "])
            .or_else(|| error_of(log))
            .or_else(|| log.lines().rfind(place).map(|line| line.trim().to_owned())),
    };
    let words = words.unwrap_or_default();
    words.replace('\t', " ").chars().take(300).collect()
}

/// What an assertion of a test says: its "Error:", and the first line under it.
fn error_of(log: &str) -> Option<String> {
    let mut lines = log
        .lines()
        .skip_while(|line| !line.trim_start().starts_with("Error:"));
    let title = lines.next()?.trim().trim_start_matches("Error:").trim();
    let first = lines.next().map(str::trim).unwrap_or_default();
    Some(match first.starts_with("Test:") {
        true => title.to_owned(),
        false => format!("{title} {first}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_assertion_is_the_reason() {
        let log = "    x_test.go:9: \n\tError Trace:\t/x.go:1\n\tError:      \tReceived unexpected error:\n\t\tno leader\n\tTest:\tTestX\n--- FAIL: TestX\n";
        assert_eq!(
            reason(Verdict::Failed, log),
            "Received unexpected error: no leader"
        );
    }

    #[test]
    fn a_panic_comes_first() {
        let log = "panic: test timed out after 4m40s\n\tError:  x\n";
        assert_eq!(reason(Verdict::Failed, log), "test timed out after 4m40s");
    }

    #[test]
    fn a_skip_is_in_the_words_of_the_test() {
        let log =
            "=== RUN TestX\n    cluster.go:498: no failpoints\n--- SKIP: TestX (0.1s)\nPASS\n";
        assert_eq!(reason(Verdict::Skipped, log), "no failpoints");
    }
}
