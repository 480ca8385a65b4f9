//! `alarm list`, `alarm disarm`, and alarms as other commands name them.

use cli::flags::Parsed;
use proto::etcdserverpb::{self as api, AlarmType, alarm_request::AlarmAction};

use crate::{
    failure::{Failure, Outcome},
    global::Global,
    output::{Object, Page, Show, wire},
};

fn alarm_request(action: AlarmAction, of: api::AlarmMember) -> api::AlarmRequest {
    api::AlarmRequest {
        action: action.into(),
        member_id: of.member_id,
        alarm: of.alarm,
    }
}

/// `etcdctl alarm list`.
pub(crate) async fn list(parsed: &mut Parsed) -> Outcome {
    if !parsed.args.is_empty() {
        return Err(Failure::bad_args("alarm list command accepts no arguments"));
    }
    let global = Global::resolve(parsed)?;
    global.output.refuse_table()?;
    let request = alarm_request(AlarmAction::Get, api::AlarmMember::default());
    global
        .output
        .show(&global.client().await?.alarm(request).await?)
}

/// `etcdctl alarm disarm`: clears each alarm that is listed, and prints those
/// that were cleared, under no header.
pub(crate) async fn disarm(parsed: &mut Parsed) -> Outcome {
    if !parsed.args.is_empty() {
        return Err(Failure::bad_args(
            "alarm disarm command accepts no arguments",
        ));
    }
    let global = Global::resolve(parsed)?;
    global.output.refuse_table()?;
    let client = global.client().await?;
    let request = alarm_request(AlarmAction::Get, api::AlarmMember::default());
    let mut cleared = api::AlarmResponse::default();
    for alarm in client.alarm(request).await?.alarms {
        let request = alarm_request(AlarmAction::Deactivate, alarm);
        cleared.alarms.extend(client.alarm(request).await?.alarms);
    }
    global.output.show(&cleared)
}

/// An alarm in protobuf's text form, with the space etcdctl leaves at its end.
pub(crate) fn text(alarm: &api::AlarmMember) -> String {
    let mut text = String::new();
    if alarm.member_id != 0 {
        text += &format!("memberID:{} ", alarm.member_id);
    }
    if alarm.alarm != 0 {
        text += &format!("alarm:{} ", alarm_name(alarm));
    }
    text
}

fn alarm_name(alarm: &api::AlarmMember) -> String {
    AlarmType::try_from(alarm.alarm).map_or_else(
        |_| alarm.alarm.to_string(),
        |kind| kind.as_str_name().to_owned(),
    )
}

impl Show for api::AlarmResponse {
    fn simple(&self, page: &mut Page) {
        for alarm in &self.alarms {
            page.line(text(alarm));
        }
    }

    fn json(&self, page: &mut Page) {
        Object::write(&mut page.bytes, |object| {
            object.header(self.header.as_ref());
            object.children("alarms", &self.alarms, |object, alarm| {
                object.uint("memberID", alarm.member_id);
                object.int("alarm", alarm.alarm.into());
            });
        });
    }

    fn fields(&self, page: &mut Page) {
        page.header_fields(self.header.as_ref());
        for alarm in &self.alarms {
            page.field("MemberID", alarm.member_id);
            page.field("AlarmType", alarm_name(alarm));
            page.line("");
        }
    }

    fn protobuf(&self) -> Vec<u8> {
        wire(self)
    }
}

/// The names of raised alarms, as `endpoint health` lists them.
pub(crate) fn names(response: &api::AlarmResponse) -> String {
    response
        .alarms
        .iter()
        .map(|alarm| format!("{} ", alarm_name(alarm)))
        .collect()
}

/// Asks for all alarms.
pub(crate) fn list_all() -> api::AlarmRequest {
    alarm_request(AlarmAction::Get, api::AlarmMember::default())
}
