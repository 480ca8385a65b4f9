//! Faults planted into good histories: each is found, under its own name; and
//! good histories pass. A checker that finds nothing would fail here.

use linear::{
    check::{Kind, check},
    generate::{Size, history},
    history::{Body, Call, Event, History, Op, Outcome},
    wgl,
};

const SIZE: Size = Size {
    ops: 400,
    keys: 4,
    places: 3,
};

fn kinds(history: &History) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = check(history).iter().map(|v| v.kind).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

/// Plants one fault in histories of many seeds. Where the plant finds a place
/// for it, the checker must name it; most seeds have a place.
fn planted(kind: Kind, mut plant: impl FnMut(&mut History) -> Option<()>) {
    let mut planted = 0;
    for seed in 0..20 {
        let mut history = history(seed, SIZE);
        if plant(&mut history).is_some() {
            planted += 1;
            let found = kinds(&history);
            assert!(
                found.contains(&kind),
                "seed {seed}: {kind:?} is not in {found:?}"
            );
        }
    }
    assert!(
        planted >= 10,
        "{kind:?} had a place in {planted} of 20 histories"
    );
}

fn revision(op: &Op) -> Option<i64> {
    match op.outcome {
        Outcome::Ok { revision, .. } => Some(revision),
        _ => None,
    }
}

/// An acknowledged put without a lease, past the middle.
fn some_put(history: &History) -> Option<usize> {
    let from = history.ops.len() / 2;
    let is_put = |op: &Op| matches!(op.call, Call::Put { lease: 0, .. }) && revision(op).is_some();
    (from..history.ops.len()).find(|at| is_put(&history.ops[*at]))
}

fn in_all_streams(history: &mut History, mut each: impl FnMut(&mut Vec<Event>)) {
    for watcher in &mut history.watchers {
        for segment in &mut watcher.segments {
            for message in &mut segment.messages {
                each(&mut message.events);
            }
            segment
                .messages
                .retain(|m| !m.events.is_empty() || m.revision > 0);
        }
    }
}

#[test]
fn good_histories_pass_both_checkers() {
    for seed in 0..200 {
        let size = Size {
            ops: 60 + (seed as usize % 5) * 60,
            keys: 2 + seed % 4,
            places: 3,
        };
        let history = history(seed, size);
        assert!(history.ops.len() >= 60);
        let found = check(&history);
        assert!(
            found.is_empty(),
            "seed {seed}: {:#?}",
            &found[..found.len().min(3)]
        );
        let (wrong, judged) = wgl::check(&history);
        assert!(wrong.is_empty(), "seed {seed}: no order explains {wrong:?}");
        assert!(judged > 0);
    }
}

#[test]
fn a_lost_write_is_found() {
    // Acknowledged, but its revision holds another write.
    planted(Kind::LostWrite, |h| {
        let at = some_put(h)?;
        let Call::Put { value, .. } = &mut h.ops[at].call else {
            return None;
        };
        "lost".clone_into(value);
        Some(())
    });
    // Acknowledged, but at no revision.
    planted(Kind::LostWrite, |h| {
        let at = some_put(h)?;
        let mut op = h.ops[at].clone();
        op.outcome = Outcome::Ok {
            revision: 1_000_000,
            body: Body::Put(None),
        };
        h.ops.push(op);
        Some(())
    });
}

#[test]
fn a_gap_is_found() {
    planted(Kind::Gap, |h| {
        let gone = revision(&h.ops[some_put(h)?])?;
        in_all_streams(h, |events| events.retain(|e| e.revision() != gone));
        Some(())
    });
}

#[test]
fn a_stale_read_is_found() {
    planted(Kind::StaleRead, |h| {
        let seen = revision(&h.ops[some_put(h)?])?;
        let end = h.ops.iter().map(|op| op.returned).max()?;
        let is_early_read = |op: &&Op| {
            let linearizable = matches!(
                op.call,
                Call::Get {
                    serializable: false,
                    revision: 0,
                    ..
                }
            );
            linearizable && revision(op).is_some_and(|r| r < seen)
        };
        let read = h.ops.iter().find(is_early_read)?;
        // The same answer, much too late.
        let mut late = read.clone();
        (late.invoke, late.returned, late.place) = (end + 10, end + 20, 99);
        h.ops.push(late);
        Some(())
    });
}

