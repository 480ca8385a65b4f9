//! Progress: "you have received everything up to this revision", asked for by the
//! client or sent when a watch was idle.

use std::hash::Hash;

use super::{
    WatcherGroup,
    frame::{self, Notice},
    group::NO_WATCH,
};

impl<S: Copy + Eq + Hash> WatcherGroup<S> {
    /// The client asks how far the stream is. It is answered with watch id -1, at
    /// a revision not below the store's at the time of asking, once the group was
    /// told of that revision, which usually it is. As in etcd it is not answered
    /// if by then a watch of the stream is behind or starts later, or if there is
    /// no watch; the client asks again. Several questions get one answer.
    pub fn progress_request(&mut self, stream: S, store_revision: i64) {
        let Some(at) = self.slot_of_stream(stream) else {
            return;
        };
        let state = self.stream_mut(at);
        if state.asked.replace(store_revision).is_none() {
            self.asking.push(at);
        }
        self.answer_progress();
    }

    /// Answers, or drops, the questions that can be decided now.
    pub(super) fn answer_progress(&mut self) {
        let mut asking = std::mem::take(&mut self.asking);
        asking.retain(|at| {
            let stream = self.stream(*at);
            let Some(asked) = stream.asked else {
                return false;
            };
            if self.revision < asked.max(stream.named) && !stream.watches.is_empty() {
                return true;
            }
            let mut watches = stream.watches.values();
            let told = |slot: &u32| self.watchers[*slot as usize].may_hear_progress(self.revision);
            let answer = !stream.watches.is_empty() && watches.all(told);
            self.stream_mut(*at).asked = None;
            if answer {
                self.tell_progress(*at, NO_WATCH);
            }
            false
        });
        self.asking = asking;
    }

    /// Lets time pass: per stream, once per interval, each watch created with
    /// `progress_notify` that is synced and was sent nothing in the meantime is
    /// told how far it is. Call it at least ten times per interval; the first call
    /// that sees a stream starts its clock.
    pub fn tick_progress(&mut self, now_ms: u64) {
        for at in 0..self.streams.len() as u32 {
            let Some(stream) = &self.streams[at as usize] else {
                continue;
            };
            let is_due = match stream.due_ms {
                Some(due) if now_ms < due => continue,
                due => due.is_some(),
            };
            let due = now_ms.saturating_add(self.interval_ms());
            self.stream_mut(at).due_ms = Some(due);
            if is_due {
                self.tick_stream(at);
            }
        }
    }

    fn tick_stream(&mut self, at: u32) {
        let stream = self.stream(at);
        // A full stream will hear of its events first, and a header must not go
        // back before one that was sent.
        let silent = stream.out.len() >= self.options.stream_bytes || stream.named > self.revision;
        let slots: Vec<u32> = stream.watches.values().copied().collect();
        for slot in slots {
            let watcher = &mut self.watchers[slot as usize];
            if !watcher.progress_notify {
                continue;
            }
            let was_idle = std::mem::replace(&mut watcher.is_idle, true);
            if was_idle && !silent && watcher.may_hear_progress(self.revision) {
                let id = watcher.id;
                self.tell_progress(at, id);
            }
        }
    }

    fn tell_progress(&mut self, at: u32, watch_id: i64) {
        let header = self.header(self.revision);
        let revision = self.revision;
        let stream = self.stream_mut(at);
        stream.name(revision);
        frame::notice(&mut stream.out, &header, watch_id, Notice::default());
        self.mark_ready(at);
    }

    /// The interval and up to a tenth more, so that streams opened together do
    /// not stay together.
    fn interval_ms(&mut self) -> u64 {
        let interval = self.options.progress_interval_ms;
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        interval + self.random % (interval / 10).max(1)
    }
}
