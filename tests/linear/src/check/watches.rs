//! What each watcher was told: every event of its range exactly once, in order,
//! none ahead of its notice of progress. It must never take one watcher's word
//! for another's: each is compared with the common order.

use std::collections::BTreeSet;

use super::{Findings, Kind, Timeline, timeline::by_revision};
use crate::history::{Event, History, Watcher};

pub(super) fn check(history: &History, timeline: &Timeline, found: &mut Findings) {
    for watcher in &history.watchers {
        one(watcher, timeline, found);
    }
}

fn one(watcher: &Watcher, timeline: &Timeline, found: &mut Findings) {
    let name = &watcher.name;
    for segment in &watcher.segments {
        // All revisions up to here are told.
        let mut told = segment.start - 1;
        let mut seen = BTreeSet::new();
        // Up to here progress has been promised.
        let mut promised = 0;
        for message in &segment.messages {
            let place = segment.place;
            if message.events.is_empty() {
                missing(
                    watcher,
                    timeline,
                    told,
                    message.revision,
                    Kind::EarlyProgress,
                    found,
                );
                told = told.max(message.revision);
                promised = promised.max(message.revision);
                continue;
            }
            for (revision, events) in by_revision(&message.events) {
                if message.revision < revision {
                    found.add(
                        Kind::EarlyProgress,
                        format!(
                            "{name} at member {place}: header revision {} on an event of {revision}",
                            message.revision
                        ),
                    );
                }
                if revision <= told {
                    let (kind, how) = if revision < segment.start {
                        (Kind::ForeignEvent, "before the start of the watch")
                    } else if revision <= promised {
                        (Kind::EarlyProgress, "after a notice that covered it")
                    } else if seen.contains(&revision) {
                        (Kind::DoubledEvent, "again")
                    } else {
                        (Kind::UnorderedEvent, "after a later one")
                    };
                    found.add(
                        kind,
                        format!("{name} at member {place} was told revision {revision} {how}"),
                    );
                    seen.insert(revision);
                    continue;
                }
                seen.insert(revision);
                missing(
                    watcher,
                    timeline,
                    told,
                    revision - 1,
                    Kind::MissingEvent,
                    found,
                );
                told = revision;
                let Some(change) = timeline.changes.get(&revision) else {
                    found.add(
                        Kind::ForeignEvent,
                        format!("{name}: revision {revision}, which no watcher of everything saw"),
                    );
                    continue;
                };
                let expected = filtered(&change.events, watcher.key.as_deref());
                // A watcher of everything was compared when the order was made.
                if watcher.key.is_some() && events != expected {
                    found.add(
                        Kind::Disagreement,
                        format!("{name} tells revision {revision} as {events:?}, not {expected:?}"),
                    );
                }
            }
        }
    }
    for pair in watcher.segments.windows(2) {
        let ended = pair[0].messages.iter().map(|m| {
            m.events
                .iter()
                .map(Event::revision)
                .max()
                .unwrap_or(m.revision)
        });
        let next = ended
            .max()
            .map_or(pair[0].start, |r| (r + 1).max(pair[0].start));
        // The resume point is the watcher's own doing: a wrong one is a broken recorder.
        if pair[1].start != next {
            found.add(
                Kind::MissingEvent,
                format!("{name} resumed at {} instead of {next}", pair[1].start),
            );
        }
    }
}

/// Events of the watcher's range in `(told, to]` should have been told by now.
fn missing(
    watcher: &Watcher,
    timeline: &Timeline,
    told: i64,
    to: i64,
    kind: Kind,
    found: &mut Findings,
) {
    if to <= told {
        return;
    }
    for (revision, change) in timeline.changes.range(told + 1..=to) {
        if !filtered(&change.events, watcher.key.as_deref()).is_empty() {
            found.add(
                kind,
                format!(
                    "{} was at {to} before it was told revision {revision}",
                    watcher.name
                ),
            );
        }
    }
}

fn filtered(events: &[Event], key: Option<&str>) -> Vec<Event> {
    let wanted = |e: &&Event| key.is_none_or(|k| e.key() == k);
    events.iter().filter(wanted).cloned().collect()
}
