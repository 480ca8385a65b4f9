//! Probes: every few seconds each member is asked whether it is well. What comes
//! of it is a line in the log when that changes, and a measure of the way there.
//! Nothing else depends on it.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::SendRequest;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    channel::Channel,
    dial::{self, RequestBody},
    shared::Shared,
};

/// Between two probes; etcd's.
const INTERVAL: Duration = Duration::from_secs(4);
/// A probe without answer has failed after this long.
const TIMEOUT: Duration = crate::STALL;
/// Clocks further apart than this are worth a line.
const DRIFT_MAX: Duration = Duration::from_secs(1);
/// An answer is a line of text.
const BODY_MAX: usize = 4 << 10;

/// Probes a member until it is no longer one.
pub(crate) async fn watch(shared: Arc<Shared>, channel: Arc<Channel>) {
    let id = format!("{:x}", channel.id);
    let probes = async {
        let (mut healthy, mut drifts) = (true, false);
        let (mut picked, mut connection) = (0, None);
        loop {
            tokio::time::sleep(INTERVAL).await;
            let urls = channel.urls();
            let Some(url) = urls.get(picked % urls.len().max(1)) else {
                continue;
            };
            let begin = Instant::now();
            let probe = probe(&shared, url, &mut connection);
            let outcome = match tokio::time::timeout(TIMEOUT, probe).await {
                Ok(outcome) => outcome,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            };
            let took = begin.elapsed();
            match outcome {
                Ok(their_time) => {
                    channel.round_trips.lock().add(took);
                    if !healthy {
                        tracing::info!("remote-peer-id" = id, rtt = ?took, "prober detected healthy status");
                    }
                    healthy = true;
                    // Their clock was read somewhere on the way.
                    let apart = (OffsetDateTime::now_utc() - their_time).unsigned_abs();
                    let apart = apart.saturating_sub(took);
                    if apart > DRIFT_MAX && !drifts {
                        tracing::warn!(
                            "remote-peer-id" = id,
                            "clock-drift" = ?apart,
                            rtt = ?took,
                            "prober found high clock drift"
                        );
                    }
                    drifts = apart > DRIFT_MAX;
                }
                Err(error) => {
                    connection = None;
                    picked += 1;
                    if healthy {
                        tracing::warn!(
                            "round-tripper-name" = "ROUND_TRIPPER_RAFT_MESSAGE",
                            "remote-peer-id" = id,
                            rtt = ?took,
                            error = %error,
                            "prober detected unhealthy status"
                        );
                    }
                    healthy = false;
                }
            }
        }
    };
    tokio::select! {
        () = probes => {}
        () = channel.stopped() => {}
    }
}

/// Asks once; the answer is the other one's time.
async fn probe(
    shared: &Shared,
    url: &str,
    connection: &mut Option<SendRequest<RequestBody>>,
) -> io::Result<OffsetDateTime> {
    let mut sender = match connection.take() {
        Some(sender) if !sender.is_closed() => sender,
        _ => dial::open(&shared.config.connect, url, shared.dial_timeout(), TIMEOUT).await?,
    };
    let body = Empty::<Bytes>::new().map_err(|never| match never {});
    let request = Request::get("/raft/probing")
        .header(header::HOST, dial::authority(url))
        .body(body.boxed_unsync())
        .map_err(io::Error::other)?;
    sender.ready().await.map_err(io::Error::other)?;
    let response = sender.send_request(request).await;
    let response = response.map_err(io::Error::other)?;
    if response.status() != StatusCode::OK {
        return Err(io::Error::other(format!("status {}", response.status())));
    }
    let body = Limited::new(response.into_body(), BODY_MAX).collect().await;
    let body = body.map_err(io::Error::other)?.to_bytes();
    let time = read(&body).ok_or_else(|| io::Error::other("unhealthy"))?;
    *connection = Some(sender);
    Ok(time)
}

/// The time in an answer that says that all is well.
fn read(body: &[u8]) -> Option<OffsetDateTime> {
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    if answer.get("OK")?.as_bool() != Some(true) {
        return None;
    }
    OffsetDateTime::parse(answer.get("Now")?.as_str()?, &Rfc3339).ok()
}

/// The answer to a probe.
pub(crate) fn answer() -> String {
    let now = OffsetDateTime::now_utc().format(&Rfc3339);
    format!("{{\"OK\":true,\"Now\":\"{}\"}}\n", now.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_answered_by_etcd_and_by_us() {
        let etcd = b"{\"OK\":true,\"Now\":\"2026-11-23T05:05:41.32253313Z\"}\n";
        assert_eq!(read(etcd).unwrap().nanosecond(), 322_533_130);
        assert!(read(answer().as_bytes()).is_some());
        assert!(read(b"{\"OK\":false,\"Now\":\"2026-11-23T05:05:41.32253313Z\"}").is_none());
        assert!(read(b"404 page not found\n").is_none());
    }
}
