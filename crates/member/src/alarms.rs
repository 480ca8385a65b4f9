//! Active alarms: pairs of member and kind, in memory and in bucket `alarm`.
//! They outlive restarts and are changed through the log alone.

use std::{borrow::Cow, collections::BTreeSet};

use bytes::Bytes;
use line::{Feature, Line};
use prost::Message as _;
use proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmType, alarm_request::AlarmAction, internal_raft_request::Op,
};

use crate::{
    quota,
    status::{Status, errors},
};

/// Bucket of the database file.
pub const BUCKET: &str = "alarm";

/// The set of active alarms, ordered by kind and member.
#[derive(Clone, Debug, Default)]
pub struct Alarms {
    active: BTreeSet<(i32, u64)>,
    /// What they forbid in 3.5, where the order in which they came counts.
    by_order: Restriction,
    /// It was raised since this member started, and not found in the database.
    raised_here: bool,
}

/// What alarms forbid. From 3.6 on it follows from the set of them. In 3.5 it follows the first
/// alarm of a kind and the end of the last one: with both kinds active the later one counts, and
/// the end of either lifts both until the next start. Members must agree on it, since they apply
/// the same log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restriction {
    /// Nothing.
    #[default]
    None,
    /// Whatever takes space (NOSPACE).
    Growth,
    /// Everything that changes or reads through the log (CORRUPT).
    All,
}

impl Restriction {
    /// Why an operation is refused; `None` for what is not.
    pub fn refuses(self, op: &Op, line: Line) -> Option<Status> {
        match self {
            Restriction::None => None,
            Restriction::Growth => takes_space(op, line).then_some(errors::NO_SPACE),
            Restriction::All => is_stopped_by_corruption(op).then_some(errors::CORRUPT),
        }
    }

    fn of(alarm: i32) -> Option<Restriction> {
        match AlarmType::try_from(alarm) {
            Ok(AlarmType::Nospace) => Some(Restriction::Growth),
            Ok(AlarmType::Corrupt) => Some(Restriction::All),
            _ => None,
        }
    }
}

/// What the NOSPACE alarm forbids.
fn takes_space(op: &Op, line: Line) -> bool {
    match op {
        Op::Put(_) | Op::LeaseGrant(_) => true,
        Op::Txn(txn) => quota::applied_txn_cost(txn, line) > 0,
        _ => false,
    }
}

/// What the CORRUPT alarm forbids.
fn is_stopped_by_corruption(op: &Op) -> bool {
    matches!(
        op,
        Op::Put(_)
            | Op::Range(_)
            | Op::DeleteRange(_)
            | Op::Txn(_)
            | Op::Compaction(_)
            | Op::LeaseGrant(_)
            | Op::LeaseRevoke(_)
    )
}

impl Alarms {
    /// Reads the bucket. A key that is not an AlarmMember is an error naming it.
    pub fn recover(db: &bolt::ReadTx) -> Result<Alarms, String> {
        let mut alarms = Alarms::default();
        let bucket = db.bucket(BUCKET.as_bytes()).map_err(|e| e.to_string())?;
        let Some(bucket) = bucket else {
            return Ok(alarms);
        };
        let mut cursor = bucket.cursor();
        let mut item = cursor.first().map_err(|e| e.to_string())?;
        while let Some((key, _)) = item {
            let alarm = AlarmMember::decode(key).map_err(|error| {
                format!("bucket alarm: key {key:02x?} is not an alarm: {error}")
            })?;
            alarms.active.insert((alarm.alarm, alarm.member_id));
            item = cursor.next().map_err(|e| e.to_string())?;
        }
        alarms.by_order = alarms.restriction_of_set();
        Ok(alarms)
    }

    fn restriction_of_set(&self) -> Restriction {
        if self.is_active(AlarmType::Corrupt) {
            Restriction::All
        } else if self.is_active(AlarmType::Nospace) {
            Restriction::Growth
        } else {
            Restriction::None
        }
    }

    /// Whether a request ends members of a line: 3.5 has nothing to do where an alarm of a kind
    /// that it does not know is the first of its kind.
    pub fn ends_members(&self, request: &AlarmRequest, line: Line) -> bool {
        membership::entry::raises_unknown_alarm(request)
            && !line.has(Feature::AlarmsOfAnyKind)
            && self.is_clear_of(request.alarm)
    }

    /// Carries out a request in memory, and returns what it changed.
    pub fn change(&mut self, request: &AlarmRequest) -> Option<Change> {
        let (alarm, member_id) = (request.alarm, request.member_id);
        match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Activate) if alarm != AlarmType::None as i32 => {
                self.activate(member_id, alarm).then_some(Change::Raised)
            }
            Ok(AlarmAction::Deactivate) => {
                self.deactivate(member_id, alarm).then_some(Change::Cleared)
            }
            _ => None,
        }
    }

    fn activate(&mut self, member_id: u64, alarm: i32) -> bool {
        let is_first = self.is_clear_of(alarm);
        let is_new = self.active.insert((alarm, member_id));
        if is_first && let Some(restriction) = Restriction::of(alarm) {
            self.by_order = restriction;
            self.raised_here = true;
        }
        is_new
    }

    fn deactivate(&mut self, member_id: u64, alarm: i32) -> bool {
        let is_known = self.active.remove(&(alarm, member_id));
        if is_known && self.is_clear_of(alarm) && Restriction::of(alarm).is_some() {
            self.by_order = Restriction::None;
            self.raised_here = false;
        }
        is_known
    }

    /// What is forbidden now at a line.
    pub fn restriction(&self, line: Line) -> Restriction {
        match line.has(Feature::RestrictionOfAlarmSet) {
            true => self.restriction_of_set(),
            false => self.by_order,
        }
    }

    /// Whether what is forbidden was so decided since this member started.
    pub fn was_raised_here(&self) -> bool {
        self.raised_here
    }

    /// All alarms.
    pub fn all(&self) -> Vec<AlarmMember> {
        self.active
            .iter()
            .map(|&(alarm, member_id)| AlarmMember { member_id, alarm })
            .collect()
    }

    /// Alarms of one kind; `NONE` means all.
    pub fn of_kind(&self, kind: i32) -> Vec<AlarmMember> {
        self.all()
            .into_iter()
            .filter(|a| kind == AlarmType::None as i32 || a.alarm == kind)
            .collect()
    }

    /// True while some member raised this alarm.
    pub fn is_active(&self, kind: AlarmType) -> bool {
        !self.is_clear_of(kind as i32)
    }

    fn is_clear_of(&self, kind: i32) -> bool {
        let mut raised = self.active.range((kind, 0)..=(kind, u64::MAX));
        raised.next().is_none()
    }
}