#[test]
fn reordered_writes_are_found() {
    planted(Kind::ReorderedWrite, |h| {
        let at = some_put(h)?;
        let end = h.ops.iter().map(|op| op.returned).max()?;
        (h.ops[at].invoke, h.ops[at].returned) = (end + 10, end + 20);
        Some(())
    });
}

#[test]
fn a_write_seen_before_it_was_asked_for_is_found() {
    planted(Kind::FromFuture, |h| {
        let at = some_put(h)?;
        h.ops[at].invoke += 10_000_000;
        h.ops[at].returned = h.ops[at].invoke + 10;
        Some(())
    });
}

#[test]
fn a_shared_revision_is_found() {
    planted(Kind::SharedRevision, |h| {
        let at = some_put(h)?;
        let mut other = h.ops[at].clone();
        other.client += 1;
        h.ops.push(other);
        Some(())
    });
}

#[test]
fn a_doubled_write_is_found() {
    planted(Kind::DoubledWrite, |h| {
        let at = some_put(h)?;
        let (target, Call::Put { key, value, .. }) = (revision(&h.ops[at])?, &h.ops[at].call)
        else {
            return None;
        };
        // A later put of the key turns out to be this one once more.
        let (key, value) = (key.clone(), value.clone());
        let mut again = None;
        in_all_streams(h, |events| {
            for event in events {
                let Event::Put(kv, _) = event else { continue };
                if kv.key == key && kv.modified > target && again.is_none_or(|r| r == kv.modified) {
                    again = Some(kv.modified);
                    kv.value.clone_from(&value);
                }
            }
        });
        again.map(|_| ())
    });
}

#[test]
fn a_change_from_nowhere_is_found() {
    planted(Kind::FromNowhere, |h| {
        let at = some_put(h)?;
        h.ops.remove(at);
        Some(())
    });
    planted(Kind::FromNowhere, |h| {
        let is_delete = |op: &Op| {
            matches!(
                op.outcome,
                Outcome::Ok {
                    body: Body::Delete(1, _),
                    ..
                }
            )
        };
        let at = h.ops.iter().position(is_delete)?;
        let Call::Delete { key } = h.ops[at].call.clone() else {
            return None;
        };
        h.ops.remove(at);
        // No unanswered delete may account for it.
        h.ops
            .retain(|op| op.call != Call::Delete { key: key.clone() } || revision(op).is_some());
        Some(())
    });
}

#[test]
fn a_refused_write_that_happened_is_found() {
    planted(Kind::RefusedWrite, |h| {
        let at = some_put(h)?;
        h.ops[at].outcome = Outcome::Failed("refused".to_owned());
        Some(())
    });
}

#[test]
fn a_torn_txn_is_found() {
    // One of its two keys is not written.
    planted(Kind::BrokenTxn, |h| {
        let is_txn = |op: &&Op| {
            matches!(
                op.outcome,
                Outcome::Ok {
                    body: Body::Txn(true, _),
                    ..
                }
            )
        };
        let torn = revision(h.ops.iter().find(is_txn)?)?;
        in_all_streams(h, |events| {
            let mut first = true;
            events.retain(|e| e.revision() != torn || std::mem::take(&mut first));
        });
        Some(())
    });
    // It says that the other branch ran.
    planted(Kind::BrokenTxn, |h| {
        let txn = h.ops.iter_mut().find_map(|op| match &mut op.outcome {
            Outcome::Ok {
                body: Body::Txn(succeeded, _),
                ..
            } => Some(succeeded),
            _ => None,
        })?;
        *txn = !*txn;
        Some(())
    });
}

#[test]
fn a_wrong_answer_is_found() {
    planted(Kind::WrongAnswer, |h| {
        let kvs = h
            .ops
            .iter_mut()
            .rev()
            .find_map(|op| match &mut op.outcome {
                Outcome::Ok {
                    body: Body::Range(kvs),
                    ..
                } if !kvs.is_empty() => Some(kvs),
                _ => None,
            })?;
        kvs[0].version += 1;
        Some(())
    });
    planted(Kind::WrongAnswer, |h| {
        let prev = h.ops.iter_mut().find_map(|op| match &mut op.outcome {
            Outcome::Ok {
                body: Body::Put(prev),
                ..
            } if prev.is_some() => Some(prev),
            _ => None,
        })?;
        *prev = None;
        Some(())
    });
}

