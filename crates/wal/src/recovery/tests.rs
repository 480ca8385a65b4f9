use super::*;

const SEGMENTS: [Segment; 2] = [Segment::Earlier, Segment::Last];
const PLACES: [Place; 4] = [Place::Whole, Place::End, Place::Torn, Place::Broken];
const LATER: [Later; 2] = [Later::Silent, Later::Durable];
const ACCESS: [Access; 3] = [Access::Read, Access::Repair, Access::Write];

#[test]
fn exactly_one_row_matches_every_input() {
    for segment in SEGMENTS {
        for place in PLACES {
            for later in LATER {
                for access in ACCESS {
                    let rows = TABLE
                        .iter()
                        .filter(|row| row.matches(segment, place, later, access))
                        .count();
                    assert_eq!(rows, 1, "{segment:?} {place:?} {later:?} {access:?}");
                }
            }
        }
    }
}

#[test]
fn every_row_is_reached() {
    for row in &TABLE {
        let reached = SEGMENTS.iter().any(|&s| {
            LATER
                .iter()
                .any(|&l| ACCESS.iter().any(|&a| row.matches(s, row.place, l, a)))
        });
        assert!(reached, "{row:?}");
    }
}

#[test]
fn only_a_torn_end_of_the_last_segment_is_ever_repaired() {
    for segment in SEGMENTS {
        for place in PLACES {
            for later in LATER {
                for access in ACCESS {
                    let repaired = decide(segment, place, later, access) == Action::Repair;
                    let may = segment == Segment::Last
                        && place == Place::Torn
                        && later == Later::Silent
                        && access == Access::Repair;
                    assert_eq!(repaired, may);
                }
            }
        }
    }
}

fn proves(torn: Option<RecordType>, after: &[RecordType]) -> bool {
    let mut witness = Witness::new(torn);
    after
        .iter()
        .any(|&kind| witness.see(kind) == Later::Durable)
}

#[test]
fn a_record_of_a_later_batch_proves_a_sync() {
    use RecordType::{Entry, Snapshot, State};
    assert!(proves(Some(Entry), &[State, Entry]));
    assert!(proves(Some(Entry), &[Entry, State, State, Entry]));
    assert!(proves(Some(Entry), &[State, Snapshot]));
    assert!(proves(Some(Entry), &[Snapshot]));
    assert!(proves(Some(Snapshot), &[Entry]));
    assert!(proves(None, &[Entry, State, Entry]));
    assert!(proves(None, &[Snapshot, Entry]));
}

#[test]
fn one_batch_proves_nothing() {
    use RecordType::{Entry, Snapshot, State};
    assert!(!proves(Some(Entry), &[Entry, Entry, State]));
    assert!(!proves(Some(Entry), &[Entry, Entry]));
    assert!(!proves(Some(State), &[State, Entry, State]));
    assert!(!proves(Some(State), &[Snapshot]));
    assert!(!proves(None, &[State, Entry, State]));
    assert!(!proves(None, &[]));
}
