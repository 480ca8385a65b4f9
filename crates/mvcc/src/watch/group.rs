//! Creation and cancellation of watches, and what a stream has to write.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

use bytes::BytesMut;
use proto::etcdserverpb::{WatchCreateRequest, watch_create_request::FilterType};

use super::{
    frame::{self, Header, Notice},
    gathered::Whole,
    index::Index,
    range::Range,
    reason,
    scratch::Scratch,
    stream::Stream,
    watcher::Watcher,
};

/// The id in responses that belong to no watch.
pub(super) const NO_WATCH: i64 = -1;

/// What does not change while a group lives.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// For response headers.
    pub cluster_id: u64,
    /// For response headers.
    pub member_id: u64,
    /// From this size on a response is split for watches that ask for fragments:
    /// the request limit plus 512 KiB.
    pub fragment_bytes: usize,
    /// A stream with this much untaken output is full: its watchers that have
    /// events coming fall behind. A stream holds this much and one response.
    pub stream_bytes: usize,
    /// Output that is taken at once: a connection that cannot write holds this much of each stream,
    /// in addition to what the stream holds.
    pub piece_bytes: usize,
    /// A response with history for one of many watchers is closed at the next
    /// revision once it has this much.
    pub response_bytes: usize,
    /// The same for a watcher that is read for alone: etcd sends a history whole,
    /// however large, but memory has to end somewhere.
    pub whole_bytes: usize,
    /// Idle time after which a watch with `progress_notify` hears of progress; up
    /// to a tenth is added per stream and round.
    pub progress_interval_ms: u64,
    /// Any number that clients cannot know.
    pub seed: u64,
}

impl Default for Options {
    /// etcd's defaults: 1.5 MiB requests, 10 minutes; 512 KiB of output per stream: a few
    /// hundred events of most, and etcd holds as much in queues and buffers.
    fn default() -> Options {
        Options {
            cluster_id: 0,
            member_id: 0,
            fragment_bytes: 1_572_864 + 512 * 1024,
            stream_bytes: 512 << 10,
            piece_bytes: 64 << 10,
            response_bytes: 256 * 1024,
            whole_bytes: 32 << 20,
            progress_interval_ms: 600_000,
            seed: 1,
        }
    }
}

/// Sizes of a group, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Open streams.
    pub streams: usize,
    /// Watchers on them.
    pub watchers: usize,
    /// Watchers that are behind.
    pub behind: usize,
    /// Bytes of output not yet taken.
    pub output_bytes: usize,
}

/// All watchers of one runtime thread; `S` names a stream. See the module's page.
///
/// **Who calls what.** Each batch goes to [`notify`](Self::notify), in order.
/// [`catch_up`](Self::catch_up) runs while [`has_lagging`](Self::has_lagging).
/// Whatever was called, [`take_ready`](Self::take_ready) then names the streams
/// that have something to write. The owner reads no requests from a stream that
/// [`is_full`](Self::is_full), so that a client which only asks and never reads
/// cannot make it grow.
///
/// The store revision given with a request must be read after the group began to
/// be sent batches, and a batch be sent after its revision can be read.
#[derive(Debug)]
pub struct WatcherGroup<S> {
    pub(super) options: Options,
    raft_term: u64,
    /// All events up to here were sent, or are for watchers that are behind.
    pub(super) revision: i64,
    pub(super) index: Index,
    pub(super) watchers: Vec<Watcher>,
    /// Range and free slots, apart from what every event touches.
    pub(super) ranges: Vec<Option<Range>>,
    free: Vec<u32>,
    by_key: HashMap<S, u32>,
    pub(super) streams: Vec<Option<Stream<S>>>,
    free_streams: Vec<u32>,
    pub(super) ready: Vec<u32>,
    pub(super) lagging: VecDeque<u32>,
    /// The history that is being read for one watcher alone.
    pub(super) whole: Option<Whole>,
    /// Streams with `asked` set, perhaps some without.
    pub(super) asking: Vec<u32>,
    pub(super) scratch: Scratch,
    pub(super) random: u64,
    events_taken: u64,
    /// The sum of the streams' `events`.
    pub(super) events_pending: u64,
}

