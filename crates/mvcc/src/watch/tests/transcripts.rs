//! What goes in and what comes out, as transcripts. Lines that begin with `<` are
//! the responses to the line above, those of one stream in order; answers that
//! etcd 3.5.30 was seen to give to the same requests are marked so.

use std::{collections::VecDeque, fmt::Write as _, sync::Arc};

use proto::etcdserverpb::{WatchCreateRequest, WatchResponse};

use super::*;
use crate::watch::Options;

struct Script {
    log: Log,
    group: WatcherGroup<u32>,
    /// Written, not yet told to the group.
    held: VecDeque<Arc<EventBatch>>,
    is_holding: bool,
    /// Streams whose output is left where it is.
    slow: Vec<u32>,
}

/// Runs the lines that are not answers and compares the answers.
fn transcript(options: Options, script: &str) {
    let mut state = Script {
        log: Log::new(),
        group: WatcherGroup::new(options, 1),
        held: VecDeque::new(),
        is_holding: false,
        slow: Vec::new(),
    };
    let mut got = String::new();
    let lines = script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let want: String = lines.clone().map(|line| format!("{line}\n")).collect();
    for line in lines.filter(|line| !line.contains('<')) {
        writeln!(got, "{line}").expect("written");
        state.step(line);
        let mut ready = Vec::new();
        state.group.take_ready(&mut ready);
        ready.extend(state.slow.iter());
        ready.sort_unstable();
        ready.dedup();
        for stream in ready {
            if line == "drain" || !state.slow.contains(&stream) {
                for response in drain(&mut state.group, stream) {
                    writeln!(got, "{stream}< {}", show(&response)).expect("written");
                }
            }
        }
    }
    assert!(got == want, "got\n{got}\nwanted\n{want}");
}

impl Script {
    fn step(&mut self, line: &str) {
        let line = line.split(" #").next().expect("a line");
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |word: &str| word.parse::<i64>().expect("a number");
        match words[..] {
            ["put" | "del" | "txn", ..] => self.write(&words),
            ["compact", revision] => self.log.compact_revision = number(revision),
            ["hold"] => self.is_holding = true,
            ["deliver"] => {
                self.is_holding = false;
                self.tell();
            }
            ["lose"] => self.held.clear(),
            ["advance"] => self.group.advance(self.log.revision),
            ["slow", stream] => self.slow.push(number(stream) as u32),
            ["break"] => self.log.is_broken.set(true),
            ["mend"] => self.log.is_broken.set(false),
            ["drain"] => {}
            ["catch", "up", "fails"] => {
                let error = self
                    .group
                    .catch_up(&self.log, 1 << 20)
                    .expect_err("an error");
                assert_eq!(error, HistoryError::Read("broken".into()));
            }
            ["catch", "up"] => while self.group.catch_up(&self.log, 1 << 20).expect("read") {},
            ["tick", ms] => self.group.tick_progress(number(ms) as u64),
            ["close", stream] => self.group.close_stream(number(stream) as u32),
            [stream, "create", ..] => {
                let request = create(&words[2..]);
                let (revision, compacted) = (self.log.revision, self.log.compact_revision);
                let stream = number(stream.trim_end_matches('>')) as u32;
                self.group.create(stream, &request, revision, compacted);
            }
            [stream, "cancel", id] => {
                let stream = number(stream.trim_end_matches('>')) as u32;
                self.group.cancel(stream, number(id), self.log.revision);
            }
            [stream, "progress"] => {
                let stream = number(stream.trim_end_matches('>')) as u32;
                self.group.progress_request(stream, self.log.revision);
            }
            _ => panic!("what is {line:?}?"),
        }
    }

    fn write(&mut self, words: &[&str]) {
        let mut writes = Vec::new();
        for part in words.split(|word| *word == "txn" || *word == ";") {
            match part {
                [] => {}
                ["put", key, value] => writes.push((*key, Some(*value))),
                ["del", key] => writes.push((*key, None)),
                _ => panic!("what is {part:?}?"),
            }
        }
        self.held.extend(self.log.write(&writes));
        if !self.is_holding {
            self.tell();
        }
    }

    fn tell(&mut self) {
        for batch in self.held.drain(..) {
            self.group.notify(&batch, &self.log);
        }
    }
}

