//! Where a manifest lies: in a folder of this node, or of another one that a
//! command reaches. What is written comes into place whole, by a rename, from a
//! file outside the folder. It must never leave a second file that the kubelet
//! would start.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::process::CommandExt as _,
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

    /// Writes the text that [`Place::put_staged`] will put in place, where the kubelet
    /// does not see it: after this nothing is left to do that takes room on the disk.
    ///
    /// # Errors
    /// It could not be written.
    pub(crate) fn stage(&self, text: &str) -> Outcome<()> {
        if self.reach.is_none() {
            return stage_here(&self.path, text).map_err(|e| Failure::io("write", &self.path, &e));
        }
        let names = Names::of(&self.path);
        // From beside the folder, if a rename leads from there into it.
        let said = self.shell(&format!(
            "umask 077\nset -C\nt={staged_outside}\n\
             if [ ! -w {up} ] || [ \"$(stat -c %d {up})\" != \"$(stat -c %d {folder})\" ]; then t={staged_hidden}; fi\n\
             rm -f {staged_outside} {staged_hidden}\n\
             printf %s {} > \"$t\" && {{ sync \"$t\" 2>/dev/null || sync; }} || {{ rm -f \"$t\"; exit 1; }}\n\
             cat \"$t\"\n",
            quoted(text),
            up = names.up,
            folder = names.folder,
            staged_outside = names.staged_outside,
            staged_hidden = names.staged_hidden,
        ))?;
        match said == text.as_bytes() {
            true => Ok(()),
            false => Err(Failure::new(format!(
                "{}: what was written next to it is not there",
                self.words()
            ))),
        }
    }

    /// Puts what was staged in place, whole and durable.
    ///
    /// # Errors
    /// It could not be done; what lay there before lies there still.
    pub(crate) fn put_staged(&self) -> Outcome<()> {
        if self.reach.is_none() {
            return put_staged_here(&self.path).map_err(|e| Failure::io("write", &self.path, &e));
        }
        let names = Names::of(&self.path);
        self.shell(&format!(
            "t={staged_outside}; [ -f \"$t\" ] || t={staged_hidden}\n\
             mv -f \"$t\" {path} || exit 1\nrm -f {out_outside} {out_hidden}\n\
             sync {folder} 2>/dev/null || sync\n",
            path = names.path,
            folder = names.folder,
            staged_outside = names.staged_outside,
            staged_hidden = names.staged_hidden,
            out_outside = names.out_outside,
            out_hidden = names.out_hidden,
        ))
        .map(drop)
    }

    /// Takes the manifest out of the folder; one that is not there is out. It is kept
    /// where the kubelet does not see it, for [`Place::put_back`].
    ///
    /// # Errors
    /// It lies there still.
    pub(crate) fn take_out(&self) -> Outcome<()> {
        if self.reach.is_none() {
            return take_out_here(&self.path).map_err(|e| Failure::io("remove", &self.path, &e));
        }
        let names = Names::of(&self.path);
        self.shell(&format!(
            "[ -f {path} ] || exit 0\n\
             t={out_outside}\n\
             if [ ! -w {up} ] || [ \"$(stat -c %d {up})\" != \"$(stat -c %d {folder})\" ]; then t={out_hidden}; fi\n\
             mv -f {path} \"$t\" || exit 1\nsync {folder} 2>/dev/null || sync\n",
            path = names.path,
            up = names.up,
            folder = names.folder,
            out_outside = names.out_outside,
            out_hidden = names.out_hidden,
        ))
        .map(drop)
    }

    /// Puts back what [`Place::take_out`] took, where nothing else has come into its
    /// place. Returns whether there was such a thing.
    ///
    /// # Errors
    /// The folder is still without it.
    pub(crate) fn put_back(&self) -> Outcome<bool> {
        if self.reach.is_none() {
            return put_back_here(&self.path).map_err(|e| Failure::io("write", &self.path, &e));
        }
        let names = Names::of(&self.path);
        let said = self.shell(&format!(
            "[ -e {path} ] && exit 0\n\
             for t in {out_outside} {out_hidden}; do [ -f \"$t\" ] || continue\n\
             mv -f \"$t\" {path} || exit 1\nsync {folder} 2>/dev/null || sync\necho back; exit 0\ndone\n",
            path = names.path,
            folder = names.folder,
            out_outside = names.out_outside,
            out_hidden = names.out_hidden,
        ))?;
        Ok(said.starts_with(b"back"))
    }

    /// Runs a script on the other node. It goes in by stdin: nothing on the way, as
    /// ssh does, can take its quotes apart.
    fn shell(&self, script: &str) -> Outcome<Vec<u8>> {
        let reach = self.reach.as_deref().unwrap_or_default();
        let failed = |why: String| Failure::new(format!("{reach}: {}: {why}", self.path.display()));
        let mut child = Command::new("/bin/sh")
            .arg("-c")
            .arg(format!("exec {reach} sh -s"))
            // As for the commands of a driver: no signal to this group ends it.
            .process_group(0)
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

/// The name under which a new text waits.
const STAGED: &str = "pintle";
/// The name under which the manifest waits that was taken out.
const OUT: &str = "pintle-out";

fn name_of(path: &Path, what: &str) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!(".{name}.{what}")
}

/// A name beside the folder.
fn outside_name(path: &Path, what: &str) -> PathBuf {
    folder_of(path).join("..").join(name_of(path, what))
}

/// A name in the same folder that the kubelet passes over: it begins with a dot.
fn hidden_name(path: &Path, what: &str) -> PathBuf {
    folder_of(path).join(name_of(path, what))
}

