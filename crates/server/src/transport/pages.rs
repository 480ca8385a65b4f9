//! The plain HTTP pages: `/version`, `/metrics`, the health endpoints,
//! `/debug/vars`. The gateway and the peer port have their own modules.

use std::rc::Rc;

use http::{HeaderValue, Method, Request, Response, header};
use line::Feature;

use super::{
    Body, Surface, health,
    plain::{json, not_allowed, not_found},
    profiles,
};
use crate::{metrics, runtime::Runtime};

/// Answers one page.
pub(super) async fn answer<B>(
    rt: &Rc<Runtime>,
    request: &Request<B>,
    surface: Surface,
) -> Response<Body> {
    let path = request.uri().path();
    let is_get = request.method() == Method::GET;
    let query = request.uri().query().unwrap_or("");
    match (surface, path) {
        (Surface::Client | Surface::ClientHttp, "/version") => {
            if is_get {
                version_page(rt)
            } else {
                not_allowed()
            }
        }
        (_, "/metrics") => {
            let mut response =
                Response::new(Body::Plain(metrics::page(&rt.core, &rt.inboxes).into()));
            response.headers_mut().insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
            );
            response
        }
        (_, "/health") => {
            if is_get {
                health::health(rt, query).await
            } else {
                not_allowed()
            }
        }
        (Surface::Client | Surface::ClientHttp, "/debug/vars") => {
            if is_get {
                debug_vars(rt)
            } else {
                not_allowed()
            }
        }
        (Surface::Client | Surface::ClientHttp, path) if profiles::is_page(path) => {
            profiles::page(rt, path, query).await
        }
        (_, path) => match health::check_page(path) {
            Some(page) if is_get => health::checks(rt, page, query).await,
            Some(_) => not_allowed(),
            None => not_found(),
        },
    }
}

pub(super) fn version_page(rt: &Rc<Runtime>) -> Response<Body> {
    let cluster = rt.core.state.cluster.load();
    let cluster = cluster
        .version()
        .map_or_else(|| "not_decided".to_owned(), ToString::to_string);
    let line = rt.core.line();
    let storage = match line.has(Feature::StorageOnVersionPage) {
        true => format!(",\"storage\":\"{}\"", rt.core.state.storage_version.load()),
        false => String::new(),
    };
    json(format!(
        "{{\"etcdserver\":\"{}\",\"etcdcluster\":\"{cluster}\"{storage}}}",
        line.release()
    ))
}

fn debug_vars(rt: &Rc<Runtime>) -> Response<Body> {
    use std::sync::atomic::Ordering::Acquire;
    let raft = &rt.core.raft.status;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .current
        .unwrap_or(0);
    json(
        serde_json::json!({
            "cmdline": std::env::args().collect::<Vec<_>>(),
            "file_descriptor_limit": limit,
            "raft.status": {
                "id": format!("{:x}", rt.core.member_id),
                "term": raft.term.load(Acquire),
                "commit": raft.commit.load(Acquire),
                "applied": rt.core.state.applied.load(Acquire),
                "lead": format!("{:x}", rt.core.leader()),
                "raftState": if raft.is_leader.load(Acquire) { "StateLeader" } else { "StateFollower" },
            },
        })
        .to_string(),
    )
}
