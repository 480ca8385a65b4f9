//! `downgrade validate`, `enable`, `cancel`: commands of etcd 3.6, for servers
//! from 3.5 on. The server decides; nothing is checked here but the arguments.

use cli::flags::Parsed;
use proto::etcdserverpb::{self as api, downgrade_request::DowngradeAction};

use crate::{
    failure::{Failure, Outcome},
    global::Global,
    output::{Object, Page, Show, wire},
    spec::Action,
};

/// The three commands.
pub(crate) async fn run(parsed: &mut Parsed, action: Action) -> Outcome {
    let (what, action) = match action {
        Action::DowngradeEnable => ("enable", DowngradeAction::Enable),
        Action::DowngradeCancel => ("cancel", DowngradeAction::Cancel),
        _ => ("validate", DowngradeAction::Validate),
    };
    let version = match parsed.words().as_slice() {
        _ if action == DowngradeAction::Cancel => String::new(),
        [] => return Err(Failure::bad_args("TARGET_VERSION not provided")),
        [version] if version.is_empty() => {
            return Err(Failure::bad_args("target version not provided"));
        }
        [version] => version.clone(),
        _ => return Err(Failure::bad_args("too many arguments")),
    };
    let global = Global::resolve(parsed)?;
    global.output.refuse_table_and_fields()?;
    let request = api::DowngradeRequest {
        action: action.into(),
        version,
    };
    let response = global.client().await?.downgrade(request).await?;
    global.output.show(&Decided {
        what,
        response: &response,
    })
}

struct Decided<'a> {
    what: &'static str,
    response: &'a api::DowngradeResponse,
}

impl Show for Decided<'_> {
    fn simple(&self, page: &mut Page) {
        page.line(format!(
            "Downgrade {} success, cluster version {}",
            self.what, self.response.version
        ));
    }

    fn json(&self, page: &mut Page) {
        Object::write(&mut page.bytes, |object| {
            object.header(self.response.header.as_ref());
            object.text("version", &self.response.version);
        });
    }

    fn fields(&self, page: &mut Page) {
        page.header_fields(self.response.header.as_ref());
        page.quoted("Version", self.response.version.as_bytes());
    }

    fn protobuf(&self) -> Vec<u8> {
        wire(self.response)
    }
}
