//! Alarms: raised, cleared and listed through the log.

use bolt::Batch;
use membership::Refusal;
use proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmResponse, AlarmType, alarm_request::AlarmAction,
};

use super::{
    command::Outcome,
    entry::{At, Failure, refuse},
    machine::{Machine, Run},
};
use crate::{
    alarms::{self, Change},
    host::Host,
};

impl Machine {
    pub(super) fn apply_alarm<H: Host>(
        &mut self,
        request: &AlarmRequest,
        at: At,
        run: &mut Run<'_, H>,
    ) -> Result<Outcome, Failure> {
        let mut alarms = self.state.alarms.write();
        if alarms.ends_members(request, self.line_of_entries()) {
            return Err(refuse(at.index, &Refusal::Invalid("kind of alarm")).into());
        }
        let named = AlarmMember {
            member_id: request.member_id,
            alarm: request.alarm,
        };
        let change = alarms.change(request);
        if let Some(change) = change {
            log(request, change);
            let mut batch = Batch::default();
            change.write(&named, &mut batch);
            run.writer.write(batch);
        }
        let listed = match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Get) => alarms.of_kind(request.alarm),
            // Also one that was active before.
            Ok(AlarmAction::Activate) if request.alarm != AlarmType::None as i32 => vec![named],
            Ok(AlarmAction::Deactivate) if change.is_some() => vec![named],
            _ => Vec::new(),
        };
        Ok(Outcome::Alarm(AlarmResponse {
            header: run.header(),
            alarms: listed,
        }))
    }
}

fn log(request: &AlarmRequest, change: Change) {
    let what = match change {
        Change::Raised => "alarm raised",
        Change::Cleared => "alarm disarmed",
    };
    tracing::warn!(
        alarm = &*alarms::name(request.alarm),
        "from-member" = format!("{:x}", request.member_id),
        "{what}"
    );
}
