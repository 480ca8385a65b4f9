//! `compaction`, `alarm list`, `alarm disarm`, `defrag`.

use cli::{flags::Parsed, text::parse_int};
use proto::etcdserverpb::{self as api, AlarmType, alarm_request::AlarmAction};

use crate::{
    endpoint::targets,
    failure::{EXIT_ERROR, Failure, Outcome, cause},
    global::Global,
    output::{Object, Page, Show, wire},
    terminal::print_all,
};

/// `etcdctl compaction`.
pub(crate) async fn compaction(parsed: &mut Parsed) -> Outcome {
    let [revision] = parsed.args.as_slice() else {
        return Err(Failure::bad_args("compaction command needs 1 argument"));
    };
    let revision = parse_int(&String::from_utf8_lossy(revision), 10)
        .map_err(|error| Failure::new(EXIT_ERROR, error.to_string()))?;
    let request = api::CompactionRequest {
        revision,
        physical: parsed.bool("physical"),
    };
    let global = Global::resolve(parsed)?;
    global.client().await?.compact(request).await?;
    print_all(format!("compacted revision {revision}\n").as_bytes())
}

fn alarm_request(action: AlarmAction, of: api::AlarmMember) -> api::AlarmRequest {
    api::AlarmRequest {
        action: action.into(),
        member_id: of.member_id,
        alarm: of.alarm,
    }
}

/// `etcdctl alarm list`.
pub(crate) async fn alarm_list(parsed: &mut Parsed) -> Outcome {
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
pub(crate) async fn alarm_disarm(parsed: &mut Parsed) -> Outcome {
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

/// `etcdctl defrag`.
pub(crate) async fn defrag(parsed: &mut Parsed) -> Outcome {
    let cluster = parsed.bool("cluster");
    let global = Global::resolve(parsed)?;
    let endpoints = targets(&global, cluster).await?;
    defragment(&global, endpoints).await
}

/// Defragments these members, one after the other; goes on after a failure.
pub(crate) async fn defragment(global: &Global, endpoints: Vec<String>) -> Outcome {
    let mut failed = false;
    for endpoint in endpoints {
        let result = async {
            let client = global.connect([endpoint.as_str()].into_iter()).await?;
            client.defragment(api::DefragmentRequest {}).await
        }
        .await;
        match result {
            Ok(_) => {
                let line = format!("Finished defragmenting etcd member[{endpoint}]\n");
                print_all(line.as_bytes())?;
            }
            Err(error) => {
                eprintln!("Failed to defragment etcd member[{endpoint}] ({error})");
                if let Some(cause) = cause(&error) {
                    eprintln!("Warning: {cause}");
                }
                failed = true;
            }
        }
    }
    if failed {
        return Err(Failure::silent(EXIT_ERROR));
    }
    Ok(())
}

/// An alarm in protobuf's text form, with the space etcdctl leaves at its end.
pub(crate) fn alarm_text(alarm: &api::AlarmMember) -> String {
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
            page.line(alarm_text(alarm));
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
pub(crate) fn active_alarms(response: &api::AlarmResponse) -> String {
    response
        .alarms
        .iter()
        .map(|alarm| format!("{} ", alarm_name(alarm)))
        .collect()
}

/// Asks for all alarms.
pub(crate) fn list_alarms() -> api::AlarmRequest {
    alarm_request(AlarmAction::Get, api::AlarmMember::default())
}
