//! The threads of a server, from the first to the last.

use std::{sync::Arc, thread::JoinHandle};

use member::Error;
use membership::Member;

use super::{
    data_dir::DirLock,
    descriptors::Descriptors,
    ending::{self, Ending},
    found,
    open::open,
    runtimes::{on_runtime, start_peer_side, start_runtime},
};
use crate::{
    apply::{ApplyThread, SharedMachine},
    config::Config,
    core::Core,
    fatal::Fatal,
    node::LogThread,
    peers::Host,
    runtime::{Inbox, Inboxes},
    transport::{Admission, Listeners},
};

/// A server whose threads run, all but the first runtime.
pub struct Running {
    core: Arc<Core>,
    inboxes: Inboxes,
    apply: ApplyThread,
    log_writer: LogThread,
    transport: peer::Transport,
    /// Of the runtimes.
    threads: Vec<JoinHandle<()>>,
    /// Until the last thread that writes has ended.
    _lock: DirLock,
}

impl Running {
    /// Opens the member and starts its threads. Other members are answered from here on.
    ///
    /// # Errors
    /// The member cannot be started from this directory, or the system has no thread left.
    pub fn start(
        config: Config,
        descriptors: Descriptors,
        runtimes: usize,
        members_side: Listeners,
    ) -> Result<Running, Error> {
        let fatal = Fatal::default();
        let opened = open(&config, &fatal)?;
        // What has only just become a member has nothing to compare.
        let check_hashes = config.initial_corrupt_check && opened.was_member();
        let parts = opened.into_core(config, Admission::new(descriptors), fatal.clone());
        let core = parts.core;
        let inboxes = Inbox::for_runtimes(runtimes);
        let apply = ApplyThread::start(core.clone(), inboxes.clone(), parts.machine)?;
        let transport = reach(&core, apply.machine(), &parts.peers);
        let mut threads = vec![start_peer_side(
            core.clone(),
            inboxes.clone(),
            runtimes as u32,
            members_side,
            transport.clone(),
        )?];
        if check_hashes {
            // The others may be making the same check, and ask this member.
            found::compare_hashes(&core, &parts.peers)?;
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
        Ok(Running {
            core,
            inboxes,
            apply,
            log_writer,
            transport,
            threads,
            _lock: parts.lock,
        })
    }

    /// Serves clients, on this thread too, until the server is to end.
    ///
    /// # Errors
    /// A signal or a listener is not to be had.
    pub fn serve(&self, listeners: Listeners) -> std::io::Result<Ending> {
        let (core, inboxes) = (self.core.clone(), self.inboxes.clone());
        on_runtime(core, inboxes, 0, |rt| ending::serve(rt, listeners))
    }

    /// Ends the threads, in order, and closes the files.
    ///
    /// # Errors
    /// The database cannot be closed.
    pub fn stop(self) -> Result<(), Error> {
        self.core.stop.send_replace(true);
        self.core.over.send_replace(true);
        self.transport.stop();
        for thread in self.threads {
            // A runtime that panicked has been reported by the panic hook.
            let _ = thread.join();
        }
        self.apply.finish_snapshots();
        self.log_writer.stop();
        self.apply.stop();
        self.core.store().stop();
        let closed = self.core.backend().close();
        closed.map_err(|error| Error::new(format!("cannot close the database: {error}")))
    }
}

/// Makes the way to the other members, those that are known at the start.
fn reach(core: &Arc<Core>, machine: SharedMachine, known: &[Member]) -> peer::Transport {
    let transport = peer::Transport::new(
        peer::Config {
            member_id: core.member_id,
            cluster_id: core.cluster_id,
            spoken: core.state.spoken.clone(),
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
