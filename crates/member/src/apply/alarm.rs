//! Alarms: raised, cleared and listed through the log.

use bolt::Batch;
use proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmResponse, AlarmType, alarm_request::AlarmAction,
};

use super::{
    command::Outcome,
    machine::{Machine, Run},
};
use crate::host::Host;

impl Machine {
    pub(super) fn apply_alarm<H: Host>(
        &mut self,
        request: &AlarmRequest,
        run: &mut Run<'_, H>,
    ) -> Outcome {
        let mut alarms = self.state.alarms.write();
        let mut batch = Batch::default();
        let changed = AlarmMember {
            member_id: request.member_id,
            alarm: request.alarm,
        };
        let listed = match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Get) => alarms.of_kind(request.alarm),
            Ok(AlarmAction::Activate) if request.alarm == AlarmType::None as i32 => Vec::new(),
            Ok(AlarmAction::Activate) => {
                if alarms.activate(request.member_id, request.alarm, &mut batch) {
                    log(request, "alarm raised");
                }
                vec![changed]
            }
            Ok(AlarmAction::Deactivate) => {
                if alarms.deactivate(request.member_id, request.alarm, &mut batch) {
                    log(request, "alarm disarmed");
                    vec![changed]
                } else {
                    Vec::new()
                }
            }
            Err(_) => Vec::new(),
        };
        run.writer.write(batch);
        Outcome::Alarm(AlarmResponse {
            header: run.header(),
            alarms: listed,
        })
    }
}

fn log(request: &AlarmRequest, what: &str) {
    let alarm = AlarmType::try_from(request.alarm).unwrap_or_default();
    tracing::warn!(
        alarm = alarm.as_str_name(),
        "from-member" = format!("{:x}", request.member_id),
        "{what}"
    );
}