#[test]
fn a_member_that_goes_back_is_found() {
    planted(Kind::WentBack, |h| {
        let end = h.ops.iter().map(|op| op.returned).max()?;
        let top = h.ops.iter().filter_map(revision).max()?;
        let is_read = |op: &&Op| {
            let serializable = matches!(
                op.call,
                Call::Get {
                    serializable: true,
                    ..
                }
            );
            serializable && revision(op).is_some_and(|r| r + 50 < top)
        };
        let mut late = h.ops.iter().find(is_read)?.clone();
        (late.invoke, late.returned) = (end + 10, end + 20);
        h.ops.push(late);
        Some(())
    });
}

#[test]
fn a_read_of_a_compacted_revision_is_found() {
    planted(Kind::CompactedRead, |h| {
        let past = |op: &&Op| {
            let past = matches!(op.call, Call::Get { revision: 2.., .. });
            past && revision(op).is_some()
        };
        let read = h.ops.iter().find(past)?.clone();
        let Call::Get { revision: old, .. } = read.call else {
            return None;
        };
        h.ops.push(Op {
            invoke: read.invoke - 20,
            returned: read.invoke - 10,
            call: Call::Compact { revision: old + 1 },
            outcome: Outcome::Ok {
                revision: 1,
                body: Body::Done,
            },
            ..read
        });
        Some(())
    });
}

#[test]
fn a_missing_event_is_found() {
    planted(Kind::MissingEvent, |h| {
        let messages = &mut h.watchers[1].segments[0].messages;
        // One that events follow: before a notice it would be early progress.
        let at = messages
            .windows(2)
            .position(|w| w.iter().all(|m| !m.events.is_empty()))?;
        messages.remove(at);
        Some(())
    });
    // Of a watcher of one key.
    planted(Kind::MissingEvent, |h| {
        h.watchers[2].segments.iter_mut().find_map(|s| {
            let mut pairs = s.messages.windows(2);
            let at = pairs.position(|w| w.iter().all(|m| !m.events.is_empty()))?;
            s.messages.remove(at);
            Some(())
        })
    });
}

#[test]
fn a_doubled_event_is_found() {
    planted(Kind::DoubledEvent, |h| {
        let messages = &mut h.watchers[1].segments[0].messages;
        let again = messages.iter().find(|m| !m.events.is_empty())?.clone();
        let last = messages.last()?.clone();
        messages.push(linear::history::Message {
            at: last.at,
            ..again
        });
        Some(())
    });
}

#[test]
fn unordered_events_are_found() {
    planted(Kind::UnorderedEvent, |h| {
        let messages = &mut h.watchers[1].segments[0].messages;
        let at = messages
            .windows(2)
            .position(|w| !w[0].events.is_empty() && !w[1].events.is_empty())?;
        let (a, b) = (messages[at].events.clone(), messages[at + 1].events.clone());
        (messages[at].events, messages[at + 1].events) = (b, a);
        Some(())
    });
}

#[test]
fn a_wrong_event_is_found() {
    planted(Kind::BadEvent, |h| {
        let mut wrong = None;
        in_all_streams(h, |events| {
            for event in events {
                let Event::Put(kv, prev) = event else {
                    continue;
                };
                if prev.is_some() && wrong.is_none_or(|r| r == kv.modified) {
                    wrong = Some(kv.modified);
                    *prev = None;
                }
            }
        });
        wrong.map(|_| ())
    });
    planted(Kind::Disagreement, |h| {
        let mut messages = h.watchers[1]
            .segments
            .iter_mut()
            .flat_map(|s| &mut s.messages);
        messages.find_map(|m| match m.events.first_mut() {
            Some(Event::Put(kv, _)) => {
                "other".clone_into(&mut kv.value);
                Some(())
            }
            _ => None,
        })
    });
}

#[test]
fn events_from_before_the_start_are_found() {
    planted(Kind::ForeignEvent, |h| {
        let segments = &mut h.watchers[1].segments;
        let later = (1..segments.len()).find(|at| segments[*at].start > 2)?;
        let early = segments[0]
            .messages
            .iter()
            .find(|m| !m.events.is_empty())?
            .clone();
        segments[later].messages.insert(0, early);
        Some(())
    });
}