impl<S: Copy + Eq + Hash> WatcherGroup<S> {
    /// A group that has seen everything up to `revision` of the store.
    pub fn new(options: Options, revision: i64) -> WatcherGroup<S> {
        WatcherGroup {
            options,
            raft_term: 0,
            revision,
            index: Index::new(options.seed),
            watchers: Vec::new(),
            ranges: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            streams: Vec::new(),
            free_streams: Vec::new(),
            ready: Vec::new(),
            lagging: VecDeque::new(),
            whole: None,
            asking: Vec::new(),
            scratch: Scratch::default(),
            random: options.seed | 1,
            events_taken: 0,
            events_pending: 0,
        }
    }

    /// The raft term for response headers from now on.
    pub fn set_raft_term(&mut self, term: u64) {
        self.raft_term = term;
    }

    /// The last revision that the group received.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Makes a watch and queues its response; the stream is opened by its first
    /// request. Gives the watch id, `None` if the watch was refused or, its start
    /// being compacted, ended at once. The two revisions are the store's.
    pub fn create(
        &mut self,
        stream: S,
        request: &WatchCreateRequest,
        store_revision: i64,
        compact_revision: i64,
    ) -> Option<i64> {
        if self.watcher_count() == 0 {
            // Batches may not have come while no one watched. Those that come
            // late are skipped; who wants them reads history.
            self.revision = self.revision.max(store_revision);
        }
        let start = request.start_revision;
        if start < 0 {
            self.refuse(stream, reason::NEGATIVE_START, store_revision);
            return None;
        }
        let Some(range) = Range::parse(&request.key, &request.range_end) else {
            self.refuse(stream, reason::EMPTY_RANGE, store_revision);
            return None;
        };
        let at = self.open(stream);
        let state = self.streams[at as usize].as_mut().expect("open");
        let Some(id) = state.pick_id(request.watch_id) else {
            self.refuse(stream, reason::DUPLICATE_ID, store_revision);
            return None;
        };
        let created = Notice {
            created: true,
            ..Notice::default()
        };
        self.tell(at, store_revision, id, created);
        if start != 0 && start <= store_revision && start < compact_revision {
            self.tell_compacted(at, id, compact_revision);
            return None;
        }
        let next = if start == 0 {
            store_revision + 1
        } else {
            start
        };
        let has = |filter: FilterType| request.filters.contains(&(filter as i32));
        let watcher = Watcher {
            id,
            next,
            since: if start == 0 { store_revision } else { start },
            stream: at,
            is_idle: true,
            progress_notify: request.progress_notify,
            prev_kv: request.prev_kv,
            fragment: request.fragment,
            no_put: has(FilterType::Noput),
            no_delete: has(FilterType::Nodelete),
            ..Watcher::default()
        };
        let slot = self.seat(watcher, range);
        let state = self.streams[at as usize].as_mut().expect("open");
        state.watches.insert(id, slot);
        if next <= self.revision {
            self.fall_behind(slot, next);
        }
        Some(id)
    }

    /// Queues the answer to a creation that may not be: created and cancelled at
    /// once, for a reason that clients compare. The server uses it for what it
    /// checks itself, such as permission.
    pub fn refuse(&mut self, stream: S, cancel_reason: &str, store_revision: i64) {
        let at = self.open(stream);
        let notice = Notice {
            created: true,
            canceled: true,
            cancel_reason,
            ..Notice::default()
        };
        self.tell(at, store_revision, NO_WATCH, notice);
    }

