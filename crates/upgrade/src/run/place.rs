//! Where a manifest lies: in a folder of this node, or of another one that a
//! command reaches. What is written comes into place whole, by a rename, from a
//! file outside the folder. It must never leave a second file that the kubelet
//! would start.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::failure::{Failure, Outcome};

/// A manifest's place.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Its path on that node.
    pub(crate) path: PathBuf,
    /// What stands before a command for it to run there; `None` is this node.
    pub(crate) reach: Option<String>,
    /// Limit for one command there.
    pub(crate) patience: Duration,
}

/// What lies in a folder of manifests.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    /// The manifest, if it is there.
    pub(crate) text: Option<String>,
    /// Whether its name is a link.
    pub(crate) is_link: bool,
    /// Whether files can be put there.
    pub(crate) writable: bool,
    /// The other files that the kubelet reads, by name.
    pub(crate) others: Vec<(String, String)>,
}

/// A folder of manifests holds some ten files of some kilobytes.
const FOLDER_BYTES_MAX: u64 = 16 << 20;
const POLL: Duration = Duration::from_millis(20);

impl Place {
    /// In words, for messages.
    pub(crate) fn words(&self) -> String {
        match &self.reach {
            None => self.path.display().to_string(),
            Some(reach) => format!("{} (by {reach})", self.path.display()),
        }
    }

    /// Looks at the folder.
    ///
    /// # Errors
    /// It is not there, or not readable.
    pub(crate) fn look(&self) -> Outcome<Folder> {
        match &self.reach {
            None => look_here(&self.path),
            Some(_) => {
                let folder = quoted(&folder_of(&self.path).to_string_lossy());
                let path = quoted(&self.path.to_string_lossy());
                // Names that begin with a dot are passed over by the shell as by the kubelet.
                let said = self.shell(&format!(
                    "cd {folder} || exit 1\n\
                     [ -h {path} ] && echo link\n[ -w . ] && echo writable\n\
                     for f in *; do [ -f \"$f\" ] || continue\n\
                     echo \"file $(($(wc -c < \"$f\"))) $f\"; cat \"$f\" || exit 1; echo; done\necho end\n"
                ))?;
                self.understand(&said)
                    .ok_or_else(|| Failure::new(format!("{}: an answer cut short", self.words())))
            }
        }
    }

    fn understand(&self, said: &[u8]) -> Option<Folder> {
        let mut folder = Folder::default();
        let mut rest = said;
        loop {
            let end = rest.iter().position(|b| *b == b'\n')?;
            let line = std::str::from_utf8(&rest[..end]).ok()?;
            rest = &rest[end + 1..];
            match line {
                "link" => folder.is_link = true,
                "writable" => folder.writable = true,
                "end" => return Some(folder),
                _ => {
                    let (size, name) = line.strip_prefix("file ")?.split_once(' ')?;
                    let size: usize = size.parse().ok()?;
                    let text = String::from_utf8_lossy(rest.get(..size)?).into_owned();
                    rest = rest.get(size + 1..)?;
                    folder.sort_in(name, text, &self.path);
                }
            }
        }
    }

    /// Puts the manifest in place, whole and durable.
    ///
    /// # Errors
    /// It could not be written; what lay there before lies there still.
    pub(crate) fn put(&self, text: &str) -> Outcome<()> {
        if self.reach.is_none() {
            return put_here(&self.path, text);
        }
        let folder = folder_of(&self.path);
        let path = quoted(&self.path.to_string_lossy());
        let outside = quoted(&outside_name(&self.path).to_string_lossy());
        let hidden = quoted(&hidden_name(&self.path).to_string_lossy());
        let (up, folder) = (
            quoted(&folder.join("..").to_string_lossy()),
            quoted(&folder.to_string_lossy()),
        );
        let said = self.shell(&format!(
            "umask 077\nset -C\nt={outside}\n\
             if [ ! -w {up} ] || [ \"$(stat -c %d {up})\" != \"$(stat -c %d {folder})\" ]; then t={hidden}; fi\n\
             rm -f \"$t\"\n\
             printf %s {} > \"$t\" && {{ sync \"$t\" 2>/dev/null || sync; }} && mv -f \"$t\" {path} || {{ rm -f \"$t\"; exit 1; }}\n\
             sync {folder} 2>/dev/null || sync\ncat {path}\n",
            quoted(text)
        ))?;
        match said == text.as_bytes() {
            true => Ok(()),
            false => Err(Failure::new(format!(
                "{}: it does not hold what was written",
                self.words()
            ))),
        }
    }

