//! The service on the line of the cluster, which Pintle alone has.

use std::rc::Rc;

use bytes::Bytes;
use line::Line;
use prost::Message as _;
use proto::pintlepb::{SetRequest, SetResponse, ShowRequest, ShowResponse};

use crate::{
    lines::set,
    rpc::frame_message,
    runtime::Runtime,
    status::{Code, Status},
};

/// As much of an unknown word as an answer repeats.
const SHOWN_MAX: usize = 32;

fn line_in(word: &str) -> Result<Line, Status> {
    let unknown = || {
        let shown: String = word.chars().take(SHOWN_MAX).collect();
        let rest = if shown.len() < word.len() { "..." } else { "" };
        format!("pintle: {shown:?}{rest} is no line; there are 3.5, 3.6 and 3.7")
    };
    Line::parse(word).ok_or_else(|| Status::new(Code::InvalidArgument, unknown()))
}

fn unreadable(error: prost::DecodeError) -> Status {
    Status::new(Code::InvalidArgument, format!("pintle: {error}"))
}

/// `Lines.Show`
///
/// # Errors
/// The target is no line.
pub(super) async fn show(rt: &Rc<Runtime>, message: Bytes) -> Result<Bytes, Status> {
    let request = ShowRequest::decode(message).map_err(unreadable)?;
    let target = match request.target.as_str() {
        "" => None,
        word => Some(line_in(word)?),
    };
    let survey = set::show(rt, target).await;
    Ok(frame_message(&ShowResponse {
        cluster_version: survey.version.map_or_else(String::new, |v| v.to_string()),
        downgrade_target: survey.downgrade.unwrap_or_default(),
        members: survey.members,
        findings: survey.findings,
    }))
}

/// `Lines.Set`
///
/// # Errors
/// The target is no line; the downgrade could not begin.
pub(super) async fn set(rt: &Rc<Runtime>, message: Bytes) -> Result<Bytes, Status> {
    let request = SetRequest::decode(message).map_err(unreadable)?;
    let target = line_in(&request.target)?;
    // Its caller may go away: what was begun is not left half begun.
    let work = rt.clone();
    let work = tokio::task::spawn_local(async move { set::set(&work, target).await });
    let findings = work
        .await
        .map_err(|error| Status::new(Code::Internal, error.to_string()))??;
    Ok(frame_message(&SetResponse { findings }))
}