/// Both, the better one first.
fn names(path: &Path, what: &str) -> [PathBuf; 2] {
    [outside_name(path, what), hidden_name(path, what)]
}

/// All names, as words for the shell.
struct Names {
    path: String,
    folder: String,
    up: String,
    staged_outside: String,
    staged_hidden: String,
    out_outside: String,
    out_hidden: String,
}

impl Names {
    fn of(path: &Path) -> Names {
        let word = |path: &Path| quoted(&path.to_string_lossy());
        let folder = folder_of(path);
        Names {
            path: word(path),
            folder: word(folder),
            up: word(&folder.join("..")),
            staged_outside: word(&outside_name(path, STAGED)),
            staged_hidden: word(&hidden_name(path, STAGED)),
            out_outside: word(&outside_name(path, OUT)),
            out_hidden: word(&hidden_name(path, OUT)),
        }
    }
}

/// Writes a file whole: from beside its folder, and where that is another file system
/// or must not be written, from a name in the folder that the kubelet passes over.
pub(crate) fn put_here(path: &Path, text: &str) -> Outcome<()> {
    stage_here(path, text)
        .and_then(|()| put_staged_here(path))
        .map_err(|e| Failure::io("write", path, &e))
}

fn stage_here(path: &Path, text: &str) -> io::Result<()> {
    let [outside, hidden] = names(path, STAGED);
    // What is written already, as by an attempt that was killed, may find no room again.
    let is_there = |name: &Path| fs::read(name).is_ok_and(|bytes| bytes == text.as_bytes());
    let is_link = |name: &Path| fs::symlink_metadata(name).is_ok_and(|m| m.is_symlink());
    if same_file_system(path) {
        if is_there(&outside) && !is_link(&outside) {
            return fs::File::open(&outside)?.sync_all();
        }
        if write_new(&outside, text).is_ok() {
            return Ok(());
        }
    }
    write_new(&hidden, text)
}

/// Whether a rename leads from beside the folder into it.
fn same_file_system(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let folder = folder_of(path);
    let (Ok(here), Ok(up)) = (fs::metadata(folder), fs::metadata(folder.join(".."))) else {
        return false;
    };
    here.dev() == up.dev()
}

fn write_new(at: &Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // A leftover of a crash may be anything, also a link.
    remove(at)?;
    let write = || {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(at)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    let outcome = write();
    if outcome.is_err() {
        let _ = fs::remove_file(at);
    }
    outcome
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Renames the first of `from` that there is.
fn rename_first(from: &[PathBuf; 2], to: &Path) -> io::Result<bool> {
    let is_file = |name: &&PathBuf| fs::symlink_metadata(name).is_ok_and(|m| m.is_file());
    match from.iter().find(is_file) {
        Some(name) => fs::rename(name, to).map(|()| true),
        None => Ok(false),
    }
}

fn put_staged_here(path: &Path) -> io::Result<()> {
    if !rename_first(&names(path, STAGED), path)? {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "nothing was written next to it",
        ));
    }
    // The new one is in place; what is left over is not worth an error.
    for out in names(path, OUT) {
        let _ = fs::remove_file(out);
    }
    sync_folder(path)
}

fn take_out_here(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
        return Ok(());
    }
    let [outside, hidden] = names(path, OUT);
    if !same_file_system(path) || fs::rename(path, &outside).is_err() {
        fs::rename(path, hidden)?;
    }
    sync_folder(path)
}

fn put_back_here(path: &Path) -> io::Result<bool> {
    if fs::symlink_metadata(path).is_ok() {
        return Ok(false);
    }
    let was_there = rename_first(&names(path, OUT), path)?;
    sync_folder(path)?;
    Ok(was_there)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    fs::File::open(folder_of(path))?.sync_all()
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
                place.stage(text).expect("staged");
                place.put_staged().expect("put");
                let seen = place.look().expect("looked");
                assert_eq!(seen.text.as_deref(), Some(text), "{}", place.words());
                assert!(seen.writable && !seen.is_link);
                let other = ("other.yaml".to_owned(), "other\nend\n".to_owned());
                assert_eq!(seen.others, [other]);
            }
            place.stage("b").expect("staged");
            place.take_out().expect("out");
            place.take_out().expect("out twice");
            assert_eq!(place.look().expect("looked").text, None);
            assert!(place.put_back().expect("back"));
            assert!(!place.put_back().expect("back twice"));
            assert_eq!(place.look().expect("looked").text.as_deref(), Some(""));
            place.take_out().expect("out");
            place.put_staged().expect("put");
            assert_eq!(place.look().expect("looked").text.as_deref(), Some("b"));
            assert!(!place.put_back().expect("there is none"));
            let left = fs::read_dir(dir.path()).expect("read").count();
            assert_eq!(left, 1, "something was left next to the folder");
            assert_eq!(fs::read_dir(&folder).expect("read").count(), 3);
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
        for text in ["a", "b"] {
            here.stage(text).expect("staged");
            here.put_staged().expect("put");
        }
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
        let place = |reach: &str, patience: u64| Place {
            path: "/x/etcd.yaml".into(),
            reach: Some(reach.into()),
            patience: Duration::from_millis(patience),
        };
        let error = place("false", 20_000)
            .look()
            .expect_err("it fails")
            .to_string();
        assert!(error.contains("exit status: 1"), "{error}");
        let error = place("sleep 600 #", 50).look().expect_err("it hangs");
        assert!(error.to_string().contains("no answer"), "{error}");
    }
}
