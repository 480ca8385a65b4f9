//! The log writer: all that has queued up becomes one write and one sync. It owns the log; no one
//! else touches it. After an error nothing may be acknowledged any more.

use std::collections::VecDeque;

use failpoint::failpoint;
use proto::{
    raftpb::{Entry, HardState, Message, Snapshot},
    walpb,
};
use wal::{SyncStats, Wal, snap::Snapshotter};

use crate::{
    apply::Command,
    plant::{Plant, broken},
};

/// What the log writer is asked to do.
pub enum LogCommand {
    /// Append entries and state; report `number` when durable.
    Append {
        /// A snapshot of another member that takes the place of the log before
        /// the entries. Its database is next to the old one already.
        snapshot: Option<Box<Snapshot>>,
        /// Bytes of data in the entries.
        bytes: usize,
        /// Entries in index order, possibly none.
        entries: Vec<Entry>,
        /// The hard state as of these entries.
        state: Option<HardState>,
        /// True when something must be durable before `number` is reported.
        must_sync: bool,
        /// The work's number.
        number: u64,
        /// To other members, once this is durable.
        messages: Vec<Message>,
    },
    /// Record a snapshot that is on disk already, then release what it covers.
    Snapshot {
        /// Index, term and ConfState of the `.snap` file.
        record: walpb::Snapshot,
    },
}

/// What a turn of the log writer came to.
#[derive(Default)]
pub struct Written {
    /// The newest work that is durable now, for [`consensus::Node::persisted`].
    pub number: Option<u64>,
    /// To other members, after the core has heard of that.
    pub messages: Vec<Message>,
    /// Bytes of data of the entries written.
    pub bytes: usize,
    /// A received snapshot went to the apply machine.
    pub installs: bool,
    /// The sync at the end of the turn, if one was needed.
    pub sync: Option<SyncStats>,
    /// Bytes of the records of snapshots, which are synced by themselves.
    pub record_bytes: u64,
}

/// Runs up to this many entries may be applied by the log writer.
const INLINE_ENTRIES_MAX: usize = 4;

impl Written {
    /// Whether the log writer applies a run of `committed` entries itself: a small one, with
    /// nothing waiting to be written. That saves the lone client a hand-over between threads.
    /// Otherwise the next sync must not wait for it.
    pub fn applies_inline(&self, committed: usize, more_waits: bool) -> bool {
        committed <= INLINE_ENTRIES_MAX && !self.installs && !more_waits
    }
}

/// The log, and who writes to it.
pub struct LogWriter {
    wal: Wal,
    snapshotter: Snapshotter,
}

impl LogWriter {
    /// A writer of this log, and of the files of received snapshots.
    pub fn new(wal: Wal, snapshotter: Snapshotter) -> LogWriter {
        LogWriter { wal, snapshotter }
    }

    /// Writes what is queued, and hands `apply` what it makes possible.
    ///
    /// # Errors
    /// Nothing may be acknowledged any more.
    pub fn write(
        &mut self,
        batch: &mut VecDeque<LogCommand>,
        apply: &mut dyn FnMut(Command),
    ) -> Result<Written, wal::Error> {
        let mut done = Written::default();
        let mut sync = false;
        for command in batch.drain(..) {
            match command {
                LogCommand::Append {
                    snapshot,
                    bytes,
                    entries,
                    state,
                    must_sync,
                    number,
                    messages,
                } => {
                    done.bytes += bytes;
                    if let Some(snapshot) = &snapshot {
                        if broken(Plant::CommitBeforeSnapshot) {
                            self.wal.append(&[], state.as_ref())?;
                            self.wal.sync()?;
                        }
                        failpoint!(RaftBeforeSaveSnap);
                        self.record_received(snapshot)?;
                        failpoint!(RaftAfterSaveSnap);
                        if broken(Plant::InstallBeforeState) {
                            apply(Command::Install(*snapshot.clone()));
                        }
                    }
                    failpoint!(RaftBeforeSave);
                    self.wal.append(&entries, state.as_ref())?;
                    if let Some(snapshot) = snapshot {
                        // Until the log says that the snapshot is committed, a restart
                        // begins with what was there before. So nothing of that may go
                        // any earlier: neither the database nor a segment.
                        self.wal.sync()?;
                        failpoint!(RaftBeforeApplySnap);
                        failpoint!(RaftAfterApplySnap);
                        self.wal.release_to(snapshot.metadata.index)?;
                        failpoint!(RaftAfterWalRelease);
                        apply(Command::Install(*snapshot));
                        done.installs = true;
                    }
                    let votes = state.is_some_and(|state| state.vote != 0);
                    let ignored =
                        broken(Plant::EntriesNotSynced) && (!votes || !entries.is_empty());
                    sync |= must_sync && !ignored;
                    done.number = Some(number);
                    if done.messages.is_empty() {
                        done.messages = messages;
                    } else {
                        done.messages.extend(messages);
                    }
                }
                LogCommand::Snapshot { record } => {
                    let index = record.index;
                    failpoint!(RaftBeforeWalSaveSnapshot);
                    done.record_bytes += self.wal.save_snapshot(&record)?.bytes;
                    self.wal.release_to(index)?;
                    apply(Command::SnapshotSaved { index });
                }
            }
        }
        if sync {
            done.sync = Some(self.wal.sync()?);
        }
        failpoint!(RaftAfterSave if done.number.is_some());
        Ok(done)
    }

    /// Makes a received snapshot known to the log: first its file, then its record.
    /// Only then may a hard state speak of entries that it stands for.
    fn record_received(&mut self, snapshot: &Snapshot) -> Result<(), wal::Error> {
        self.snapshotter.save(snapshot)?;
        failpoint!(RaftBeforeWalSaveSnapshot);
        self.wal.save_snapshot(&record(snapshot)).map(drop)
    }

    /// Writes what is left and closes the log.
    ///
    /// # Errors
    /// As [`LogWriter::write`].
    pub fn close(self) -> Result<(), wal::Error> {
        self.wal.close()
    }
}

/// The record of a snapshot, for the log.
pub(crate) fn record(snapshot: &Snapshot) -> walpb::Snapshot {
    walpb::Snapshot {
        index: snapshot.metadata.index,
        term: snapshot.metadata.term,
        conf_state: Some(snapshot.metadata.conf_state.clone()),
    }
}
