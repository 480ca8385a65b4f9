//! The Cluster service. Listing only: changes of membership are refused in
//! [`super`] until more than one member can be served.

use std::rc::Rc;

use bytes::Bytes;
use proto::etcdserverpb::{Member, MemberListRequest, MemberListResponse};

use crate::{runtime::Runtime, status::Status, transport::frame_message};

/// `Cluster.MemberList`
pub async fn member_list(rt: &Rc<Runtime>, request: MemberListRequest) -> Result<Bytes, Status> {
    if request.linearizable {
        rt.linearizable().await?;
    }
    let cluster = rt.core.cluster.load();
    let members = cluster
        .members()
        .map(|member| Member {
            id: member.id.0,
            name: member.name.clone(),
            peer_ur_ls: member.peer_urls.clone(),
            client_ur_ls: member.client_urls.clone(),
            is_learner: member.is_learner,
        })
        .collect();
    // Membership answers carry no revision.
    Ok(frame_message(&MemberListResponse {
        header: Some(rt.core.header(0)),
        members,
    }))
}
