//! Lists of a prefix: pages at one revision as Kubernetes walks them,
//! everything at once, and `RangeStream`. Each walk is checked: every key
//! once, and the server's own count.

use super::fill::fill;
use super::measure::{amount, measure};
use crate::closed::Requests;
use crate::grpc::Method;
use crate::keys::Keys;
use crate::net::{Failed, Pool};
use crate::options::Load;
use crate::report::Report;
use crate::wire::{self, Range};

/// The position of a slot's walk.
#[derive(Debug, Clone, Default)]
struct Walk {
    /// First key of the next page; empty before the first.
    next: Vec<u8>,
    revision: i64,
    seen: i64,
}

#[derive(Debug)]
struct Lists {
    prefix: Vec<u8>,
    end: Vec<u8>,
    keys: i64,
    limit: i64,
    walks: Vec<Walk>,
    streamed: bool,
}

impl Lists {
    fn new(load: &Load, limit: i64, streamed: bool) -> Self {
        let keys = Keys::new(load);
        Self {
            prefix: keys.prefix().to_vec(),
            end: keys.end(),
            keys: load.keys as i64,
            limit,
            walks: vec![Walk::default(); load.clients],
            streamed,
        }
    }
}

impl Requests for Lists {
    fn method(&mut self, _: usize) -> Method {
        if self.streamed {
            Method::RangeStream
        } else {
            Method::Range
        }
    }

    fn body(&mut self, slot: usize, out: &mut Vec<u8>) {
        let walk = &self.walks[slot];
        let key = if walk.next.is_empty() {
            &self.prefix
        } else {
            &walk.next
        };
        let ask = Range {
            key,
            end: &self.end,
            limit: self.limit,
            revision: walk.revision,
            ..Range::default()
        };
        wire::range(ask, out);
    }

    fn answer(&mut self, slot: usize, body: &[u8]) -> Result<(), String> {
        let walk = &mut self.walks[slot];
        if self.streamed {
            let part = wire::range_streamed(body).map_err(|e| e.to_string())?;
            walk.seen += part.kvs;
            if part.revision > 0 {
                walk.revision = part.revision;
                if part.count != 0 && part.count != self.keys {
                    return Err(format!("count {} for {} keys", part.count, self.keys));
                }
            }
            return Ok(());
        }
        let page = wire::ranged(body).map_err(|e| e.to_string())?;
        let left = self.keys - walk.seen;
        let due = if self.limit == 0 {
            left
        } else {
            left.min(self.limit)
        };
        let (kvs, count, more) = (page.kvs, page.count, page.more);
        walk.seen += kvs;
        let right = kvs == due && count == left && more == (kvs < count);
        match page.last {
            Some(last) if more && right => {
                walk.next.clear();
                walk.next.extend_from_slice(last.key);
                walk.next.push(0);
                walk.revision = if walk.revision == 0 {
                    page.revision
                } else {
                    walk.revision
                };
            }
            _ => *walk = Walk::default(),
        }
        if right {
            Ok(())
        } else {
            Err(format!(
                "a page of {kvs} keys, count {count}, more {more}; {due} of {left} were due"
            ))
        }
    }

    fn failed(&mut self, slot: usize) {
        self.walks[slot] = Walk::default();
    }

    fn complete(&mut self, slot: usize) -> Result<(), String> {
        if !self.streamed {
            return Ok(());
        }
        let walk = std::mem::take(&mut self.walks[slot]);
        if walk.seen == self.keys && walk.revision > 0 {
            return Ok(());
        }
        Err(format!(
            "a stream of {} keys at revision {}; {} keys were due",
            walk.seen, walk.revision, self.keys
        ))
    }
}

pub(super) fn unary(load: &Load, limit: i64, report: &mut Report) -> Result<(), Failed> {
    (report.workload, report.unit) = ("list", if limit == 0 { "list" } else { "page" });
    report.parameters.insert("limit", limit as u64);
    let mut pool = Pool::connect(&load.endpoints, load.connections)?;
    fill(&mut pool, load)?;
    measure(
        &mut pool,
        load,
        amount(load),
        &["list"],
        &mut Lists::new(load, limit, false),
        report,
    )
}

pub(super) fn stream(load: &Load, report: &mut Report) -> Result<(), Failed> {
    (report.workload, report.unit) = ("list-stream", "list");
    let mut pool = Pool::connect(&load.endpoints, load.connections)?;
    fill(&mut pool, load)?;
    measure(
        &mut pool,
        load,
        amount(load),
        &["list"],
        &mut Lists::new(load, 0, true),
        report,
    )
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use proto::etcdserverpb as pb;

    use super::*;

    fn page(kvs: usize, count: i64, more: bool) -> pb::RangeResponse {
        let header = pb::ResponseHeader {
            revision: 3,
            ..Default::default()
        };
        let kv = proto::mvccpb::KeyValue {
            key: "k".into(),
            ..Default::default()
        };
        pb::RangeResponse {
            header: Some(header),
            kvs: vec![kv; kvs],
            more,
            count,
        }
    }

    fn lists(limit: i64, streamed: bool) -> Lists {
        Lists::new(
            &Load {
                keys: 5,
                ..super::super::tests::load()
            },
            limit,
            streamed,
        )
    }

    #[test]
    fn a_walk_asks_for_the_key_behind_the_last_at_one_revision() {
        let mut lists = lists(3, false);
        lists.answer(0, &page(3, 5, true).encode_to_vec()).unwrap();
        let mut body = Vec::new();
        lists.body(0, &mut body);
        let ask = pb::RangeRequest::decode(&body[..]).unwrap();
        assert_eq!((&ask.key[..], ask.revision, ask.limit), (&b"k\0"[..], 3, 3));
        lists.answer(0, &page(2, 2, false).encode_to_vec()).unwrap();
        body.clear();
        lists.body(0, &mut body);
        assert_eq!(pb::RangeRequest::decode(&body[..]).unwrap().revision, 0);
    }

    #[test]
    fn a_page_with_a_key_too_few_or_a_wrong_count_is_refused() {
        for (kvs, count, more) in [(2, 5, true), (3, 4, true), (3, 5, false)] {
            assert!(
                lists(3, false)
                    .answer(0, &page(kvs, count, more).encode_to_vec())
                    .is_err()
            );
        }
        assert!(
            lists(0, false)
                .answer(0, &page(5, 5, false).encode_to_vec())
                .is_ok()
        );
        assert!(
            lists(0, false)
                .answer(0, &page(4, 5, true).encode_to_vec())
                .is_err()
        );
    }

    #[test]
    fn the_parts_of_a_stream_must_add_up() {
        let part = |kvs, last: bool| {
            let mut range = page(kvs, if last { 5 } else { 0 }, false);
            range.header = range.header.filter(|_| last);
            pb::RangeStreamResponse {
                range_response: Some(range),
            }
            .encode_to_vec()
        };
        let mut whole = lists(0, true);
        whole.answer(0, &part(4, false)).unwrap();
        whole.answer(0, &part(1, true)).unwrap();
        assert_eq!(whole.complete(0), Ok(()));
        // The next list begins anew.
        whole.answer(0, &part(4, true)).unwrap();
        assert!(whole.complete(0).is_err());
    }
}