fn create(words: &[&str]) -> WatchCreateRequest {
    let mut request = WatchCreateRequest::default();
    for word in words {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let bytes = || Bytes::copy_from_slice(value.replace("\\0", "\0").as_bytes());
        match name {
            "key" => request.key = bytes(),
            "end" => request.range_end = bytes(),
            "rev" => request.start_revision = value.parse().expect("a number"),
            "id" => request.watch_id = value.parse().expect("a number"),
            "prev" => request.prev_kv = true,
            "notify" => request.progress_notify = true,
            "fragment" => request.fragment = true,
            "noput" => request.filters.push(0),
            "nodelete" => request.filters.push(1),
            "filter" => request.filters.push(value.parse().expect("a number")),
            _ => panic!("what is {word:?}?"),
        }
    }
    request
}

fn show(response: &WatchResponse) -> String {
    let header = response.header.as_ref().expect("a header");
    let mut text = format!("{} @{}", response.watch_id, header.revision);
    for (name, is_set) in [
        ("created", response.created),
        ("canceled", response.canceled),
        ("fragment", response.fragment),
    ] {
        if is_set {
            write!(text, " {name}").expect("written");
        }
    }
    if response.compact_revision != 0 {
        write!(text, " compacted={}", response.compact_revision).expect("written");
    }
    if !response.cancel_reason.is_empty() {
        write!(text, " {:?}", response.cancel_reason).expect("written");
    }
    let value = |kv: &mvccpb::KeyValue| String::from_utf8_lossy(&kv.value).into_owned();
    for event in &response.events {
        let kv = event.kv.as_ref().expect("a kv");
        let key = String::from_utf8_lossy(&kv.key);
        let what = match event.r#type {
            0 => format!("{key}={}", value(kv)),
            _ => format!("-{key}"),
        };
        let prev = event
            .prev_kv
            .as_ref()
            .map(|kv| format!("(was {})", value(kv)));
        write!(
            text,
            " {what}{}:{}",
            prev.unwrap_or_default(),
            kv.mod_revision
        )
        .expect("written");
    }
    text
}

fn defaults() -> Options {
    Options {
        cluster_id: u64::MAX,
        member_id: 2,
        ..Options::default()
    }
}

#[test]
fn ids_are_picked_and_taken_as_etcd_does() {
    transcript(
        defaults(),
        "
        1> create key=a
        1< 0 @1 created
        1> create key=a id=5
        1< 5 @1 created
        1> create key=a id=5
        1< -1 @1 created canceled \"mvcc: duplicate watch ID provided on the WatchStream\"
        1> create key=a id=1
        1< 1 @1 created
        1> create key=a
        1< 2 @1 created
        1> create key=a id=-5
        1< -5 @1 created
        1> cancel 77
        1> cancel 1
        1< 1 @1 canceled
        1> cancel 1
        2> create key=a
        2< 0 @1 created
        1> create key=a
        1< 3 @1 created
        1> create key=a
        1< 4 @1 created
        1> create key=a
        1< 6 @1 created
        ",
    );
}

#[test]
fn refusals_come_in_etcds_order_and_words() {
    transcript(
        defaults(),
        "
        1> create key=b end=a
        1< -1 @1 created canceled \"mvcc: watcher range is empty\"
        1> create key=b end=b
        1< -1 @1 created canceled \"mvcc: watcher range is empty\"
        1> create key=b end=a rev=-1
        1< -1 @1 created canceled \"etcdserver: mvcc: required revision has been compacted\"
        1> create key=a
        1< 0 @1 created
        1> create key=a id=7
        1< 7 @1 created
        1> create key=a id=7 rev=-1
        1< -1 @1 created canceled \"etcdserver: mvcc: required revision has been compacted\"
        1> create key=b end=a id=7
        1< -1 @1 created canceled \"mvcc: watcher range is empty\"
        ",
    );
}

#[test]
fn a_watch_hears_of_its_keys_from_now_on() {
    transcript(
        defaults(),
        "
        put a 1
        1> create key=a
        1< 0 @2 created
        1> create key=a end=c prev
        1< 1 @2 created
        1> create key=\\0 end=\\0
        1< 2 @2 created
        put a 2
        1< 0 @3 a=2:3
        1< 2 @3 a=2:3
        1< 1 @3 a=2(was 1):3
        del a
        1< 0 @4 -a:4
        1< 2 @4 -a:4
        1< 1 @4 -a(was 2):4
        put d 1
        1< 2 @5 d=1:5
        txn put c 1 ; put b 1 ; del d
        1< 2 @6 c=1:6 b=1:6 -d:6
        1< 1 @6 b=1:6
        ",
    );
}

