//! A static pod manifest of etcd, as kubeadm writes it: read as YAML, edited as
//! text. An edit touches the lines of the image, of the flags that a release
//! knows no more, and of probes that it does not answer; comments, order and
//! everything else stay as they are, and the result is read again to show it.

use std::path::{Path, PathBuf};

use semver::Version;
use serde::Deserialize as _;
use yaml_serde::Value;

use crate::{
    checks::{self, flag_name},
    failure::{Failure, Outcome},
};

/// The manifest of one member.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    path: PathBuf,
    text: String,
    pod: Value,
    container: usize,
    image: String,
    words: Vec<String>,
}

/// More lines than that in a change are shown whole, the old ones first.
const DIFF_LINES_MAX: usize = 1000;

/// The lines that differ between two texts, as a reader of diffs expects them.
pub(crate) fn diff(before: &str, after: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) =
        (before.split('\n').collect(), after.split('\n').collect());
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[head..], &new[head..]);
    let tail = old.iter().rev().zip(new.iter().rev());
    let tail = tail.take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[..old.len() - tail], &new[..new.len() - tail]);
    let (mut minus, mut plus, mut out) = (String::new(), String::new(), String::new());
    let (mut i, mut j) = (0, 0);
    let small = old.len().max(new.len()) <= DIFF_LINES_MAX;
    let common = if small { common(old, new) } else { Vec::new() };
    for (a, b) in common.into_iter().chain([(old.len(), new.len())]) {
        old[i..a]
            .iter()
            .for_each(|line| minus.push_str(&format!("-{line}\n")));
        new[j..b]
            .iter()
            .for_each(|line| plus.push_str(&format!("+{line}\n")));
        out.push_str(&std::mem::take(&mut minus));
        out.push_str(&std::mem::take(&mut plus));
        (i, j) = (a + 1, b + 1);
    }
    out
}

