//! This member as the other members' messages see it: what the peer protocol
//! asks of the house, answered from the consensus core and the apply machine.

use std::{io, sync::Arc};

use member::{Machine, forwarded};
use proto::raftpb::{Message, Snapshot};

use crate::{apply::SharedMachine, core::Core};

/// A snapshot under way, from before its database is opened until the transport
/// lets go of it.
struct Running(Arc<Core>);

impl Running {
    fn begin(core: &Arc<Core>) -> Running {
        core.snapshots_out.begin();
        Running(core.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.snapshots_out.end();
    }
}

/// The database of a snapshot under way.
struct Outgoing {
    image: bolt::ImageReader,
    _running: Running,
}

impl io::Read for Outgoing {
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        self.image.read(piece)
    }
}

/// The member behind the transport.
pub struct Host {
    core: Arc<Core>,
    machine: SharedMachine,
}

impl Host {
    /// The member with this state.
    pub fn new(core: Arc<Core>, machine: SharedMachine) -> Host {
        Host { core, machine }
    }
}

impl peer::Host for Host {
    fn step(&self, message: Message) {
        if self.core.raft.refuses(&message) {
            tracing::debug!(
                from = format!("{:x}", message.from),
                "dropped entries: too much waits for the disk"
            );
            return;
        }
        let is_settled = || self.core.raft.inspect(consensus::Node::is_settled);
        if let Err((index, refusal)) = forwarded::judge(&message, &self.core.state, is_settled) {
            tracing::warn!(
                "from-member" = format!("{:x}", message.from),
                proposal = index,
                error = %refusal,
                "refused a proposal of another member; {}",
                membership::Refusal::ADVICE
            );
            return;
        }
        match self.core.raft.drive(|node| node.step(message)) {
            Ok(()) => {}
            Err(error @ consensus::Error::LogLost { .. }) => {
                self.core
                    .fatal
                    .report("the raft log is not what it was", &error);
            }
            Err(error) => tracing::warn!(error = %error, "refused a raft message"),
        }
    }

    fn is_removed(&self, id: u64) -> bool {
        self.core.state.cluster.load().is_removed(id.into())
    }

    fn report_unreachable(&self, id: u64) {
        self.core.raft.drive(|node| node.report_unreachable(id));
    }

    fn report_snapshot(&self, id: u64, arrived: bool) {
        self.core
            .raft
            .drive(|node| node.report_snapshot(id, arrived));
    }

    fn removed(&self) {
        self.core.leave();
    }

    fn open_snapshot(&self, message: Message) -> io::Result<peer::OutgoingSnapshot> {
        let running = Running::begin(&self.core);
        let (snapshot, database) = consistent(&self.core, &self.machine)?;
        let database_len = database.size();
        Ok(peer::OutgoingSnapshot {
            message: Message {
                snapshot: Some(snapshot),
                ..message
            },
            database: Box::new(Outgoing {
                image: database.image(),
                _running: running,
            }),
            database_len,
        })
    }
}

/// Attempts to catch a database and a membership of the same index in passing.
const ATTEMPTS: usize = 8;

/// The membership and a view of the database, both as of one index.
fn consistent(core: &Core, machine: &SharedMachine) -> io::Result<(Snapshot, bolt::ReadTx)> {
    for _ in 0..ATTEMPTS {
        let members = machine.inspect(Machine::members_to_send);
        let view = core.backend().snapshot().map_err(io::Error::other)?;
        let snapshot = machine.inspect(|machine| members.with(machine, &view));
        if let Some(snapshot) = snapshot.map_err(io::Error::other)? {
            return Ok((snapshot, view));
        }
    }
    Err(io::Error::other(
        "the membership changed each time a snapshot was about to be taken",
    ))
}