#[test]
fn filters_drop_events_and_unknown_filters_do_nothing() {
    transcript(
        defaults(),
        "
        1> create key=a noput
        1< 0 @1 created
        1> create key=a nodelete
        1< 1 @1 created
        1> create key=a noput nodelete
        1< 2 @1 created
        1> create key=a filter=9
        1< 3 @1 created
        put a 1
        1< 1 @2 a=1:2
        1< 3 @2 a=1:2
        del a
        1< 0 @3 -a:3
        1< 3 @3 -a:3
        1> create key=a rev=1 noput
        1< 4 @3 created
        catch up
        1< 4 @3 -a:3
        ",
    );
}

#[test]
fn the_past_comes_first_merged_and_with_previous_values() {
    transcript(
        defaults(),
        "
        put a 1
        put a 2
        txn put b 1 ; del a
        put x 1
        1> create key=a end=c rev=1 prev
        1< 0 @5 created
        put a 3
        catch up
        1< 0 @6 a=1:2 a=2(was 1):3 b=1:4 -a(was 2):4 a=3:6
        put a 4
        1< 0 @7 a=4(was 3):7
        1> create key=a rev=3
        1< 1 @7 created
        catch up
        1< 1 @7 a=2:3 -a:4 a=3:6 a=4:7
        ",
    );
}

#[test]
fn a_future_start_waits_and_withholds_progress() {
    transcript(
        defaults(),
        "
        1> create key=a rev=4
        1< 0 @1 created
        put a 2
        put a 3
        1> progress
        put a 4
        1< 0 @4 a=4:4
        1> progress
        1< -1 @4
        1> create key=a rev=5 # the next revision is the future too, for etcd
        1< 1 @4 created
        1> progress
        ",
    );
}

#[test]
fn progress_needs_a_watch_and_all_of_them_synced() {
    transcript(
        defaults(),
        "
        put a 1
        1> progress
        1> create key=b
        1< 0 @2 created
        1> progress
        1< -1 @2
        1> create key=a rev=1
        1< 1 @2 created
        1> progress
        catch up
        1< 1 @2 a=1:2
        1> progress
        1< -1 @2
        ",
    );
}

#[test]
fn progress_waits_for_batches_on_their_way_and_never_overtakes_them() {
    transcript(
        defaults(),
        "
        1> create key=a
        1< 0 @1 created
        hold
        put a 1
        put b 1
        1> progress
        1> progress
        put a 2
        1> create key=a
        1< 1 @4 created
        deliver
        1< 0 @4 a=1:2
        1< 0 @4 a=2:4
        1< -1 @4
        ",
    );
}

#[test]
fn a_question_about_no_watch_is_dropped_even_if_batches_are_on_their_way() {
    transcript(
        defaults(),
        "
        hold
        put a 1
        1> create key=a
        1< 0 @2 created
        1> cancel 0
        1< 0 @2 canceled
        put a 2
        1> progress
        1> create key=a
        1< 1 @3 created
        deliver
        put b 1
        ",
    );
}

#[test]
fn a_compacted_start_is_created_then_ended() {
    transcript(
        defaults(),
        "
        put a 1
        put a 2
        put a 3
        compact 3
        1> create key=a rev=2
        1< 0 @4 created
        1< 0 @0 canceled compacted=3
        1> create key=a rev=3
        1< 1 @4 created
        catch up
        1< 1 @4 a=2:3 a=3:4
        1> progress # an ended watch holds nothing back, other than in etcd
        1< -1 @4
        1> cancel 0
        1< 0 @4 canceled
        1> cancel 0
        1> create key=a rev=2 id=7
        1< 7 @4 created
        1< 7 @0 canceled compacted=3
        1> create key=a id=7
        1< -1 @4 created canceled \"mvcc: duplicate watch ID provided on the WatchStream\"
        ",
    );
}

