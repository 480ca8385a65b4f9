//! What both checks do around their load: read their flags, refuse a prefix
//! that has keys, delete what was written.

use cli::flags::Parsed;
use client::{Client, prefix_end};
use proto::etcdserverpb as api;

use crate::{
    failure::{EXIT_FEATURE, EXIT_INVALID_INPUT, Failure, Outcome},
    global::Global,
    maintenance::defragment,
};

/// `--load`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Small,
    Medium,
    Large,
    XLarge,
}

impl Size {
    pub(super) fn of(parsed: &Parsed) -> Outcome<Self> {
        Ok(match parsed.text("load") {
            "s" | "small" => Self::Small,
            "m" | "medium" => Self::Medium,
            "l" | "large" => Self::Large,
            "xl" | "xLarge" => Self::XLarge,
            other => {
                let message = format!("unknown load option {other}");
                return Err(Failure::new(EXIT_FEATURE, message));
            }
        })
    }
}

/// Refuses to work where there are keys already; `quotes` surround the
/// command that the message names.
pub(super) async fn must_be_empty(client: &Client, prefix: &str, quotes: &str) -> Outcome {
    let request = api::RangeRequest {
        key: prefix.as_bytes().to_vec().into(),
        range_end: prefix_end(prefix.as_bytes()),
        limit: 1,
        ..Default::default()
    };
    if client.range(request).await?.kvs.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        EXIT_INVALID_INPUT,
        format!(
            "prefix {prefix:?} has keys. Delete with {quotes}etcdctl del --prefix {prefix}{quotes} first"
        ),
    ))
}

/// Deletes what was written, and compacts and defragments if asked to.
pub(super) async fn clean_up(
    global: &Global,
    client: &Client,
    prefix: &str,
    after: After,
) -> Outcome {
    let request = api::DeleteRangeRequest {
        key: prefix.as_bytes().to_vec().into(),
        range_end: prefix_end(prefix.as_bytes()),
        ..Default::default()
    };
    let deleted = client.delete_range(request).await.map_err(|error| {
        println!("FAIL: Cleanup failed during key deletion: ERROR({error})");
        Failure::from(error)
    })?;
    if after.compact {
        let revision = deleted.header.unwrap_or_default().revision;
        println!("Compacting with revision {revision}");
        let request = api::CompactionRequest {
            revision,
            physical: true,
        };
        client.compact(request).await?;
        println!("Compacted with revision {revision}");
    }
    if after.defragment {
        defragment(global, global.endpoints.clone()).await?;
    }
    Ok(())
}

/// What follows a check.
#[derive(Clone, Copy, Debug)]
pub(super) struct After {
    pub(super) compact: bool,
    pub(super) defragment: bool,
}

impl After {
    pub(super) fn of(parsed: &Parsed) -> Self {
        Self {
            compact: parsed.bool("auto-compact"),
            defragment: parsed.bool("auto-defrag"),
        }
    }
}
