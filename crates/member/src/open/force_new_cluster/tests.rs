use membership::{MemberId, v2store::Tree};
use proto::raftpb::ConfState;

use super::*;

const OWN: u64 = 0x1;

fn member(id: u64, is_learner: bool) -> Member {
    Member {
        id: id.into(),
        peer_urls: vec![format!("http://127.0.0.1:{id}")],
        is_learner,
        ..Member::default()
    }
}

fn entry(index: u64, change: &ConfChange) -> Entry {
    Entry {
        r#type: EntryType::EntryConfChange as i32,
        term: 1,
        index,
        data: Some(change.encode_to_vec().into()),
    }
}

/// A log from its first entry on, all of it committed.
fn forced(changes: &[ConfChange], consistent_index: u64) -> Result<Forced, Impossible> {
    let entries: Vec<Entry> = (1..).zip(changes).map(|(i, c)| entry(i, c)).collect();
    let nobody = Replay::from_snapshot(1.into(), Tree::new(), ConfState::default());
    Found {
        own: OWN,
        snapshot: (0, nobody.expect("an empty tree")),
        entries: &entries,
        hard_state: HardState {
            term: 3,
            vote: OWN,
            commit: entries.len() as u64 - 1,
        },
        consistent_index,
    }
    .force()
}

fn decoded(forced: &Forced) -> Vec<(u64, ConfChangeType, u64)> {
    let change = |e: &Entry| {
        let change = ConfChange::read(&e.data.clone().unwrap_or_default()).expect("a change");
        (e.index, change.r#type(), change.node_id)
    };
    forced.changes.iter().map(change).collect()
}

#[test]
fn a_member_that_is_missing_is_added_before_the_others_are_removed() {
    use ConfChangeType::{ConfChangeAddNode, ConfChangeRemoveNode};
    let log = [2, 3].map(|id| conf_change::add(0, &member(id, false)));
    let made = forced(&log, 2).expect("possible");
    assert_eq!(made.kept, 2);
    assert_eq!(
        decoded(&made),
        [
            (3, ConfChangeAddNode, OWN),
            (4, ConfChangeRemoveNode, 2),
            (5, ConfChangeRemoveNode, 3)
        ]
    );
}

#[test]
fn what_the_database_has_is_committed() {
    let log = [OWN, 2].map(|id| conf_change::add(0, &member(id, false)));
    assert_eq!(forced(&log, 1).expect("possible").kept, 1);
    assert_eq!(forced(&log, 2).expect("possible").kept, 2);
    let ahead = Impossible::LogEnds {
        applied: 3,
        last: 2,
    };
    assert_eq!(forced(&log, 3), Err(ahead));
}

#[test]
fn who_can_not_vote_is_refused() {
    let founder = conf_change::add(0, &member(2, false));
    let learner = conf_change::add(0, &member(OWN, true));
    let log = [founder.clone(), learner.clone()];
    assert_eq!(forced(&log, 2), Err(Impossible::Learner));
    let promoted = conf_change::promote(0, MemberId(OWN));
    let log = [founder.clone(), learner, promoted];
    assert_eq!(forced(&log, 3).expect("possible").changes.len(), 1);
    let log = [
        founder,
        conf_change::add(0, &member(OWN, false)),
        conf_change::remove(0, MemberId(OWN)),
    ];
    assert_eq!(forced(&log, 3), Err(Impossible::Removed));
}
