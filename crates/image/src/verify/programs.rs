//! The programs of an image: that those which kubeadm's manifest and the image's
//! own command call are there, and of which version. A program is never run: it
//! may be built for other machines, and what it prints would be its own word.

use serde::Serialize;

use crate::{
    Error,
    documents::{self, Config},
    layer::TEXTS_MAX,
    rootfs::{File, RootFs},
    tar::Fault,
};

/// Where containers look for programs unless the image says otherwise.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What a static pod of etcd runs; without it there is no member.
const NEEDED: &str = "etcd";
/// What people run in its container.
const WANTED: [&str; 2] = ["etcdctl", "etcdutl"];

/// A program that was looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Program {
    /// As it is called.
    pub name: String,
    /// Its path in the image; none if it is not there.
    pub path: Option<String>,
    /// Its bytes.
    pub size: u64,
}

/// A version that the label promises.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// The program.
    pub program: String,
    /// Its version.
    pub version: String,
}

/// What the label of the image promises.
pub(super) fn promised(config: &Config) -> Result<Vec<Version>, Error> {
    let Some(label) = label(config, documents::PROGRAMS) else {
        return Ok(Vec::new());
    };
    let mut versions = Vec::new();
    for word in label.split_whitespace() {
        match word.split_once('=') {
            Some((program, version)) if !program.is_empty() && !version.is_empty() => {
                versions.push(Version {
                    program: program.to_owned(),
                    version: version.to_owned(),
                });
            }
            _ => {
                return Err(Error::Inconsistent(format!(
                    "the label {} holds {word:?}, which is not program=version",
                    documents::PROGRAMS
                )));
            }
        }
    }
    match versions.len() > TEXTS_MAX {
        true => Err(Error::TooLarge(format!(
            "the label {} names more than {TEXTS_MAX} programs",
            documents::PROGRAMS
        ))),
        false => Ok(versions),
    }
}

/// What the usual label says.
pub(super) fn claimed(config: &Config) -> Option<String> {
    label(config, documents::VERSION).map(str::to_owned)
}

fn label<'a>(config: &'a Config, name: &str) -> Option<&'a str> {
    Some(config.config.labels.as_ref()?.get(name)?)
}

/// Looks for the programs.
pub(super) fn find(
    config: &Config,
    rootfs: &mut RootFs,
) -> Result<Vec<(Program, Option<File>)>, Error> {
    let execution = &config.config;
    let command = [&execution.entrypoint, &execution.cmd];
    let command = command.into_iter().flatten().flatten().next();
    let mut names: Vec<&str> = vec![NEEDED];
    names.extend(WANTED);
    if let Some(command) = command.filter(|command| *command != NEEDED) {
        names.push(command);
    }
    let mut programs = Vec::new();
    for name in names {
        let found = look(name, config, rootfs).map_err(|fault| fault.of("the image"))?;
        let needed = name == NEEDED || Some(name) == command.map(String::as_str);
        if needed && found.is_none() {
            return Err(Error::NoProgram(match command {
                Some(command) if command == name && name != NEEDED => {
                    format!("its command {name:?} is no program in it")
                }
                _ => format!("{name} is no program on its path {}", path(config)),
            }));
        }
        let (path, file) = found.unzip();
        programs.push((
            Program {
                name: name.to_owned(),
                path,
                size: file.map_or(0, |file| file.size),
            },
            file,
        ));
    }
    for version in promised(config)? {
        if programs
            .iter()
            .any(|(program, _)| program.name == version.program)
        {
            continue;
        }
        let found =
            look(&version.program, config, rootfs).map_err(|fault| fault.of("the image"))?;
        let (path, file) = found.unzip();
        programs.push((
            Program {
                name: version.program,
                path,
                size: file.map_or(0, |file| file.size),
            },
            file,
        ));
    }
    Ok(programs)
}

/// That every program holds the version that is promised of it.
pub(super) fn hold(
    promised: &[Version],
    programs: &[(Program, Option<File>)],
) -> Result<(), Error> {
    for (bit, version) in promised.iter().enumerate() {
        let file = programs
            .iter()
            .find(|(program, _)| program.name == version.program)
            .and_then(|(_, file)| *file);
        match file {
            None => {
                return Err(Error::NoProgram(format!(
                    "the label names {}, which is no program in it",
                    version.program
                )));
            }
            Some(file) if file.holds & 1 << bit == 0 => {
                return Err(Error::WrongVersion {
                    program: version.program.clone(),
                    version: version.version.clone(),
                });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn path(config: &Config) -> &str {
    let env = config.config.env.as_deref().unwrap_or_default();
    env.iter()
        .find_map(|word| word.strip_prefix("PATH="))
        .unwrap_or(PATH)
}

/// A program by its path, or by its name along the image's path.
fn look(name: &str, config: &Config, rootfs: &mut RootFs) -> Result<Option<(String, File)>, Fault> {
    let places: Vec<String> = match name.contains('/') {
        true => vec![name.to_owned()],
        false => path(config)
            .split(':')
            .take(TEXTS_MAX)
            .map(|folder| format!("{}/{name}", folder.trim_end_matches('/')))
            .collect(),
    };
    for place in places {
        if let Some(file) = rootfs.file(&place)?.filter(|file| file.executable) {
            return Ok(Some((place, file)));
        }
    }
    Ok(None)
}