#[test]
fn early_progress_is_found() {
    planted(Kind::EarlyProgress, |h| {
        let messages = &mut h.watchers[2].segments[0].messages;
        let at = messages.iter().position(|m| !m.events.is_empty())?;
        let mut notice = messages[at].clone();
        notice.events.clear();
        messages.insert(at, notice);
        Some(())
    });
}

#[test]
fn an_early_end_of_a_lease_is_found() {
    planted(Kind::EarlyExpiry, |h| {
        // An end by time, as if the lease had been granted for longer.
        let revoked: Vec<i64> = h
            .ops
            .iter()
            .filter_map(|op| match op.call {
                Call::Revoke { lease } => Some(lease),
                _ => None,
            })
            .collect();
        let ended = h.watchers[0]
            .segments
            .iter()
            .flat_map(|s| &s.messages)
            .flat_map(|m| &m.events);
        let ended: Vec<i64> = ended
            .filter_map(|e| match e {
                Event::Delete { prev: Some(kv), .. } if kv.lease != 0 => Some(kv.lease),
                _ => None,
            })
            .filter(|l| !revoked.contains(l))
            .collect();
        h.ops
            .iter_mut()
            .find_map(|op| match (&mut op.call, &mut op.outcome) {
                (
                    Call::Grant { lease, ttl },
                    Outcome::Ok {
                        body: Body::Ttl(granted),
                        ..
                    },
                ) if ended.contains(lease) => {
                    (*ttl, *granted) = (60, 60);
                    Some(())
                }
                _ => None,
            })
    });
}

#[test]
fn a_partial_end_of_a_lease_is_found() {
    // Two keys on one lease, one of them left over.
    planted(Kind::PartialExpiry, |h| {
        let watcher = &h.watchers[0];
        let messages = watcher.segments.iter().flat_map(|s| &s.messages);
        let events: Vec<&Event> = messages.flat_map(|m| &m.events).collect();
        let pair = events.windows(2).find(|w| {
            let lease = |e: &Event| match e {
                Event::Delete { prev: Some(kv), .. } => kv.lease,
                _ => 0,
            };
            w[0].revision() == w[1].revision() && lease(w[0]) != 0 && lease(w[1]) != 0
        })?;
        let (key, revision) = (pair[1].key().to_owned(), pair[1].revision());
        in_all_streams(h, |events| {
            events.retain(|e| e.revision() != revision || e.key() != key);
        });
        Some(())
    });
}

#[test]
fn a_risen_lease_is_found() {
    planted(Kind::RisenLease, |h| {
        let revoke = h
            .ops
            .iter()
            .find(|op| matches!(op.call, Call::Revoke { .. }) && revision(op).is_some())?;
        let Call::Revoke { lease } = revoke.call else {
            return None;
        };
        let renewal = Op {
            invoke: revoke.returned + 10,
            returned: revoke.returned + 20,
            call: Call::KeepAlive { lease },
            outcome: Outcome::Ok {
                revision: 1,
                body: Body::Ttl(2),
            },
            ..revoke.clone()
        };
        h.ops.push(renewal);
        Some(())
    });
}

#[test]
fn the_general_checker_finds_what_the_exact_one_finds() {
    let mut found = 0;
    for seed in 0..40 {
        let mut history = history(
            seed,
            Size {
                ops: 120,
                keys: 2,
                places: 3,
            },
        );
        let end = history.ops.iter().map(|op| op.returned).max().unwrap_or(0);
        // The first read that saw a value is answered again at the end, where the
        // key has another by then.
        let stale = history.ops.iter().find(|op| {
            matches!(op.call, Call::Get { key: Some(_), serializable: false, revision: 0 })
                && matches!(&op.outcome, Outcome::Ok { body: Body::Range(kvs), .. } if !kvs.is_empty())
        });
        let Some(mut stale) = stale.cloned() else {
            continue;
        };
        (stale.invoke, stale.returned) = (end + 10, end + 20);
        history.ops.push(stale);
        assert!(kinds(&history).contains(&Kind::StaleRead), "seed {seed}");
        let (wrong, _) = wgl::check(&history);
        found += usize::from(!wrong.is_empty());
    }
    assert!(found >= 30, "the general checker found {found} of 40");
}
