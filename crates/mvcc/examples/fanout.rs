//! What a put costs when many watch: time per delivered event, from the batch to
//! the bytes of the frames. It does not show what the transport costs.
//!
//! `cargo run --release -p pintle-mvcc --example fanout [watchers [streams [value bytes]]]`

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use mvcc::{
    events::{Event, EventBatch},
    watch::{HistoryError, Options, Past, Source, WatcherGroup},
};
use prost::Message as _;
use proto::{etcdserverpb::WatchCreateRequest, mvccpb::KeyValue};

const PUTS: i64 = 2_000;

/// A store without a past.
struct Nothing;

impl Source for Nothing {
    fn compact_revision(&self) -> i64 {
        0
    }

    fn kv_at(&self, _: &[u8], _: i64) -> Result<Option<Bytes>, HistoryError> {
        Ok(Some(Bytes::from_static(&[0x0a; 300])))
    }

    fn history(
        &self,
        _: i64,
        to: i64,
        _: usize,
        _: &mut dyn FnMut(Past<'_>),
    ) -> Result<i64, HistoryError> {
        Ok(to + 1)
    }
}

fn main() {
    let mut numbers = std::env::args().skip(1).map(|word| word.parse::<u32>());
    let mut number = |default| numbers.next().and_then(Result::ok).unwrap_or(default);
    let (watchers, streams, value) = (number(1_000), number(4), number(256) as usize);

    let prefix = |prefix: &str, end: &str, prev_kv| WatchCreateRequest {
        key: Bytes::copy_from_slice(prefix.as_bytes()),
        range_end: Bytes::copy_from_slice(end.as_bytes()),
        prev_kv,
        ..Default::default()
    };
    for (name, requests) in [
        (
            "one prefix",
            vec![prefix("/registry/pods/", "/registry/pods0", false)],
        ),
        (
            "one prefix, prev_kv",
            vec![prefix("/registry/pods/", "/registry/pods0", true)],
        ),
        (
            "one key",
            vec![prefix("/registry/pods/default/pod-1", "", false)],
        ),
        (
            "as many prefixes, one hit",
            (0..watchers)
                .map(|number| {
                    let start = format!("/registry/pods/default/pod-{number:06}");
                    prefix(&start, &format!("{start}0"), false)
                })
                .collect(),
        ),
    ] {
        let (spent, delivered, bytes) = run(watchers, streams, value, &requests);
        println!(
            "{name}: {watchers} watchers on {streams} streams, {value} byte values: \
             {delivered} events in {PUTS} puts, {:.3} us per put, {:.3} us per event, {} bytes per event",
            spent.as_secs_f64() * 1e6 / PUTS as f64,
            spent.as_secs_f64() * 1e6 / delivered.max(1) as f64,
            bytes / delivered.max(1),
        );
    }
}

fn run(
    watchers: u32,
    streams: u32,
    value: usize,
    requests: &[WatchCreateRequest],
) -> (Duration, usize, usize) {
    let options = Options {
        cluster_id: 0x1234_5678_9abc_def0,
        member_id: 0xfedc_ba98_7654_3210,
        ..Options::default()
    };
    let mut group = WatcherGroup::new(options, 1);
    let mut out = BytesMut::new();
    for number in 0..watchers {
        let request = &requests[number as usize % requests.len()];
        group.create(number % streams, request, 1, 0);
    }
    let mut ready = Vec::new();
    let (mut spent, mut bytes, mut delivered) = (Duration::ZERO, 0, 0);
    for revision in 2..2 + PUTS {
        ready.clear();
        group.take_ready(&mut ready);
        ready.iter().for_each(|stream| {
            out.clear();
            while group.next_output(*stream, &mut out) > 0 {}
        });
        let key = match requests.len() {
            1 => Bytes::from_static(b"/registry/pods/default/pod-1"),
            _ => Bytes::from_static(b"/registry/pods/default/pod-000001/"),
        };
        let kv = KeyValue {
            key: key.clone(),
            create_revision: 1,
            mod_revision: revision,
            version: revision,
            value: vec![7; value].into(),
            lease: 0,
        };
        let batch = EventBatch {
            revision,
            events: vec![Event::put(key, kv.encode_to_vec().into())],
        };
        ready.clear();
        let start = Instant::now();
        group.notify(&batch, &Nothing);
        group.take_ready(&mut ready);
        for stream in &ready {
            out.clear();
            while group.next_output(*stream, &mut out) > 0 {}
            bytes += out.len();
        }
        spent += start.elapsed();
        assert!(!group.has_lagging(), "a stream was full: use more streams");
        delivered += match requests.len() {
            1 => watchers as usize,
            _ => ready.len(),
        };
    }
    (spent, delivered, bytes)
}