#[test]
fn compaction_overtakes_a_watcher_that_is_behind() {
    transcript(
        defaults(),
        "
        put a 1
        put b 2
        put b 3
        1> create key=a rev=2
        1< 0 @4 created
        1> create key=a rev=4
        1< 1 @4 created
        compact 4
        catch up
        1< 0 @0 canceled compacted=4
        put a 2
        1< 1 @5 a=2:5
        ",
    );
}

/// A frame with one short event has some forty bytes: two fill the stream.
fn narrow() -> Options {
    Options {
        stream_bytes: 60,
        ..defaults()
    }
}

#[test]
fn a_slow_stream_loses_nothing_and_blocks_nobody() {
    transcript(
        narrow(),
        "
        1> create key=a end=c
        1< 0 @1 created
        1> create key=z
        1< 1 @1 created
        2> create key=a
        2< 0 @1 created
        slow 1
        put a 1
        2< 0 @2 a=1:2
        put a 2
        2< 0 @3 a=2:3
        put a 3
        2< 0 @4 a=3:4
        txn del a ; put b 1
        2< 0 @5 -a:5
        catch up
        1> progress
        drain
        1< 0 @2 a=1:2
        1< 0 @3 a=2:3
        1> progress
        catch up
        drain
        1< 0 @5 a=3:4 -a:5 b=1:5
        put z 1
        1> progress
        drain
        1< 1 @6 z=1:6
        1< -1 @6
        ",
    );
}

#[test]
fn output_is_taken_in_pieces_of_whole_frames() {
    let options = Options {
        piece_bytes: 100,
        ..defaults()
    };
    let (mut group, mut log) = (WatcherGroup::new(options, 1), Log::new());
    group.create(1, &create(&["key=a"]), log.revision, 0);
    let long = "v".repeat(300);
    for value in ["1", "2", "3", long.as_str(), "4"] {
        let batch = log.write(&[("a", Some(value))]);
        group.notify(&batch.expect("changed"), &log);
    }
    assert_eq!(group.events_pending(), 5);
    let (mut whole, mut pieces) = (BytesMut::new(), Vec::new());
    loop {
        let mut out = BytesMut::new();
        if group.next_output(1, &mut out) == 0 {
            break;
        }
        whole.extend_from_slice(&out);
        let mut frames = 0;
        while !out.is_empty() {
            out.advance(1);
            let len = out.get_u32() as usize;
            out.advance(len);
            frames += 1;
        }
        pieces.push(frames);
    }
    // Created, and the first events as far as they fit; one that does not fit alone.
    assert_eq!(pieces.iter().sum::<usize>(), 6);
    assert!(pieces.len() > 3, "{pieces:?}");
    assert!(pieces[pieces.len() - 2..] == [1, 1], "{pieces:?}");
    assert!(whole.len() > 300 + 4 * 30);
    assert_eq!((group.events_pending(), group.events_taken()), (0, 5));
}

#[test]
fn batches_that_were_dropped_are_read_from_history() {
    transcript(
        defaults(),
        "
        1> create key=a
        1< 0 @1 created
        1> create key=a rev=4
        1< 1 @1 created
        hold
        put a 2
        put a 3
        lose
        put a 4
        deliver
        1< 1 @4 a=4:4
        catch up
        1< 0 @4 a=2:2 a=3:3 a=4:4
        hold
        put a 5
        lose
        advance
        catch up
        1< 0 @5 a=5:5
        1< 1 @5 a=5:5
        ",
    );
}

#[test]
fn a_group_nobody_used_takes_up_at_the_stores_revision() {
    transcript(
        defaults(),
        "
        hold
        put a 2
        put a 3
        1> create key=a
        1< 0 @3 created
        1> create key=a rev=3
        1< 1 @3 created
        deliver
        catch up
        1< 1 @3 a=3:3
        put a 4
        1< 0 @4 a=4:4
        1< 1 @4 a=4:4
        ",
    );
}

#[test]
fn a_watch_made_ahead_of_the_batches_does_not_hear_of_them() {
    transcript(
        defaults(),
        "
        1> create key=x
        1< 0 @1 created
        hold
        put a 2
        put x 3
        2> create key=a end=z
        2< 0 @3 created
        1> create key=a end=z rev=3
        1< 1 @3 created
        put a 4
        deliver
        1< 0 @3 x=3:3
        1< 1 @3 x=3:3
        1< 1 @4 a=4:4
        2< 0 @4 a=4:4
        ",
    );
}

