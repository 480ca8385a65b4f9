//! `make-mirror`: copies the keys under a prefix to another cluster, first as
//! they are at one revision, then every change after it. Changes of one
//! revision arrive together and in order; leases are not copied. It must never
//! go on after a write that failed or history that is gone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use cli::flags::Parsed;
use client::{Client, Error, prefix_end};
use futures_util::{TryStreamExt, stream};
use proto::{
    etcdserverpb::{self as api, request_op::Request},
    mvccpb::{Event, KeyValue, event::EventType},
};

use crate::{
    failure::{EXIT_ERROR, Failure, Outcome},
    global::Global,
};

/// Keys of one page of the first copy.
const PAGE_KEYS: i64 = 1000;
/// Writes of the first copy under way at once; their order does not matter.
const WRITES_MAX: usize = 64;
/// How often the number of keys written is printed.
const REPORT: Duration = Duration::from_secs(30);
const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";

/// What is copied, and to where.
struct Mirror {
    source: Client,
    target: Client,
    prefix: Bytes,
    target_prefix: Bytes,
    written: Arc<AtomicU64>,
    /// Changes in one transaction at the destination.
    changes_max: usize,
}

/// `etcdctl make-mirror`.
pub(crate) async fn run(parsed: &mut Parsed) -> Outcome {
    let words = parsed.words();
    let [destination] = words.as_slice() else {
        return Err(Failure::bad_args(
            "make-mirror takes one destination argument",
        ));
    };
    let bytes = |name| Bytes::copy_from_slice(parsed.text(name).as_bytes());
    let (prefix, mut target_prefix) = (bytes("prefix"), bytes("dest-prefix"));
    let start = parsed.int("rev");
    match (parsed.bool("no-dest-prefix"), target_prefix.is_empty()) {
        (true, false) => {
            return Err(Failure::bad_args(
                "`--dest-prefix` and `--no-dest-prefix` cannot be set at the same time, choose one",
            ));
        }
        // As etcdctl: without the first copy there is no prefix but the one that is asked for.
        (false, true) if start <= 1 => target_prefix = prefix.clone(),
        _ => {}
    }
    let global = Global::resolve(parsed)?;
    let mirror = Mirror {
        source: global.client().await?,
        target: global.destination(parsed, destination).await?,
        prefix,
        target_prefix,
        written: Arc::default(),
        changes_max: usize::try_from(parsed.uint("max-txn-ops"))
            .unwrap_or(usize::MAX)
            .max(1),
    };
    let written = Arc::clone(&mirror.written);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(REPORT).await;
            println!("{}", written.load(Ordering::Relaxed));
        }
    });
    let start = match start {
        ..=1 => mirror.copy().await? + 1,
        revision => revision,
    };
    mirror.follow(start).await
}

impl Mirror {
    fn renamed(&self, key: &Bytes) -> Bytes {
        if self.prefix == self.target_prefix {
            return key.clone();
        }
        let rest = key.strip_prefix(&self.prefix[..]).unwrap_or(key);
        [&self.target_prefix, rest].concat().into()
    }

    fn put(&self, kv: &KeyValue) -> api::PutRequest {
        api::PutRequest {
            key: self.renamed(&kv.key),
            value: kv.value.clone(),
            ..Default::default()
        }
    }

    /// First key and end of what is copied.
    fn span(&self) -> (Bytes, Bytes) {
        match self.prefix.is_empty() {
            true => (Bytes::from_static(b"\0"), Bytes::from_static(b"\0")),
            false => (self.prefix.clone(), prefix_end(&self.prefix)),
        }
    }

    /// Copies all keys as of one revision, which is returned.
    async fn copy(&self) -> Result<i64, Error> {
        let (mut key, range_end) = self.span();
        let mut revision = 0;
        loop {
            let request = api::RangeRequest {
                key,
                range_end: range_end.clone(),
                limit: PAGE_KEYS,
                revision,
                ..Default::default()
            };
            let response = self.source.range(request).await?;
            if revision == 0 {
                revision = response.header.unwrap_or_default().revision;
            }
            stream::iter(response.kvs.iter().map(Ok::<_, Error>))
                .try_for_each_concurrent(WRITES_MAX, |kv| async move {
                    self.target.put(self.put(kv)).await?;
                    self.written.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                })
                .await?;
            match response.kvs.last() {
                // The key that follows the last one at once.
                Some(last) if response.more => key = [&last.key[..], b"\0"].concat().into(),
                _ => return Ok(revision),
            }
        }
    }

    /// Applies every change from `revision` on.
    async fn follow(&self, revision: i64) -> Outcome {
        let (key, range_end) = self.span();
        let request = api::WatchCreateRequest {
            key,
            range_end,
            start_revision: revision,
            ..Default::default()
        };
        let mut watch = self.source.watcher().watch(request).await;
        while let Some(response) = watch.message().await? {
            if response.compact_revision != 0 {
                return Err(Failure::new(EXIT_ERROR, COMPACTED));
            }
            let revision = |event: &Event| event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
            for events in response.events.chunk_by(|a, b| revision(a) == revision(b)) {
                for events in events.chunks(self.changes_max) {
                    self.apply(events).await?;
                }
            }
        }
        Err(Failure::new(EXIT_ERROR, "the source ended the watch"))
    }

    /// Writes changes of one revision as one transaction.
    async fn apply(&self, events: &[Event]) -> Result<(), Error> {
        let operations = events.iter().filter_map(|event| {
            let kv = event.kv.as_ref()?;
            let request = match event.r#type() {
                EventType::Put => Request::RequestPut(self.put(kv)),
                EventType::Delete => Request::RequestDeleteRange(api::DeleteRangeRequest {
                    key: self.renamed(&kv.key),
                    ..Default::default()
                }),
            };
            Some(api::RequestOp {
                request: Some(request),
            })
        });
        let request = api::TxnRequest {
            success: operations.collect(),
            ..Default::default()
        };
        self.target.txn(request).await?;
        let count = u64::try_from(events.len()).unwrap_or(u64::MAX);
        self.written.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }
}
