//! A turn of the machine: what is queued, in order.

use std::{collections::VecDeque, sync::atomic::Ordering};

use proto::raftpb::Entry;

use super::{
    command::{Change, Command, Effects, Outcome, Waiter},
    machine::{Machine, Run},
    users::Users,
};
use crate::{
    error::Fatal,
    host::{Host, Step},
    plant::{Plant, broken},
};

impl Machine {
    /// Does what is queued, in order.
    ///
    /// # Errors
    /// The member must stop: an entry cannot be applied, or a snapshot not be put in place.
    pub fn turn<H: Host>(
        &mut self,
        commands: &mut VecDeque<Command>,
        host: &mut H,
        effects: &mut Effects,
    ) -> Result<(), Fatal> {
        for command in commands.drain(..) {
            match command {
                Command::Register(run) => self.register(run, host, effects),
                Command::Committed(entries) => self.apply_run(entries, host, effects)?,
                Command::Reads(reads) => self.reads.extend(reads),
                Command::Role { leads, leader } => self.change_role(leads, leader, effects),
                Command::Install(snapshot) => self.install(&snapshot, host, effects)?,
                Command::SnapshotSaved { index } => self.snapshot_saved(index, host),
                Command::SnapshotIfBlocking => self.snapshot_if_blocking(host),
                Command::SnapshotFor(line) => self.snapshot_for(line, host),
                Command::Look(waiter) => {
                    let look = Outcome::Look(Box::new(self.look()));
                    effects.answers.push((waiter, Ok(look)));
                }
                Command::Speak(line, waiter) => self.change_line(line, waiter, effects),
            }
        }
        self.answer_reads(effects);
        Ok(())
    }

    /// Forgets what is no longer needed of the log, and begins a snapshot if one is due. After
    /// each turn, once its effects are on their way.
    pub fn upkeep(&mut self, host: &mut impl Host) {
        self.forget_applied(host);
        self.follow_storage_version();
        self.snapshot_if_due(host);
    }

    /// A sole voter has no one to catch up: its log in memory need not reach
    /// back to the last snapshot.
    fn forget_applied(&mut self, host: &mut impl Host) {
        let keep = self.options.snapshot_catchup_entries;
        if self.applied < self.compacted + 2 * keep.max(1)
            || self.conf_state.voters != [self.identity.member_id]
        {
            return;
        }
        self.forget_log(self.applied - keep, host);
    }

    fn register(&mut self, run: Vec<(u64, Waiter)>, host: &impl Host, effects: &mut Effects) {
        if broken(Plant::AckBeforeCommit) {
            let done = run.iter().map(|(_, waiter)| (*waiter, Ok(Outcome::Done)));
            return effects.answers.extend(done);
        }
        self.waiters.register(run, || host.now_ms());
    }

    /// What [`Plant::IndexAheadOfData`] does; now and then the database is committed just then.
    fn run_ahead(&self, store: &mvcc::Store, entries: &[Entry]) {
        if let Some(last) = entries.last().filter(|e| e.index > self.consistent_index) {
            store.backend().set_consistent_index(last.into());
            if last.index.is_multiple_of(8) {
                // A disk that fails is met by whoever commits next.
                let _ = store.backend().commit_now();
            }
        }
    }

    fn change_role(&mut self, leads: bool, leader: u64, effects: &mut Effects) {
        effects.new_leader |= leader != 0;
        if self.leads == leads {
            return;
        }
        self.leads = leads;
        if !leads {
            self.leads_since_entry = false;
            self.state.sole_leader.store(false, Ordering::Release);
            self.state.lessor.write().demote();
            effects.leases_changed = true;
        }
    }

    fn answer_reads(&mut self, effects: &mut Effects) {
        let applied = self.applied;
        self.reads.retain(|(index, context)| {
            let waits = *index > applied && !broken(Plant::ReadBeforeApply);
            if !waits {
                effects.reads.push(context.clone());
            }
            waits
        });
    }

    fn apply_run<H: Host>(
        &mut self,
        entries: Vec<Entry>,
        host: &mut H,
        effects: &mut Effects,
    ) -> Result<(), Fatal> {
        let count = entries.len();
        host.observe(Step::RunBegins);
        let state = self.state.clone();
        let lessor = state.lessor.write();
        let store = state.store.load_full();
        if broken(Plant::IndexAheadOfData) {
            self.run_ahead(&store, &entries);
        }
        let mut run = Run {
            host,
            effects,
            writer: store.write(),
            lessor,
            users: Users::new(&state.auth),
        };
        let applied = entries
            .iter()
            .try_for_each(|entry| self.apply_entry(entry, &mut run));
        let Run {
            host,
            effects,
            writer,
            lessor,
            users,
        } = run;
        // Also where an entry cannot be applied: those before it are whole.
        let events = writer.publish();
        // Held until here if they were changed.
        drop(users);
        drop(lessor);
        applied?;
        state.applied.store(self.applied, Ordering::Release);
        let applied = self.applied;
        host.consensus(|node| node.applied_to(applied));
        if !events.is_empty() {
            effects.changes.push(Change::Events(events));
        }
        host.observe(Step::RunEnds(count));
        Ok(())
    }
}
