//! What writers know of their writes, and the judgement of a history against
//! it: everything acknowledged is there, at the revision the answer named, once;
//! what got no answer is there whole or not at all; no one else wrote; revisions
//! have no holes. It must never forgive a write that it cannot place.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use proto::{
    etcdserverpb::ResponseHeader,
    mvccpb::{Event, event::EventType},
};

/// What a write does to keys: the new value, or `None` for a delete.
pub type Effects = BTreeMap<Bytes, Option<Bytes>>;

/// What the clients know.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Acknowledged writes by revision.
    pub acknowledged: BTreeMap<i64, Effects>,
    /// Writes without an answer: they may have happened or not.
    pub open: Vec<Effects>,
}

impl Ledger {
    /// Files a write under the revision of its answer; an error when another write
    /// was answered with the same one.
    pub fn acknowledge(&mut self, header: Option<&ResponseHeader>, effects: Effects) -> Result<()> {
        let revision = header.map_or(0, |h| h.revision);
        let before = self.acknowledged.insert(revision, effects);
        ensure!(
            before.is_none(),
            "two writes were acknowledged with revision {revision}"
        );
        Ok(())
    }
}

fn effects_of(events: &[Event]) -> Effects {
    events
        .iter()
        .filter_map(|e| {
            let kv = e.kv.as_ref()?;
            let deleted = e.r#type == EventType::Delete as i32;
            Some((kv.key.clone(), (!deleted).then(|| kv.value.clone())))
        })
        .collect()
}

/// Checks the history `first..=last` against what the clients know, and the
/// keys against the history. What is verified leaves the ledger.
pub fn verify(
    events: &[Event],
    first: i64,
    last: i64,
    ledger: &mut Ledger,
    keys: &mut Effects,
) -> Result<()> {
    let mut by_revision: BTreeMap<i64, Vec<Event>> = BTreeMap::new();
    for event in events {
        let revision = event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
        by_revision.entry(revision).or_default().push(event.clone());
    }
    for revision in first..=last {
        let found = by_revision
            .get(&revision)
            .with_context(|| format!("revision {revision} is missing"))?;
        let found = effects_of(found);
        match ledger.acknowledged.remove(&revision) {
            Some(expected) => ensure!(
                found == expected,
                "revision {revision} holds {found:?}, acknowledged was {expected:?}"
            ),
            None => {
                let at = ledger.open.iter().position(|e| *e == found);
                let at =
                    at.with_context(|| format!("no one wrote {found:?} (revision {revision})"))?;
                ledger.open.remove(at);
            }
        }
        keys.extend(found);
    }
    ensure!(
        ledger.acknowledged.is_empty(),
        "acknowledged, but lost: {:?}",
        ledger.acknowledged.iter().next()
    );
    ledger.open.clear();
    Ok(())
}
