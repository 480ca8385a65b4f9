//! Active alarms: pairs of member and kind, in memory and in bucket `alarm`.
//! They outlive restarts and are changed through the log alone.

use line::Line;
use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message as _;
use proto::etcdserverpb::{AlarmMember, AlarmType, internal_raft_request::Op};

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
    restriction: Restriction,
    /// It was raised since this member started, and not found in the database.
    raised_here: bool,
}

/// What alarms forbid. As in etcd 3.5 it follows the first alarm of a kind and the end of the
/// last one, not the set: with both kinds active the later one counts, and the end of either
/// lifts both until the next start. Members must agree on it, since they apply the same log.
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
        alarms.restriction = if alarms.is_active(AlarmType::Corrupt) {
            Restriction::All
        } else if alarms.is_active(AlarmType::Nospace) {
            Restriction::Growth
        } else {
            Restriction::None
        };
        Ok(alarms)
    }

    /// Raises an alarm; false if it was active already.
    pub fn activate(&mut self, member_id: u64, alarm: i32, batch: &mut bolt::Batch) -> bool {
        let is_first = self.is_clear_of(alarm);
        let fresh = self.active.insert((alarm, member_id));
        if fresh {
            batch.put(BUCKET, key(member_id, alarm), Bytes::new());
        }
        if is_first && let Some(restriction) = Restriction::of(alarm) {
            self.restriction = restriction;
            self.raised_here = true;
        }
        fresh
    }

    /// Clears an alarm; false if it was not active.
    pub fn deactivate(&mut self, member_id: u64, alarm: i32, batch: &mut bolt::Batch) -> bool {
        let known = self.active.remove(&(alarm, member_id));
        if known {
            batch.delete(BUCKET, key(member_id, alarm));
            if self.is_clear_of(alarm) && Restriction::of(alarm).is_some() {
                self.restriction = Restriction::None;
                self.raised_here = false;
            }
        }
        known
    }

    /// What is forbidden now.
    pub fn restriction(&self) -> Restriction {
        self.restriction
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

fn key(member_id: u64, alarm: i32) -> Bytes {
    AlarmMember { member_id, alarm }.encode_to_vec().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: i32 = AlarmType::Nospace as i32;
    const CORRUPT: i32 = AlarmType::Corrupt as i32;

    #[test]
    fn a_restriction_lasts_until_the_last_alarm_of_its_kind_is_cleared() {
        let (mut alarms, mut batch) = (Alarms::default(), bolt::Batch::default());
        alarms.activate(1, FULL, &mut batch);
        alarms.activate(2, FULL, &mut batch);
        assert!(alarms.deactivate(1, FULL, &mut batch));
        assert_eq!(alarms.restriction(), Restriction::Growth);
        assert!(!alarms.deactivate(1, FULL, &mut batch));
        assert!(alarms.deactivate(2, FULL, &mut batch));
        assert_eq!(alarms.restriction(), Restriction::None);
    }

    #[test]
    fn the_first_alarm_of_a_kind_takes_the_place_of_the_other_kind() {
        let (mut alarms, mut batch) = (Alarms::default(), bolt::Batch::default());
        alarms.activate(1, FULL, &mut batch);
        alarms.activate(1, CORRUPT, &mut batch);
        assert!(alarms.activate(2, FULL, &mut batch));
        assert_eq!(alarms.restriction(), Restriction::All, "not the first");
        alarms.deactivate(1, CORRUPT, &mut batch);
        assert_eq!(alarms.restriction(), Restriction::None, "as in etcd 3.5");
    }
}
