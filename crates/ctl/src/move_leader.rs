//! `move-leader`: finds the leader among the endpoints and asks it to hand over.
//! It must never ask a member that is not the leader.

use cli::{flags::Parsed, text::parse_uint};
use proto::etcdserverpb as api;

use crate::{
    failure::{Failure, Outcome},
    global::Global,
    output::{Object, Page, Show, wire},
};

/// `etcdctl move-leader`. An endpoint that does not answer is passed over: the
/// leader may be another.
pub(crate) async fn run(parsed: &mut Parsed) -> Outcome {
    let words = parsed.words();
    let [target] = words.as_slice() else {
        return Err(Failure::bad_args("move-leader command needs 1 argument"));
    };
    let target = parse_uint(target, 16).map_err(|error| Failure::bad_args(error.to_string()))?;
    let global = Global::resolve(parsed)?;
    global.output.refuse_table_and_fields()?;
    let mut unreachable = None;
    for endpoint in &global.endpoints {
        let client = global.client_on([endpoint.as_str()].into_iter()).await?;
        let status = match client.status(api::StatusRequest {}).await {
            Ok(status) => status,
            Err(error) => {
                eprintln!("Warning: no status of endpoint {endpoint} ({error})");
                unreachable = Some(error);
                continue;
            }
        };
        if status.header.unwrap_or_default().member_id == status.leader {
            let request = api::MoveLeaderRequest { target_id: target };
            let response = client.move_leader(request).await?;
            return global.output.show(&Moved {
                from: status.leader,
                to: target,
                response: &response,
            });
        }
    }
    match unreachable {
        Some(error) => Err(error.into()),
        None => Err(Failure::bad_args(format!(
            "no leader endpoint given at [{}]",
            global.endpoints.join(" ")
        ))),
    }
}

struct Moved<'a> {
    from: u64,
    to: u64,
    response: &'a api::MoveLeaderResponse,
}

impl Show for Moved<'_> {
    fn simple(&self, page: &mut Page) {
        let (from, to) = (self.from, self.to);
        page.line(format!("Leadership transferred from {from:x} to {to:x}"));
    }

    fn json(&self, page: &mut Page) {
        Object::write(&mut page.bytes, |object| {
            object.header(self.response.header.as_ref());
        });
    }

    fn fields(&self, page: &mut Page) {
        page.header_fields(self.response.header.as_ref());
    }

    fn protobuf(&self) -> Vec<u8> {
        wire(self.response)
    }
}
