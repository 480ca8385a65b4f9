//! The headers of requests between members, and whom they let in. The checks
//! stand in etcd's order, with etcd's words.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, request};
use line::{MIN_CLUSTER_VERSION as MIN_CLUSTER, minor, release};
use semver::Version;

use crate::Config;

/// Who sends.
pub const SERVER_FROM: HeaderName = HeaderName::from_static("x-server-from");
/// What the sender, or the answering member, runs.
pub const SERVER_VERSION: HeaderName = HeaderName::from_static("x-server-version");
/// The oldest cluster version the sender takes part in.
pub const MIN_CLUSTER_VERSION: HeaderName = HeaderName::from_static("x-min-cluster-version");
/// Which cluster the sender belongs to.
pub const CLUSTER_ID: HeaderName = HeaderName::from_static("x-etcd-cluster-id");
/// Where the sender is reached.
pub const PEER_URLS: HeaderName = HeaderName::from_static("x-peerurls");
/// Whom a stream is meant for.
pub const RAFT_TO: HeaderName = HeaderName::from_static("x-raft-to");

/// A hexadecimal id.
pub fn hex(headers: &HeaderMap, name: HeaderName) -> Option<u64> {
    u64::from_str_radix(headers.get(name)?.to_str().ok()?, 16).ok()
}

/// Puts on a request what every request carries.
pub(crate) fn sign(builder: request::Builder, config: &Config) -> request::Builder {
    builder
        .header(SERVER_FROM, format!("{:x}", config.member_id))
        .header(SERVER_VERSION, config.spoken.line().release())
        .header(MIN_CLUSTER_VERSION, MIN_CLUSTER.to_string())
        .header(CLUSTER_ID, format!("{:x}", config.cluster_id))
        .header(PEER_URLS, config.advertise_peer_urls.join(","))
}

/// A refusal: status and the text of its body, line end excluded.
pub(crate) type Refusal = (StatusCode, String);

fn version(headers: &HeaderMap, name: HeaderName) -> Option<Version> {
    match headers.get(name) {
        // Members from before the header say nothing.
        None => Some(release::BEFORE_THE_HEADER),
        Some(value) => Version::parse(value.to_str().ok()?).ok(),
    }
}

/// What the sender, or the answering member, says that it runs.
pub(crate) fn server_version(headers: &HeaderMap) -> Option<Version> {
    Version::parse(headers.get(SERVER_VERSION)?.to_str().ok()?).ok()
}

/// May the sender be talked to?
pub(crate) fn check(headers: &HeaderMap, config: &Config) -> Result<(), Refusal> {
    let incompatible = || {
        (
            StatusCode::PRECONDITION_FAILED,
            "incompatible version".to_owned(),
        )
    };
    let theirs = version(headers, SERVER_VERSION).ok_or_else(incompatible)?;
    let their_min = version(headers, MIN_CLUSTER_VERSION).ok_or_else(incompatible)?;
    let own = config.spoken.line().release_version();
    if minor(&theirs) < minor(&MIN_CLUSTER) || minor(&their_min) > minor(&own) {
        tracing::warn!(
            "local-member-server-version" = %own,
            "remote-peer-server-version" = %theirs,
            "remote-peer-server-minimum-cluster-version" = %their_min,
            "failed version compatibility check"
        );
        return Err(incompatible());
    }
    if hex(headers, CLUSTER_ID) != Some(config.cluster_id) {
        tracing::warn!(
            "local-member-cluster-id" = format!("{:x}", config.cluster_id),
            "remote-peer-cluster-id" = headers
                .get(CLUSTER_ID)
                .and_then(|v| v.to_str().ok())
                .unwrap_or(""),
            "request cluster ID mismatch"
        );
        return Err((
            StatusCode::PRECONDITION_FAILED,
            "cluster ID mismatch".to_owned(),
        ));
    }
    Ok(())
}

/// Streams as they are now exist since etcd 2.1; a member that says nothing of
/// its version is older.
pub(crate) fn has_streams(answer: &HeaderMap) -> bool {
    version(answer, SERVER_VERSION).is_some_and(|v| release::has_streams(&v))
}

/// This member's cluster on an answer.
pub(crate) fn cluster(config: &Config) -> HeaderValue {
    HeaderValue::from_str(&format!("{:x}", config.cluster_id))
        .unwrap_or(HeaderValue::from_static("0"))
}
