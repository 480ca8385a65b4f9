//! Lists of a prefix: pages at one revision as Kubernetes walks them,
//! everything at once, and `RangeStream`. Each walk is checked: every key
//! once, and the server's own count.

use super::{Failed, Load, Pool, Report, amount, fill, measure};
use crate::closed::Requests;
use crate::grpc::Method;
use crate::keys::Keys;
use crate::wire::{self, Range};

/// Where a slot's walk stands.
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
