//! The `server` program: from a command line to a process that serves until it
//! is told to stop.

use std::{io::IsTerminal as _, rc::Rc, sync::Arc, thread::JoinHandle, time::Duration};

use crate::{
    api,
    apply::{ApplyThread, SharedMachine},
    boot, bootstrap,
    config::{self, Config, Logs, Note, ParseError, Parsed},
    core::Core,
    descriptors::Descriptors,
    duties,
    fatal::Fatal,
    logging,
    node::LogThread,
    peers::Host,
    runtime::{Inbox, Inboxes, Runtime},
    transport::{Admission, Listeners, Security, Surface},
    version,
};
use membership::Member;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::LocalSet,
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
        Err(error) => {
            if error.exit_code != USAGE && logging::start(&Logs::default()).is_ok() {
                log_refusal(&error, args);
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
            logging::flush();
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
fn version_text() -> String {
    format!(
        "etcd Version: {}\nGit SHA: pintle-{}\nGo Version: none (Rust)\nGo OS/Arch: {}/{}\n",
        line::Line::DEFAULT.release(),
        version::PINTLE,
        std::env::consts::OS,
        match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }
    )
}

fn serve(mut config: Config, args: &[String]) -> Result<i32, boot::Error> {
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
    let security = Security::open(&mut config)?;
    let mut listeners = Listeners::bind(&config, &security)?;
    tracing::info!(
        "etcd-version" = line::Line::DEFAULT.release(),
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
    // What has only just become a member has nothing to compare.
    let check_hashes = config.initial_corrupt_check && booted.was_member();
    let parts = booted.into_core(config, Admission::new(descriptors), fatal.clone());
    // Until the last thread that writes has ended.
    let _lock = parts.lock;
    let core = parts.core;
    let inboxes = Inbox::for_runtimes(runtimes);
    let apply = ApplyThread::start(core.clone(), inboxes.clone(), parts.machine)?;
    let transport = reach(&core, apply.machine(), &parts.peers);
    let members_side = listeners.split_off(|surface| surface == Surface::Peer);
    let mut threads = vec![start_peer_side(
        core.clone(),
        inboxes.clone(),
        runtimes as u32,
        members_side,
        transport.clone(),
    )?];
    if check_hashes {
        // The others may be making the same check, and ask this member.
        bootstrap::compare_hashes(&core, &parts.peers)?;
    }
    core.joined.send_replace(true);
    let log_writer = LogThread::start(
        parts.log,
        core.raft.clone(),
        apply.machine(),
        core.metrics.clone(),
        fatal,
    )?;

    for id in 1..runtimes {
        threads.push(start_runtime(core.clone(), inboxes.clone(), id as u32)?);
    }
    let ending = on_runtime(core.clone(), inboxes, 0, |rt| async move {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut removed = rt.core.removed.subscribe();
        duties::start(&rt);
        listeners.serve(&rt, |surface| surface == Surface::Metrics)?;
        let ready = async {
            duties::announce(&rt).await;
            tracing::info!("ready to serve client requests");
            listeners.serve(&rt, |_| true)?;
            announce_clients(&rt.core.config);
            notify_init();
            std::future::pending::<std::io::Result<()>>().await
        };
        let ending = tokio::select! {
            result = ready => return result.map(|()| Ending::Signal(1)),
            _ = terminate.recv() => Ending::Signal(15),
            _ = interrupt.recv() => Ending::Signal(2),
            _ = removed.wait_for(|removed| *removed) => Ending::Removed,
        };
        match ending {
            Ending::Signal(number) => {
                let name = if number == 15 {
                    "terminated"
                } else {
                    "interrupt"
                };
                tracing::info!(signal = name, "received signal; shutting down");
                tracing::info!("closing etcd server");
            }
            Ending::Removed => {
                // The others may still want to hear that the change is applied.
                tokio::time::sleep(LEAVE_DELAY).await;
                tracing::warn!(
                    error = "the member has been permanently removed from the cluster",
                    "server error"
                );
                tracing::warn!("data-dir used by this member must be removed");
            }
        }
        rt.core.stop.send_replace(true);
        drain(&rt).await;
        if matches!(ending, Ending::Signal(_)) {
            // Only now: a request on its way would be lost with the leadership.
            duties::give_up_leadership(&rt).await;
        }
        rt.core.over.send_replace(true);
        Ok(ending)
    })?;
    core.stop.send_replace(true);
    core.over.send_replace(true);
    transport.stop();
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
    Ok(match ending {
        Ending::Signal(number) => end_by_signal(number),
        Ending::Removed => 0,
    })
}

/// Keeps every page that is touched in RAM, those of the database among them.
fn lock_memory() -> Result<(), boot::Error> {
    use rustix::mm::{MlockAllFlags, mlockall};
    // On fault: what is only reserved, as the address space of the database, takes no memory.
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(all).map_err(|error| {
        boot::Error::new(format!(
            "cannot lock memory (--memory-mlock): {error}; raise the limit of locked memory (ulimit -l) or grant CAP_IPC_LOCK"
        ))
    })
}

/// The request timeout is looked for this often.
const SWEEP: Duration = Duration::from_millis(300);

/// How clients are served, for each listener, as etcd says it.
fn announce_clients(config: &Config) {
    let split = !config.listen_client_http.is_empty();
    let grpc = if split { "grpc" } else { "grpc+http" };
    let both = [
        (&config.listen_client, grpc),
        (&config.listen_client_http, "http"),
    ];
    for (urls, traffic) in both {
        for url in urls {
            if url.secure {
                tracing::info!(
                    traffic = traffic,
                    address = url.url,
                    "serving client traffic securely"
                );
            } else {
                tracing::info!(
                    traffic = traffic,
                    address = url.url,
                    "serving client traffic insecurely; this is strongly discouraged!"
                );
            }
        }
    }
}

/// Why the server stops.
#[derive(Clone, Copy)]
enum Ending {
    Signal(i32),
    Removed,
}

/// A member that was removed goes on this long.
const LEAVE_DELAY: Duration = Duration::from_secs(1);

/// Makes the way to the other members, those that are known at the start.
fn reach(core: &Arc<Core>, machine: SharedMachine, known: &[Member]) -> peer::Transport {
    let transport = peer::Transport::new(
        peer::Config {
            member_id: core.member_id,
            cluster_id: core.cluster_id,
            server_version: core.line().release().to_owned(),
            advertise_peer_urls: core.config.advertise_peer.clone(),
            election_timeout: core.config.election,
            read_timeout: core.config.raft_read_timeout,
            write_timeout: core.config.raft_write_timeout,
            snap_dir: core.config.snap_dir(),
            connect: core.peer_connect.clone(),
        },
        Arc::new(Host::new(core.clone(), machine)),
    );
    for member in known {
        transport.add_peer(member.id.0, &member.peer_urls);
    }
    core.raft.connect(transport.clone());
    transport
}

/// The thread of the other members: their connections, and ours to them.
fn start_peer_side(
    core: Arc<Core>,
    inboxes: Inboxes,
    id: u32,
    mut listeners: Listeners,
    transport: peer::Transport,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("peers".into())
        .spawn(move || {
            let result = on_runtime(core, inboxes, id, |rt| async move {
                tracing::info!("serving peer traffic");
                listeners.serve(&rt, |_| true)?;
                let mut joined = rt.core.joined.subscribe();
                // The sender lives as long as the core.
                let _ = joined.wait_for(|joined| *joined).await;
                duties::start_with_members(&rt);
                transport.run().await;
                Ok(())
            });
            if let Err(error) = result {
                tracing::error!(error = %error, "the thread of the other members could not start");
            }
        })
}

/// Lets answers that are on their way leave: every call has one by the request
/// timeout, as in etcd.
async fn drain(rt: &Rc<Runtime>) {
    let deadline = tokio::time::Instant::now() + rt.core.config.request_timeout() + SWEEP;
    let open = || rt.core.admission.clients.taken();
    loop {
        // Before the first look: the acceptors take in whom the kernel has kept for them.
        tokio::time::sleep(Duration::from_millis(5)).await;
        if open() == 0 || tokio::time::Instant::now() >= deadline {
            return;
        }
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

fn start_runtime(core: Arc<Core>, inboxes: Inboxes, id: u32) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(format!("serve-{id}"))
        .spawn(move || {
            let mut stop = core.stop.subscribe();
            let result = on_runtime(core, inboxes, id, |rt| async move {
                let _ = stop.wait_for(|stop| *stop).await;
                drain(&rt).await;
                Ok(())
            });
            if let Err(error) = result {
                tracing::error!(error = %error, "a serving thread could not start");
            }
        })
}

/// Threads that one runtime may start for work that waits. Callers decide how much of it there is
/// (hashes, look-ups of names): what does not fit waits its turn.
const BLOCKING_THREADS: usize = 16;

fn on_runtime<T, F>(
    core: Arc<Core>,
    inboxes: Inboxes,
    id: u32,
    main: impl FnOnce(Rc<Runtime>) -> F,
) -> std::io::Result<T>
where
    F: Future<Output = std::io::Result<T>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()?;
    let local = LocalSet::new();
    let result = local.block_on(&runtime, async {
        let rt = Runtime::start(core, inboxes, id);
        api::watch::start(&rt);
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
