//! The `server` program: from a command line to a process that serves until it
//! is told to stop.

use std::{io::IsTerminal as _, rc::Rc, sync::Arc, thread::JoinHandle, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    task::LocalSet,
};

use crate::{
    apply::ApplyThread,
    boot,
    config::{self, Config, ParseError, Parsed},
    core::Core,
    fatal::Fatal,
    housekeeping, logging,
    node::LogWriter,
    runtime::Runtime,
    transport::{Listeners, Surface},
    version,
};

/// Runs the server with these arguments (program name left out); returns the
/// process's exit code.
pub fn main(args: &[String]) -> i32 {
    let env: Vec<(String, String)> = std::env::vars().collect();
    let settings = match config::parse(args, &env) {
        Ok(Parsed::Help) => {
            return print(&config::usage("pintle server", terminal_width()));
        }
        Ok(Parsed::Version) => {
            return print(&version_text());
        }
        Ok(Parsed::Serve(settings)) => settings,
        Err(error) => return refuse(&error),
    };
    let config = match config::resolve(&settings) {
        Ok(config) => config,
        Err(error) => return refuse(&error),
    };
    if let Err(error) = logging::start(&config) {
        eprintln!("pintle server: {error}");
        return 1;
    }
    for (message, name, value) in &settings.notes {
        tracing::info!(
            "variable-name" = name.as_str(),
            "variable-value" = value.as_str(),
            "{message}"
        );
    }
    match serve(config, args) {
        Ok(stopped_by) => stopped_by,
        Err(error) => {
            tracing::error!(level_name = "fatal", error = %error, "discovery failed");
            logging::flush();
            1
        }
    }
}

/// Writes to standard output; a reader that has seen enough is no failure.
fn print(text: &str) -> i32 {
    use std::io::Write as _;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => 1,
        _ => 0,
    }
}

fn refuse(error: &ParseError) -> i32 {
    eprintln!("pintle server: {}", error.message);
    if error.exit_code == 2 {
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
fn version_text() -> String {
    format!(
        "etcd Version: {}\nGit SHA: pintle-{}\nGo Version: none (Rust)\nGo OS/Arch: {}/{}\n",
        version::SERVER,
        version::PINTLE,
        std::env::consts::OS,
        match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }
    )
}

fn serve(config: Config, args: &[String]) -> Result<i32, boot::Error> {
    tracing::info!(
        args = serde_json::Value::from(args.to_vec()).to_string(),
        "Running: "
    );
    let runtimes = match config.runtimes {
        0 => std::thread::available_parallelism()
            .map_or(1, |n| n.get())
            .min(8),
        n => n.min(64),
    };
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
    let mut listeners = Listeners::bind(&config)?;
    tracing::info!(
        "etcd-version" = version::SERVER,
        "pintle-version" = version::PINTLE,
        name = config.name,
        "data-dir" = %config.data_dir.display(),
        "heartbeat-interval" = ?config.heartbeat,
        "election-timeout" = ?config.election,
        "snapshot-count" = config.snapshot_count,
        "initial-cluster" = config.initial_cluster,
        "initial-cluster-token" = config.initial_cluster_token,
        "quota-backend-bytes" = config.quota_backend_bytes.unwrap_or(0),
        runtimes = runtimes,
        "starting an etcd server"
    );
    let fatal = Fatal::default();
    let booted = boot::boot(&config, &fatal)?;
    let parts = booted.into_core(config, runtimes, fatal.clone());
    let core = parts.core;
    let apply = ApplyThread::start(core.clone(), parts.seed)?;
    let log_writer = LogWriter::start(
        parts.wal,
        core.raft.clone(),
        apply.machine(),
        core.metrics.clone(),
        fatal,
    )?;

    let mut threads = Vec::new();
    for id in 1..runtimes {
        threads.push(start_runtime(core.clone(), id as u32)?);
    }
    let exit = on_runtime(core.clone(), 0, |rt| async move {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        housekeeping::start(&rt);
        tracing::info!("serving peer traffic");
        listeners.serve(&rt, |surface| {
            matches!(surface, Surface::Peer | Surface::Metrics)
        })?;
        let ready = async {
            housekeeping::announce(&rt).await;
            tracing::info!("ready to serve client requests");
            listeners.serve(&rt, |_| true)?;
            tracing::info!("serving client traffic insecurely; this is strongly discouraged!");
            notify_init();
            std::future::pending::<std::io::Result<()>>().await
        };
        let number = tokio::select! {
            result = ready => return result.map(|()| 1),
            _ = terminate.recv() => 15,
            _ = interrupt.recv() => 2,
        };
        let name = if number == 15 {
            "terminated"
        } else {
            "interrupt"
        };
        tracing::info!(signal = name, "received signal; shutting down");
        tracing::info!("closing etcd server");
        tracing::info!("skipped leadership transfer for single voting member cluster");
        rt.core.stop.send_replace(true);
        drain(&rt).await;
        Ok(number)
    })?;
    core.stop.send_replace(true);
    for thread in threads {
        // A runtime that panicked has been reported by the panic hook.
        let _ = thread.join();
    }
    apply.finish_snapshots();
    log_writer.stop();
    apply.stop();
    core.store().stop();
    core.backend()
        .close()
        .map_err(|error| boot::Error::new(format!("cannot close the database: {error}")))?;
    tracing::info!("closed etcd server");
    logging::flush();
    Ok(end_by_signal(exit))
}

/// How long connections may take to finish what they were doing.
const DRAIN: Duration = Duration::from_millis(500);

/// Lets answers that are on their way leave.
async fn drain(rt: &Rc<Runtime>) {
    let deadline = tokio::time::Instant::now() + DRAIN;
    while rt
        .core
        .connections
        .load(std::sync::atomic::Ordering::Acquire)
        > 0
        && tokio::time::Instant::now() < deadline
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
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

fn start_runtime(core: Arc<Core>, id: u32) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(format!("serve-{id}"))
        .spawn(move || {
            let mut stop = core.stop.subscribe();
            let result = on_runtime(core, id, |rt| async move {
                let _ = stop.wait_for(|stop| *stop).await;
                drain(&rt).await;
                Ok(())
            });
            if let Err(error) = result {
                tracing::error!(error = %error, "a serving thread could not start");
            }
        })
}

fn on_runtime<T, F>(
    core: Arc<Core>,
    id: u32,
    main: impl FnOnce(Rc<Runtime>) -> F,
) -> std::io::Result<T>
where
    F: Future<Output = std::io::Result<T>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = LocalSet::new();
    let result = local.block_on(&runtime, async {
        let rt = Runtime::start(core, id);
        main(rt).await
    });
    drop(local);
    // Work on blocking threads (a hash, a defragmentation) is not waited for.
    runtime.shutdown_background();
    result
}

/// Tells systemd that the server is ready, when it asked for it.
fn notify_init() {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    tracing::info!("notifying init daemon");
    let sent = std::os::unix::net::UnixDatagram::unbound()
        .and_then(|socket| socket.send_to(b"READY=1", &path));
    match sent {
        Ok(_) => tracing::info!("successfully notified init daemon"),
        Err(error) => tracing::error!(error = %error, "failed to notify systemd for readiness"),
    }
}
