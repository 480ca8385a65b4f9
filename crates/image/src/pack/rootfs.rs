//! What a container of Pintle has besides the program: as little as etcd needs.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
};

use crate::tar::Writer;

/// Names by which the one program is called, in addition to its own.
pub(super) const PROGRAMS: [&str; 3] = ["etcd", "etcdctl", "etcdutl"];

/// Where images of etcd keep their programs.
pub(super) const FOLDER: &str = "usr/local/bin";

/// Users, so that a container that runs as `nobody` has a name.
const PASSWD: &str =
    "root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnobody:x:65534:\n";
/// Without it the C library asks DNS before `/etc/hosts`.
const NSSWITCH: &str = "hosts: files dns\n";

/// Kubelet and container engines lay their own over it; where no one does, `localhost`
/// would have no address.
const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n";

/// What goes into the layer.
enum Entry {
    Folder(u32),
    Text(&'static str),
    Program,
    Link,
}

/// Writes the layer, in the order of names.
pub(super) fn write(archive: &mut Writer<impl Write>, binary: &Path) -> io::Result<()> {
    let program = format!("{FOLDER}/pintle");
    let mut entries = vec![
        ("etc".to_owned(), Entry::Folder(0o755)),
        ("etc/group".to_owned(), Entry::Text(GROUP)),
        ("etc/hosts".to_owned(), Entry::Text(HOSTS)),
        ("etc/nsswitch.conf".to_owned(), Entry::Text(NSSWITCH)),
        ("etc/passwd".to_owned(), Entry::Text(PASSWD)),
        ("tmp".to_owned(), Entry::Folder(0o1777)),
        ("usr".to_owned(), Entry::Folder(0o755)),
        ("usr/local".to_owned(), Entry::Folder(0o755)),
        (FOLDER.to_owned(), Entry::Folder(0o755)),
        (program.clone(), Entry::Program),
        ("var".to_owned(), Entry::Folder(0o755)),
        ("var/lib".to_owned(), Entry::Folder(0o755)),
        // etcd makes its data directory so, and warns of any other mode.
        ("var/lib/etcd".to_owned(), Entry::Folder(0o700)),
    ];
    // A hard link is a program of its own to whoever copies it out of the image.
    entries.extend(PROGRAMS.map(|name| (format!("{FOLDER}/{name}"), Entry::Link)));
    // By name, and the program before its links, which have to find it.
    entries.sort_by_key(|(name, entry)| match entry {
        Entry::Link => (program.clone(), name.clone()),
        _ => (name.clone(), String::new()),
    });
    for (name, entry) in entries {
        match entry {
            Entry::Folder(mode) => archive.directory(&name, mode)?,
            Entry::Text(text) => archive.file(&name, 0o644, text.len() as u64, text.as_bytes())?,
            Entry::Link => archive.hard_link(&name, 0o755, &program)?,
            Entry::Program => {
                let file = File::open(binary)?;
                archive.file(&name, 0o755, file.metadata()?.len(), file)?;
            }
        }
    }
    Ok(())
}