/// Places of the longest run of lines, gaps allowed, that both have.
fn common(old: &[&str], new: &[&str]) -> Vec<(usize, usize)> {
    let wide = new.len() + 1;
    // Length of the longest one from here on.
    let mut best = vec![0u32; (old.len() + 1) * wide];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            best[i * wide + j] = match old[i] == new[j] {
                true => best[(i + 1) * wide + j + 1] + 1,
                false => best[(i + 1) * wide + j].max(best[i * wide + j + 1]),
            };
        }
    }
    let (mut i, mut j, mut found) = (0, 0, Vec::new());
    while i < old.len() && j < new.len() {
        if old[i] == new[j] {
            found.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if best[(i + 1) * wide + j] >= best[i * wide + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    found
}

/// What a manifest becomes.
#[derive(Clone, Debug)]
pub(crate) struct Edited {
    /// The whole text.
    pub(crate) text: String,
    /// The lines that differ.
    pub(crate) diff: String,
}

/// First release that answers `/livez` and `/readyz`.
const LIVEZ_SINCE: Version = Version::new(3, 5, 11);

/// What kubeadm asks for up to Kubernetes 1.30, and what it asks for since.
const PROBES: [(&str, &str); 2] = [
    ("/health?exclude=NOSPACE&serializable=true", "/livez"),
    ("/health?serializable=false", "/readyz"),
];

/// A manifest while it is edited.
struct Draft {
    /// Its lines.
    lines: Vec<String>,
    /// The words of the command of etcd, as the lines have them.
    words: Vec<String>,
}

impl Draft {
    /// Puts `new` in the place of the word `old`, which is in the line `at`.
    fn put(&mut self, at: usize, old: &str, new: &str) {
        change(&mut self.lines, at, old, new);
        for word in self.words.iter_mut().filter(|word| *word == old) {
            new.clone_into(word);
        }
    }

    /// Asks for the health pages that the release `to` answers.
    fn change_probes(&mut self, to: &Version) {
        for line in &mut self.lines {
            let Some(path) = field(line, "path") else {
                continue;
            };
            let changed = PROBES.iter().find_map(|(health, livez)| {
                let up = to.minor >= 6 && path == *health;
                let down = *to < LIVEZ_SINCE && path == *livez;
                up.then_some(*livez).or(down.then_some(*health))
            });
            if let Some(new) = changed {
                *line = line.replacen(path, new, 1);
            }
        }
    }
}

impl Manifest {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// It cannot be read, or is not the manifest of an etcd.
    pub(crate) fn read(path: &Path) -> Outcome<Manifest> {
        let text = std::fs::read_to_string(path).map_err(|e| Failure::io("read", path, &e))?;
        Manifest::parse(path, text)
    }

    /// Reads a text that lies, or will lie, at `path`.
    ///
    /// # Errors
    /// It is not the manifest of an etcd.
    pub(crate) fn parse(path: &Path, text: String) -> Outcome<Manifest> {
        let not = |why: &str| {
            Failure::new(format!(
                "{} is not a manifest of etcd: {why}",
                path.display()
            ))
        };
        let pod: Value = yaml_serde::from_str(&text).map_err(|e| not(&e.to_string()))?;
        if pod.get("kind").and_then(Value::as_str) != Some("Pod") {
            return Err(not("its kind is not Pod"));
        }
        let containers = pod.get("spec").and_then(|spec| spec.get("containers"));
        let containers = containers
            .and_then(Value::as_sequence)
            .ok_or_else(|| not("it has no containers"))?;
        let runs_etcd = |container: &Value| {
            let words = words(container);
            let program = words.first().map(String::as_str).unwrap_or_default();
            program.rsplit('/').next() == Some("etcd")
                && (words.iter().any(|word| word.starts_with("--data-dir"))
                    || has_variable(container, "ETCD_DATA_DIR"))
        };
        let found = containers.iter().position(runs_etcd);
        let container =
            found.ok_or_else(|| not("no container has the command `etcd` with --data-dir"))?;
        let image = containers[container].get("image").and_then(Value::as_str);
        let image = image
            .ok_or_else(|| not("the container of etcd has no image"))?
            .to_owned();
        let words = words(&containers[container]);
        Ok(Manifest {
            path: path.to_owned(),
            text,
            pod,
            container,
            image,
            words,
        })
    }

    /// The text as it was read.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The image of the member.
    pub(crate) fn image(&self) -> &str {
        &self.image
    }

    /// The name of the member, if a flag tells it.
    pub(crate) fn name(&self) -> Option<&str> {
        self.words.iter().find_map(|w| w.strip_prefix("--name="))
    }

    /// The flags of the member.
    pub(crate) fn flags(&self) -> Vec<String> {
        let flags = self.words.iter().filter(|word| flag_name(word).is_some());
        flags.cloned().collect()
    }

    /// The value of a flag.
    pub(crate) fn value(&self, flag: &str) -> Option<String> {
        let words = self.settings();
        let found = words.iter().find(|w| flag_name(w) == Some(flag))?;
        Some(found.split_once('=')?.1.to_owned())
    }

    /// The flags, and the `ETCD_*` variables as the flags that they stand for.
    pub(crate) fn settings(&self) -> Vec<String> {
        let mut all = self.flags();
        all.extend(self.variables().into_iter().map(|(_, flag)| flag));
        all
    }

    /// The `ETCD_*` variables of the container: name, and the flag it stands for.
    fn variables(&self) -> Vec<(String, String)> {
        let container = self
            .pod
            .get("spec")
            .and_then(|spec| spec.get("containers")?.get(self.container));
        let env = container
            .and_then(|container| container.get("env")?.as_sequence())
            .into_iter()
            .flatten();
        env.filter_map(|one| {
            let name = one.get("name")?.as_str()?;
            let flag = name.strip_prefix("ETCD_")?;
            let flag = flag.to_ascii_lowercase().replace('_', "-");
            let value = one.get("value").and_then(Value::as_str).unwrap_or_default();
            Some((name.to_owned(), format!("--{flag}={value}")))
        })
        .collect()
    }

    /// The image with the tag of another release, its digest yet to be filled in.
    pub(crate) fn image_for(&self, to: &Version) -> String {
        let name = self.image.split('@').next().unwrap_or_default();
        match self.version() {
            Some(now) => name.replace(&now.to_string(), &to.to_string()),
            None => format!("{name}:{to}-0"),
        }
    }

    /// Where it was read.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The release that the tag of the image names, as in `etcd:3.5.16-0`.
    pub(crate) fn version(&self) -> Option<Version> {
        tagged_version(&self.image)
    }

    /// The manifest for another image of release `to`, with `extra` flags for one start.
    ///
    /// # Errors
    /// What must change does not stand on lines of its own.
    pub(crate) fn edited(
        &self,
        image: &str,
        to: &Version,
        pintle: bool,
        extra: &[&str],
    ) -> Outcome<Edited> {
        let mut draft = Draft {
            lines: self.text.split('\n').map(str::to_owned).collect(),
            words: self.words.clone(),
        };
        let at = self.only_line(&draft.lines, "its image", |line| {
            field(line, "image") == Some(self.image.as_str())
        })?;
        change(&mut draft.lines, at, &self.image, image);
        // Pintle knows the flags of 3.5, by their old names.
        if !pintle {
            self.is_known_to(to)?;
            self.rename_flags(&mut draft, to)?;
        }
        self.add_flags(&mut draft, extra)?;
        if !pintle {
            draft.change_probes(to);
        }
        let text = draft.lines.join("\n");
        self.verify(&text, image, &draft.words)?;
        Ok(Edited {
            diff: diff(&self.text, &text),
            text,
        })
    }

    /// Whether the release `to` knows the flags and variables that no edit changes.
    fn is_known_to(&self, to: &Version) -> Outcome<()> {
        if let Some(flag) = checks::not_yet(&self.words, to.minor) {
            return Err(Failure::new(format!(
                "{}: --{flag} is not known to 3.{} yet: put the manifest as it was before the upgrade there, or change it by hand",
                self.path.display(),
                to.minor
            )));
        }
        for (variable, flag) in self.variables() {
            if let Some((since, _, instead)) = checks::changes(&[flag], to.minor).first() {
                return Err(Failure::new(format!(
                    "{}: the variable {variable} stands for a flag that is gone in {since}; instead: {instead}. Change it by hand",
                    self.path.display()
                )));
            }
        }
        Ok(())
    }

    /// Changes the flags that are gone in the release `to` to their successors.
    fn rename_flags(&self, draft: &mut Draft, to: &Version) -> Outcome<()> {
        for (_, name, instead) in checks::changes(&self.words, to.minor) {
            let word = self.words.iter().find(|w| flag_name(w) == Some(&name));
            let Some(word) = word else { continue };
            let at =
                self.only_line(&draft.lines, word, |line| item(line) == Some(word.as_str()))?;
            let by_hand = || {
                Failure::new(format!(
                    "{}: {word} is gone in this release and its value means something else in its successor; instead: {instead}. Change it by hand",
                    self.path.display()
                ))
            };
            let new = renamed(word, &name, &instead).ok_or_else(by_hand)?;
            let behind = self.words.iter().skip_while(|w| *w != word).nth(1);
            if new.is_none() && !word.contains('=') && behind.is_some_and(|w| !w.starts_with('-')) {
                return Err(by_hand());
            }
            draft.words.retain(|w| w != word || new.is_some());
            match new {
                Some(new) => draft.put(at, word, &new),
                None => drop(draft.lines.remove(at)),
            }
        }
        Ok(())
    }

    /// Puts the flags `extra` in the place of those of their names, or after the last flag.
    fn add_flags(&self, draft: &mut Draft, extra: &[&str]) -> Outcome<()> {
        let last = draft.words.iter().rev().find(|word| word.starts_with("--"));
        let Some(last) = last.cloned() else {
            return Ok(());
        };
        for flag in extra {
            let name = flag_name(flag).unwrap_or(flag);
            let mut words = draft.words.iter();
            let known = words.find(|w| flag_name(w) == Some(name)).cloned();
            let wanted = known.as_ref().unwrap_or(&last);
            let is = |line: &str| item(line) == Some(wanted.as_str());
            let at = self.only_line(&draft.lines, wanted, is)?;
            match known {
                Some(known) => draft.put(at, &known, flag),
                None => {
                    let new = draft.lines[at].replacen(wanted.as_str(), flag, 1);
                    draft.lines.insert(at + 1, new);
                    let place = draft.words.iter().position(|w| w == wanted).unwrap_or(0);
                    draft.words.insert(place + 1, (*flag).to_owned());
                }
            }
        }
        Ok(())
    }

    /// Reads an edited text again: only what was meant may differ.
    fn verify(&self, text: &str, image: &str, words: &[String]) -> Outcome<()> {
        let new = Manifest::parse(&self.path, text.to_owned())?;
        let same = new.image == image
            && new.words == words
            && new.container == self.container
            && without_edits(&new.pod, new.container) == without_edits(&self.pod, self.container);
        match same {
            true => Ok(()),
            false => Err(self.hidden("something that is not on a line of its own")),
        }
    }

    /// The one line that holds `what`.
    fn only_line(&self, lines: &[String], what: &str, is: impl Fn(&str) -> bool) -> Outcome<usize> {
        let found: Vec<usize> = (0..lines.len()).filter(|at| is(&lines[*at])).collect();
        match found[..] {
            [] => Err(self.hidden(what)),
            [at] => Ok(at),
            [first, second, ..] => Err(Failure::new(format!(
                "{}: cannot change {what}: it is on line {} and again on line {}, and which of them is meant is not guessed; take one out, or change this manifest by hand",
                self.path.display(),
                first + 1,
                second + 1
            ))),
        }
    }

    fn hidden(&self, what: &str) -> Failure {
        Failure::new(format!(
            "{}: cannot change {what}: it does not stand on one line by itself, as kubeadm writes it; change this manifest by hand",
            self.path.display()
        ))
    }
}

/// The words that a container runs.
fn words(container: &Value) -> Vec<String> {
    ["command", "args"]
        .iter()
        .filter_map(|name| container.get(*name)?.as_sequence())
        .flatten()
        .filter_map(|word| Some(word.as_str()?.to_owned()))
        .collect()
}

fn has_variable(container: &Value, name: &str) -> bool {
    let variables = container.get("env").and_then(Value::as_sequence);
    variables
        .into_iter()
        .flatten()
        .any(|one| one.get("name").and_then(Value::as_str) == Some(name))
}

/// Whether the kubelet would start an etcd from this text, in whatever form: another
/// document of the file, a shell that starts it, an image that needs no command.
pub(crate) fn runs_etcd(text: &str) -> bool {
    yaml_serde::Deserializer::from_str(text)
        .map_while(|document| Value::deserialize(document).ok())
        .any(|document| pod_runs_etcd(&document))
}

fn pod_runs_etcd(document: &Value) -> bool {
    let items = document.get("items").and_then(Value::as_sequence);
    if items.is_some_and(|items| items.iter().any(pod_runs_etcd)) {
        return true;
    }
    let spec = document.get("spec");
    ["containers", "initContainers"]
        .iter()
        .filter_map(|name| spec?.get(*name)?.as_sequence())
        .flatten()
        .any(|container| {
            let words = words(container);
            match words.is_empty() {
                true => container
                    .get("image")
                    .and_then(Value::as_str)
                    .is_some_and(|image| is_etcd(image.split(['@', ':']).next().unwrap_or(image))),
                false => is_etcd(&words[0]) || words.iter().any(|word| shell_starts_etcd(word)),
            }
        })
}

/// The program, by its name without a folder.
fn is_etcd(path: &str) -> bool {
    path.rsplit('/').next() == Some("etcd")
}

/// Words that a shell line has before the program that it starts.
const BEFORE_PROGRAMS: [&str; 10] = [
    "exec", "env", "nice", "ionice", "nohup", "setsid", "command", "sudo", "time", "then",
];

/// Whether a line for a shell starts etcd. One that only names it, as a path that is
/// copied, does not.
fn shell_starts_etcd(line: &str) -> bool {
    line.split([';', '&', '|', '\n', '(', '{', '`'])
        .any(|part| {
            let mut words = part
                .split_whitespace()
                .map(|word| word.trim_matches(['"', '\'']))
                .skip_while(|word| {
                    BEFORE_PROGRAMS.contains(word)
                        || word.starts_with('-')
                        || (word.contains('=') && !word.starts_with('/'))
                        || word.parse::<i32>().is_ok()
                });
            words.next().is_some_and(is_etcd)
        })
}

/// The release in an image's tag.
pub(crate) fn tagged_version(image: &str) -> Option<Version> {
    let name = image.split('@').next()?;
    let tag = name.rsplit('/').next()?.split_once(':')?.1;
    let number = tag.trim_start_matches('v').split('-').next()?;
    Version::parse(number).ok()
}

/// A pod without what an edit may change.
fn without_edits(pod: &Value, container: usize) -> Value {
    let mut pod = pod.clone();
    let container = pod
        .get_mut("spec")
        .and_then(|spec| spec.get_mut("containers"))
        .and_then(|all| all.get_mut(container));
    if let Some(container) = container {
        for name in ["image", "command", "args"] {
            if let Some(value) = container.get_mut(name) {
                *value = Value::Null;
            }
        }
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            let path = container
                .get_mut(probe)
                .and_then(|probe| probe.get_mut("httpGet"))
                .and_then(|get| get.get_mut("path"));
            if let Some(path) = path {
                *path = Value::Null;
            }
        }
    }
    pod
}

/// The value of `name: value` on a line, also at the head of a list item.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let line = line.trim_start();
    let line = line.strip_prefix("- ").unwrap_or(line).trim_start();
    let value = line.strip_prefix(name)?.strip_prefix(':')?;
    Some(scalar(value))
}