#[test]
fn idle_watches_hear_of_progress() {
    let options = Options {
        progress_interval_ms: 9, // too little for jitter
        ..defaults()
    };
    transcript(
        options,
        "
        1> create key=a notify
        1< 0 @1 created
        1> create key=b
        1< 1 @1 created
        2> create key=a notify rev=4
        2< 0 @1 created
        tick 0
        tick 8
        tick 9
        1< 0 @1
        put a 1
        1< 0 @2 a=1:2
        tick 18
        tick 26
        tick 27
        1< 0 @2
        put c 1
        tick 36
        1< 0 @3
        put c 1
        tick 45
        1< 0 @4
        2< 0 @4
        ",
    );
}

/// The response has 67 bytes: 17 of header, 2 of id, 16 for each event.
#[test]
fn large_responses_are_split_only_if_asked() {
    for (fragment_bytes, parts) in [
        (68, "1< 1 @2 a=1:2 b=1:2 c=1:2"),
        (67, "1< 1 @2 fragment a=1:2 b=1:2\n1< 1 @2 c=1:2"),
        (54, "1< 1 @2 fragment a=1:2 b=1:2\n1< 1 @2 c=1:2"),
        (
            53,
            "1< 1 @2 fragment a=1:2\n1< 1 @2 fragment b=1:2\n1< 1 @2 c=1:2",
        ),
        (
            1,
            "1< 1 @2 fragment a=1:2\n1< 1 @2 fragment b=1:2\n1< 1 @2 c=1:2",
        ),
    ] {
        let script = format!(
            "
            1> create key=a end=z
            1< 0 @1 created
            1> create key=a end=z fragment
            1< 1 @1 created
            txn put a 1 ; put b 1 ; put c 1
            1< 0 @2 a=1:2 b=1:2 c=1:2
            {parts}
            put a 2
            1< 0 @3 a=2:3
            1< 1 @3 a=2:3
            "
        );
        let options = Options {
            fragment_bytes,
            ..defaults()
        };
        transcript(options, &script);
    }
}

#[test]
fn an_event_whose_previous_value_cannot_be_read_is_not_told_without_it() {
    transcript(
        defaults(),
        "
        put a 1
        put b 1
        1> create key=a end=z prev
        1< 0 @3 created
        1> create key=a
        1< 1 @3 created
        break
        put c 1
        1< 0 @4 c=1:4
        put a 2
        1< 1 @5 a=2:5
        txn put a 3 ; put b 2
        1< 1 @6 a=3:6
        catch up fails
        1> progress
        mend
        catch up
        1< 0 @6 a=2(was 1):5 a=3(was 2):6 b=2(was 1):6
        put c 2
        1< 0 @7 c=2(was 1):7
        break
        txn put a 4 ; put d 1
        1< 1 @8 a=4:8
        mend
        catch up
        1< 0 @8 a=4(was 3):8 d=1:8
        ",
    );
}

#[test]
fn closing_a_stream_leaves_nothing() {
    let mut group = WatcherGroup::new(narrow(), 1);
    let mut log = Log::new();
    for stream in 0..4 {
        group.create(stream, &create(&["key=a"]), 1, 0);
        group.create(stream, &create(&["key=a", "end=b", "notify"]), 1, 0);
    }
    for _ in 0..5 {
        let batch = log.write(&[("a", Some("1"))]).expect("changed");
        group.notify(&batch, &log);
    }
    assert!(group.is_full(3) && group.has_lagging());
    for stream in 0..4 {
        group.progress_request(stream, log.revision);
        group.close_stream(stream);
        group.close_stream(stream);
    }
    assert_eq!(group.stats(), Default::default());
    assert!(!group.has_lagging());
    let mut ready = Vec::new();
    group.take_ready(&mut ready);
    assert!(ready.is_empty());
    group.tick_progress(1 << 40);
    assert_eq!(group.catch_up(&log, 1 << 20), Ok(false));
}

