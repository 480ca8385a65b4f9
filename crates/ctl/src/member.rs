//! `member list`.

use proto::etcdserverpb as api;

use crate::{
    failure::Outcome,
    flags::Parsed,
    output::{Format, Object, Output, Table},
    program::{global, print_all},
};

/// `etcdctl member list`.
pub(crate) async fn list(parsed: &mut Parsed) -> Outcome {
    let global = global(parsed)?;
    let hex = parsed.bool("hex");
    let request = api::MemberListRequest { linearizable: true };
    let response = global.client().await?.member_list(request).await?;
    show(&global.output, &response, hex)
}

fn show(output: &Output, response: &api::MemberListResponse, hex: bool) -> Outcome {
    let mut page = output.page();
    let header = response.header.as_ref();
    match output.format() {
        Format::Simple => {
            for member in &response.members {
                page.line(row(member).join(", "));
            }
        }
        Format::Table => {
            let mut table = Table::new(&[
                "ID",
                "Status",
                "Name",
                "Peer Addrs",
                "Client Addrs",
                "Is Learner",
            ]);
            for member in &response.members {
                table.row(row(member));
            }
            table.print(&mut page);
        }
        Format::Json => {
            Object::write(&mut page.bytes, |object| {
                if hex {
                    let header = header.copied().unwrap_or_default();
                    object.child("header", |object| {
                        object.text_always("cluster_id", &format!("{:x}", header.cluster_id));
                        object.text_always("member_id", &format!("{:x}", header.member_id));
                        object.uint("raft_term", header.raft_term);
                    });
                    object.children("members", &response.members, |object, member| {
                        object.member_hex(member);
                    });
                } else {
                    object.header(header);
                    object.children("members", &response.members, |object, member| {
                        object.member(member);
                    });
                }
            });
            page.line("");
        }
        Format::Fields => {
            page.header_fields(header);
            for member in &response.members {
                page.field("ID", member.id);
                page.quoted("Name", member.name.as_bytes());
                for url in &member.peer_ur_ls {
                    page.quoted("PeerURL", url.as_bytes());
                }
                for url in &member.client_ur_ls {
                    page.quoted("ClientURL", url.as_bytes());
                }
                page.field("IsLearner", member.is_learner);
                page.line("");
            }
        }
        Format::Protobuf => page.bytes = crate::output::wire(response),
    }
    print_all(&page.bytes)
}

/// A member without a name has been added but never started.
fn row(member: &api::Member) -> Vec<String> {
    let status = if member.name.is_empty() {
        "unstarted"
    } else {
        "started"
    };
    vec![
        format!("{:x}", member.id),
        status.to_owned(),
        member.name.clone(),
        member.peer_ur_ls.join(","),
        member.client_ur_ls.join(","),
        member.is_learner.to_string(),
    ]
}
