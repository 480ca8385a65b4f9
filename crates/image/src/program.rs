//! `pintle upgrade image`: from a command line to an exit code. It must never
//! say that an image is the pinned one when anything about it was not examined.

use std::{fmt::Write as _, io::Write as _, path::Path};

use cli::{
    command::{Body, find},
    flags::{self, Flag, HELP, Kind, Parsed},
};

use crate::{Error, Form, Names, Verified, this_platform, verify_for};

/// Exit codes other than 0.
const ERROR: i32 = 1;
const NOT_THE_ONE: i32 = 3;
const NOT_ALONE: i32 = 4;

#[derive(Clone, Copy, Debug)]
enum Action {
    Verify,
}

type Command = cli::command::Command<Action>;

const GLOBAL: &[Flag] = &[Flag::new(
    "write-out",
    Kind::Text,
    "simple",
    "how the result is written: simple or json",
)
.short('w')];

const COMMANDS: &[Command] = &[Command::run(
    "verify",
    "--image PATH --digest sha256:...",
    "Holds an image against the digest that it is pinned by",
    &[
        Flag::new(
            "image",
            Kind::Text,
            "",
            "a docker archive, an OCI layout or the archive of one",
        )
        .required(),
        Flag::new(
            "digest",
            Kind::Text,
            "",
            "what it is pinned by: sha256: and 64 digits, of the index, the manifest or the image ID",
        )
        .required(),
        Flag::new(
            "platform",
            Kind::Text,
            "",
            "what it has to be for, as linux/amd64 (default: this machine)",
        ),
    ],
    Action::Verify,
)
.long(
    "Hashes everything in it, follows the digest to the image for the platform, unpacks its layers on\n\
     paper, and looks for etcd, etcdctl and etcdutl in them. Nothing is run, written or fetched.\n\n\
     Exit code: 0 it is the pinned image; 3 it is not, or damaged; 4 it is, and other images lie\n\
     beside it; 1 it could not be judged.",
)];

pub(crate) fn run(words: &[String]) -> i32 {
    let mut out = std::io::stdout().lock();
    let (text, problem, code) = answer(words);
    if let Some(problem) = problem {
        eprintln!("Error: {problem}");
    }
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => code,
        Err(error) => {
            eprintln!("Error: write stdout: {error}");
            ERROR
        }
    }
}

/// What goes to stdout, what is wrong, and the exit code.
pub(crate) fn answer(words: &[String]) -> (String, Option<String>, i32) {
    let misread = |message: String| {
        let text = format!("{message}\nRun 'pintle upgrade image --help' for usage.");
        (String::new(), Some(text), ERROR)
    };
    let bytes = words.iter().map(|word| word.clone().into_bytes()).collect();
    let found = match find("pintle upgrade image", COMMANDS, GLOBAL, bytes) {
        Ok(found) => found,
        Err(message) => return misread(message),
    };
    if let Some(message) = found.stray {
        return misread(message);
    }
    let Some(command) = found.path.last().filter(|_| !found.asks_help) else {
        return (page(found.path.last().copied()), None, 0);
    };
    let parsed = match flags::parse(&found.words, command.flags.iter().chain(GLOBAL)) {
        Ok(parsed) => parsed,
        Err(message) => {
            let known = command.flags.iter().chain(GLOBAL);
            return misread(flags::with_suggestion(message, known));
        }
    };
    if parsed.bool(HELP) {
        return (page(Some(command)), None, 0);
    }
    if let Some(missing) = parsed.missing(command.flags.iter()) {
        return misread(missing);
    }
    if !parsed.args.is_empty() {
        return misread(format!(
            "{} takes no arguments, but was given: {}",
            command.name,
            parsed.words().join(" ")
        ));
    }
    let as_json = match parsed.text("write-out") {
        "json" => true,
        "simple" | "table" => false,
        other => {
            return misread(format!(
                "unsupported output format {other:?}; there are simple and json"
            ));
        }
    };
    match command.body {
        Body::Run(Action::Verify) => judge(&parsed, as_json),
        Body::Group(_) => (page(Some(command)), None, 0),
    }
}

fn judge(parsed: &Parsed, as_json: bool) -> (String, Option<String>, i32) {
    let path = Path::new(parsed.text("image"));
    let platform = match parsed.text("platform") {
        "" => this_platform(),
        platform => platform.to_owned(),
    };
    match verify_for(path, parsed.text("digest"), &platform) {
        Ok(verified) => {
            let next = next(parsed);
            let code = match verified.unpinned.is_empty() {
                true => 0,
                false => NOT_ALONE,
            };
            match as_json {
                true => (json(&Answer::of(&verified, &next)), None, code),
                false => (format!("{}\nnext: {next}\n", simple(&verified)), None, code),
            }
        }
        Err(error) => {
            let code = match error.is_verdict() {
                true => NOT_THE_ONE,
                false => ERROR,
            };
            let text = match as_json {
                true => json(&Refusal::of(&error)),
                false => String::new(),
            };
            (text, Some(format!("{}: {error}", path.display())), code)
        }
    }
}