/// What a request changed in the set of alarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// An alarm is active that was not.
    Raised,
    /// An alarm is active no more.
    Cleared,
}

impl Change {
    /// Brings the bucket to what is in memory.
    pub fn write(self, alarm: &AlarmMember, batch: &mut bolt::Batch) {
        let key = Bytes::from(alarm.encode_to_vec());
        match self {
            Change::Raised => batch.put(BUCKET, key, Bytes::new()),
            Change::Cleared => batch.delete(BUCKET, key),
        }
    }
}

/// etcd's name of a kind of alarm: a number where it has none.
pub fn name(alarm: i32) -> Cow<'static, str> {
    AlarmType::try_from(alarm).map_or_else(
        |_| Cow::Owned(alarm.to_string()),
        |kind| Cow::Borrowed(kind.as_str_name()),
    )
}

/// An alarm in protobuf's text form, with the space that etcd leaves at its end.
pub fn text(alarm: &AlarmMember) -> String {
    let mut text = String::new();
    if alarm.member_id != 0 {
        text += &format!("memberID:{} ", alarm.member_id);
    }
    if alarm.alarm != 0 {
        text += &format!("alarm:{} ", name(alarm.alarm));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: i32 = AlarmType::Nospace as i32;
    const CORRUPT: i32 = AlarmType::Corrupt as i32;
    const UNKNOWN: i32 = 10;

    fn raise(member_id: u64, alarm: i32) -> AlarmRequest {
        let action = AlarmAction::Activate as i32;
        AlarmRequest {
            action,
            member_id,
            alarm,
        }
    }

    fn clear(member_id: u64, alarm: i32) -> AlarmRequest {
        let action = AlarmAction::Deactivate as i32;
        AlarmRequest {
            action,
            member_id,
            alarm,
        }
    }

    fn after(requests: &[AlarmRequest]) -> Alarms {
        let mut alarms = Alarms::default();
        for request in requests {
            alarms.change(request);
        }
        alarms
    }

    #[test]
    fn a_restriction_lasts_until_the_last_alarm_of_its_kind_is_cleared() {
        for line in Line::ALL {
            let mut alarms = after(&[raise(1, FULL), raise(2, FULL)]);
            assert_eq!(alarms.change(&clear(1, FULL)), Some(Change::Cleared));
            assert_eq!(alarms.restriction(line), Restriction::Growth);
            assert_eq!(alarms.change(&clear(1, FULL)), None);
            assert_eq!(alarms.change(&clear(2, FULL)), Some(Change::Cleared));
            assert_eq!(alarms.restriction(line), Restriction::None);
        }
    }

    #[test]
    fn in_3_5_the_first_alarm_of_a_kind_takes_the_place_of_the_other_kind() {
        let (line, mut alarms) = (Line::V3_5, after(&[raise(1, FULL), raise(1, CORRUPT)]));
        assert_eq!(alarms.change(&raise(2, FULL)), Some(Change::Raised));
        assert_eq!(alarms.restriction(line), Restriction::All, "not the first");
        alarms.change(&clear(1, CORRUPT));
        assert_eq!(alarms.restriction(line), Restriction::None);
    }

    #[test]
    fn later_lines_forbid_what_the_alarms_that_are_left_forbid() {
        for line in [Line::V3_6, Line::V3_7] {
            let mut alarms = after(&[raise(1, CORRUPT), raise(1, FULL)]);
            assert_eq!(alarms.restriction(line), Restriction::All);
            alarms.change(&clear(1, CORRUPT));
            assert_eq!(alarms.restriction(line), Restriction::Growth);
        }
    }

    #[test]
    fn an_unknown_kind_ends_members_of_3_5_alone_and_only_as_the_first_of_its_kind() {
        let none = Alarms::default();
        assert!(none.ends_members(&raise(1, UNKNOWN), Line::V3_5));
        assert!(!none.ends_members(&raise(1, UNKNOWN), Line::V3_6));
        assert!(!none.ends_members(&raise(1, UNKNOWN), Line::V3_7));
        let raised = after(&[raise(1, UNKNOWN)]);
        assert!(!raised.ends_members(&raise(2, UNKNOWN), Line::V3_5));
        assert!(!raised.ends_members(&clear(1, UNKNOWN), Line::V3_5));
        assert_eq!(raised.of_kind(UNKNOWN).len(), 1);
        assert_eq!(raised.restriction(Line::V3_6), Restriction::None);
    }
}