    /// Ends a watch and queues the answer. An unknown id is passed over.
    pub fn cancel(&mut self, stream: S, watch_id: i64, store_revision: i64) {
        let Some(&at) = self.by_key.get(&stream) else {
            return;
        };
        let state = self.streams[at as usize].as_mut().expect("open");
        if let Some(slot) = state.watches.remove(&watch_id) {
            self.unseat(slot);
        } else if !state.ended.remove(&watch_id) {
            return;
        }
        let notice = Notice {
            canceled: true,
            ..Notice::default()
        };
        self.tell(at, store_revision, watch_id, notice);
    }

    /// Forgets a stream, its watches and its output. An unknown one is passed over.
    pub fn close_stream(&mut self, stream: S) {
        let Some(at) = self.by_key.remove(&stream) else {
            return;
        };
        let mut state = self.streams[at as usize].take().expect("open");
        state.behind.clear();
        self.events_pending -= state.events;
        for slot in state.watches.into_values() {
            self.unseat(slot);
        }
        self.ready.retain(|other| *other != at);
        self.lagging.retain(|other| *other != at);
        self.asking.retain(|other| *other != at);
        self.free_streams.push(at);
    }

    /// Lists the streams that have output and were not listed since.
    pub fn take_ready(&mut self, into: &mut Vec<S>) {
        for at in self.ready.drain(..) {
            if let Some(stream) = &mut self.streams[at as usize] {
                stream.is_ready = false;
                into.push(stream.key);
            }
        }
    }

    /// Takes output of a stream, whole gRPC frames, to the end of `out`; gives the number of bytes:
    /// up to [`Options::piece_bytes`], or one frame that is longer. An empty `out` is exchanged for
    /// the output, or shares it, and nothing is copied. Take it only when it can be written: what
    /// is taken is no longer bounded.
    pub fn next_output(&mut self, stream: S, out: &mut BytesMut) -> usize {
        let Some(&at) = self.by_key.get(&stream) else {
            return 0;
        };
        let stream = self.streams[at as usize].as_mut().expect("open");
        let output = &mut stream.out;
        let piece = frames_within(output, self.options.piece_bytes);
        if piece < output.len() {
            out.unsplit(output.split_to(piece));
            return piece;
        }
        let events = std::mem::take(&mut stream.events);
        self.events_taken += events;
        self.events_pending -= events;
        let len = output.len();
        if out.is_empty() {
            std::mem::swap(out, output);
        } else {
            out.extend_from_slice(output);
            output.clear();
        }
        // A burst must not keep its memory on a stream that is quiet again.
        if output.capacity() > 2 * self.options.stream_bytes {
            *output = BytesMut::new();
        }
        len
    }

    /// True while a stream's output has reached its bound.
    pub fn is_full(&self, stream: S) -> bool {
        let at = self.by_key.get(&stream);
        at.is_some_and(|at| self.stream(*at).out.len() >= self.options.stream_bytes)
    }

    /// Events in outputs taken so far.
    pub fn events_taken(&self) -> u64 {
        self.events_taken
    }

    /// Events in outputs not yet taken.
    pub fn events_pending(&self) -> u64 {
        self.events_pending
    }

