//! `pintle manual DIR`: manual pages and completions of every program, from their tables, for
//! packages. It must never write outside of DIR.

use std::{fs, io, path::Path};

use cli::{completion::SHELLS, manual::Manual};

/// Every name that the binary is called by.
fn manuals() -> [Manual; 4] {
    let (etcd, etcdctl, etcdutl) = (server::manual(), ctl::manual(), utl::manual());
    let about = "an etcd, and a tool that predicts, rehearses, runs and takes back upgrades";
    let pintle = Manual::plain("pintle", about, [].iter())
        .with("server", etcd.clone())
        .with("ctl", etcdctl.clone())
        .with("utl", etcdutl.clone())
        .with("upgrade", upgrade::manual())
        .with("bench", bench::manual());
    [pintle, etcd, etcdctl, etcdutl]
}

/// Writes all of it to `dir`: `man1`, `bash`, `zsh`, `fish`, `powershell`, and the page of flags.
pub(crate) fn write(dir: &Path) -> io::Result<()> {
    let manuals = manuals();
    let file = |folder: &str, name: &str, text: &str| {
        let folder = dir.join(folder);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), text)
    };
    for manual in &manuals {
        let name = manual.name();
        file(
            "man1",
            &format!("{name}.1"),
            &manual.page(server::version::PINTLE),
        )?;
        for (shell, _) in SHELLS {
            let script = manual.script(shell).unwrap_or_default();
            file(shell, &script_name(shell, name), &script)?;
        }
    }
    file("reference", "flags.md", &manuals[0].flags_page())
}

/// What a shell calls the script of a program.
fn script_name(shell: &str, program: &str) -> String {
    match shell {
        "zsh" => format!("_{program}"),
        "fish" => format!("{program}.fish"),
        "powershell" => format!("{program}.ps1"),
        _ => program.to_owned(),
    }
}
