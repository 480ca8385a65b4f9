//! The `server` program: from a command line to a process that serves until it
//! is told to stop.

use std::io::IsTerminal as _;

use line::Line;

use crate::{
    config::{self, Config, Logs, Note, ParseError, Parsed},
    logging,
    start::{Descriptors, Ending, Running},
    start_line,
    transport::{Listeners, Security, Surface},
    version,
};

/// Runs the server with these arguments (program name left out); returns the
/// process's exit code.
pub fn main(args: &[String]) -> i32 {
    let code = run(args);
    logging::flush();
    code
}

fn run(args: &[String]) -> i32 {
    if let Err(error) = failpoint::start(|text| cli::text::parse_duration(text).ok()) {
        eprintln!("pintle server: {error}");
        return 1;
    }
    let env: Vec<(String, String)> = std::env::vars().collect();
    let settings = match config::parse(args, &env) {
        Ok(Parsed::Help) => {
            return print(&config::usage("pintle server", terminal_width()));
        }
        Ok(Parsed::Version(line)) => {
            return print(&version_text(line.of_new_cluster()));
        }
        Ok(Parsed::Serve(settings)) => settings,
        Err(error) => {
            if error.exit_code != USAGE && logging::start(&Logs::default()).is_ok() {
                log_refusal(&error, args);
                logging::flush();
            }
            return refuse(&error);
        }
    };
    // Before anything else, so that what is wrong is logged where logs are read.
    let logs = Logs::resolve(&settings);
    if let Err(error) = logging::start(logs.as_ref().unwrap_or(&Logs::default())) {
        eprintln!("pintle server: {error}");
        return 1;
    }
    settings.notes.iter().for_each(Note::log);
    let config = match config::resolve(&settings) {
        Ok(config) => config,
        Err(error) => {
            log_refusal(&error, args);
            logging::flush();
            return refuse(&error);
        }
    };
    match serve(config, args) {
        Ok(stopped_by) => stopped_by,
        Err(error) => {
            tracing::error!(level_name = "fatal", error = %error, "discovery failed");
            1
        }
    }
}

/// The exit code of a command line that cannot be read.
const USAGE: i32 = 2;

/// Writes to standard output; a reader that has seen enough is no failure.
fn print(text: &str) -> i32 {
    use std::io::Write as _;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => 1,
        _ => 0,
    }
}

/// The log lines of etcd for settings that it does not start with.
fn log_refusal(error: &ParseError, args: &[String]) {
    if let Some(variable) = &error.conflict {
        tracing::error!(
            level_name = "fatal",
            "environment-variable" = variable.as_str(),
            "conflicting environment variable is shadowed by corresponding command-line flag (either unset environment variable or disable flag))"
        );
        return;
    }
    log_arguments(args);
    tracing::warn!(error = error.message.as_str(), "failed to verify flags");
}

fn log_arguments(args: &[String]) {
    tracing::info!(
        args = serde_json::Value::from(config::without_secrets(args)).to_string(),
        "Running: "
    );
}

fn refuse(error: &ParseError) -> i32 {
    eprintln!("pintle server: {}", error.message);
    if error.exit_code == USAGE {
        eprintln!("Try 'pintle server --help'.");
    }
    error.exit_code
}

fn terminal_width() -> usize {
    if !std::io::stdout().is_terminal() {
        return 80;
    }
    rustix::termios::tcgetwinsize(std::io::stdout())
        .map_or(80, |size| usize::from(size.ws_col).max(60))
}

/// The first four lines are etcd's, which scripts read.
fn version_text(line: Line) -> String {
    format!(
        "etcd Version: {}\nGit SHA: pintle-{}\nGo Version: none (Rust)\nGo OS/Arch: {}/{}\n",
        line.release(),
        version::PINTLE,
        std::env::consts::OS,
        match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }
    )
}

fn serve(mut config: Config, args: &[String]) -> Result<i32, member::Error> {
    log_arguments(args);
    let runtimes = match config.runtimes {
        0 => std::thread::available_parallelism()
            .map_or(1, |n| n.get())
            .min(8),
        n => n.min(64),
    };
    if config.unsafe_no_fsync {
        tracing::warn!(
            "nothing waits for the disk (--unsafe-no-fsync): a crash of this machine loses what was acknowledged, and breaks the guarantees of the cluster"
        );
    }
    if config.memory_mlock {
        lock_memory()?;
    }
    let descriptors = Descriptors::raise(runtimes)?;
    log_listeners(&config);
    let security = Security::open(&mut config)?;
    let mut listeners = Listeners::bind(&config, &security)?;
    start_line::log(&config, runtimes);
    let members_side = listeners.split_off(|surface| surface == Surface::Peer);
    let running = Running::start(config, descriptors, runtimes, members_side)?;
    let ending = running.serve(listeners)?;
    running.stop()?;
    tracing::info!("closed etcd server");
    logging::flush();
    Ok(match ending {
        Ending::Signal(number) => end_by_signal(number),
        Ending::Removed => 0,
    })
}

fn log_listeners(config: &Config) {
    let urls = |list: &[config::ListenUrl]| {
        list.iter()
            .map(|u| u.url.as_str())
            .collect::<Vec<_>>()
            .join(",")
    };
    tracing::info!(
        "listen-peer-urls" = urls(&config.listen_peer),
        "configuring peer listeners"
    );
    tracing::info!(
        "listen-client-urls" = urls(&config.listen_client),
        "configuring client listeners"
    );
}

/// Keeps every page that is touched in RAM, those of the database among them.
fn lock_memory() -> Result<(), member::Error> {
    use rustix::mm::{MlockAllFlags, mlockall};
    // On fault: what is only reserved, as the address space of the database, takes no memory.
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(all).map_err(|error| {
        member::Error::new(format!(
            "cannot lock memory (--memory-mlock): {error}; raise the limit of locked memory (ulimit -l) or grant CAP_IPC_LOCK"
        ))
    })
}

/// etcd ends by the signal it got, so that its parent sees why; pid 1 cannot.
fn end_by_signal(number: i32) -> i32 {
    if std::process::id() == 1 {
        return 0;
    }
    // SAFETY: the default action takes no pointer and replaces a handler that
    // nobody waits for any more; raising a signal has no precondition.
    unsafe {
        libc::signal(number, libc::SIG_DFL);
        libc::raise(number);
    }
    // Reached only if the signal is blocked: the shell's convention says the same.
    128 + number
}