#[test]
fn a_client_that_never_cancels_what_ended_is_forgotten_in_the_end() {
    let mut group = WatcherGroup::new(defaults(), 9);
    for _ in 0..4_097 {
        assert_eq!(group.create(1, &create(&["key=a", "rev=2"]), 9, 5), None);
    }
    drain(&mut group, 1);
    let mut answers = |id| {
        group.cancel(1, id, 9);
        drain(&mut group, 1).len()
    };
    assert_eq!([answers(0), answers(1), answers(4_096)], [0, 1, 1]);
}

#[test]
fn a_store_that_shows_nothing_is_not_asked_for_ever() {
    let mut group = WatcherGroup::new(defaults(), 9);
    group.create(1, &create(&["key=a", "rev=2"]), 9, 0);
    let log = Log::new();
    log.is_stalled.set(true);
    assert_eq!(group.catch_up(&log, 1 << 20), Ok(true));
    assert!(log.reads.get() < 10, "{} readings", log.reads.get());
}

#[test]
fn watchers_behind_share_one_reading_of_history() {
    let mut group = WatcherGroup::new(defaults(), 1);
    let mut log = Log::new();
    for _ in 0..50 {
        let batch = log.write(&[("a", Some("1"))]).expect("changed");
        group.notify(&batch, &log);
    }
    for stream in 0..100 {
        for _ in 0..5 {
            group.create(stream, &create(&["key=a", "rev=2"]), log.revision, 0);
        }
    }
    assert_eq!(group.catch_up(&log, 1 << 20), Ok(false));
    assert_eq!(log.reads.get(), 1);
    for stream in 0..100 {
        let events = |r: &WatchResponse| r.events.len();
        let responses = drain(&mut group, stream);
        assert_eq!(responses.iter().map(events).sum::<usize>(), 5 * 50);
        assert_eq!(responses.len(), 10, "five made, five told all at once");
    }
}

fn history_of(revisions: usize, options: Options) -> (WatcherGroup<u32>, Log) {
    let mut group = WatcherGroup::new(options, 1);
    let mut log = Log::new();
    for _ in 0..revisions {
        let batch = log.write(&[("a", Some("1")), ("b", Some("1"))]);
        group.notify(&batch.expect("changed"), &log);
    }
    (group, log)
}

#[test]
fn a_history_comes_in_responses_of_a_thousand_revisions() {
    let (mut group, log) = history_of(2_500, defaults());
    group.create(1, &create(&["key=a", "rev=2"]), log.revision, 0);
    // Pieces far smaller than a response.
    while group.catch_up(&log, 500) == Ok(true) {}
    let responses = drain(&mut group, 1);
    let events: Vec<usize> = responses.iter().map(|r| r.events.len()).collect();
    assert_eq!(events, [0, 1000, 1000, 500]);
}

#[test]
fn a_history_is_read_for_few_watchers_one_after_another() {
    let (mut group, log) = history_of(300, defaults());
    for stream in 0..3 {
        group.create(
            stream,
            &create(&["key=a", "end=c", "rev=2"]),
            log.revision,
            0,
        );
    }
    while group.catch_up(&log, 500) == Ok(true) {}
    for stream in 0..3 {
        let responses = drain(&mut group, stream);
        let events: Vec<usize> = responses.iter().map(|r| r.events.len()).collect();
        assert_eq!(events, [0, 600], "stream {stream}");
    }
}

#[test]
fn what_was_read_for_a_watcher_that_leaves_is_dropped() {
    let (mut group, log) = history_of(300, defaults());
    group.create(1, &create(&["key=a", "rev=2"]), log.revision, 0);
    assert_eq!(group.catch_up(&log, 500), Ok(true));
    assert!(group.whole.is_some());
    group.cancel(1, 0, log.revision);
    assert!(group.whole.is_none());
    assert_eq!(group.catch_up(&log, 500), Ok(false));
}

#[test]
fn untaken_output_ends_whole_histories() {
    let options = Options {
        whole_bytes: 400,
        stream_bytes: 4_000,
        response_bytes: 60,
        ..defaults()
    };
    let (mut group, log) = history_of(200, options);
    for stream in 0..20 {
        group.create(stream, &create(&["key=a", "rev=2"]), log.revision, 0);
    }
    while group.catch_up(&log, 500) == Ok(true) {}
    let stats = group.stats();
    assert!(stats.output_bytes < 20 * (4_000 + 400), "{stats:?}");
}