    /// Counts what there is; walks the streams.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats {
            watchers: self.watcher_count(),
            ..Stats::default()
        };
        for stream in self.streams.iter().flatten() {
            stats.streams += 1;
            stats.behind += stream.behind.len();
            stats.output_bytes += stream.out.len();
        }
        stats
    }

    fn watcher_count(&self) -> usize {
        self.watchers.len() - self.free.len()
    }

    pub(super) fn header(&self, revision: i64) -> Header {
        let Options {
            cluster_id,
            member_id,
            ..
        } = self.options;
        Header::new(cluster_id, member_id, revision, self.raft_term)
    }

    pub(super) fn slot_of_stream(&self, stream: S) -> Option<u32> {
        self.by_key.get(&stream).copied()
    }

    pub(super) fn stream(&self, at: u32) -> &Stream<S> {
        self.streams[at as usize].as_ref().expect("open")
    }

    pub(super) fn stream_mut(&mut self, at: u32) -> &mut Stream<S> {
        self.streams[at as usize].as_mut().expect("open")
    }

    fn open(&mut self, stream: S) -> u32 {
        if let Some(&at) = self.by_key.get(&stream) {
            return at;
        }
        let state = Some(Stream::new(stream));
        let at = match self.free_streams.pop() {
            Some(at) => {
                self.streams[at as usize] = state;
                at
            }
            None => {
                self.streams.push(state);
                (self.streams.len() - 1) as u32
            }
        };
        self.by_key.insert(stream, at);
        at
    }

    /// Queues a response without events, at the store's revision.
    fn tell(&mut self, at: u32, store_revision: i64, id: i64, notice: Notice<'_>) {
        let revision = self.stream_mut(at).name(store_revision);
        let header = self.header(revision);
        frame::notice(&mut self.stream_mut(at).out, &header, id, notice);
        self.mark_ready(at);
    }

    /// Queues the end of a watch whose history is gone. Its header has no
    /// revision, as etcd's has none.
    pub(super) fn tell_compacted(&mut self, at: u32, id: i64, compact_revision: i64) {
        let header = self.header(0);
        let stream = self.stream_mut(at);
        stream.keep_ended(id);
        let notice = Notice {
            canceled: true,
            compact_revision,
            ..Notice::default()
        };
        frame::notice(&mut stream.out, &header, id, notice);
        self.mark_ready(at);
    }

    pub(super) fn mark_ready(&mut self, at: u32) {
        let stream = self.streams[at as usize].as_mut().expect("open");
        if !stream.is_ready {
            stream.is_ready = true;
            self.ready.push(at);
        }
    }

    fn seat(&mut self, watcher: Watcher, range: Range) -> u32 {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.watchers.push(Watcher::default());
                self.ranges.push(None);
                (self.watchers.len() - 1) as u32
            }
        };
        let place = self.index.insert(&range, slot);
        self.watchers[slot as usize] = Watcher { place, ..watcher };
        self.ranges[slot as usize] = Some(range);
        slot
    }

    /// Gives a watcher's slot free; its stream no longer lists it.
    pub(super) fn unseat(&mut self, slot: u32) {
        let Watcher { place, stream, .. } = self.watchers[slot as usize];
        self.whole.take_if(|whole| whole.is_of(slot));
        if let Some(range) = self.ranges[slot as usize].take()
            && let Some(moved) = self.index.remove(&range, place)
        {
            self.watchers[moved as usize].place = place;
        }
        if self.watchers[slot as usize].is_behind
            && let Some(stream) = &mut self.streams[stream as usize]
        {
            stream.behind.retain(|other| *other != slot);
        }
        self.watchers[slot as usize] = Watcher::default();
        self.free.push(slot);
    }

    /// A watcher gets nothing live from now on, but history from `next`.
    pub(super) fn fall_behind(&mut self, slot: u32, next: i64) {
        let watcher = &mut self.watchers[slot as usize];
        watcher.next = next;
        watcher.is_behind = true;
        let at = watcher.stream;
        let stream = self.streams[at as usize].as_mut().expect("open");
        stream.behind.push(slot);
        if !stream.is_lagging {
            stream.is_lagging = true;
            self.lagging.push_back(at);
        }
    }
}

/// Bytes in front of a message: not compressed, and its length.
const HEAD: usize = 5;

/// The length of the whole frames at the beginning of `output` that have up to `most` bytes
/// together; of the first one at least.
fn frames_within(output: &[u8], most: usize) -> usize {
    if output.len() <= most {
        return output.len();
    }
    let mut end = 0;
    let head = |at| output.get(at..).and_then(<[u8]>::first_chunk);
    while let Some(&[_, a, b, c, d]) = head(end) {
        let next = end + HEAD + u32::from_be_bytes([a, b, c, d]) as usize;
        if end > 0 && next > most {
            break;
        }
        end = next;
    }
    end.min(output.len())
}
