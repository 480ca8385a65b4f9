//! Another line while the member runs: between two entries, so that each entry is applied at one
//! line, and only where a member that starts at that line would start.

use line::{Line, choice};

use super::{
    command::{Effects, Outcome, Waiter},
    look::Look,
    machine::Machine,
};
use crate::{
    snapshot::SnapshotState,
    status::{Code, Status},
};

impl Machine {
    /// What decides whether this member could go to another line.
    pub(super) fn look(&self) -> Look {
        let held_up = |line| self.storage.is_held_up(line, self.snapshot_index);
        Look {
            cluster: self.cluster.clone(),
            conf_state: self.conf_state.clone(),
            generation: self.generation,
            schema: self.storage.line,
            has_v2_keys: self.tree.has_user_data(),
            // One that has only begun leaves nothing behind yet.
            blocks_newer_release: self.blocks_newer_release
                || matches!(self.snapshot, SnapshotState::Running),
            is_held_up: Line::ALL.map(held_up),
            is_caught_up: self.adopted.is_none(),
        }
    }

    /// The line by which the next entry is applied.
    pub(super) fn line_of_entries(&self) -> Line {
        self.state.spoken.of_entries(self.cluster.version())
    }

    /// Speaks another line from the next entry on, and answers whoever asked for it.
    pub(super) fn change_line(&mut self, line: Line, waiter: Waiter, effects: &mut Effects) {
        let result = match self.not_ready_for(line) {
            None => {
                self.speak(line);
                Ok(Outcome::Done)
            }
            Some(why) => Err(Status::fixed(Code::FailedPrecondition, why)),
        };
        effects.answers.push((waiter, result));
    }

    /// Speaks a line that fits.
    pub(super) fn speak(&mut self, line: Line) {
        let from = self.state.line();
        if from == line {
            return;
        }
        self.state.spoken.speak(line);
        self.highest = self.highest.max(line);
        tracing::info!(
            from = %from,
            to = %line,
            "server-version" = line.release(),
            index = self.applied,
            "speaking another line of etcd"
        );
    }

    /// Why the next entry cannot be applied at `line`.
    fn not_ready_for(&self, line: Line) -> Option<&'static str> {
        let version = self.cluster.version();
        if self.adopted.is_some() {
            return Some("the log is still being applied anew");
        }
        if version.is_none_or(|version| !line.takes_part_in(version)) {
            return Some("the cluster version is above that line");
        }
        if version.is_some_and(|version| choice::is_far_above(line, version)) {
            return Some("the cluster version is more than one minor version below that line");
        }
        if line < self.storage.line {
            return Some("the schema of the database is above that line");
        }
        // The release of that line may be started on what is on disk.
        let is_running = matches!(self.snapshot, SnapshotState::Running);
        if line > self.state.line() && (self.blocks_newer_release || is_running) {
            return Some("the snapshot that leaves behind requests of the v2 API is not on disk");
        }
        let is_on_disk = !self.forces_snapshot && !is_running;
        if line < self.state.line() && !is_on_disk {
            return Some("the snapshot after the lower cluster version is not on disk");
        }
        None
    }
}