    /// Takes the manifest out of the folder; one that is not there is out.
    ///
    /// # Errors
    /// It lies there still.
    pub(crate) fn take_out(&self) -> Outcome<()> {
        if self.reach.is_some() {
            let path = quoted(&self.path.to_string_lossy());
            let folder = quoted(&folder_of(&self.path).to_string_lossy());
            return self
                .shell(&format!(
                    "rm -f {path} || exit 1\nsync {folder} 2>/dev/null || sync\n"
                ))
                .map(drop);
        }
        match fs::remove_file(&self.path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(Failure::io("remove", &self.path, &e))
            }
            _ => sync_folder(&self.path),
        }
    }

    /// Runs a script on the other node. It goes in by stdin: nothing on the way, as
    /// ssh does, can take its quotes apart.
    fn shell(&self, script: &str) -> Outcome<Vec<u8>> {
        let reach = self.reach.as_deref().unwrap_or_default();
        let failed = |why: String| Failure::new(format!("{reach}: {}: {why}", self.path.display()));
        let mut child = Command::new("/bin/sh")
            .arg("-c")
            .arg(format!("trap '' INT HUP\nexec {reach} sh -s"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| failed(e.to_string()))?;
        let (input, output, errors) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let script = script.to_owned();
        let writer = std::thread::spawn(move || {
            // One that does not read to the end tells why by its exit.
            input.map(|mut input| input.write_all(script.as_bytes()))
        });
        let read = |from: Option<Box<dyn io::Read + Send>>| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                if let Some(from) = from {
                    from.take(FOLDER_BYTES_MAX).read_to_end(&mut bytes)?;
                }
                Ok::<_, io::Error>(bytes)
            })
        };
        let output = read(output.map(|o| Box::new(o) as Box<dyn io::Read + Send>));
        let errors = read(errors.map(|e| Box::new(e) as Box<dyn io::Read + Send>));
        let deadline = Instant::now() + self.patience;
        let status = loop {
            match child.try_wait().map_err(|e| failed(e.to_string()))? {
                Some(status) => break status,
                None if Instant::now() < deadline => std::thread::sleep(POLL),
                None => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(failed(format!("no answer after {:?}", self.patience)));
                }
            }
        };
        let _ = writer.join();
        let bytes = |read: std::thread::JoinHandle<io::Result<Vec<u8>>>| {
            read.join()
                .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
                .map_err(|e| failed(e.to_string()))
        };
        let (output, errors) = (bytes(output)?, bytes(errors)?);
        match status.success() {
            true => Ok(output),
            false => {
                let said = String::from_utf8_lossy(&errors);
                Err(failed(format!("{status}: {}", said.trim())))
            }
        }
    }
}

impl Folder {
    fn sort_in(&mut self, name: &str, text: String, manifest: &Path) {
        match manifest.file_name().is_some_and(|n| n == name) {
            true => self.text = Some(text),
            false => self.others.push((name.to_owned(), text)),
        }
    }
}

fn look_here(path: &Path) -> Outcome<Folder> {
    let at = folder_of(path);
    let failed = |e: io::Error| Failure::io("read", at, &e);
    let mut folder = Folder {
        is_link: fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_symlink()),
        // Asked, not tried: the kubelet watches this folder.
        writable: rustix::fs::access(at, rustix::fs::Access::WRITE_OK).is_ok(),
        ..Folder::default()
    };
    for entry in fs::read_dir(at).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || !entry.path().is_file() {
            continue;
        }
        let bytes = fs::read(entry.path()).map_err(|e| Failure::io("read", &entry.path(), &e))?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        folder.sort_in(&name, text, path);
    }
    Ok(folder)
}

pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!(".{name}.pintle")
}

/// A name beside the folder.
fn outside_name(path: &Path) -> PathBuf {
    folder_of(path).join("..").join(name_of(path))
}

/// A name in the same folder that the kubelet passes over: it begins with a dot.
fn hidden_name(path: &Path) -> PathBuf {
    folder_of(path).join(name_of(path))
}