/// The word of a list item.
fn item(line: &str) -> Option<&str> {
    line.trim().strip_prefix("- ").map(scalar)
}

/// A value without its quotes and without a comment behind it.
fn scalar(value: &str) -> &str {
    let value = value.trim();
    let quote = value.chars().next().filter(|c| ['"', '\''].contains(c));
    let inner = quote.and_then(|quote| Some(value.strip_prefix(quote)?.split_once(quote)?.0));
    match inner {
        Some(inner) => inner,
        None => value.split(" #").next().unwrap_or(value).trim_end(),
    }
}

/// What becomes of a flag: its new form, or nothing if it is left out. `None` is a
/// flag whose value cannot be carried over. What stands instead is `leave it out`, a
/// name, a name with a value for a switch, or something in words.
fn renamed(word: &str, name: &str, instead: &str) -> Option<Option<String>> {
    if instead == "leave it out" {
        return Some(None);
    }
    let value = word.strip_prefix("--")?.strip_prefix(name)?;
    // Levels by package are not one level.
    if !instead.starts_with("--") || instead.contains(' ') || name == "log-package-levels" {
        return None;
    }
    // A feature gate carries the value of the flag behind its own name.
    if let Some(gate) = instead.strip_suffix("=true") {
        let value = if value.is_empty() { "=true" } else { value };
        return Some(Some(format!("{gate}{value}")));
    }
    match (instead.contains('='), value) {
        (false, _) => Some(Some(format!("{instead}{value}"))),
        (true, "" | "=true") => Some(Some(instead.to_owned())),
        (true, "=false") => Some(None),
        (true, _) => None,
    }
}

