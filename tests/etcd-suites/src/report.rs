//! The table of a run: one line for each test, next to another run of the same suite.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result};

use crate::{Outcome, Verdict};

/// What became of each test.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// By name.
    pub tests: BTreeMap<String, Outcome>,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Failed => "failed",
            Verdict::Skipped => "skipped",
        }
    }

    fn parse(word: &str) -> Option<Verdict> {
        let all = [Verdict::Passed, Verdict::Failed, Verdict::Skipped];
        all.into_iter().find(|verdict| verdict.word() == word)
    }
}

impl Report {
    /// Reads what [`Report::write`] wrote.
    ///
    /// # Errors
    /// It is something else.
    pub fn read(path: &Path) -> Result<Report> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let mut tests = BTreeMap::new();
        for line in text.lines() {
            let fields: Vec<_> = line.split('\t').collect();
            let [name, verdict, seconds, reason] = fields[..] else {
                anyhow::bail!("{}: not a line of a run: {line}", path.display());
            };
            let outcome = Outcome {
                verdict: Verdict::parse(verdict).context("an unknown verdict")?,
                seconds: seconds.parse()?,
                reason: reason.to_owned(),
            };
            tests.insert(name.to_owned(), outcome);
        }
        Ok(Report { tests })
    }

    /// One line for each test: name, verdict, seconds and reason with tabs between them.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut text = String::new();
        for (name, outcome) in &self.tests {
            let verdict = outcome.verdict.word();
            text += &format!(
                "{name}\t{verdict}\t{:.1}\t{}\n",
                outcome.seconds, outcome.reason
            );
        }
        Ok(fs::write(path, text)?)
    }

    /// How many ended so.
    pub fn count(&self, verdict: Verdict) -> usize {
        let all = self.tests.values();
        all.filter(|outcome| outcome.verdict == verdict).count()
    }

    /// Passed, failed and skipped.
    pub fn summary(&self) -> String {
        format!(
            "{} passed, {} failed, {} skipped",
            self.count(Verdict::Passed),
            self.count(Verdict::Failed),
            self.count(Verdict::Skipped)
        )
    }

    /// The tests that do not pass here and pass in another run.
    pub fn worse_than<'a>(&'a self, other: &'a Report) -> impl Iterator<Item = &'a str> {
        let passes = |report: &Report, name: &str| {
            let outcome = report.tests.get(name);
            outcome.is_some_and(|outcome| outcome.verdict == Verdict::Passed)
        };
        let names = self.tests.keys().map(String::as_str);
        names.filter(move |name| !passes(self, name) && passes(other, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(tests: &[(&str, Verdict)]) -> Report {
        let outcome = |verdict| Outcome {
            verdict,
            seconds: 1.0,
            reason: "why".to_owned(),
        };
        let tests = tests.iter();
        Report {
            tests: tests
                .map(|(name, verdict)| ((*name).to_owned(), outcome(*verdict)))
                .collect(),
        }
    }

    #[test]
    fn a_run_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("run.tsv");
        let written = report(&[("TestA", Verdict::Passed), ("TestB", Verdict::Skipped)]);
        written.write(&path).expect("write");
        let read = Report::read(&path).expect("read");
        assert_eq!(read.summary(), "1 passed, 0 failed, 1 skipped");
        assert_eq!(read.tests["TestB"].reason, "why");
    }

    #[test]
    fn what_fails_in_both_is_not_worse() {
        let etcd = report(&[("TestA", Verdict::Passed), ("TestB", Verdict::Failed)]);
        let ours = report(&[("TestA", Verdict::Skipped), ("TestB", Verdict::Failed)]);
        assert!(ours.worse_than(&etcd).eq(["TestA"]));
        assert_eq!(etcd.worse_than(&ours).count(), 0);
    }
}