/// The command that comes after: the check of the cluster that it is for, which only the operator
/// can name.
fn next(parsed: &Parsed) -> String {
    let program = std::env::args_os().next().unwrap_or_default();
    let image = format!("--image={}", parsed.text("image"));
    let digest = format!("--digest={}", parsed.text("digest"));
    let words = [
        &program.to_string_lossy(),
        "upgrade",
        "check",
        &image,
        &digest,
        "--help",
    ];
    cli::shell::line(words)
}

/// What `-w json` writes of an image that was verified.
#[derive(serde::Serialize)]
struct Answer<'a> {
    verified: bool,
    next: &'a str,
    #[serde(flatten)]
    image: &'a Verified,
}

impl<'a> Answer<'a> {
    fn of(image: &'a Verified, next: &'a str) -> Self {
        Self {
            verified: true,
            next,
            image,
        }
    }
}

/// What `-w json` writes of one that was not.
#[derive(serde::Serialize)]
struct Refusal {
    verified: bool,
    /// Whether this says something about the image.
    judged: bool,
    reason: String,
}

impl Refusal {
    fn of(error: &Error) -> Self {
        Self {
            verified: false,
            judged: error.is_verdict(),
            reason: error.to_string(),
        }
    }
}

fn json(value: &impl serde::Serialize) -> String {
    // Strings, numbers and lists: these cannot fail.
    let mut text = serde_json::to_string(value).unwrap_or_default();
    text.push('\n');
    text
}

fn simple(image: &Verified) -> String {
    let mut out = String::new();
    let names = match image.names {
        Names::Index => "index",
        Names::Manifest => "manifest",
        Names::ImageId => "image ID",
    };
    let form = match image.form {
        Form::OciFolder => "OCI layout",
        Form::OciArchive => "archive of an OCI layout",
        Form::DockerArchive => "docker archive",
        Form::OciAndDockerArchive => "archive of an OCI layout, and docker archive",
    };
    let _ = writeln!(out, "VERIFIED {} ({names})", image.digest);
    let mut row = |name: &str, text: String| {
        let _ = writeln!(out, "  {name:<9} {text}");
    };
    row(
        "form",
        format!(
            "{form}: {} parts, {} bytes, all hashed",
            image.parts, image.bytes
        ),
    );
    row("platform", image.platform.clone());
    for (platform, present) in &image.other_platforms {
        let here = if *present {
            "here too"
        } else {
            "not in this archive"
        };
        row("", format!("{platform} ({here})"));
    }
    if !image.tags.is_empty() {
        row("tags", image.tags.join(", "));
    }
    if let Some(manifest) = image.manifest.filter(|manifest| *manifest != image.digest) {
        row("manifest", manifest.to_string());
    }
    row("image ID", image.config.to_string());
    for layer in &image.layers {
        row(
            "layer",
            format!("{}, {} bytes unpacked", layer.digest, layer.unpacked),
        );
    }
    for program in &image.programs {
        let version = image.versions.iter().find(|v| v.program == program.name);
        let version = version.map_or(String::new(), |v| format!(", holds version {}", v.version));
        match &program.path {
            Some(path) => row(
                "program",
                format!("{}: {path}, {} bytes{version}", program.name, program.size),
            ),
            None => row("program", format!("{}: not in the image", program.name)),
        }
    }
    for other in &image.unpinned {
        row(
            "warning",
            format!("also in it, and not vouched for by the digest: {other}"),
        );
    }
    out
}

/// The help page of a command, or of all.
fn page(command: Option<&Command>) -> String {
    let mut out = String::new();
    let Some(command) = command else {
        out.push_str("Looks at images of etcd without a container engine.\n\nUsage: pintle upgrade image <COMMAND> [FLAGS]\n\nCommands:\n");
        for command in COMMANDS {
            let _ = writeln!(out, "  {:<8} {}", command.name, command.short);
        }
        out.push_str("\n  pintle upgrade image <COMMAND> --help says more.\n");
        return out;
    };
    let _ = write!(
        out,
        "{}.\n\nUsage: pintle upgrade image {} {}\n\n{}\n\nFlags:\n",
        command.short, command.name, command.args, command.long
    );
    let rows: Vec<(String, &Flag)> = command
        .flags
        .iter()
        .chain(GLOBAL)
        .map(|flag| {
            let short = flag.short.map_or("    ".to_owned(), |c| format!("-{c}, "));
            (format!("  {short}--{} VALUE", flag.name), flag)
        })
        .collect();
    let width = rows.iter().map(|(left, _)| left.len()).max().unwrap_or(0);
    for (left, flag) in rows {
        let default = match flag.default {
            "" => String::new(),
            default => format!(" (default {default})"),
        };
        let _ = writeln!(out, "{left:width$}  {}{default}", flag.help);
    }
    out
}