/// Writes a file whole: from beside its folder, and where that is another file system
/// or must not be written, from a name in the folder that the kubelet passes over.
pub(crate) fn put_here(path: &Path, text: &str) -> Outcome<()> {
    if put_from(&outside_name(path), path, text).is_ok() {
        return Ok(());
    }
    put_from(&hidden_name(path), path, text).map_err(|e| Failure::io("write", path, &e))
}

fn put_from(from: &Path, path: &Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let write = || {
        // A leftover of a crash may be anything, also a link.
        if let Err(e) = fs::remove_file(from)
            && e.kind() != io::ErrorKind::NotFound
        {
            return Err(e);
        }
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(from)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(from, path)
    };
    let outcome = write();
    if outcome.is_err() {
        let _ = fs::remove_file(from);
        return outcome;
    }
    fs::File::open(folder_of(path))?.sync_all()
}

fn sync_folder(path: &Path) -> Outcome<()> {
    let folder = folder_of(path);
    fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| Failure::io("sync", folder, &e))
}

/// A word for the shell, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(path: &Path) -> [Place; 2] {
        // `env` stands for ssh: it runs what follows it.
        [None, Some("env".to_owned())].map(|reach| Place {
            path: path.to_owned(),
            reach,
            patience: Duration::from_secs(20),
        })
    }

    #[test]
    fn here_and_by_a_command_a_manifest_comes_goes_and_is_seen_alike() {
        let dir = tempfile::tempdir().expect("folder");
        // A name that a shell would take apart.
        let folder = dir.path().join("it's $HOME `here`");
        fs::create_dir(&folder).expect("folder");
        let path = folder.join("etcd.yaml");
        fs::write(folder.join(".hidden"), "x").expect("written");
        fs::write(folder.join("other.yaml"), "other\nend\n").expect("written");
        for place in places(&path) {
            for text in ["a: 'b'\n# $x `y` \"z\" \\n\n", "no end of line", ""] {
                place.put(text).expect("put");
                let seen = place.look().expect("looked");
                assert_eq!(seen.text.as_deref(), Some(text), "{}", place.words());
                assert!(seen.writable && !seen.is_link);
                let other = ("other.yaml".to_owned(), "other\nend\n".to_owned());
                assert_eq!(seen.others, [other]);
            }
            place.take_out().expect("out");
            place.take_out().expect("out twice");
            assert_eq!(place.look().expect("looked").text, None);
            let left = fs::read_dir(dir.path()).expect("read").count();
            assert_eq!(left, 1, "something was left beside the folder");
            assert_eq!(fs::read_dir(&folder).expect("read").count(), 2);
        }
    }

    #[test]
    fn where_nothing_can_be_written_beside_the_folder_it_is_written_under_a_dot() {
        let dir = tempfile::tempdir().expect("folder");
        let folder = dir.path().join("manifests");
        // In the way of the name beside the folder.
        fs::create_dir_all(dir.path().join(".etcd.yaml.pintle/x")).expect("folder");
        fs::create_dir(&folder).expect("folder");
        let [here, _] = places(&folder.join("etcd.yaml"));
        here.put("a").expect("put");
        here.put("b").expect("put again");
        assert_eq!(here.look().expect("looked").text.as_deref(), Some("b"));
        assert_eq!(fs::read_dir(&folder).expect("read").count(), 1);
    }

    #[test]
    fn a_link_and_a_folder_that_is_not_there_are_seen() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("etcd.yaml");
        std::os::unix::fs::symlink("/nowhere", &path).expect("a link");
        for place in places(&path) {
            assert!(place.look().expect("looked").is_link, "{}", place.words());
        }
        for place in places(&dir.path().join("no/etcd.yaml")) {
            assert!(place.look().is_err(), "{}", place.words());
        }
    }

    #[test]
    fn another_node_that_does_not_answer_is_told() {
        let place = |reach: &str| Place {
            path: "/x/etcd.yaml".into(),
            reach: Some(reach.into()),
            patience: Duration::from_millis(50),
        };
        let error = place("false").look().expect_err("it fails").to_string();
        assert!(error.contains("exit status: 1"), "{error}");
        let error = place("sleep 600 #").look().expect_err("it hangs");
        assert!(error.to_string().contains("no answer"), "{error}");
    }
}