fn change(lines: &mut [String], at: usize, old: &str, new: &str) {
    lines[at] = lines[at].replacen(old, new, 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBEADM: &str = r#"# kept as it is
apiVersion: v1
kind: Pod
metadata:
  annotations:
    kubeadm.kubernetes.io/etcd.advertise-client-urls: https://10.0.0.1:2379
  name: etcd
  namespace: kube-system
spec:
  containers:
  - command:
    - etcd
    - --advertise-client-urls=https://10.0.0.1:2379
    - --data-dir=/var/lib/etcd   # the disk
    - --experimental-initial-corrupt-check=true
    - --experimental-watch-progress-notify-interval=5s
    - "--snapshot-count=10000"
    image: registry.example/etcd:3.5.16-0
    imagePullPolicy: IfNotPresent
    livenessProbe:
      httpGet:
        host: 127.0.0.1
        path: /livez
        port: 2381
    name: etcd
  hostNetwork: true
status: {}
"#;

    fn kubeadm() -> Manifest {
        Manifest::parse(Path::new("etcd.yaml"), KUBEADM.to_owned()).expect("a manifest")
    }

    fn edited(to: &str, extra: &[&str]) -> Edited {
        let version = Version::parse(to).expect("version");
        let image = format!("registry.example/etcd:{to}-0@sha256:00");
        kubeadm()
            .edited(&image, &version, false, extra)
            .expect("editable")
    }

    #[test]
    fn a_hop_changes_the_image_and_the_flags_that_are_gone() {
        let hop = edited("3.5.30", &[]);
        assert_eq!(
            hop.diff,
            "-    image: registry.example/etcd:3.5.16-0\n+    image: registry.example/etcd:3.5.30-0@sha256:00\n"
        );
        let hop = edited("3.7.1", &[]);
        assert_eq!(
            hop.text,
            KUBEADM
                .replace(":3.5.16-0", ":3.7.1-0@sha256:00")
                .replace(
                    "--experimental-initial-corrupt-check=true",
                    "--feature-gates=InitialCorruptCheck=true"
                )
                .replace("--experimental-watch", "--watch")
        );
        assert_eq!(kubeadm().version(), Some(Version::new(3, 5, 16)));
    }

    #[test]
    fn a_flag_for_one_start_replaces_its_like_or_stands_behind_the_last() {
        let hop = edited("3.5.16", &["--snapshot-count=1"]);
        assert!(
            hop.text.contains("- \"--snapshot-count=1\"\n"),
            "{}",
            hop.text
        );
        let hop = edited("3.5.16", &["--max-wals=3"]);
        assert!(
            hop.text
                .contains("    - \"--snapshot-count=10000\"\n    - \"--max-wals=3\"\n"),
            "{}",
            hop.text
        );
    }

    #[test]
    fn edited_twice_is_edited_once() {
        let once = edited("3.7.1", &[]);
        let again = Manifest::parse(Path::new("etcd.yaml"), once.text.clone()).expect("manifest");
        let twice = again
            .edited(
                "registry.example/etcd:3.7.1-0@sha256:00",
                &Version::new(3, 7, 1),
                false,
                &[],
            )
            .expect("editable");
        assert_eq!((twice.text, twice.diff.as_str()), (once.text, ""));
    }

    #[test]
    fn a_release_is_probed_by_what_it_answers() {
        let old = edited("3.5.6", &[]).text;
        assert!(old.contains("path: /health?exclude=NOSPACE&serializable=true\n"));
        let old = Manifest::parse(Path::new("etcd.yaml"), old).expect("a manifest");
        let to = |version: Version| {
            let image = format!("e/etcd:{version}-0");
            old.edited(&image, &version, false, &[])
                .expect("editable")
                .text
        };
        assert!(to(Version::new(3, 5, 30)).contains("path: /health?exclude"));
        assert!(to(Version::new(3, 6, 14)).contains("path: /livez\n"));
    }

    #[test]
    fn comments_and_quotes_around_what_changes_stay() {
        let text = KUBEADM
            .replace("3.5.16-0\n", "3.5.16-0  # pinned by hand\n")
            .replace(
                "- --experimental-initial-corrupt-check=true",
                "- '--experimental-initial-corrupt-check=true' # slow",
            )
            .replace("path: /livez", "path: \"/livez\" # probe");
        let manifest = Manifest::parse(Path::new("etcd.yaml"), text.clone()).expect("a manifest");
        let hop = manifest
            .edited("e/etcd:3.7.1-0", &Version::new(3, 7, 1), false, &[])
            .expect("editable");
        let expected = text
            .replace("registry.example/etcd:3.5.16-0", "e/etcd:3.7.1-0")
            .replace(
                "--experimental-initial-corrupt-check",
                "--feature-gates=InitialCorruptCheck",
            )
            .replace("--experimental-watch", "--watch");
        assert_eq!(hop.text, expected);
    }

    #[test]
    fn a_value_that_cannot_be_carried_over_is_left_to_a_person() {
        let with = |flag: &str, to: Version| {
            let text = KUBEADM.replace(
                "    - --data-dir",
                &format!("    - {flag}\n    - --data-dir"),
            );
            let manifest = Manifest::parse(Path::new("etcd.yaml"), text).expect("a manifest");
            manifest.edited("e/etcd:x", &to, false, &[])
        };
        let v35 = Version::new(3, 5, 30);
        for flag in ["--log-package-levels=raft=DEBUG", "--debug=maybe"] {
            let error = with(flag, v35.clone()).expect_err("by hand").to_string();
            assert!(error.contains(flag) && error.contains("by hand"), "{error}");
        }
        let error = with("--discovery=http://x", Version::new(3, 7, 1)).expect_err("by hand");
        assert!(error.to_string().contains("--discovery-token with"));
        let error = with("--proxy\n    - 'off'", Version::new(3, 6, 14)).expect_err("by hand");
        assert!(error.to_string().contains("leave it out"), "{error}");
        let debug = with("--debug=true", v35.clone()).expect("a level").text;
        assert!(debug.contains("    - --log-level=debug\n"), "{debug}");
        let quiet = with("--debug=false", v35).expect("left out").text;
        assert!(!quiet.contains("debug"), "{quiet}");
        let gate = with(
            "--experimental-compact-hash-check-enabled=false",
            Version::new(3, 7, 1),
        );
        let gate = gate.expect("a gate").text;
        assert!(gate.contains("- --feature-gates=CompactHashCheck=false\n"));
    }

    #[test]
    fn a_line_that_occurs_twice_is_named_twice() {
        let text = KUBEADM.replace(
            "    name: etcd\n  host",
            "    name: etcd\n  - image: registry.example/etcd:3.5.16-0\n    command: [sleep]\n  host",
        );
        let manifest = Manifest::parse(Path::new("e.yaml"), text).expect("a manifest");
        let error = manifest
            .edited("e/etcd:3.7.1-0", &Version::new(3, 7, 1), false, &[])
            .expect_err("two images")
            .to_string();
        assert!(error.contains("on line 18 and again on line 26"), "{error}");
    }

    #[test]
    fn a_second_etcd_is_seen_in_every_form() {
        let pod = |container: &str| {
            format!("kind: Pod\nspec:\n  containers:\n  - image: a/b:1\n    {container}\n")
        };
        for text in [
            KUBEADM.to_owned(),
            pod("command: [etcd, --name=x]\n    env: [{name: ETCD_DATA_DIR, value: /d}]"),
            pod("command: [sh, -c, 'exec etcd --data-dir=/d']"),
            pod("command: [/bin/sh, -c]\n    args: ['cd /d && A=b nice -n 5 /usr/bin/etcd']"),
            format!("kind: Pod\nmetadata: {{name: first}}\n---\n{KUBEADM}"),
            "kind: Pod\nspec:\n  containers:\n  - image: registry.k8s.io/etcd:3.6.5-0\n".to_owned(),
            "kind: PodList\nitems:\n- spec:\n    containers:\n    - command: [etcd]\n".to_owned(),
        ] {
            assert!(runs_etcd(&text), "{text}");
        }
        for text in [
            pod("command: [kube-apiserver, --etcd-servers=http://h:2379]"),
            pod("command: [sh, -c, 'tar c /var/lib/etcd; etcdctl snapshot save /b/etcd']"),
            "kind: Pod\nspec:\n  containers:\n  - image: registry/kube-proxy:1\n".to_owned(),
            "{".to_owned(),
            String::new(),
        ] {
            assert!(!runs_etcd(&text), "{text}");
        }
    }

    #[test]
    fn a_diff_shows_lines_that_went_came_and_changed() {
        assert_eq!(diff("a\nb\nc\nd\n", "a\nB\nc\nd\ne\n"), "-b\n+B\n+e\n");
        assert_eq!(diff("a\nb\nc", "a\nc"), "-b\n");
        assert_eq!(diff("a", "a"), "");
    }

    #[test]
    fn what_is_no_manifest_of_etcd_is_refused() {
        let refused = |text: &str| {
            let error = Manifest::parse(Path::new("x.yaml"), text.to_owned()).expect_err("refused");
            error.to_string()
        };
        assert!(refused("{").contains("x.yaml is not a manifest of etcd"));
        assert!(refused("kind: Service\n").contains("kind is not Pod"));
        assert!(refused("kind: Pod\n").contains("no containers"));
        let other = KUBEADM.replace("- etcd\n", "- kube-apiserver\n");
        assert!(refused(&other).contains("no container has the command"));
    }

    #[test]
    fn a_command_on_one_line_is_not_guessed_at() {
        let text = "kind: Pod\nspec:\n  containers:\n  - image: e/etcd:3.5.16-0\n    command: [etcd, --data-dir=/d, --experimental-x=1]\n";
        let manifest = Manifest::parse(Path::new("e.yaml"), text.to_owned()).expect("manifest");
        let error = manifest
            .edited("e/etcd:3.7.1-0", &Version::new(3, 7, 1), false, &[])
            .expect_err("hidden");
        assert!(error.to_string().contains("change this manifest by hand"));
    }

    mod any_text {
        use proptest::prelude::*;

        proptest::proptest! {
            #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

            #[test]
            fn never_panics(cut in 0usize..super::KUBEADM.len(), with in "\\PC{0,12}") {
                prop_assume!(super::KUBEADM.is_char_boundary(cut));
                let (head, tail) = super::KUBEADM.split_at(cut);
                for text in [format!("{head}{with}{tail}"), format!("{head}{with}")] {
                    if let Ok(manifest) = super::Manifest::parse(std::path::Path::new("e"), text) {
                        let _ = manifest.edited("e/etcd:3.7.1-0", &super::Version::new(3, 7, 1), false, &["--x=1"]);
                    }
                }
            }
        }
    }
}
