//! The serving threads, and the one of the other members: each is a runtime of its own.

use std::{rc::Rc, sync::Arc, thread::JoinHandle, time::Duration};

use tokio::task::LocalSet;

use crate::{
    api,
    core::Core,
    duties,
    runtime::{Inboxes, Runtime},
    transport::Listeners,
};

/// The request timeout is looked for this often.
const SWEEP: Duration = Duration::from_millis(300);

/// The thread of the other members: their connections, and ours to them.
pub(super) fn start_peer_side(
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
pub(super) async fn drain(rt: &Rc<Runtime>) {
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

pub(super) fn start_runtime(
    core: Arc<Core>,
    inboxes: Inboxes,
    id: u32,
) -> std::io::Result<JoinHandle<()>> {
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
/// Longer than any process runs.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A runtime that has one thread for work that waits from the start on, and keeps it. Where the
/// system has no more threads to give, work waits for this one; with none, tokio would panic in
/// the call that asks.
fn with_blocking_thread(name: &str) -> std::io::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(FOREVER)
        .thread_name(name)
        .build()?;
    // Fails with an error where tokio would panic.
    let probe = std::thread::Builder::new().spawn(|| ())?;
    let _ = probe.join();
    runtime.spawn_blocking(|| ());
    Ok(runtime)
}

pub(super) fn on_runtime<T, F>(
    core: Arc<Core>,
    inboxes: Inboxes,
    id: u32,
    main: impl FnOnce(Rc<Runtime>) -> F,
) -> std::io::Result<T>
where
    F: Future<Output = std::io::Result<T>>,
{
    auth::password::never_on_this_thread();
    let runtime = with_blocking_thread(&format!("blocking-{id}"))?;
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

#[cfg(test)]
mod tests {
    use super::with_blocking_thread;

    /// How many threads of this process have that name.
    fn threads(name: &str) -> usize {
        std::fs::read_dir("/proc/self/task")
            .expect("the threads of this process")
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
            .filter(|comm| comm.trim_end() == name)
            .count()
    }

    #[test]
    fn a_runtime_has_a_thread_for_work_that_waits_before_it_is_asked() {
        let runtime = with_blocking_thread("waits-77").expect("a runtime");
        // Named by itself, once it runs.
        until::is("the thread is there", || threads("waits-77") == 1);
        let done = runtime.block_on(runtime.spawn_blocking(|| 7));
        assert_eq!(done.expect("the work"), 7);
    }
}
